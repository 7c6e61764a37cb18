//! Forgetting files that no chat is linked to.
//!
//! A batch locks its files first, and passes over those that somebody else has: a write that is
//! linking one holds its row, and so does one that is unlinking it or uploading it again. Only then
//! it looks for links, in a statement of its own, which sees all that were there when the locks were
//! taken; a write that comes to link one of these files waits, and finds it there or gone.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::store::{Error, Store};

/// What a batch has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SweptFiles {
    /// Files that were looked at.
    pub seen: usize,
    /// Files that were deleted.
    pub deleted: u64,
}

impl Store {
    /// Deletes files that were uploaded or unlinked longer ago than this and that no chat is linked
    /// to, with their contents. Each file that is linked is not looked at again until it is
    /// unlinked. A batch of fewer than `limit` was the last.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn sweep_files(&self, kept: Duration, limit: i64) -> Result<SweptFiles, Error> {
        let swept = self.connections.with(async |connection| {
            let mut transaction = connection.begin().await?;
            let due = lock_due(&mut transaction, kept, limit).await?;
            if due.is_empty() {
                transaction.rollback().await?;
                return Ok(SweptFiles::default());
            }
            lock_contents(&mut transaction, &due).await?;
            let deleted = delete_unlinked(&mut transaction, &due).await?;
            transaction.commit().await?;
            Ok(SweptFiles { seen: due.len(), deleted: u64::try_from(deleted).unwrap_or(0) })
        });
        let swept: Result<SweptFiles, sqlx::Error> = swept.await;
        Ok(swept?)
    }
}

async fn lock_due(
    connection: &mut PgConnection,
    kept: Duration,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select f.file_id \
         from files f \
         where f.unlink_time < now() - make_interval(secs => $1) \
         order by f.unlink_time \
         limit $2 \
         for update skip locked",
        kept.as_secs_f64(),
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Locks what these files have in them, in the order in which everybody does it: of two names of a
/// content that go at once, the second to look sees that the first is gone.
pub(in crate::store) async fn lock_contents(
    connection: &mut PgConnection,
    files: &[Uuid],
) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select t.sha256 \
         from file_contents t \
         where (t.owner_id, t.sha256) in ( \
             select f.owner_id, f.sha256 \
             from files f \
             where f.file_id = any ($1) \
         ) \
         order by t.owner_id, t.sha256 \
         for update of t",
        files,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

async fn delete_unlinked(connection: &mut PgConnection, files: &[Uuid]) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with deleted as (
               delete from files f
               where f.file_id = any ($1)
               and not exists (select from chat_files l where l.file_id = f.file_id)
               returning f.file_id, f.owner_id, f.sha256
           ),
           found_linked as (
               update files f
               set unlink_time = null
               where f.file_id = any ($1)
               and exists (select from chat_files l where l.file_id = f.file_id)
           ),
           contents_deleted as (
               delete from file_contents t
               using (select distinct d.owner_id, d.sha256 from deleted d) d
               where t.owner_id = d.owner_id
               and t.sha256 = d.sha256
               and not exists (
                   select
                   from files f
                   where f.owner_id = d.owner_id
                   and f.sha256 = d.sha256
                   and f.file_id not in (select g.file_id from deleted g)
               )
           )
           select count(*) as "deleted!"
           from deleted"#,
        files,
    )
    .fetch_one(connection)
    .await
}
