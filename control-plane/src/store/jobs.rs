//! Jobs beside the turns: rows that are leased to sessions for a time.
//!
//! A job never touches a chat's execution. Its lease is `(session, attempt)` until
//! `lease_time`: when that has passed, or the session is closed, whoever claims next has
//! it. What comes of a title is a plain update of the chat's metadata that compares their
//! version, so that a name which somebody gave the chat meanwhile stays.

use std::{iter, time::Duration};

use chatplane_domain::{ChatId, OrganizationId, SessionId, Usage, UserId};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Ask, Error, Reply, Request, Snapshot, Store, TransactError,
    apply::storable,
    content,
    reply::reply_of_none,
    transact::{is_deadlock, read, replay, unless_broken, violates},
};

/// So many times a statement is tried that others are in the way of.
const LOSSES_MAX: usize = 8;
/// Fence of the model calls of jobs: leases of chats count from 1.
const NO_FENCE: i64 = 0;

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobId(pub Uuid);

/// One lease of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobLease {
    /// The job.
    pub job: JobId,
    /// Who has it.
    pub session: SessionId,
    /// Counts the job's leases from 1.
    pub attempt: i32,
}

/// What a claim of jobs may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobBounds {
    /// Jobs that one session may have at a time.
    pub per_session_max: i64,
    /// Leases that a job gets for a request before it is given up.
    pub attempts_max: i32,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Jobs of one claim at most.
    pub jobs_max: i64,
}

/// What a claim of jobs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimedJobs {
    /// The jobs that were leased, with their chats.
    pub leased: Vec<(JobLease, ChatId)>,
    /// Jobs that nobody finished in all their leases; they are deleted.
    pub given_up: Vec<JobId>,
}

/// What a title is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TitleSource {
    /// Organization of the chat's owner.
    pub organization: OrganizationId,
    /// The chat's model.
    pub model: String,
    /// The first two turns and the last three, each once, in order.
    pub turns: Vec<TurnText>,
}

/// What was said in a turn. Texts are cut, with one character more than was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnText {
    /// What the user wrote.
    pub prompt: String,
    /// The last that the model said of it; empty where it has said nothing yet.
    pub answer: String,
}

/// What its holder says of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobAnswer {
    /// The job's lease.
    pub lease: JobLease,
    /// The job's chat.
    pub chat: ChatId,
    /// The title, if there is one.
    pub title: Option<String>,
    /// When the job is to be tried again; none when it is over.
    pub again_in: Option<Duration>,
    /// The model that was called, and its tokens.
    pub model_call: Option<(String, Usage)>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinishedJob {
    /// Whose chat it is.
    pub owner: Option<UserId>,
    /// Whether it has another title now.
    pub is_titled: bool,
}

