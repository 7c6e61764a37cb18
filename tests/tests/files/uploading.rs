//! What is stored, and what is not.

use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1::{
    UploadFileHeader, UploadFileRequest, UploadFileResponse, upload_file_request::Piece,
};
use chatplane_tests::{Client, Cluster, eventually};
use futures::{Stream, StreamExt as _, future::join_all, stream};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    cluster, contents, downloading::content_of, field, number, reason, replica::Replica, with_settings,
};

pub(crate) fn header(name: &str) -> UploadFileRequest {
    UploadFileRequest { piece: Some(Piece::Header(UploadFileHeader { name: name.to_owned() })) }
}

pub(crate) fn data(bytes: &[u8]) -> UploadFileRequest {
    UploadFileRequest { piece: Some(Piece::Data(bytes.to_vec().into())) }
}

pub(crate) async fn send(
    client: &mut Client,
    requests: impl Stream<Item = UploadFileRequest> + Send + 'static,
) -> Result<UploadFileResponse, Status> {
    client.files.upload_file(requests).await.map(tonic::Response::into_inner)
}

/// Rows of files and of their contents.
async fn stored(cluster: &Cluster) -> (i64, i64) {
    let mut connection = cluster.database.connection().await;
    let files = number(&mut connection, "select count(*) from files").await;
    let contents = number(&mut connection, "select count(*) from file_contents").await;
    (files, contents)
}

#[tokio::test]
async fn a_file_of_any_name_comes_back_as_it_was_sent() {
    let (_cluster, mut client) = cluster().await;
    // More than one piece, and more than one that is read.
    let content: Vec<u8> = (0..700_001_u32).flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let content = &content[..3_000_001];
    let longest = "文".repeat(255);

    for name in [
        "notes.txt",
        "Übersicht é (final).txt",
        "日本語のファイル",
        "🦀\u{200d}🚀 .txt",
        "a\u{301}",
        ".",
        &longest,
    ] {
        let file = client.upload(name, content).await.expect(name);

        assert_eq!(file.name, name);
        assert_eq!((file.media_type.as_str(), file.size_bytes), ("text/plain", 3_000_001));
        assert_eq!(file.sha256.len(), 64);
        assert_eq!(content_of(&mut client, &file.file_id, 0, 0).await, content);
    }
}

#[tokio::test]
async fn a_content_is_stored_once_an_owner_and_the_same_name_is_the_same_file() {
    let (cluster, mut client) = cluster().await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    let first = client.upload("a.txt", b"the same").await.expect("it is stored");
    let again = client.upload("a.txt", b"the same").await.expect("it is there");
    let renamed = client.upload("b.txt", b"the same").await.expect("it is stored");
    let other = client.upload("a.txt", b"another").await.expect("it is stored");
    let anothers = stranger.upload("a.txt", b"the same").await.expect("it is stored");

    assert_eq!(again, first);
    assert_eq!((&renamed.sha256, renamed.name.as_str()), (&first.sha256, "b.txt"));
    let ids = [&first, &renamed, &other, &anothers].map(|file| file.file_id.as_str());
    assert_eq!(std::collections::BTreeSet::from(ids).len(), ids.len());
    assert_eq!(anothers.sha256, first.sha256);
    assert_ne!(anothers.owner_id, first.owner_id);
    assert_eq!(stored(&cluster).await, (4, 3));
}

#[tokio::test]
async fn the_same_file_from_many_sides_at_once_is_one() {
    let (cluster, client) = cluster().await;
    let content = vec![b'x'; 300_000];

    let uploads = (0..12).map(|number| {
        let (mut client, content) = (client.clone(), content.clone());
        // A user uploads two at a time: there are always two.
        let name = ["a", "b"][number % 2];
        let upload = async move || match client.upload(name, &content).await {
            Ok(file) => Some(file.file_id),
            Err(refused) => {
                assert_eq!(reason(&refused), "LIMIT_EXCEEDED", "{refused:?}");
                None
            }
        };
        eventually("it is stored", upload)
    });
    let ids: std::collections::BTreeSet<String> = join_all(uploads).await.into_iter().collect();

    assert_eq!(ids.len(), 2);
    assert_eq!(stored(&cluster).await, (2, 1));
}

