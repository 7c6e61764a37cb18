//! Models and workspaces.

use chatplane_domain::{JournalId, OrganizationId, ReplicaId, UserId, WorkspaceId};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{Error, Store, ToolDefinition, WorkspaceRow};

/// At this much of its context a history is summarized.
const THRESHOLD_PERCENT: i32 = 70;
/// Where the context is large: models become slow, dear and forgetful long before it is full.
const THRESHOLD_PERCENT_LARGE: i32 = 30;
/// A context of this many tokens is large.
const LARGE_CONTEXT_TOKENS: i64 = 500_000;

/// A model that chats can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelRow {
    /// Name by which chats refer to it.
    pub name: String,
    /// Wire format and provider.
    pub provider: String,
    /// Base URL of the provider.
    pub endpoint: String,
    /// The provider's own name of the model.
    pub provider_model: String,
    /// Whether chats use it that name no model.
    pub is_default: bool,
    /// How many tokens fit its context.
    pub context_tokens_max: i64,
    /// How many tokens an answer may have.
    pub output_tokens_max: i64,
    /// How long the first token may take.
    pub first_token_timeout_ms: i64,
    /// How long a stream may be silent after that.
    pub silence_timeout_ms: i64,
    /// Percent of the context at which a history is summarized; none for what suits its size.
    pub compaction_threshold_percent: Option<i32>,
}

impl ModelRow {
    /// Percent of the context at which a history is summarized, unless its owner has a
    /// threshold of their own: [`super::TurnSettings::compaction_threshold_percent`].
    #[must_use]
    pub(crate) fn compaction_threshold_percent(&self) -> i32 {
        let suits = if self.context_tokens_max >= LARGE_CONTEXT_TOKENS {
            THRESHOLD_PERCENT_LARGE
        } else {
            THRESHOLD_PERCENT
        };
        self.compaction_threshold_percent.filter(is_percentage).unwrap_or(suits)
    }
}

/// A stored threshold that is none, as none should be, is passed over.
pub(super) fn is_percentage(percent: &i32) -> bool {
    (0..=100).contains(percent)
}

/// A workspace as its users list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspaceListing {
    /// Its id.
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub name: String,
    /// Tools its agent declared.
    pub tools: Vec<ToolDefinition>,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// The replica at which its agent is attached.
    pub replica: Option<ReplicaId>,
}

