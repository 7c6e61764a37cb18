//! Keeping and forgetting: how long is a setting, and sweeps go by it.

mod archiving;
mod deleting;
mod replica;
mod settings;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster};
use sqlx::{Executor as _, PgConnection};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn owner(cluster: &Cluster) -> Client {
    Client::new(&cluster.url(), &cluster.tokens.owner)
}

/// For how many days is kept what is live, archived, and recorded.
async fn set(
    client: &mut Client,
    days: [i32; 3],
    expected_version: Option<i64>,
) -> Result<proto::Retention, Status> {
    let [auto_archive_days, delete_archived_days, delete_debug_days] = days;
    let request = proto::UpdateRetentionRequest {
        auto_archive_days,
        delete_archived_days,
        delete_debug_days,
        expected_version,
    };
    let stored = client.settings.update_retention(request).await?.into_inner();
    Ok(stored.retention.expect("every reply has it"))
}

/// A chat that waits.
async fn idle(client: &mut Client) -> String {
    let chat = client.create_chat("hello").await.chat_id;
    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is stopped");
    chat
}

async fn archive(client: &mut Client, chat: &str) {
    let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.archive_chat(request).await.expect("it is archived");
}

/// Makes a chat so many days older than it is.
async fn age(connection: &mut PgConnection, chat: &str, days: i32) {
    let statement = format!(
        "update chats set update_time = update_time - interval '{days} days', \
         archive_time = archive_time - interval '{days} days' where chat_id = '{chat}'"
    );
    execute(connection, statement).await;
}

async fn execute(connection: &mut PgConnection, statement: String) {
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("the statement is right");
}

async fn count(connection: &mut PgConnection, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(connection).await.expect("the statement is right")
}
