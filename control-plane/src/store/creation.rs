//! The first write of a chat.

use chatplane_domain::{Decision, OrganizationId, UserId};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{
    Applied, Ask, Beside, DeploymentPromptRow, Error, FileFacts, FileView, MetadataView, Reply, Request,
    Snapshot, Store, TransactError, Transacted, TurnSettings, WorkspaceRow,
    apply::{self, Write},
    reply::reply_of,
    rows::StoredRequest,
    transact::{read_error, replay, violates},
};
use crate::caps::{Caps, Running};

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
    /// What runs, if that was to be counted.
    pub running: Option<Running>,
}

/// A chat that was just decided.
pub(crate) struct NewChat<'a> {
    /// What was decided.
    pub decision: &'a Decision,
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
        caps: Caps,
    ) -> Result<Beginning, TransactError<E>> {
        let row = sqlx::query_file!(
            "src/store/beginning.sql",
            request.map(|request| request.actor),
            request.map(|request| request.id.0),
            organization.0,
            owner.0,
            caps.any(),
        )
        .fetch_one(&self.connections)
        .await
        .map_err(read_error)?;
        let mut beginning = Beginning {
            now: row.now,
            replay: None,
            deployment_prompt: None,
            turn_settings: row.turn_settings.0,
            running: row.running.map(|running| running.0),
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

    /// Stores a chat that was just decided. A repeat gets the reply of then. `gone` is what the caller
    /// says of a file that was there when it was looked for, and is not any more.
    ///
    /// # Errors
    ///
    /// What `gone` says, `RequestIdReused`, or what the database says.
    pub(crate) async fn create<E>(
        &self,
        new: NewChat<'_>,
        gone: impl FnOnce() -> E,
    ) -> Result<Transacted, TransactError<E>> {
        let NewChat { decision, ask, metadata, workspace, turn_settings, files, now } = new;
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
        let reply = reply_of(&snapshot, decision, ask);
        let buckets = &self.buckets;
        let write = Write { snapshot: &snapshot, decision, ask, reply: &reply, buckets };
        match apply::create(&self.connections, &write).await {
            Ok(()) => {
                Ok(Transacted::Applied(Box::new(Applied { snapshot, decision: decision.clone(), reply })))
            }
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
