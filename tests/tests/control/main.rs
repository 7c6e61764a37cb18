//! Every RPC that changes a chat, or shows what was changed: what it does, in which states
//! it is refused, which fields it refuses, and that a repeat gets the reply of the first.
//!
//! Workers are the tests themselves, so that every state can be reached and kept.

mod calls;
mod client_tools;
mod configuring;
mod context;
mod editing;
mod fields;
mod forking;
mod holder;
mod listing;
mod queue;
mod repeats;
mod sending;
mod stage;
mod states;
mod strangers;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options};
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The first field that a refusal names.
fn field(status: &Status) -> String {
    let details = status.get_details_bad_request();
    let first = details.and_then(|details| details.field_violations.into_iter().next());
    first.map(|violation| violation.field).unwrap_or_default()
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let client = cluster.client();
    (cluster, client)
}

/// Stops a chat that no worker has: it waits then.
async fn interrupt(client: &mut Client, chat: &str) -> proto::Chat {
    let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is stopped").into_inner().chat.expect("a chat")
}
