//! The pinned chats of a user.

use chatplane_domain::{ChatId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Makes the user's other pin writes wait: each reads all pins, and may write all.
pub(super) async fn lock_user(connection: &mut PgConnection, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!("select u.user_id from users u where u.user_id = $1 for no key update", user.0)
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// The user's pinned chats in order. Nobody archives one of them meanwhile, nor the chat that
/// is to have a pin, or they are unpinned after this write.
pub(super) async fn lock(
    connection: &mut PgConnection,
    chat: ChatId,
    user: UserId,
) -> Result<Vec<ChatId>, sqlx::Error> {
    super::locks::own(connection, chat, user).await?;
    let pinned = sqlx::query_scalar!(
        "select u.chat_id \
         from chat_user_metadata u \
         where u.user_id = $1 \
         and u.pin_order is not null \
         order by u.pin_order, u.chat_id \
         for no key update",
        user.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(pinned.into_iter().map(ChatId).collect())
}

/// Gives the user's pins their places, from 1 and without gaps, and takes off those that are
/// there no more. Answers whether any is other than it was.
pub(super) async fn store(
    connection: &mut PgConnection,
    user: UserId,
    before: &[ChatId],
    after: &[ChatId],
) -> Result<bool, sqlx::Error> {
    let gone = before.iter().filter(|chat| !after.contains(chat));
    let chats: Vec<Uuid> = after.iter().chain(gone).map(|chat| chat.0).collect();
    let stored = sqlx::query!(
        "update chat_user_metadata u \
         set pin_order = n.pin_order, \
             pin_xid = pg_current_xact_id(), \
             change_xid = pg_current_xact_id() \
         from ( \
             select c.chat_id, case when c.place <= $3 then c.place::integer end as pin_order \
             from unnest($2::uuid[]) with ordinality as c (chat_id, place) \
         ) n \
         where u.user_id = $1 \
         and u.chat_id = n.chat_id \
         and u.pin_order is distinct from n.pin_order",
        user.0,
        &chats,
        i64::try_from(after.len()).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() > 0)
}
