//! Whether a chat is one that nobody needs in their lists: the second look, in the write that
//! archives it.

use chatplane_domain::ChatId;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Makes whoever is pinning a chat, and what goes on in its children, wait for the transaction's
/// end, or is waited for. The next statement sees what there is.
pub(in crate::store) async fn lock_family(
    connection: &mut PgConnection,
    chat: ChatId,
) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select u.chat_id from chat_user_metadata u where u.chat_id = $1 for no key update",
        chat.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "select k.chat_id \
         from chats k \
         where k.root_chat_id = $1 \
         and k.parent_chat_id is not null \
         order by k.chat_id \
         for share",
        chat.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// Whether nothing has happened in a chat and its children since then, nothing goes on in them,
/// and nobody has pinned it.
pub(in crate::store) async fn is_left_alone(
    connection: &mut PgConnection,
    chat: ChatId,
    since: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
               select
               from chats c
               where c.chat_id = $1
               and c.update_time < $2
               and not exists (
                   select
                   from chat_user_metadata u
                   where u.chat_id = c.chat_id
                   and u.pin_order is not null
               )
               and not exists (
                   select
                   from chats k
                   where k.root_chat_id = c.chat_id
                   and k.parent_chat_id is not null
                   and (k.state not in ('waiting', 'error') or k.update_time >= $2)
               )
           ) as "left_alone!""#,
        chat.0,
        since,
    )
    .fetch_one(connection)
    .await
}
