//! Whether model calls are recorded: what the operator says, and each user.

use chatplane_domain::{OrganizationId, UserId};
use sqlx::{Connection as _, PgConnection};

use super::super::{Error, Store};

/// Who decides whether model calls are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DebugPolicy {
    /// Nothing is recorded.
    #[default]
    Forbidden,
    /// Each user decides for their own chats.
    Allowed,
    /// Everything is recorded.
    Forced,
}

/// What the operator says, and a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DebugSwitches {
    /// Who decides.
    pub policy: DebugPolicy,
    /// What the user has chosen.
    pub user_enabled: bool,
}

/// What of it is to be written; what is none stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DebugSwitchesChange {
    /// Who decides.
    pub policy: Option<DebugPolicy>,
    /// What the user chooses.
    pub user_enabled: Option<bool>,
}

impl DebugPolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Allowed => "allowed",
            Self::Forced => "forced",
        }
    }

    fn of(text: &str) -> Result<Self, Error> {
        match text {
            "forbidden" => Ok(Self::Forbidden),
            "allowed" => Ok(Self::Allowed),
            "forced" => Ok(Self::Forced),
            _ => Err(Error::RowInvalid),
        }
    }
}

impl DebugSwitches {
    /// Whether the user's model calls are recorded: as `turn_settings` in SQL says it, too.
    pub(crate) fn records(self) -> bool {
        match self.policy {
            DebugPolicy::Forbidden => false,
            DebugPolicy::Allowed => self.user_enabled,
            DebugPolicy::Forced => true,
        }
    }
}

impl Store {
    /// Whether a user's model calls are recorded.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn debug_switches(
        &self,
        organization: OrganizationId,
        user: UserId,
    ) -> Result<DebugSwitches, Error> {
        self.connections.with(async |connection| read(connection, organization, user).await).await
    }

    /// Writes policy and choice, both or neither. None: the policy does not let users choose,
    /// and nothing is written.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_debug_switches(
        &self,
        organization: OrganizationId,
        user: UserId,
        change: DebugSwitchesChange,
    ) -> Result<Option<DebugSwitches>, Error> {
        let stored = self.connections.with(async |connection| {
            let mut transaction = connection.begin().await?;
            if let Some(policy) = change.policy {
                put_policy(&mut transaction, organization, user, policy).await?;
            }
            let is_stored = match change.user_enabled {
                Some(enabled) => put_choice(&mut transaction, organization, user, enabled).await?,
                None => true,
            };
            if !is_stored {
                transaction.rollback().await?;
                return Ok(None);
            }
            let switches = read(&mut transaction, organization, user).await?;
            transaction.commit().await?;
            Ok(Some(switches))
        });
        stored.await
    }
}

pub(super) async fn read(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
) -> Result<DebugSwitches, Error> {
    let row = sqlx::query!(
        r#"select
               (select p.policy from debug_policies p where p.organization_id = $1) as policy,
               coalesce(
                   (select d.enabled from debug_choices d where d.user_id = $2),
                   false
               ) as "user_enabled!""#,
        organization.0,
        user.0,
    )
    .fetch_one(connection)
    .await?;
    let policy = row.policy.as_deref().map(DebugPolicy::of).transpose()?.unwrap_or_default();
    Ok(DebugSwitches { policy, user_enabled: row.user_enabled })
}

async fn put_policy(
    connection: &mut PgConnection,
    organization: OrganizationId,
    by: UserId,
    policy: DebugPolicy,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into debug_policies (organization_id, policy, updated_by) \
         values ($1, $2, $3) \
         on conflict (organization_id) do update \
         set policy = excluded.policy, \
             updated_by = excluded.updated_by, \
             update_time = now()",
        organization.0,
        policy.as_str(),
        by.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Answers whether the policy lets users choose.
async fn put_choice(
    connection: &mut PgConnection,
    organization: OrganizationId,
    user: UserId,
    enabled: bool,
) -> Result<bool, sqlx::Error> {
    let stored = sqlx::query!(
        "insert into debug_choices (user_id, enabled) \
         select $2, $3 \
         from debug_policies p \
         where p.organization_id = $1 \
         and p.policy = 'allowed' \
         on conflict (user_id) do update \
         set enabled = excluded.enabled, \
             update_time = now()",
        organization.0,
        user.0,
        enabled,
    )
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() == 1)
}
