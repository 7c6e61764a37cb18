//! What has been kept for long enough.
//!
//! It is found in pages, oldest first. Finding is no promise: whoever acts on a chat compares
//! again, in the write that acts.

use chatplane_domain::{ChatId, OrganizationId, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::RetentionDays;
use crate::store::{Error, Store};

/// More organizations than a deployment has.
const ORGANIZATIONS_MAX: i64 = 1000;

/// The retention of an organization at some time of the database's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrganizationRetention {
    /// The organization.
    pub organization: OrganizationId,
    /// For how many days what is kept.
    pub days: RetentionDays,
    /// When that was.
    pub now: DateTime<Utc>,
}

/// Where a page of what is due ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DuePosition {
    since: DateTime<Utc>,
    chat: Uuid,
}

impl DuePosition {
    /// Before everything.
    pub(crate) const START: Self = Self { since: DateTime::UNIX_EPOCH, chat: Uuid::nil() };
}

/// Chats of an organization that have been left alone since before some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DueBounds {
    /// The organization.
    pub organization: OrganizationId,
    /// Only what happened before it counts.
    pub before: DateTime<Utc>,
    /// Where the page begins.
    pub after: DuePosition,
    /// How many chats it has at most.
    pub limit: i64,
}

/// A chat that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueChat {
    /// The chat.
    pub chat: ChatId,
    /// Whose it is.
    pub owner: UserId,
    /// Since when it has been left alone.
    pub since: DateTime<Utc>,
}

impl DueChat {
    /// The page behind it begins here.
    pub(crate) fn position(&self) -> DuePosition {
        DuePosition { since: self.since, chat: self.chat.0 }
    }
}

impl Store {
    /// The retentions of all organizations that do not keep everything for ever.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn retentions(&self) -> Result<Vec<OrganizationRetention>, Error> {
        let rows = sqlx::query!(
            r#"select organization_id, auto_archive_days, delete_archived_days, delete_debug_days,
                   now() as "now!"
               from retentions
               where auto_archive_days + delete_archived_days + delete_debug_days > 0
               order by organization_id
               limit $1"#,
            ORGANIZATIONS_MAX,
        )
        .fetch_all(&self.connections)
        .await?;
        let retention = rows.into_iter().map(|row| OrganizationRetention {
            organization: OrganizationId(row.organization_id),
            days: RetentionDays {
                auto_archive: row.auto_archive_days,
                delete_archived: row.delete_archived_days,
                delete_debug: row.delete_debug_days,
            },
            now: row.now,
        });
        Ok(retention.collect())
    }

    /// Roots in whose families nothing has happened, that rest, and that nobody has pinned.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn inactive_chats(&self, due: DueBounds) -> Result<Vec<DueChat>, Error> {
        let rows = sqlx::query!(
            "select c.chat_id, c.owner_id, c.update_time \
             from chats c \
             where c.organization_id = $1 \
             and not c.archived \
             and c.parent_chat_id is null \
             and c.state in ('waiting', 'error') \
             and c.update_time < $2 \
             and c.update_time >= $3 \
             and (c.update_time, c.chat_id) > ($3, $4) \
             and not exists ( \
                 select \
                 from chat_user_metadata u \
                 where u.chat_id = c.chat_id \
                 and u.pin_order is not null \
             ) \
             and not exists ( \
                 select \
                 from chats k \
                 where k.root_chat_id = c.chat_id \
                 and k.parent_chat_id is not null \
                 and (k.state not in ('waiting', 'error') or k.update_time >= $2) \
             ) \
             order by c.update_time, c.chat_id \
             limit $5",
            due.organization.0,
            due.before,
            due.after.since,
            due.after.chat,
            due.limit,
        )
        .fetch_all(&self.connections)
        .await?;
        let due = |(chat, owner, since)| DueChat { chat: ChatId(chat), owner: UserId(owner), since };
        Ok(rows.into_iter().map(|row| due((row.chat_id, row.owner_id, row.update_time))).collect())
    }

    /// Chats that were archived so long ago. What the release before has archived has no
    /// time of that; it has not changed since.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn chats_to_delete(&self, due: DueBounds) -> Result<Vec<DueChat>, Error> {
        let rows = sqlx::query!(
            r#"select c.chat_id, c.owner_id, coalesce(c.archive_time, c.update_time) as "since!"
               from chats c
               where c.organization_id = $1
               and c.archived
               and c.delete_time is null
               and coalesce(c.archive_time, c.update_time) < $2
               and coalesce(c.archive_time, c.update_time) >= $3
               and (coalesce(c.archive_time, c.update_time), c.chat_id) > ($3, $4)
               order by coalesce(c.archive_time, c.update_time), c.chat_id
               limit $5"#,
            due.organization.0,
            due.before,
            due.after.since,
            due.after.chat,
            due.limit,
        )
        .fetch_all(&self.connections)
        .await?;
        let due = |(chat, owner, since)| DueChat { chat: ChatId(chat), owner: UserId(owner), since };
        Ok(rows.into_iter().map(|row| due((row.chat_id, row.owner_id, row.since))).collect())
    }

    /// Deletes some of the runs that ended before some time, the oldest first, with all
    /// their steps. Those that somebody else is deleting are left to them. Answers how many.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn delete_debug_runs(
        &self,
        organization: OrganizationId,
        before: DateTime<Utc>,
        limit: i64,
    ) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            "with due as ( \
                 select r.chat_id, r.run_id \
                 from debug_runs r \
                 join chats c on c.chat_id = r.chat_id \
                 where c.organization_id = $1 \
                 and r.end_time < $2 \
                 order by r.end_time \
                 limit $3 \
                 for update of r skip locked \
             ) \
             delete from debug_runs r \
             using due \
             where r.chat_id = due.chat_id \
             and r.run_id = due.run_id",
            organization.0,
            before,
            limit,
        )
        .execute(&self.connections)
        .await?;
        Ok(deleted.rows_affected())
    }
}
