//! Storing a file.

use chatplane_domain::{FileId, UserId};
use sqlx::Connection as _;

use super::FileRow;
use crate::store::{Error, FileView, Store, transact::is_deadlock};

/// Another upload of the same bytes, or the end of the last chat that had them, can each come between
/// once; that they come so often is no race any more.
const STORING_ATTEMPTS: usize = 5;

/// A file that is to be stored.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    /// Its id, unless there is one already.
    pub id: FileId,
    /// Who uploads it.
    pub owner: UserId,
    /// Its name.
    pub name: &'a str,
    /// What it is, by its content.
    pub media_type: &'static str,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Its content.
    pub content: &'a [u8],
}

impl NewFile<'_> {
    fn size_bytes(&self) -> i64 {
        i64::try_from(self.content.len()).unwrap_or(i64::MAX)
    }
}

/// What an owner may have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileBounds {
    /// Files.
    pub files_max: i64,
    /// Bytes of their contents, each counted once.
    pub bytes_max: i64,
}

/// What became of a file that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutFile {
    /// It is there, now or since before.
    Stored(FileView),
    /// Its owner has as many files as they may have.
    TooManyFiles,
    /// Its content does not fit beside what its owner has.
    TooManyBytes,
}

/// What an owner has.
struct Kept {
    files: i64,
    bytes: i64,
}

impl Store {
    /// Stores a file, or finds the one that its owner has stored under that name before; either
    /// counts as an upload. What an owner has is looked at right before: uploads of the same moment
    /// may go beyond the bounds by what they bring.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_file(&self, file: &NewFile<'_>, bounds: FileBounds) -> Result<PutFile, Error> {
        let mut attempt = 1;
        loop {
            match self.try_put_file(file, bounds).await {
                Ok(put) => return Ok(put),
                Err(error) if attempt < STORING_ATTEMPTS && has_lost(&error) => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_put_file(&self, file: &NewFile<'_>, bounds: FileBounds) -> Result<PutFile, sqlx::Error> {
        if let Some(known) = self.upload_again(file).await? {
            return Ok(PutFile::Stored(known.into()));
        }
        let kept = self.kept(file.owner).await?;
        if kept.files >= bounds.files_max {
            return Ok(PutFile::TooManyFiles);
        }
        // The bytes need not travel where the owner has them under another name.
        if let Some(named) = self.name_content(file).await? {
            return Ok(PutFile::Stored(named.into()));
        }
        if kept.bytes.saturating_add(file.size_bytes()) > bounds.bytes_max {
            return Ok(PutFile::TooManyBytes);
        }
        Ok(PutFile::Stored(self.insert_file(file).await?.into()))
    }

    /// The file of that owner, content and name, which stays for a while again.
    async fn upload_again(&self, file: &NewFile<'_>) -> Result<Option<FileRow>, sqlx::Error> {
        sqlx::query_as!(
            FileRow,
            r#"update files
               set unlink_time = now()
               where owner_id = $1
               and sha256 = $2
               and name = $3
               returning file_id, owner_id, name, media_type, size_bytes,
                   encode(sha256, 'hex') as "sha256!", create_time"#,
            file.owner.0,
            &file.sha256[..],
            file.name,
        )
        .fetch_optional(&self.connections)
        .await
    }

    async fn kept(&self, owner: UserId) -> Result<Kept, sqlx::Error> {
        sqlx::query_as!(
            Kept,
            r#"select coalesce(sum(t.names), 0)::bigint as "files!", coalesce(sum(t.bytes), 0)::bigint as "bytes!"
               from (
                   select count(*) as names, max(f.size_bytes) as bytes
                   from files f
                   where f.owner_id = $1
                   group by f.sha256
               ) t"#,
            owner.0,
        )
        .fetch_one(&self.connections)
        .await
    }

    /// Another name for a content that is there.
    async fn name_content(&self, file: &NewFile<'_>) -> Result<Option<FileRow>, sqlx::Error> {
        sqlx::query_as!(
            FileRow,
            r#"insert into files (file_id, owner_id, name, media_type, size_bytes, sha256)
               select $1, c.owner_id, $3, $4, $5, c.sha256
               from file_contents c
               where c.owner_id = $2
               and c.sha256 = $6
               returning file_id, owner_id, name, media_type, size_bytes,
                   encode(sha256, 'hex') as "sha256!", create_time"#,
            file.id.0,
            file.owner.0,
            file.name,
            file.media_type,
            file.size_bytes(),
            &file.sha256[..],
        )
        .fetch_optional(&self.connections)
        .await
    }

    /// Content and name in one statement: there is both or neither, whenever this process ends.
    async fn insert_file(&self, file: &NewFile<'_>) -> Result<FileRow, sqlx::Error> {
        let stored = self.connections.with(async |connection| {
            let stored = sqlx::query_as!(
                FileRow,
                r#"with stored as (
                       insert into file_contents (owner_id, sha256, content)
                       values ($2, $6, $7)
                       returning owner_id, sha256
                   )
                   insert into files (file_id, owner_id, name, media_type, size_bytes, sha256)
                   select $1, stored.owner_id, $3, $4, $5, stored.sha256
                   from stored
                   returning file_id, owner_id, name, media_type, size_bytes,
                       encode(sha256, 'hex') as "sha256!", create_time"#,
                file.id.0,
                file.owner.0,
                file.name,
                file.media_type,
                file.size_bytes(),
                &file.sha256[..],
                file.content,
            )
            .fetch_one(&mut *connection)
            .await?;
            // The connection has a copy of the bytes, and would keep its size for the next statement.
            connection.shrink_buffers();
            Ok(stored)
        });
        stored.await
    }
}

/// Whether somebody has stored the same, or deleted it, since it was looked for.
fn has_lost(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let is_gone = |error: &dyn sqlx::error::DatabaseError| {
        error.is_unique_violation() || error.is_foreign_key_violation()
    };
    is_deadlock(error) || database.is_some_and(is_gone)
}
