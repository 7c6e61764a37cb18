//! The first write of a chat.

use chatplane_domain::{Decision, OrganizationId, UserId};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use super::{
    Applied, Ask, Beside, Buckets, DeploymentPromptRow, Error, FileFacts, FileView, MetadataView, Reply,
    Request, Snapshot, Store, TransactError, Transacted, TurnSettings, WorkspaceRow,
    apply::{self, Write},
    reply::reply_of,
    rows::StoredRequest,
    transact::{read_error, replay, violates},
};
use crate::caps::Running;

/// What creating a chat begins with.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// The reply of the same request, if it was accepted before.
    pub replay: Option<Box<Reply>>,
    /// What every chat of the organization begins with, if that was ever written.
    pub deployment_prompt: Option<DeploymentPromptRow>,
    /// What turns of the owner's chats are run with; a new chat's own tools are not known yet.
    pub turn_settings: TurnSettings,
}

/// A chat that is to be decided and stored.
pub(crate) struct NewChat<'a> {
    /// Whose running chats are counted first, where the write may give a lease under a cap.
    pub count_running: Option<(UserId, OrganizationId)>,
    /// The request, and the job that writes the title.
    pub ask: &'a Ask,
    /// Title and labels.
    pub metadata: MetadataView,
    /// Its workspace.
    pub workspace: Option<WorkspaceRow>,
    /// What it began with.
    pub turn_settings: TurnSettings,
    /// Files that its message refers to.
    pub files: Vec<FileView>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

impl Store {
    /// What creating a chat begins with, in one round trip.
    ///
    /// # Errors
    ///
    /// `RequestIdReused`, or what the database says.
    pub(crate) async fn beginning<E>(
        &self,
        owner: UserId,
        organization: OrganizationId,
        request: Option<&Request>,
    ) -> Result<Beginning, TransactError<E>> {
        let row = sqlx::query_file!(
            "src/store/beginning.sql",
            request.map(|request| request.actor),
            request.map(|request| request.id.0),
            organization.0,
            owner.0,
        )
        .fetch_one(&self.connections)
        .await
        .map_err(read_error)?;
        let mut beginning = Beginning {
            now: row.now,
            replay: None,
            deployment_prompt: None,
            turn_settings: row.turn_settings.0,
        };
        if let (Some(text), Some(default_enabled), Some(version), Some(update_time)) =
            (row.text, row.default_enabled, row.version, row.update_time)
        {
            let prompt = DeploymentPromptRow { text, default_enabled, version, update_time };
            beginning.deployment_prompt = Some(prompt);
        }
        if let (Some(request), Some(method), Some(body_sha256), Some(reply)) =
            (request, row.method, row.body_sha256, row.reply)
        {
            let stored = StoredRequest { method, body_sha256, reply: reply.0 };
            beginning.replay = Some(Box::new(replay(&self.connections, stored, request).await?));
        }
        Ok(beginning)
    }

    /// Decides and stores a chat. A repeat gets the reply of then. `gone` is what the caller says of
    /// a file that was there when it was looked for, and is not any more.
    ///
    /// # Errors
    ///
    /// What `gone` says, `RequestIdReused`, or what the database says.
    pub(crate) async fn create<E>(
        &self,
        new: NewChat<'_>,
        decide: impl FnOnce(Option<Running>) -> Decision,
        gone: impl FnOnce() -> E,
    ) -> Result<Transacted, TransactError<E>> {
        let ask = new.ask;
        // One use of a connection: whoever waits for one has not counted yet.
        let created = self.connections.with(async |connection| {
            let running = match new.count_running {
                Some((owner, organization)) => Some(count_running(connection, owner, organization).await?),
                None => None,
            };
            write(connection, &self.buckets, new, decide(running)).await
        });
        // Boxed, or its size would be that of all who wait for it.
        match Box::pin(created).await {
            Ok(applied) => Ok(Transacted::Applied(Box::new(applied))),
            Err(error) => match &ask.request {
                Some(request) if violates(&error, "requests_pkey") => {
                    let stored = self.stored_request(request).await?;
                    let reply = replay(&self.connections, stored.ok_or(Error::RowInvalid)?, request).await?;
                    Ok(Transacted::Replayed(Box::new(reply)))
                }
                // It was there when it was looked for.
                Some(_) | None if violates(&error, "chat_files_file_fkey") => {
                    Err(TransactError::Refused(gone()))
                }
                Some(_) | None => Err(Error::from(error).into()),
            },
        }
    }

    async fn stored_request(&self, request: &Request) -> Result<Option<StoredRequest>, Error> {
        let row = sqlx::query!(
            r#"select method, encode(body_sha256, 'hex') as "body_sha256!", result as "reply: Json<Reply>"
               from requests
               where actor_id = $1
               and request_id = $2"#,
            request.actor,
            request.id.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(|row| StoredRequest {
            method: row.method,
            body_sha256: row.body_sha256,
            reply: row.reply.0,
        }))
    }
}

async fn count_running(
    connection: &mut PgConnection,
    owner: UserId,
    organization: OrganizationId,
) -> Result<Running, sqlx::Error> {
    sqlx::query_as!(
        Running,
        r#"select
               (select count(*) from chats l where l.leased and l.owner_id = $1) as "owner!",
               (select count(*) from chats l where l.leased and l.organization_id = $2) as "organization!""#,
        owner.0,
        organization.0,
    )
    .fetch_one(connection)
    .await
}

async fn write(
    connection: &mut PgConnection,
    buckets: &Buckets,
    new: NewChat<'_>,
    decision: Decision,
) -> Result<Applied, sqlx::Error> {
    let NewChat { ask, metadata, workspace, turn_settings, files, now, .. } = new;
    let snapshot = Snapshot {
        chat: decision.chat.clone(),
        now,
        beside: Beside { metadata, create_time: now, update_time: now, ..Beside::default() },
        last_answer: None,
        has_files: false,
        file_facts: Some(FileFacts { asked: files, kept: Vec::new() }),
        turn_input: Some(Vec::new()),
        turn_settings: Some(turn_settings),
        workspace,
        running: None,
        queued: None,
        history_ends: None,
        target: None,
        covered: None,
        fork: None,
        left_alone: None,
    };
    let reply = reply_of(&snapshot, &decision, ask);
    apply::create(
        connection,
        &Write { snapshot: &snapshot, decision: &decision, ask, reply: &reply, buckets },
    )
    .await?;
    Ok(Applied { snapshot, decision, reply })
}
