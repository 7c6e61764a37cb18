//! Settings of organizations and of users.
//!
//! Each has a version that grows by one with every write. A write compares it in its own
//! statement, so that of two writers who saw the same version one is told.

use chatplane_domain::{OrganizationId, UserId};
use chrono::{DateTime, Utc};

use super::{Error, Store};

/// What every new chat of an organization begins with, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeploymentPromptRow {
    /// The operator's own text.
    pub text: String,
    /// Whether the built-in prompt is used.
    pub default_enabled: bool,
    /// Grows by one with every write, from 1.
    pub version: i64,
    /// When it was last written.
    pub update_time: DateTime<Utc>,
}

/// What a user tells every agent that works for them, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserInstructionsRow {
    /// The text.
    pub text: String,
    /// Grows by one with every write, from 1.
    pub version: i64,
    /// When it was last written.
    pub update_time: DateTime<Utc>,
}

/// When a user's chats on a model are summarized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThresholdRow {
    /// Name of the model.
    pub model: String,
    /// Percent of its context.
    pub percent: i32,
}

/// What became of a write that may compare a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put<T> {
    /// It is stored.
    Stored(T),
    /// Another version is stored; 0 for none.
    Mismatch {
        /// That version.
        version: i64,
    },
}

impl<T> Put<T> {
    /// What a write has come to that did not store anything. Where the version after the
    /// expected one has what was asked for, it is that of the same write, whose reply was
    /// lost: or of another one that leaves nothing to do.
    pub(super) fn not_stored(
        now: Option<T>,
        expected_version: Option<i64>,
        version_of: impl Fn(&T) -> i64,
        is_asked: impl Fn(&T) -> bool,
    ) -> Self {
        let version = now.as_ref().map_or(0, version_of);
        let is_next = expected_version.and_then(|expected| expected.checked_add(1)) == Some(version);
        match now.filter(|row| is_next && is_asked(row)) {
            Some(row) => Self::Stored(row),
            None => Self::Mismatch { version },
        }
    }
}

impl Store {
    /// The deployment prompt of an organization; none before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn deployment_prompt(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<DeploymentPromptRow>, Error> {
        let row = sqlx::query_as!(
            DeploymentPromptRow,
            "select text, default_enabled, version, update_time \
             from deployment_prompts \
             where organization_id = $1",
            organization.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row)
    }

    /// Writes the deployment prompt, text and switch in one, where the stored version is the
    /// expected one; 0 is the version before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_deployment_prompt(
        &self,
        organization: OrganizationId,
        by: UserId,
        (text, default_enabled): (&str, bool),
        expected_version: Option<i64>,
    ) -> Result<Put<DeploymentPromptRow>, Error> {
        // What is not there has version 0, and is inserted; whatever is there is compared.
        let stored = sqlx::query_as!(
            DeploymentPromptRow,
            "insert into deployment_prompts as p ( \
                 organization_id, version, text, default_enabled, updated_by \
             ) \
             select $1, 1, $2, $3, $4 \
             where coalesce($5::bigint, 0) = 0 \
             or exists (select from deployment_prompts e where e.organization_id = $1) \
             on conflict (organization_id) do update \
             set version = p.version + 1, \
                 text = excluded.text, \
                 default_enabled = excluded.default_enabled, \
                 updated_by = excluded.updated_by, \
                 update_time = now() \
             where $5 is null \
             or p.version = $5 \
             returning p.text, p.default_enabled, p.version, p.update_time",
            organization.0,
            text,
            default_enabled,
            by.0,
            expected_version,
        )
        .fetch_optional(&self.connections)
        .await?;
        if let Some(stored) = stored {
            return Ok(Put::Stored(stored));
        }
        let now = self.deployment_prompt(organization).await?;
        let is_asked = |row: &DeploymentPromptRow| row.text == text && row.default_enabled == default_enabled;
        Ok(Put::not_stored(now, expected_version, |row| row.version, is_asked))
    }

    /// A user's own instructions; none before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn user_instructions(&self, user: UserId) -> Result<Option<UserInstructionsRow>, Error> {
        let row = sqlx::query_as!(
            UserInstructionsRow,
            "select text, version, update_time \
             from user_instructions \
             where user_id = $1",
            user.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row)
    }

    /// Writes a user's own instructions where the stored version is the expected one; 0 is
    /// the version before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_user_instructions(
        &self,
        user: UserId,
        text: &str,
        expected_version: Option<i64>,
    ) -> Result<Put<UserInstructionsRow>, Error> {
        // What is not there has version 0, and is inserted; whatever is there is compared.
        let stored = sqlx::query_as!(
            UserInstructionsRow,
            "insert into user_instructions as i (user_id, version, text) \
             select $1, 1, $2 \
             where coalesce($3::bigint, 0) = 0 \
             or exists (select from user_instructions e where e.user_id = $1) \
             on conflict (user_id) do update \
             set version = i.version + 1, \
                 text = excluded.text, \
                 update_time = now() \
             where $3 is null \
             or i.version = $3 \
             returning i.text, i.version, i.update_time",
            user.0,
            text,
            expected_version,
        )
        .fetch_optional(&self.connections)
        .await?;
        if let Some(stored) = stored {
            return Ok(Put::Stored(stored));
        }
        let now = self.user_instructions(user).await?;
        Ok(Put::not_stored(now, expected_version, |row| row.version, |row| row.text == text))
    }

    /// A user's compaction thresholds by model, those of models that are gone too.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn compaction_thresholds(
        &self,
        user: UserId,
        organization: OrganizationId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<ThresholdRow>, Error> {
        let rows = sqlx::query_as!(
            ThresholdRow,
            "select model, percent \
             from compaction_thresholds \
             where user_id = $1 \
             and organization_id = $2 \
             and ($3::text is null or model > $3) \
             order by model \
             limit $4",
            user.0,
            organization.0,
            after,
            limit,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(rows)
    }

    /// Stores a user's compaction threshold for a model. Answers false when there is no such
    /// model that is enabled.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn set_compaction_threshold(
        &self,
        user: UserId,
        organization: OrganizationId,
        threshold: &ThresholdRow,
    ) -> Result<bool, Error> {
        let stored = sqlx::query!(
            "insert into compaction_thresholds (user_id, organization_id, model, percent) \
             select $1, m.organization_id, m.name, $4 \
             from models m \
             where m.organization_id = $2 \
             and m.name = $3 \
             and m.enabled \
             on conflict (user_id, organization_id, model) do update \
             set percent = excluded.percent, \
                 update_time = now()",
            user.0,
            organization.0,
            threshold.model,
            threshold.percent,
        )
        .execute(&self.connections)
        .await?;
        Ok(stored.rows_affected() == 1)
    }

    /// Deletes a user's compaction threshold for a model, if there is one.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn delete_compaction_threshold(
        &self,
        user: UserId,
        organization: OrganizationId,
        model: &str,
    ) -> Result<(), Error> {
        sqlx::query!(
            "delete from compaction_thresholds \
             where user_id = $1 \
             and organization_id = $2 \
             and model = $3",
            user.0,
            organization.0,
            model,
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }
}
