//! Where a watch begins: anywhere, on any replica, and nowhere else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{self as proto, watch_chats_response::Event};
use chatplane_tests::{Client, Cluster, Options, eventually, free_port};
use sqlx::Executor as _;
use tempfile::TempDir;

use crate::{
    second_replica, stranger,
    watcher::{Watcher, bytes, refused},
};

async fn list(client: &mut Client) -> proto::ListChatsResponse {
    client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("they are listed").into_inner()
}

#[tokio::test]
async fn a_watch_resumes_on_another_replica_with_what_happened_meanwhile() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut watcher = Watcher::begin(&mut client, "").await;
    let seen = client.create_chat("one").await.chat_id;
    watcher.until(&seen, |_| true).await;
    let cursor = watcher.cursor.clone();
    drop(watcher);
    let missed = client.create_chat("two").await.chat_id;

    let (address, logs) = (free_port(), TempDir::new().expect("a directory for logs"));
    let _replica = second_replica(&cluster, address, logs.path());
    let mut elsewhere = Client::new(&format!("http://{address}"), &cluster.tokens.user);
    let mut resumed = eventually("the second replica takes calls", async || {
        Watcher::open(&mut elsewhere, &cursor).await.ok()
    })
    .await;
    assert!(matches!(resumed.next().await, Event::Progress(_)));
    resumed.until(&missed, |_| true).await;

    assert_eq!(resumed.chats[&missed], client.chat(&missed).await.expect("the chat can be read"));
    // What another replica writes is found by the poll, if by nothing else.
    let later = client.create_chat("three").await.chat_id;
    resumed.until(&later, |_| true).await;
}

#[tokio::test]
async fn a_list_page_names_the_cursor_from_which_its_chats_are_followed() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let listed = client.create_chat("one").await.chat_id;
    let page = list(&mut client).await;

    let changed = client.create_chat("two").await.chat_id;
    let mut watcher = Watcher::begin(&mut client, &page.watch_cursor).await;
    watcher.until(&changed, |_| true).await;

    let chats: Vec<_> = page.chats.into_iter().filter_map(|listed| listed.chat).collect();
    assert_eq!(chats.iter().map(|chat| &chat.chat_id).collect::<Vec<_>>(), [&listed]);
}

#[tokio::test]
async fn a_cursor_that_is_none_of_the_users_own_is_refused() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let own = Watcher::begin(&mut client, "").await.cursor;
    let others = Watcher::begin(&mut stranger(&cluster), "").await.cursor;

    for cursor in ["nonsense", "AAAA", "////", &own[..own.len() - 2], &others, &"A".repeat(5_000)] {
        assert_eq!(refused(&mut client, cursor).await, "FIELD_INVALID", "{}", &cursor[..4]);
    }
    let of_a_chat = client.create_chat("hello").await.chat_id;
    let mut stream = client.watch(&of_a_chat, "").await.expect("it can be watched");
    let cursor = stream.message().await.expect("an event comes").expect("an event comes").cursor;
    assert_eq!(refused(&mut client, &cursor).await, "FIELD_INVALID");
    Watcher::begin(&mut client, &own).await;
}

#[tokio::test]
async fn a_cursor_ahead_of_the_database_has_expired() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let cursor = Watcher::begin(&mut client, "").await.cursor;

    // The transaction's number stands behind layout and user: one that never was.
    let mut bytes = bytes(&cursor);
    bytes[18] = 1;
    let ahead = BASE64_URL_SAFE_NO_PAD.encode(bytes);

    assert_eq!(refused(&mut client, &ahead).await, "CURSOR_EXPIRED");
}

#[tokio::test]
async fn a_deleted_chat_is_told_as_deleted() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await.chat_id;
    let mut watcher = Watcher::begin(&mut client, "").await;

    // As retention leaves it; no replica is told.
    let delete = "update chats set state = 'waiting', runnable_since = null, archived = true, \
                  delete_time = now(), change_xid = pg_current_xact_id()";
    cluster.database.connection().await.execute(delete).await.expect("it is deleted");
    while watcher.deleted.is_empty() {
        watcher.next().await;
    }

    assert_eq!(watcher.deleted, [chat]);
}