impl Store {
    /// Makes a model what the operator says, and the default one if it is to be. One that is
    /// there stays switched off where it is, and keeps its threshold unless there is a new one.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_model(
        &self,
        organization: OrganizationId,
        model: &ModelRow,
    ) -> Result<(), Error> {
        let put = self.connections.with(async |connection| put_model(connection, organization, model).await);
        Ok(put.await?)
    }

    /// The models of an organization that chats can use, by name. Operators configure few.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn models(&self, organization: OrganizationId) -> Result<Vec<ModelRow>, Error> {
        let models = sqlx::query_as!(
            ModelRow,
            "select name, provider, endpoint, provider_model, is_default, context_tokens_max, \
                 output_tokens_max, first_token_timeout_ms, silence_timeout_ms, \
                 compaction_threshold_percent \
             from models \
             where organization_id = $1 \
             and enabled \
             order by name \
             limit 1000",
            organization.0,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(models)
    }

    /// One workspace.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn workspace(&self, workspace: WorkspaceId) -> Result<Option<WorkspaceRow>, Error> {
        let row = sqlx::query!(
            r#"select workspace_id, owner_id, name, tools as "tools: Json<Vec<ToolDefinition>>", journal_id
               from workspaces
               where workspace_id = $1"#,
            workspace.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(|row| WorkspaceRow {
            workspace_id: WorkspaceId(row.workspace_id),
            owner_id: UserId(row.owner_id),
            name: row.name,
            tools: row.tools.0,
            journal_id: row.journal_id.map(JournalId),
        }))
    }

    /// A user's workspaces by id, one more than asked for to tell whether there are more.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn workspaces(
        &self,
        owner: UserId,
        after: Option<WorkspaceId>,
        limit: i64,
    ) -> Result<Vec<WorkspaceListing>, Error> {
        let rows = sqlx::query!(
            r#"select workspace_id, name, tools as "tools: Json<Vec<ToolDefinition>>", create_time,
                   replica_id
               from workspaces
               where owner_id = $1
               and ($2::uuid is null or workspace_id > $2)
               order by workspace_id
               limit $3"#,
            owner.0,
            after.map(|id| id.0),
            limit,
        )
        .fetch_all(&self.connections)
        .await?;
        let listing = |row: WorkspaceListingRow| WorkspaceListing {
            workspace_id: WorkspaceId(row.0),
            name: row.1,
            tools: row.2,
            create_time: row.3,
            replica: row.4.map(ReplicaId),
        };
        Ok(rows
            .into_iter()
            .map(|row| listing((row.workspace_id, row.name, row.tools.0, row.create_time, row.replica_id)))
            .collect())
    }

    /// Keeps what an agent declared at its registration, and where it is. Answers which of the
    /// workspace's registrations it is, or none when there is no such workspace.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn register_workspace(
        &self,
        workspace: WorkspaceId,
        replica: ReplicaId,
        tools: &[ToolDefinition],
        journal: Option<JournalId>,
    ) -> Result<Option<i64>, Error> {
        let attachment_no = sqlx::query_scalar!(
            "update workspaces \
             set tools = $2, \
                 journal_id = coalesce($3, journal_id), \
                 replica_id = $4, \
                 attachment_no = attachment_no + 1 \
             where workspace_id = $1 \
             returning attachment_no",
            workspace.0,
            json!(tools),
            journal.map(|journal| journal.0),
            replica.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(attachment_no)
    }

    /// An agent has left, if it is still the one of the row.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn detach_workspace(
        &self,
        workspace: WorkspaceId,
        replica: ReplicaId,
        attachment_no: i64,
    ) -> Result<(), Error> {
        sqlx::query!(
            "update workspaces \
             set replica_id = null \
             where workspace_id = $1 \
             and replica_id = $2 \
             and attachment_no = $3",
            workspace.0,
            replica.0,
            attachment_no,
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }

    /// The replica at which a workspace's agent is attached.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn workspace_replica(&self, workspace: WorkspaceId) -> Result<Option<ReplicaId>, Error> {
        let replica =
            sqlx::query_scalar!("select replica_id from workspaces where workspace_id = $1", workspace.0)
                .fetch_optional(&self.connections)
                .await?;
        Ok(replica.flatten().map(ReplicaId))
    }

    /// Those of these attachments that a later registration has followed, with its number.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn replaced_attachments(
        &self,
        attachments: &[(WorkspaceId, i64)],
    ) -> Result<Vec<(WorkspaceId, i64)>, Error> {
        let workspaces: Vec<Uuid> = attachments.iter().map(|(workspace, _)| workspace.0).collect();
        let numbers: Vec<i64> = attachments.iter().map(|(_, attachment_no)| *attachment_no).collect();
        let rows = sqlx::query!(
            "select w.workspace_id, w.attachment_no \
             from unnest($1::uuid[], $2::bigint[]) as attached (workspace_id, attachment_no) \
             join workspaces w on w.workspace_id = attached.workspace_id \
             where w.attachment_no > attached.attachment_no",
            &workspaces,
            &numbers,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(rows.into_iter().map(|row| (WorkspaceId(row.workspace_id), row.attachment_no)).collect())
    }
}

type WorkspaceListingRow = (Uuid, String, Vec<ToolDefinition>, DateTime<Utc>, Option<Uuid>);

/// In one transaction.
async fn put_model(
    connection: &mut PgConnection,
    organization: OrganizationId,
    model: &ModelRow,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Replicas that start together write the same default; one after the other.
    sqlx::query!("select pg_advisory_xact_lock(hashtext('chatplane.models')) as \"locked!: ()\"")
        .fetch_one(&mut *transaction)
        .await?;
    if model.is_default {
        sqlx::query!(
            "update models \
             set is_default = false \
             where organization_id = $1 \
             and is_default \
             and name <> $2",
            organization.0,
            model.name,
        )
        .execute(&mut *transaction)
        .await?;
    }
    sqlx::query!(
        "insert into models ( \
             organization_id, name, provider, endpoint, provider_model, is_default, \
             context_tokens_max, output_tokens_max, first_token_timeout_ms, silence_timeout_ms, \
             compaction_threshold_percent \
         ) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         on conflict (organization_id, name) do update \
         set provider = excluded.provider, \
             endpoint = excluded.endpoint, \
             provider_model = excluded.provider_model, \
             is_default = excluded.is_default, \
             context_tokens_max = excluded.context_tokens_max, \
             output_tokens_max = excluded.output_tokens_max, \
             first_token_timeout_ms = excluded.first_token_timeout_ms, \
             silence_timeout_ms = excluded.silence_timeout_ms, \
             compaction_threshold_percent = coalesce( \
                 excluded.compaction_threshold_percent, models.compaction_threshold_percent \
             ), \
             update_time = now()",
        organization.0,
        model.name,
        model.provider,
        model.endpoint,
        model.provider_model,
        model.is_default,
        model.context_tokens_max,
        model.output_tokens_max,
        model.first_token_timeout_ms,
        model.silence_timeout_ms,
        model.compaction_threshold_percent,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