impl Store {
    /// Leases jobs that are due to these sessions, none of them more than it may have. A job
    /// whose leases are used up is deleted. Jobs that another replica is claiming are passed
    /// over.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn claim_jobs(
        &self,
        sessions: &[SessionId],
        bounds: JobBounds,
    ) -> Result<ClaimedJobs, Error> {
        let sessions: Vec<Uuid> = sessions.iter().map(|session| session.0).collect();
        let rows = sqlx::query_file!(
            "src/store/claim_jobs.sql",
            &sessions,
            bounds.per_session_max,
            bounds.jobs_max,
            bounds.attempts_max,
            millis(bounds.lease),
        )
        .fetch_all(&self.connections)
        .await?;
        let mut claimed = ClaimedJobs::default();
        for row in rows {
            let job = JobId(row.job_id);
            match row.session_id {
                Some(session) => {
                    let lease = JobLease { job, session: SessionId(session), attempt: row.attempt };
                    claimed.leased.push((lease, ChatId(row.chat_id)));
                }
                None => claimed.given_up.push(job),
            }
        }
        Ok(claimed)
    }

    /// What the title of a chat is made from, its texts cut after this many characters and
    /// one more. None when the chat is gone.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn title_source(
        &self,
        chat: ChatId,
        chars_max: i32,
    ) -> Result<Option<TitleSource>, Error> {
        let rows = sqlx::query_file!("src/store/title_source.sql", chat.0, chars_max,)
            .fetch_all(&self.connections)
            .await?;
        let text = |text: Option<String>| content::unescape(text.unwrap_or_default());
        let mut source = None;
        for row in rows {
            let source = source.get_or_insert_with(|| TitleSource {
                organization: OrganizationId(row.organization_id),
                model: row.model,
                turns: Vec::new(),
            });
            if row.id.is_some() {
                source.turns.push(TurnText { prompt: text(row.prompt), answer: text(row.answer) });
            }
        }
        Ok(source)
    }

    /// Takes the answer of a job from whoever has it: ends the job or puts it off, writes
    /// the title where the metadata are still those it was asked for, and keeps what the
    /// model call cost. None when the job is not the holder's any more; its tokens are kept
    /// all the same, as long as there are the session and the chat.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn finish_job(&self, answer: &JobAnswer) -> Result<Option<FinishedJob>, Error> {
        let owner = self.owner(answer.chat).await?;
        for _ in 0..LOSSES_MAX {
            match self.try_to_finish(answer, owner).await {
                Err(error) if is_deadlock(&error) => {}
                Err(error) => return Err(error.into()),
                Ok(finished) => return Ok(finished),
            }
        }
        Err(Error::Unavailable(sqlx::Error::PoolTimedOut))
    }

    /// Whose chat it is; a title is found by its owner alone.
    async fn owner(&self, chat: ChatId) -> Result<Option<UserId>, Error> {
        let owner = sqlx::query_scalar!("select c.owner_id from chats c where c.chat_id = $1", chat.0)
            .fetch_optional(&self.connections)
            .await?;
        Ok(owner.map(UserId))
    }

    async fn try_to_finish(
        &self,
        answer: &JobAnswer,
        owner: Option<UserId>,
    ) -> Result<Option<FinishedJob>, sqlx::Error> {
        let JobLease { job, session, attempt } = answer.lease;
        let search = owner.zip(answer.title.as_deref());
        let search = search.and_then(|(owner, title)| self.buckets.document(owner, iter::once(title)));
        let (model, usage) = answer.model_call.clone().unzip();
        let usage = usage.unwrap_or_default();
        let finished = sqlx::query_file!(
            "src/store/finish_job.sql",
            job.0,
            session.0,
            attempt,
            answer.again_in.map(millis),
            answer.title.as_deref().map(content::escape),
            NO_FENCE,
            call_number(answer.lease),
            model.as_deref().map(content::escape),
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            answer.chat.0,
            search,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(finished.map(|row| FinishedJob { owner, is_titled: row.is_titled }))
    }

    /// Deletes a job that cannot be done, where it still has this lease.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn drop_job(&self, lease: JobLease) -> Result<(), Error> {
        sqlx::query!(
            "delete from jobs \
             where job_id = $1 \
             and session_id = $2 \
             and attempt = $3",
            lease.job.0,
            lease.session.0,
            lease.attempt,
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }

    /// Asks for a new title, in the place of one that was asked for before: whoever works at
    /// that one has lost it. `authorize` is asked before a repeat is answered.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, what the closure refuses, `RequestIdReused`, or what the database says.
    pub(crate) async fn ask_for_title<E>(
        &self,
        chat: ChatId,
        job: JobId,
        ask: &Ask,
        authorize: impl Fn(&Snapshot) -> Result<(), E>,
    ) -> Result<Reply, TransactError<E>> {
        for _ in 0..LOSSES_MAX {
            let tried = self.connections.with(async |connection| {
                unless_broken(try_to_ask(connection, chat, job, ask, &authorize).await)
            });
            if let Some(reply) = tried.await?? {
                return Ok(reply);
            }
        }
        Err(Error::Unavailable(sqlx::Error::PoolTimedOut).into())
    }
}

