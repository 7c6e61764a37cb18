//! Lists of chats: filters, pages, children, and the latest chat of a workspace.

mod children;
mod filters;
mod pages;
mod refusals;
mod workspaces;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options};
use prost_types::FieldMask;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The first field that a refusal names, and what it says of it.
fn field(status: &Status) -> (String, String) {
    let details = status.get_details_bad_request();
    let first = details.and_then(|details| details.field_violations.into_iter().next());
    first.map(|violation| (violation.field, violation.description)).unwrap_or_default()
}

/// A control plane without workers: chats stay as they are.
async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let client = cluster.client();
    (cluster, client)
}

fn request(q: &str) -> proto::ListChatsRequest {
    proto::ListChatsRequest { q: q.to_owned(), ..Default::default() }
}

async fn page(client: &mut Client, request: proto::ListChatsRequest) -> proto::ListChatsResponse {
    client.chats.list_chats(request).await.expect("it is listed").into_inner()
}

fn ids(page: &proto::ListChatsResponse) -> Vec<String> {
    let chats = page.chats.iter().map(|listed| listed.chat.as_ref().expect("an entry has its chat"));
    chats.map(|chat| chat.chat_id.clone()).collect()
}

/// The chats of the first page.
async fn listed(client: &mut Client, q: &str) -> Vec<String> {
    ids(&page(client, request(q)).await)
}

/// A chat that waits, with a title and labels.
async fn idle(client: &mut Client, title: &str, labels: &[(&str, &str)]) -> String {
    let chat = client.create_chat(title).await.chat_id;
    let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    interrupt(client, &chat).await;
    let request =
        proto::UpdateChatRequest { title: title.to_owned(), labels, ..change(&chat, &["title", "labels"]) };
    client.chats.update_chat(request).await.expect("it is changed");
    chat
}

fn change(chat: &str, paths: &[&str]) -> proto::UpdateChatRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    proto::UpdateChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    }
}

async fn pin(client: &mut Client, chat: &str, pin_order: i32) {
    let request = proto::UpdateChatRequest { pin_order, ..change(chat, &["pin_order"]) };
    client.chats.update_chat(request).await.expect("it is pinned");
}

async fn interrupt(client: &mut Client, chat: &str) {
    let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is stopped");
}

async fn archive(client: &mut Client, chat: &str) {
    let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.archive_chat(request).await.expect("it is archived");
}
