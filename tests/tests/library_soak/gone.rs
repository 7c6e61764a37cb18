//! Whether what users were told is not there was gone: nothing comes back.

use chatplane_proto::chat::v1::ErrorReason;
use chatplane_tests::Database;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::user::Ask;

/// What of it is there in the end.
const CHAT: &str = "select exists (select from chats where chat_id = $1 and delete_time is null)";

const MESSAGE: &str = "
select exists (
    select
    from messages m
    join chats c using (chat_id)
    where m.chat_id = $1
    and m.id = $2
    and not m.deleted
    and c.delete_time is null
)";

const QUEUED_MESSAGE: &str = "
select exists (
    select
    from queued_messages q
    join chats c using (chat_id)
    where q.chat_id = $1
    and q.queued_message_id = $2
    and not q.removed
    and c.delete_time is null
)";

const FILES: &str = "
select not exists (select from unnest($1::uuid[]) asked (file_id) where file_id not in (select file_id from files))";

/// The refusals for which there was no reason.
pub(crate) async fn unfounded(database: &Database, refusals: &[(ErrorReason, Ask)]) -> Vec<String> {
    let mut connection = database.connection().await;
    let mut unfounded = Vec::new();
    for (reason, ask) in refusals {
        if is_there(&mut connection, *reason, ask).await {
            unfounded.push(format!("{reason:?} was told, and it is there: {ask:?}"));
        }
    }
    unfounded
}

async fn is_there(connection: &mut PgConnection, reason: ErrorReason, ask: &Ask) -> bool {
    let id = |text: &str| text.parse::<Uuid>().expect("ids are UUIDs");
    let query = match reason {
        ErrorReason::ChatNotFound => sqlx::query_scalar(CHAT).bind(id(&ask.chat)),
        ErrorReason::MessageNotFound => sqlx::query_scalar(MESSAGE).bind(id(&ask.chat)).bind(ask.message_id),
        ErrorReason::QueuedMessageNotFound => {
            let queued = ask.queued_message_id.as_deref().map(id);
            sqlx::query_scalar(QUEUED_MESSAGE).bind(id(&ask.chat)).bind(queued)
        }
        ErrorReason::FileNotFound => {
            let files: Vec<Uuid> = ask.files.iter().map(|file| id(file)).collect();
            sqlx::query_scalar(FILES).bind(files)
        }
        other => panic!("{other:?} says nothing of what is there"),
    };
    query.fetch_one(connection).await.expect("the query is right")
}
