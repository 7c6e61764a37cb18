//! Dispatch against a real database: sessions, leases, the holder's writes, sweeps.
//!
//! Replicas run in this process with shortened limits; workers are the tests themselves,
//! so that every order of events can be forced.

mod held_up;
mod jobs;
mod leases;
mod live;
mod races;
mod replica;
mod sessions;
mod settings;
mod slow_calls;
mod summaries;
mod suspensions;
mod worker;
mod writes;

use chatplane_proto::chat::v1 as chat;
use chatplane_tests::{Client, eventually};
use sqlx::{Executor as _, PgConnection};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The reason that an error names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The field that an error names first.
fn field(status: &Status) -> String {
    let bad_request = status.get_details_bad_request();
    bad_request
        .and_then(|bad| bad.field_violations.into_iter().next())
        .map(|first| first.field)
        .unwrap_or_default()
}

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

async fn number(connection: &mut PgConnection, query: String) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(connection).await.expect("the query is right")
}
