//! What is no execution: titles, labels, pins, and how far a chat was read.

mod jobs;
mod labels;
mod pins;
mod races;
mod reading;
mod updates;
mod vanishing;

use std::collections::BTreeMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{ModelServer, say},
};
use prost_types::FieldMask;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The fields that a refusal names.
fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|details| details.field_violations);
    violations.unwrap_or_default().into_iter().map(|violation| violation.field).collect()
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A control plane without workers: chats stay as they are.
async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let client = cluster.client();
    (cluster, client)
}

/// One with a worker, and a model that says the same to everybody.
async fn answering() -> (ModelServer, Cluster, Client) {
    let model = ModelServer::start(|_| say("Done.")).await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let client = cluster.client();
    (model, cluster, client)
}

/// A change of what these paths name.
fn change(chat: &str, paths: &[&str]) -> proto::UpdateChatRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    proto::UpdateChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    }
}

fn title(chat: &str, title: &str) -> proto::UpdateChatRequest {
    proto::UpdateChatRequest { title: title.to_owned(), ..change(chat, &["title"]) }
}

fn pin(chat: &str, place: i32) -> proto::UpdateChatRequest {
    proto::UpdateChatRequest { pin_order: place, ..change(chat, &["pin_order"]) }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

async fn update(client: &mut Client, request: proto::UpdateChatRequest) -> Result<proto::Chat, Status> {
    let response = client.chats.update_chat(request).await?.into_inner();
    Ok(response.chat.expect("every reply has its chat"))
}

async fn mark_read(client: &mut Client, chat: &str, message_id: i64) -> Result<proto::Chat, Status> {
    let request = proto::MarkReadRequest { chat_id: chat.to_owned(), message_id };
    let response = client.chats.mark_read(request).await?.into_inner();
    Ok(response.chat.expect("every reply has its chat"))
}

/// A chat that waits.
async fn idle(client: &mut Client) -> String {
    let chat = client.create_chat("hello").await.chat_id;
    let request = proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is stopped");
    chat
}

async fn archive(client: &mut Client, chat: &str) -> Result<proto::Chat, Status> {
    let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    Ok(client.chats.archive_chat(request).await?.into_inner().chat.expect("every reply has its chat"))
}

/// Waits until a chat is what it should become; nobody watches it for that.
async fn becomes(
    client: &mut Client,
    chat: &str,
    what: &str,
    is_it: impl Fn(&proto::Chat) -> bool,
) -> proto::Chat {
    eventually(what, async || client.chat(chat).await.ok().filter(&is_it)).await
}

/// Waits until the model has answered, without reading it.
async fn answered(client: &mut Client, chat: &str) -> proto::Chat {
    becomes(client, chat, "the turn ends", |chat| chat.state() == proto::ChatState::Waiting).await
}

/// The last message of a chat.
async fn last_message(client: &mut Client, chat: &str) -> i64 {
    client.messages(chat).await.last().expect("there is one").message_id
}

/// The chats that a search finds.
async fn found(client: &mut Client, words: &str) -> Vec<String> {
    let request = proto::ListChatsRequest { q: format!("search:{words:?}"), ..Default::default() };
    let listed = client.chats.list_chats(request).await.expect("they are listed").into_inner();
    listed.chats.into_iter().map(|listed| listed.chat.expect("an entry has its chat").chat_id).collect()
}