#[tokio::test]
async fn the_content_says_what_a_file_is_and_not_its_name() {
    let (cluster, mut client) = cluster().await;

    for (name, content, expected) in [
        ("a.txt", contents::PNG, "image/png"),
        ("a.csv", contents::JPEG, "image/jpeg"),
        ("a", contents::GIF, "image/gif"),
        ("a.png", contents::WEBP, "image/webp"),
        ("a.jpg", contents::PDF, "application/pdf"),
        ("a.txt", b"{\"a\": 1}", "application/json"),
        ("a.png", b"GIF is a word", "text/plain"),
        ("a.csv", b"a,b\n1,2\n", "text/csv"),
        ("a.md", b"# Title\n", "text/markdown"),
        ("a.json", b"{half", "text/plain"),
        ("empty", b"", "text/plain"),
    ] {
        let file = client.upload(name, content).await.expect(name);
        assert_eq!((file.media_type.as_str(), file.size_bytes), (expected, content.len() as i64), "{name}");
        assert_eq!(content_of(&mut client, &file.file_id, 0, 0).await, content);
    }
    let before = stored(&cluster).await;

    for content in [
        &b"\x7fELF\x02\x01\x01\0"[..],
        b"PK\x03\x04\x14\0",
        b"a\0b",
        b"caf\xe9",
        // They begin as something that is taken, and that is all.
        &contents::PNG[..16],
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBPVP8Z",
        b"%PDF-1.",
    ] {
        let refused = client.upload("a.png", content).await.expect_err("it is not taken");
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "data"));
        assert!(refused.message().contains("PNG, JPEG, GIF, WebP, PDF"), "{}", refused.message());
    }
    assert_eq!(stored(&cluster).await, before);
}

#[tokio::test]
async fn a_file_above_the_limit_is_refused_and_one_at_it_is_not() {
    let (cluster, mut client) = with_settings([("CHATPLANE_FILE_BYTES_MAX", "600000".to_owned())]).await;

    client.upload("fits", &vec![b'x'; 600_000]).await.expect("it fits");
    let refused = client.upload("large", &vec![b'y'; 600_001]).await.expect_err("it is too large");
    let endless = stream::iter([header("endless")]).chain(stream::repeat_with(|| data(&[b'z'; 100_000])));
    let cut_off = send(&mut client, endless).await.expect_err("it is too large");

    for refused in [refused, cut_off] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
        assert!(refused.message().contains("600000"), "{}", refused.message());
    }
    assert_eq!(stored(&cluster).await, (1, 1));
}

#[tokio::test]
async fn the_default_limit_is_ten_mebibytes() {
    let (cluster, mut client) = cluster().await;
    let mut content = vec![b'x'; 10 * 1024 * 1024];

    let file = client.upload("largest", &content).await.expect("it fits");
    content.push(b'x');
    let refused = client.upload("larger", &content).await.expect_err("it is too large");

    assert_eq!(reason(&refused), "LIMIT_EXCEEDED");
    assert_eq!(content_of(&mut client, &file.file_id, 0, 0).await.len(), content.len() - 1);
    assert_eq!(stored(&cluster).await, (1, 1));
}

#[tokio::test]
async fn a_user_has_no_more_files_and_bytes_than_a_user_may_have_and_is_told_so() {
    let (cluster, _) = cluster().await;
    let limits = Limits { files_per_owner_max: 3, file_bytes_per_owner_max: 10, ..Limits::default() };
    let replica = Replica::start(&cluster.database, limits).await;
    let mut client = Client::new(&replica.url(), &cluster.tokens.user);
    let mut stranger = Client::new(&replica.url(), &cluster.tokens.stranger);

    client.upload("a", b"123456").await.expect("it fits");
    let large = client.upload("b", b"12345").await.expect_err("it does not fit beside the first");
    client.upload("b", b"1234").await.expect("it fits");
    client.upload("c", b"1234").await.expect("its bytes are there");
    let many = client.upload("d", b"").await.expect_err("it is one too many");
    client.upload("a", b"123456").await.expect("it is there");
    stranger.upload("a", b"123456").await.expect("that is another's");

    for (refused, told) in [(large, "at most 10 bytes of files"), (many, "at most 3 files")] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
        assert!(refused.message().contains(told), "{}", refused.message());
    }
    assert_eq!(stored(&cluster).await, (4, 3));
    replica.stop().await;
}

