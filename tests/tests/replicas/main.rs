//! Several replicas on one database.
//!
//! Replicas run in this process with limits of the test's choice; workers are the tests
//! themselves, where every word between them matters.

mod caps;
mod fairness;
mod hints;
mod lists;
mod metrics;
mod outages;
mod peers;
#[allow(dead_code, reason = "shared with tests that use the rest of it")]
#[path = "../dispatch/replica.rs"]
mod replica;
#[allow(dead_code, reason = "shared with tests that use the rest of it")]
#[path = "../dispatch/worker.rs"]
mod worker;

use chatplane_proto::chat::v1 as chat;
use chatplane_tests::{Client, eventually};
use sqlx::{Executor as _, PgConnection};

/// Waits until the chat is in this state.
async fn comes_to(client: &mut Client, chat_id: &str, state: chat::ChatState) -> chat::Chat {
    eventually(&format!("the chat is {state:?}"), async || {
        client.chat(chat_id).await.ok().filter(|chat| chat.state() == state)
    })
    .await
}

async fn execute(connection: &mut PgConnection, statement: String) {
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("the statement is right");
}
