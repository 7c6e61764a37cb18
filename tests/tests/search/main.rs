//! Full-text search: what is found, where it matches, and that it is found at once.

mod current;
mod matches;
mod paging;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options, text};
use prost_types::FieldMask;

/// A control plane without workers: chats stay as they are.
async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let client = cluster.client();
    (cluster, client)
}

async fn search(client: &mut Client, request: proto::ListChatsRequest) -> proto::ListChatsResponse {
    client.chats.list_chats(request).await.expect("it is listed").into_inner()
}

fn request(words: &str) -> proto::ListChatsRequest {
    let q = format!("search:\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\""));
    proto::ListChatsRequest { q, ..Default::default() }
}

fn ids(page: &proto::ListChatsResponse) -> Vec<String> {
    let chats = page.chats.iter().map(|listed| listed.chat.as_ref().expect("an entry has its chat"));
    chats.map(|chat| chat.chat_id.clone()).collect()
}

/// The chats that are found.
async fn found(client: &mut Client, words: &str) -> Vec<String> {
    ids(&search(client, request(words)).await)
}

/// A chat whose only message is this, and whose title says nothing.
async fn chat(client: &mut Client, words: &str) -> String {
    let request = proto::CreateChatRequest { parts: vec![text(words)], ..Default::default() };
    let created = client.chats.create_chat(request).await.expect("it is created").into_inner();
    let chat_id = created.chat.expect("a chat").chat_id;
    rename(client, &chat_id, "untitled").await;
    chat_id
}

async fn rename(client: &mut Client, chat: &str, title: &str) {
    let request = proto::UpdateChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths: vec!["title".to_owned()] }),
        title: title.to_owned(),
        ..Default::default()
    };
    client.chats.update_chat(request).await.expect("it is renamed");
}

/// The matches that are shown, with what is highlighted in brackets.
fn shown(page: &proto::ListChatsResponse) -> Vec<String> {
    page.chats
        .iter()
        .map(|listed| {
            let found = listed.r#match.as_ref().expect("a search says where");
            let mut shown = String::new();
            for (place, character) in found.snippet.chars().enumerate() {
                let place = place as i32;
                shown.extend(found.highlights.iter().filter(|range| range.start == place).map(|_| '['));
                shown.push(character);
                shown.extend(found.highlights.iter().filter(|range| range.end == place + 1).map(|_| ']'));
            }
            shown
        })
        .collect()
}
