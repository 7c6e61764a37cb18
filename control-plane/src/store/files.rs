//! Files that users upload. A file is a name for a content, and a content is kept once an owner.
//!
//! Neither changes after it was stored. Files go with the last chat that they are linked to, when that
//! is deleted; so whoever stores one may find that what was there a moment ago is gone, and looks again.

use chatplane_domain::{ChatId, FileId, UserId};
use chrono::{DateTime, Utc};
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Error, FileView, Store};

/// Another upload of the same bytes, or the end of the last chat that had them, can each come between
/// once; that they come so often is no race any more.
const STORING_ATTEMPTS: usize = 5;

/// A file in its columns.
struct FileRow {
    file_id: Uuid,
    owner_id: Uuid,
    name: String,
    media_type: String,
    size_bytes: i64,
    sha256: String,
    create_time: DateTime<Utc>,
}

impl From<FileRow> for FileView {
    fn from(row: FileRow) -> Self {
        let FileRow { file_id, owner_id, name, media_type, size_bytes, sha256, create_time } = row;
        let (file_id, owner_id) = (FileId(file_id), UserId(owner_id));
        Self { file_id, owner_id, name, media_type, size_bytes, sha256, create_time }
    }
}

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

impl Store {
    /// Stores a file, or finds the one that its owner has stored under that name before.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn put_file(&self, file: &NewFile<'_>) -> Result<FileView, Error> {
        let mut attempt = 1;
        loop {
            match self.try_put_file(file).await {
                Ok(stored) => return Ok(stored.into()),
                Err(error) if attempt < STORING_ATTEMPTS && has_lost(&error) => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_put_file(&self, file: &NewFile<'_>) -> Result<FileRow, sqlx::Error> {
        if let Some(known) = self.same_file(file).await? {
            return Ok(known);
        }
        // The bytes need not travel where the owner has them under another name.
        match self.name_content(file).await? {
            Some(named) => Ok(named),
            None => self.insert_file(file).await,
        }
    }

    /// The file of that owner, content and name.
    async fn same_file(&self, file: &NewFile<'_>) -> Result<Option<FileRow>, sqlx::Error> {
        sqlx::query_as!(
            FileRow,
            r#"select file_id, owner_id, name, media_type, size_bytes,
                   encode(sha256, 'hex') as "sha256!", create_time
               from files
               where owner_id = $1
               and sha256 = $2
               and name = $3"#,
            file.owner.0,
            &file.sha256[..],
            file.name,
        )
        .fetch_optional(&self.connections)
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

    /// A file by its id.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn file(&self, id: FileId) -> Result<Option<FileView>, Error> {
        let row = sqlx::query_as!(
            FileRow,
            r#"select file_id, owner_id, name, media_type, size_bytes,
                   encode(sha256, 'hex') as "sha256!", create_time
               from files
               where file_id = $1"#,
            id.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(FileView::from))
    }

    /// Those of the files that there are and that are this user's, in any order.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn files(&self, owner: UserId, ids: &[FileId]) -> Result<Vec<FileView>, Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query_as!(
            FileRow,
            r#"select file_id, owner_id, name, media_type, size_bytes,
                   encode(sha256, 'hex') as "sha256!", create_time
               from files
               where file_id = any ($1)
               and owner_id = $2"#,
            &ids,
            owner.0,
        )
        .fetch_all(&self.connections)
        .await?;
        Ok(rows.into_iter().map(FileView::from).collect())
    }

    /// A file that a chat's messages refer to.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn linked_file(&self, chat: ChatId, id: FileId) -> Result<Option<FileView>, Error> {
        let row = sqlx::query_as!(
            FileRow,
            r#"select f.file_id, f.owner_id, f.name, f.media_type, f.size_bytes,
                   encode(f.sha256, 'hex') as "sha256!", f.create_time
               from chat_files l
               join files f on f.file_id = l.file_id
               where l.chat_id = $1
               and l.file_id = $2"#,
            chat.0,
            id.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(FileView::from))
    }

    /// Some bytes of a file, fewer at its end; none when the file is gone. The column is not compressed,
    /// so the database reads these alone.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn file_piece(
        &self,
        id: FileId,
        offset: i64,
        length: i64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let piece = sqlx::query_scalar!(
            r#"select substring(c.content from ($2::bigint + 1)::integer for $3::bigint::integer) as "piece!"
               from files f
               join file_contents c
                   on c.owner_id = f.owner_id
                   and c.sha256 = f.sha256
               where f.file_id = $1"#,
            id.0,
            offset,
            length,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(piece)
    }
}

/// Whether somebody has stored the same, or deleted it, since it was looked for.
fn has_lost(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    database.is_some_and(|error| error.is_unique_violation() || error.is_foreign_key_violation())
}

#[cfg(test)]
mod tests;
