//! What a change of metadata reads once it has its locks.

use chatplane_domain::{ChatId, UserId};
use sqlx::{PgConnection, Postgres, QueryBuilder, types::Json};

use crate::store::{
    ChatView, Error, Reply, Request,
    chats::{CHAT_VIEWS, ChatViewRow},
    rows::StoredRequest,
};

/// The chat, as this user sees it.
pub(super) async fn chat(
    connection: &mut PgConnection,
    chat: ChatId,
    viewer: UserId,
) -> Result<Option<ChatView>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(CHAT_VIEWS);
    query.push("where c.chat_id = $2 and c.delete_time is null");
    let row: Option<ChatViewRow> =
        query.build_query_as().bind(viewer.0).bind(chat.0).fetch_optional(connection).await?;
    row.map(ChatViewRow::view).transpose()
}

/// The request, if it was accepted before.
pub(super) async fn request(
    connection: &mut PgConnection,
    request: &Request,
) -> Result<Option<StoredRequest>, Error> {
    let row = sqlx::query!(
        r#"select r.method, encode(r.body_sha256, 'hex') as "body_sha256!", r.result as "reply: Json<Reply>"
           from requests r
           where r.actor_id = $1
           and r.request_id = $2"#,
        request.actor,
        request.id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredRequest { method: row.method, body_sha256: row.body_sha256, reply: row.reply.0 }))
}
