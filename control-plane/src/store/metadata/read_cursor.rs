//! How far a user has read a chat.
//!
//! A write that adds or deletes answers says in the same statement whether a user has
//! something unread; a move of the cursor says it, too. Each of the two reads what the other
//! writes: the chat's newest answer, and the cursor. Both take the row of the cursor, so
//! one comes second. It has waited for the first, and says what is true of both: the write
//! of the chat, because it goes by the cursor that it finds once it has the row; the move,
//! because it looks at the chat by a statement that begins after it has the row.

use chatplane_domain::{ChatId, MessageId, UserId};
use sqlx::{Connection as _, PgConnection};

use super::locks;
use crate::store::{Error, Store};

/// How far a chat was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadTo {
    /// All that is there.
    Newest,
    /// To this message; above the newest it is that one.
    Message(MessageId),
    /// All that was there at this version of the chat.
    Version(i64),
}

impl ReadTo {
    /// The message, and the version of the chat, beyond which nothing was read.
    fn bounds(self) -> (i64, i64) {
        match self {
            Self::Newest => (i64::MAX, i64::MAX),
            Self::Message(message) => (message.0, i64::MAX),
            Self::Version(version) => (i64::MAX, version),
        }
    }
}

impl Store {
    /// Moves a user's read cursor, never back. Answers whether anything is other than it was.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn mark_read(&self, chat: ChatId, viewer: UserId, to: ReadTo) -> Result<bool, Error> {
        let moved = self.connections.with(async |connection| {
            // Most watches of a chat find it read: they take no lock, and no transaction's number.
            let moves = would_move(connection, chat, viewer, to).await?;
            if moves { move_cursor(connection, chat, viewer, to).await } else { Ok(false) }
        });
        Ok(moved.await?)
    }
}

async fn would_move(
    connection: &mut PgConnection,
    chat: ChatId,
    viewer: UserId,
    to: ReadTo,
) -> Result<bool, sqlx::Error> {
    let (message_max, version_max) = to.bounds();
    sqlx::query_scalar!(
        "select not exists ( \
             select \
             from chat_user_metadata u \
             where u.chat_id = $1 \
             and u.user_id = $2 \
             and not u.has_unread \
             and not exists ( \
                 select \
                 from messages m \
                 where m.chat_id = u.chat_id \
                 and m.id > u.read_message_id \
                 and m.id <= $3 \
                 and m.revision <= $4 \
                 and not m.deleted \
                 and m.visibility <> 'model' \
             ) \
         ) as \"would_move!\"",
        chat.0,
        viewer.0,
        message_max,
        version_max,
    )
    .fetch_one(connection)
    .await
}

async fn move_cursor(
    connection: &mut PgConnection,
    chat: ChatId,
    viewer: UserId,
    to: ReadTo,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    locks::own(&mut transaction, chat, viewer).await?;
    let (message_max, version_max) = to.bounds();
    let moved =
        sqlx::query_file!("src/store/metadata/move_cursor.sql", chat.0, viewer.0, message_max, version_max,)
            .execute(&mut *transaction)
            .await?;
    transaction.commit().await?;
    Ok(moved.rows_affected() > 0)
}
