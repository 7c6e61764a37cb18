//! How long chats and debug data are kept, and what has been kept for so long.

mod due;
mod left_alone;

use chatplane_domain::{OrganizationId, UserId};
use chrono::{DateTime, Utc};

use super::{Error, Put, Store};

pub(crate) use due::{DueBounds, DueChat, DuePosition, OrganizationRetention};
pub(super) use left_alone::{is_left_alone, lock_family};

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
}
