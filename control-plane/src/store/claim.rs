//! Leasing a chat that waits: one transaction that locks the row it takes, so that
//! replicas which claim at the same time take different chats.

use chatplane_domain::{ChatId, Decision, UserId};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Applied, Ask, Buckets, Error, Snapshot, Store, TransactError,
    apply::Write,
    reply::reply_of,
    transact::{Attempt, Subject, attempt, read},
};
use crate::caps::Caps;

/// What came of a claim.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// A chat was leased.
    Leased(Box<Applied>),
    /// Somebody else's write was in the way: there may be more to claim.
    Lost,
    /// No chat waits that could be taken.
    Nothing,
}

/// Which chats may be claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimable<'a> {
    /// Those that are left alone.
    pub but: &'a [ChatId],
    /// The owner who was served last: the next in the order of their ids is served now.
    pub after: UserId,
    /// How many may run.
    pub caps: Caps,
    /// Hand out the turn's input, if it has at most this many bytes.
    pub turn_bytes_max: i64,
}

/// A claim that failed.
#[derive(Debug)]
pub(crate) struct ClaimError<E> {
    /// The chat that was to be leased, once it was known, and whose it is.
    pub chat: Option<(ChatId, UserId)>,
    /// What went wrong.
    pub error: TransactError<E>,
}

impl<E> From<sqlx::Error> for ClaimError<E> {
    fn from(error: sqlx::Error) -> Self {
        Self { chat: None, error: Error::from(error).into() }
    }
}

impl Store {
    /// Takes, of the next owner who has one, the chat that has been runnable for the longest time and that
    /// nobody else is taking, and leases it to a session. Behind the last owner comes the first.
    ///
    /// # Errors
    ///
    /// What the closure refuses, or what the database says; with the chat, so that one
    /// that cannot be leased does not stand in the way of those behind it.
    pub(crate) async fn claim<E>(
        &self,
        claimable: Claimable<'_>,
        decide: impl Fn(&Snapshot) -> Result<Decision, E>,
    ) -> Result<Claim, ClaimError<E>> {
        self.connections
            .with(async |connection| claim(connection, &self.buckets, claimable, decide).await)
            .await?
    }
}

/// Claims, and says it in vain only where the connection may be to blame.
async fn claim<E>(
    connection: &mut PgConnection,
    buckets: &Buckets,
    claimable: Claimable<'_>,
    decide: impl Fn(&Snapshot) -> Result<Decision, E>,
) -> Result<Result<Claim, ClaimError<E>>, ClaimError<E>> {
    let Claimable { but, after, caps, turn_bytes_max } = claimable;
    let but: Vec<Uuid> = but.iter().map(|chat| chat.0).collect();
    let mut transaction = connection.begin().await?;
    let claimed = sqlx::query_file!(
        "src/store/claim.sql",
        &but,
        after.0,
        caps.owner_running_max,
        caps.organization_running_max,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((chat, owner)) = claimed.map(|row| (ChatId(row.chat_id), UserId(row.owner_id))) else {
        transaction.rollback().await?;
        return Ok(Ok(Claim::Nothing));
    };
    let of_chat = |error| ClaimError { chat: Some((chat, owner)), error };
    let ask = Ask { turn_bytes_max: Some(turn_bytes_max), ..Ask::default() };
    let claim = lease_locked(&mut transaction, buckets, chat, &ask, decide).await;
    let ended = match &claim {
        Ok(Claim::Leased(_)) => transaction.commit().await,
        Ok(Claim::Lost | Claim::Nothing) | Err(_) => transaction.rollback().await,
    };
    ended.map_err(|error| of_chat(Error::from(error).into()))?;
    Ok(claim.map_err(of_chat))
}

/// Leases a chat whose row the transaction has locked.
async fn lease_locked<E>(
    connection: &mut PgConnection,
    buckets: &Buckets,
    chat: ChatId,
    ask: &Ask,
    decide: impl Fn(&Snapshot) -> Result<Decision, E>,
) -> Result<Claim, TransactError<E>> {
    let read = read(connection, chat, ask).await?;
    let (snapshot, _) = read.ok_or(TransactError::ChatNotFound)?;
    let decision = decide(&snapshot).map_err(TransactError::Refused)?;
    let reply = reply_of(&snapshot, &decision, ask);
    let write = Write { snapshot: &snapshot, decision: &decision, ask, reply: &reply, buckets };
    match attempt(connection, Subject::Chat, &write).await? {
        Attempt::Lost => Ok(Claim::Lost),
        Attempt::Applied => Ok(Claim::Leased(Box::new(Applied { snapshot, decision, reply }))),
    }
}
