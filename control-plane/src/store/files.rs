//! Files that users upload. A file is a name for a content, and a content is kept once an owner.
//!
//! Neither changes after it was stored. Files go with the last chat that they are linked to, when that
//! is deleted, and some time after they were uploaded or unlinked when no chat is linked to them. So
//! whoever stores one, or links it, may find that what was there a moment ago is gone, and looks again.

mod put;
pub(super) mod sweep;

use chatplane_domain::{ChatId, Fence, FileId, SessionId, UserId};
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Error, FileView, Store};

pub(crate) use put::{FileBounds, NewFile, PutFile};
pub(super) use sweep::lock_contents;

/// What whoever says to hold a chat's lease finds when they ask for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldFile {
    /// The lease is not theirs.
    LeaseLost,
    /// The chat's messages do not refer to it.
    NotLinked,
    /// They do.
    Linked {
        /// How many bytes it has.
        size_bytes: i64,
    },
}

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

impl Store {
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

    /// A file that a chat's messages refer to, for the holder of its lease.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn held_file(
        &self,
        session: SessionId,
        chat: ChatId,
        fence: Fence,
        file: FileId,
    ) -> Result<HeldFile, Error> {
        let held = sqlx::query_scalar!(
            r#"select f.size_bytes as "size_bytes?"
               from chats c
               left join chat_files l
                   on l.chat_id = c.chat_id
                   and l.file_id = $4
               left join files f on f.file_id = l.file_id
               where c.chat_id = $2
               and c.leased
               and c.session_id = $1
               and c.fence = $3
               and c.delete_time is null"#,
            session.0,
            chat.0,
            fence.0,
            file.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(match held {
            None => HeldFile::LeaseLost,
            Some(None) => HeldFile::NotLinked,
            Some(Some(size_bytes)) => HeldFile::Linked { size_bytes },
        })
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

/// The files of a chat that were linked to it by then and still are, in the order of their linking.
pub(super) async fn linked_by(
    executor: impl PgExecutor<'_>,
    chat: ChatId,
    then: DateTime<Utc>,
) -> Result<Vec<FileView>, Error> {
    let rows = sqlx::query_as!(
        FileRow,
        r#"select f.file_id, f.owner_id, f.name, f.media_type, f.size_bytes,
               encode(f.sha256, 'hex') as "sha256!", f.create_time
           from chat_files l
           join files f on f.file_id = l.file_id
           where l.chat_id = $1
           and l.create_time <= $2
           order by l.create_time, l.file_id"#,
        chat.0,
        then,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(FileView::from).collect())
}

#[cfg(test)]
mod tests;
