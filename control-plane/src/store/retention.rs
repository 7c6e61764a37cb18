//! How long chats and debug data are kept, and what has been kept for so long.
//!
//! What is due is found in pages, oldest first. Finding is no promise: whoever acts on a
//! chat compares again, in the write that acts.

use chatplane_domain::{ChatId, OrganizationId, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Put, Store};

/// More organizations than a deployment has.
const ORGANIZATIONS_MAX: i64 = 1000;

/// For how many days what is kept; 0 for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetentionDays {
    /// Days without a change after which a chat is archived.
    pub auto_archive: i32,
    /// Days after which an archived chat is deleted.
    pub delete_archived: i32,
    /// Days after which what was recorded for debugging is deleted.
    pub delete_debug: i32,
}

/// How long things are kept, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionRow {
    /// For how many days.
    pub days: RetentionDays,
    /// Grows by one with every write, from 1.
    pub version: i64,
    /// When it was last written.
    pub update_time: DateTime<Utc>,
}

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
    /// How long an organization keeps things; none before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn retention(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<RetentionRow>, Error> {
        let row = sqlx::query!(
            "select auto_archive_days, delete_archived_days, delete_debug_days, version, update_time \
             from retentions \
             where organization_id = $1",
            organization.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(|row| RetentionRow {
            days: RetentionDays {
                auto_archive: row.auto_archive_days,
                delete_archived: row.delete_archived_days,
                delete_debug: row.delete_debug_days,
            },
            version: row.version,
            update_time: row.update_time,
        }))
    }

    /// Writes how long an organization keeps things, where the stored version is the
    /// expected one; 0 is the version before the first write.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_retention(
        &self,
        organization: OrganizationId,
        by: UserId,
        days: RetentionDays,
        expected_version: Option<i64>,
    ) -> Result<Put<RetentionRow>, Error> {
        // What is not there has version 0, and is inserted; whatever is there is compared.
        let stored = sqlx::query!(
            "insert into retentions as r ( \
                 organization_id, version, auto_archive_days, delete_archived_days, delete_debug_days, \
                 updated_by \
             ) \
             select $1, 1, $2, $3, $4, $5 \
             where coalesce($6::bigint, 0) = 0 \
             or exists (select from retentions e where e.organization_id = $1) \
             on conflict (organization_id) do update \
             set version = r.version + 1, \
                 auto_archive_days = excluded.auto_archive_days, \
                 delete_archived_days = excluded.delete_archived_days, \
                 delete_debug_days = excluded.delete_debug_days, \
                 updated_by = excluded.updated_by, \
                 update_time = now() \
             where $6 is null \
             or r.version = $6 \
             returning r.version, r.update_time",
            organization.0,
            days.auto_archive,
            days.delete_archived,
            days.delete_debug,
            by.0,
            expected_version,
        )
        .fetch_optional(&self.connections)
        .await?;
        if let Some(stored) = stored {
            let row = RetentionRow { days, version: stored.version, update_time: stored.update_time };
            return Ok(Put::Stored(row));
        }
        let now = self.retention(organization).await?;
        Ok(Put::not_stored(now, expected_version, |row| row.version, |row| row.days == days))
    }

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