#[tokio::test]
async fn an_upload_that_is_none_is_refused() {
    let (cluster, mut client) = cluster().await;
    let nothing = UploadFileRequest { piece: None };
    let large = vec![b'x'; 1024 * 1024 + 1];

    for (requests, expected) in [
        (vec![], "header"),
        (vec![data(b"x")], "header"),
        (vec![nothing.clone()], "header"),
        (vec![header("a"), header("a")], "header"),
        (vec![header("a"), data(b"x"), nothing], "data"),
        (vec![header("a"), data(&large)], "data"),
        (vec![header("")], "header.name"),
        (vec![header("a/b")], "header.name"),
        (vec![header("a\\b")], "header.name"),
        (vec![header("a\nb")], "header.name"),
        (vec![header("a\0b")], "header.name"),
        (vec![header("\u{85}")], "header.name"),
        (vec![header(&"x".repeat(256))], "header.name"),
    ] {
        let shown = format!("{expected} of {} messages", requests.len());
        let refused = send(&mut client, stream::iter(requests)).await.expect_err(&shown);
        assert_eq!(
            (reason(&refused).as_str(), field(&refused).as_str()),
            ("FIELD_INVALID", expected),
            "{shown}"
        );
    }

    assert_eq!(stored(&cluster).await, (0, 0));
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let (cluster, mut client) = cluster().await;

    for number in 0..30 {
        let (sender, requests) = mpsc::channel(4);
        let mut giving_up = client.clone();
        let call = tokio::spawn(async move { send(&mut giving_up, ReceiverStream::new(requests)).await });
        sender.send(header("half")).await.expect("the call takes it");
        sender.send(data(format!("half of file {number}").as_bytes())).await.expect("the call takes it");
        // Once it is taken, it is on its way; the call ends without a word of the rest.
        sender.reserve_many(4).await.map(drop).expect("the call has taken all");
        call.abort();
        assert!(call.await.expect_err("it was given up").is_cancelled());
    }
    // What follows on the same connection is read after what came before it.
    client.upload("whole", b"whole").await.expect("it is stored");

    assert_eq!(stored(&cluster).await, (1, 1));
}

/// An upload of which the server has read the beginning, since more was sent than may be on its way. It ends
/// when the sender is dropped.
async fn half_sent(
    client: &Client,
) -> (mpsc::Sender<UploadFileRequest>, JoinHandle<Result<UploadFileResponse, Status>>) {
    let (sender, requests) = mpsc::channel(1);
    let mut client = client.clone();
    let call = tokio::spawn(async move { send(&mut client, ReceiverStream::new(requests)).await });
    sender.send(header("half")).await.expect("the call takes it");
    for _ in 0..24 {
        sender.send(data(&[b'x'; 256 * 1024])).await.expect("the call takes it");
    }
    (sender, call)
}

#[tokio::test]
async fn a_user_uploads_two_files_at_a_time_and_leaves_room_for_others() {
    let (cluster, client) = cluster().await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let mut half = Vec::new();
    for _ in 0..2 {
        half.push(half_sent(&client).await);
    }
    let refused = client.clone().upload("third", b"third").await.expect_err("it is one too many");
    let theirs = stranger.upload("theirs", b"theirs").await;
    for (sender, call) in half {
        drop(sender);
        call.await.expect("it does not panic").expect("it is stored");
    }

    theirs.expect("there is a slot for them");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    assert!(refused.message().contains("2 files at a time"), "{}", refused.message());
    client.clone().upload("third", b"third").await.expect("it has its turn");
    assert_eq!(stored(&cluster).await, (3, 3));
}

#[tokio::test]
async fn a_replica_that_is_killed_in_an_upload_leaves_nothing() {
    let (mut cluster, mut client) = cluster().await;
    let (_rest, call) = half_sent(&client).await;

    cluster.control_plane.kill();

    call.await.expect("it does not panic").expect_err("nobody is there to answer");
    cluster.start_control_plane().await;
    assert_eq!(stored(&cluster).await, (0, 0));
    eventually("the file can be uploaded again", async || client.upload("half", b"x").await.ok()).await;
    assert_eq!(stored(&cluster).await, (1, 1));
}

#[tokio::test]
async fn a_replica_that_stops_says_so_to_who_is_uploading() {
    let (cluster, client) = cluster().await;
    let (_rest, call) = half_sent(&client).await;

    cluster.control_plane.terminate();

    let refused = call.await.expect("it does not panic").expect_err("the replica leaves");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert_eq!(stored(&cluster).await, (0, 0));
}