/// One try. None: another write came in between.
async fn try_to_ask<E>(
    connection: &mut PgConnection,
    chat: ChatId,
    job: JobId,
    ask: &Ask,
    authorize: &impl Fn(&Snapshot) -> Result<(), E>,
) -> Result<Option<Reply>, TransactError<E>> {
    let request = ask.request.as_ref();
    let (snapshot, stored) = read(connection, chat, ask).await?.ok_or(TransactError::ChatNotFound)?;
    authorize(&snapshot).map_err(TransactError::Refused)?;
    if let (Some(stored), Some(request)) = (stored, request) {
        return replay(connection, stored, request).await.map(Some);
    }
    let reply = reply_of_none(&snapshot);
    match insert_title_job(connection, chat, job, request, &reply).await {
        Ok(true) => Ok(Some(reply)),
        // Somebody has described or deleted the chat in between: the reply must not tell, and keep,
        // what is not there any more.
        Ok(false) => Ok(None),
        // The same request was stored in between: its reply is there now.
        Err(error) if violates(&error, "requests_pkey") || is_deadlock(&error) => Ok(None),
        Err(error) => Err(Error::from(error).into()),
    }
}

/// Job and request in one statement. The metadata are locked first, as `finish_job.sql` does
/// it: their version is then the one that nobody is changing. Answers whether it still is the
/// one that the reply shows.
async fn insert_title_job(
    connection: &mut PgConnection,
    chat: ChatId,
    job: JobId,
    request: Option<&Request>,
    reply: &Reply,
) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query_scalar!(
        "with described as materialized ( \
             select d.chat_id, d.metadata_version \
             from chat_metadata d \
             where d.chat_id = $2 \
             and d.metadata_version = $8 \
             for update \
         ), \
         asked as ( \
             insert into jobs as j (job_id, chat_id, kind, metadata_version) \
             select $1, d.chat_id, 'title', d.metadata_version \
             from described d \
             on conflict (chat_id, kind) do update \
             set metadata_version = excluded.metadata_version, \
                 tries = 0, \
                 replaced_session_id = coalesce(j.session_id, j.replaced_session_id), \
                 replaced_lease_time = case \
                     when j.session_id is null then j.replaced_lease_time \
                     else j.lease_time \
                 end, \
                 session_id = null, \
                 lease_time = now(), \
                 create_time = now() \
             returning j.chat_id \
         ), \
         stored as ( \
             insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
             select $3, $4, $5::text, $6, asked.chat_id, $7 \
             from asked \
             where $4::uuid is not null \
         ) \
         select count(*) as \"asked!\" from asked",
        job.0,
        chat.0,
        request.map(|request| request.actor),
        request.map(|request| request.id.0),
        request.map(|request| request.method),
        request.map(|request| &request.body_sha256[..]),
        storable(json!(reply)),
        reply.chat.metadata.metadata_version,
    )
    .fetch_one(connection)
    .await?;
    Ok(asked == 1)
}

/// Keys what a job's model call cost, among the calls of its chat that have no lease: each
/// lease of each job by a number of its own. A job may be leased any number of times, and ids
/// of jobs are longer than the key, so it is a digest of both.
fn call_number(lease: JobLease) -> i64 {
    let mut digest = Sha256::new();
    digest.update(lease.job.0.as_bytes());
    digest.update(lease.attempt.to_be_bytes());
    let first = digest.finalize().into_iter().take(8);
    let number = first.fold(0_u64, |number, byte| number << 8 | u64::from(byte));
    i64::try_from(number >> 1).expect("63 bits fit")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_lease_of_each_job_keys_its_model_call_by_a_number_of_its_own() {
        let first = Uuid::parse_str("01a1fe16-82d4-77c9-aa6f-55b7949b5254").expect("it is a UUID");
        let second = Uuid::parse_str("01a1fe16-82d4-77c9-aa6f-55b7949b5255").expect("it is a UUID");
        let leases =
            [first, second].into_iter().flat_map(|job| (1..=1_000).map(move |attempt| (job, attempt)));

        let numbers: HashSet<i64> = leases
            .map(|(job, attempt)| JobLease { job: JobId(job), session: SessionId(Uuid::nil()), attempt })
            .map(call_number)
            .collect();

        assert_eq!(numbers.len(), 2_000);
        assert!(numbers.iter().all(|number| *number >= 0));
    }
}
