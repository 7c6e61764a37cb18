//! Errors that only an unusual database can cause.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Cluster, Options};
use futures::stream;
use prost::Message;
use sqlx::Executor;
use tonic::{Code, Request, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

#[tokio::test]
async fn a_cursor_ahead_of_the_database_has_expired() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await.chat_id;
    client.send(&chat, "again").await.expect("queued");
    let mut stream = client.watch(&chat, "").await.expect("the chat can be watched");
    let cursor = loop {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        if let Some(proto::watch_chat_response::Event::State(_)) = event.event {
            break event.cursor;
        }
    };

    // A database that was restored from a backup.
    let restore = "update chats set snapshot_version = 1, queue_version = 0, queue_length = 0";
    cluster.database.connection().await.execute(restore).await.expect("it is restored");
    let refused = match client.watch(&chat, &cursor).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.expect_err("the cursor is ahead"),
    };

    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "CURSOR_EXPIRED");
    for malformed in ["nonsense", "AAAA", "////"] {
        let refused = client.watch(&chat, malformed).await.expect_err("it is no cursor");
        assert_eq!(refused.get_details_error_info().expect("a reason").reason, "FIELD_INVALID");
    }
}

#[tokio::test]
async fn a_defect_shows_the_client_an_id_and_the_log_its_cause() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("my secret plan").await.chat_id;

    let newer = "update messages set content_version = 99";
    cluster.database.connection().await.execute(newer).await.expect("it is stored");
    let request = proto::ListMessagesRequest { chat_id: chat, ..Default::default() };
    let refused = client.chats.list_messages(request).await.expect_err("it cannot be read");

    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!((refused.code(), info.reason.as_str()), (Code::Internal, "INTERNAL"));
    assert_eq!(info.metadata.keys().collect::<Vec<_>>(), ["error_id"]);
    let log = cluster.control_plane.log();
    assert!(log.contains(&info.metadata["error_id"]) && log.contains("99"), "{log}");
    assert!(!log.contains("secret plan"));
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let cluster = Cluster::start(Options::default()).await;
    let mut connection = cluster.database.connection().await;
    connection
        .execute("create database latin1 encoding 'LATIN1' locale 'C' template template0")
        .await
        .expect("it is created");
    let url = cluster.database.url().replace(cluster.database.name(), "latin1");

    let refused = chatplane_control_plane::admin::connect(&url).await.expect_err("it is not UTF-8");

    assert!(refused.to_string().contains("UTF8"), "{refused}");
}

/// Sends these bytes as a message of this method, and answers the refusal.
async fn refusal_of(cluster: &Cluster, method: &str, bytes: Vec<u8>) -> tonic::Status {
    let channel = Endpoint::from_shared(cluster.url()).expect("the URL is one").connect_lazy();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("the server is there");
    // A string field 1 with the bytes has the shape of most of our requests.
    let mut request = Request::new(stream::iter([Raw { bytes }]));
    let token = format!("Bearer {}", cluster.tokens.user);
    request.metadata_mut().insert("authorization", token.parse().expect("it is ASCII"));
    let path = PathAndQuery::try_from(method).expect("a method is a path");
    let answered = grpc.streaming(request, path, ProstCodec::<Raw, Raw>::default()).await;
    match answered {
        Err(status) => status,
        Ok(answer) => answer.into_inner().message().await.expect_err("it is refused"),
    }
}

/// A message with one field of bytes, sent where a string is expected.
#[derive(Clone, PartialEq, Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

#[tokio::test]
async fn a_method_or_a_service_that_there_is_not_is_refused_with_a_sentence() {
    let cluster = Cluster::start(Options::default()).await;

    for method in
        ["/chatplane.chat.v1.ChatService/Nothing", "/nothing.v1.Nothing/Get", "/grpc.health.v1.Health/No"]
    {
        let refused = refusal_of(&cluster, method, Vec::new()).await;

        assert_eq!(refused.code(), Code::Unimplemented, "{method}");
        assert!(refused.message().contains("no such method"), "{method}: {}", refused.message());
    }
}

#[tokio::test]
async fn messages_that_cannot_be_decoded_are_refused_with_a_reason() {
    let cluster = Cluster::start(Options::default()).await;

    let method = "/chatplane.chat.v1.ChatService/GetChat";
    let garbled = refusal_of(&cluster, method, vec![0xff, 0xfe]).await;
    let large = refusal_of(&cluster, method, vec![b'x'; 5 * 1024 * 1024]).await;

    let reason = |status: &tonic::Status| status.get_details_error_info().expect("a reason").reason;
    assert_eq!((garbled.code(), reason(&garbled).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!((large.code(), reason(&large).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
}
