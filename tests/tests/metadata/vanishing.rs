//! A watch that ends in other ways than its client's: what it showed was read all the same.

use std::net::SocketAddr;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, DEADLINE, eventually};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{answered, answering, becomes, last_message};

/// Carries one connection, which breaks when the task is aborted.
async fn carrier(to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    let carrying = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("the client connects");
        let mut far = TcpStream::connect(to).await.expect("the control plane answers");
        // It ends with the connection, in whatever way.
        let _ = copy_bidirectional(&mut near, &mut far).await;
    });
    (address, carrying)
}

/// Waits until a watch has shown the chat as it is.
async fn shows(watch: &mut tonic::Streaming<proto::WatchChatResponse>, chat: &proto::Chat) {
    let showing = async {
        loop {
            let event = watch.message().await.expect("the stream goes on").expect("the stream goes on");
            if let Some(proto::watch_chat_response::Event::State(state)) = event.event
                && state.snapshot_version == chat.snapshot_version
            {
                return;
            }
        }
    };
    timeout(DEADLINE, showing).await.expect("it is shown in time");
}

#[tokio::test]
async fn a_client_that_vanishes_has_read_what_it_was_sent() {
    let (_model, cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;
    let (address, carrying) = carrier(cluster.address).await;
    let mut vanishing = Client::new(&format!("http://{address}"), &cluster.tokens.user);
    let mut watch = vanishing.watch(&chat, "").await.expect("it can be watched");
    becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;
    client.send(&chat, "again").await.expect("it is sent");
    let unread = answered(&mut client, &chat).await;
    shows(&mut watch, &unread).await;

    carrying.abort();

    let read = becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;
    assert!(unread.has_unread);
    assert_eq!(read.read_message_id, last_message(&mut client, &chat).await);
}

#[tokio::test]
async fn a_replica_that_stops_writes_down_what_its_watches_have_shown() {
    let (_model, mut cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;
    let mut watch = client.watch(&chat, "").await.expect("it can be watched");
    becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;
    client.send(&chat, "again").await.expect("it is sent");
    let unread = answered(&mut client, &chat).await;
    let answer = last_message(&mut client, &chat).await;
    shows(&mut watch, &unread).await;

    cluster.control_plane.terminate();
    let code = eventually("it stops", async || cluster.control_plane.exit_code()).await;

    let mut connection = cluster.database.connection().await;
    let read: (i64, bool) = sqlx::query_as("select read_message_id, has_unread from chat_user_metadata")
        .fetch_one(&mut connection)
        .await
        .expect("it answers");
    assert_eq!(code, 0);
    assert!(unread.has_unread);
    assert_eq!(read, (answer, false));
}
