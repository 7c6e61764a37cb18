//! Locks on what is no execution; `super` says in which order.

use chatplane_domain::{ChatId, UserId};
use sqlx::PgConnection;

/// Locks title and labels of a chat.
pub(super) async fn chat(connection: &mut PgConnection, chat: ChatId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select d.chat_id from chat_metadata d where d.chat_id = $1 for no key update",
        chat.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Locks what a user keeps of a chat. Its owner has something from its creation on, others
/// only then.
pub(super) async fn own(
    connection: &mut PgConnection,
    chat: ChatId,
    viewer: UserId,
) -> Result<(), sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "select u.chat_id \
         from chat_user_metadata u \
         where u.chat_id = $1 \
         and u.user_id = $2 \
         for no key update",
        chat.0,
        viewer.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if locked.is_none() {
        // Whoever inserts it at the same time is waited for, and then has it.
        sqlx::query!(
            "insert into chat_user_metadata (chat_id, user_id) \
             select c.chat_id, $2 \
             from chats c \
             where c.chat_id = $1 \
             on conflict (chat_id, user_id) do update \
             set user_id = excluded.user_id",
            chat.0,
            viewer.0,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
