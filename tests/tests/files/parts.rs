//! What a message may be made of, and how that is shown.

use chatplane_proto::chat::v1::{
    self as proto, DiffCommentPart, DiffSide, FilePart, FileReferencePart, Part, ToolCallPart, part::Kind,
    watch_chat_response::Event,
};
use chatplane_tests::{Client, file_part, text};
use tonic::Status;

use crate::{
    cluster,
    contents::{PDF, PNG},
    field, reason, shown,
};

const TEXT_BYTES_MAX: usize = 256 * 1024;

fn part(kind: Kind) -> Part {
    Part { kind: Some(kind) }
}

fn reference(path: &str, start_line: i32, end_line: i32, snippet: &str) -> Part {
    let (path, snippet) = (path.to_owned(), snippet.to_owned());
    part(Kind::FileReference(FileReferencePart { path, start_line, end_line, snippet }))
}

fn comment(path: &str, side: DiffSide, lines: (i32, i32), text: &str) -> Part {
    let (path, text, (start_line, end_line)) = (path.to_owned(), text.to_owned(), lines);
    part(Kind::DiffComment(DiffCommentPart { path, side: side.into(), start_line, end_line, text }))
}

async fn create(client: &mut Client, parts: Vec<Part>) -> Result<proto::CreateChatResponse, Status> {
    let request = proto::CreateChatRequest { parts, ..Default::default() };
    Ok(client.chats.create_chat(request).await?.into_inner())
}

#[tokio::test]
async fn every_kind_of_part_is_shown_as_it_was_sent() {
    let (_cluster, mut client) = cluster().await;
    let file = client.upload("図.png", PNG).await.expect("it is stored");
    let sent = [
        text("look\0at"),
        file_part(&file),
        reference("src/main.rs", 3, 9, "fn main() {}\n"),
        reference("a", 0, 0, ""),
        reference("b", 7, 0, "\u{1a}"),
        comment("src/lib.rs", DiffSide::Old, (1, 1), "why?"),
        comment("src/ü.rs", DiffSide::New, (2, 0), &"x".repeat(TEXT_BYTES_MAX)),
        reference(&"p".repeat(4096), i32::MAX, i32::MAX, &"s".repeat(TEXT_BYTES_MAX)),
    ];
    let mut expected = sent.clone();
    expected[1] = shown(&file);

    let created = create(&mut client, sent.to_vec()).await.expect("the chat is created");

    let chat = created.chat.expect("a chat");
    assert_eq!(created.message.expect("a message").parts, expected);
    assert_eq!(client.messages(&chat.chat_id).await.last().expect("a message").parts, expected);
    let mut stream = client.watch(&chat.chat_id, "").await.expect("the chat can be watched");
    let watched = loop {
        let event = stream.message().await.expect("the stream goes on").expect("the stream goes on");
        if let Some(Event::Message(message)) = event.event
            && message.role() == proto::Role::User
        {
            break message;
        }
    };
    assert_eq!(watched.parts, expected);
}

#[tokio::test]
async fn a_message_without_words_is_shown_by_what_it_has() {
    let (_cluster, mut client) = cluster().await;
    let file = client.upload("report 2026.pdf", PDF).await.expect("it is stored");

    for (parts, title) in [
        (vec![file_part(&file)], "report 2026.pdf"),
        (vec![reference("src/main.rs", 1, 2, "x"), file_part(&file)], "report 2026.pdf"),
        (vec![reference("src/main.rs", 1, 2, "x")], "src/main.rs"),
        (vec![comment("src/main.rs", DiffSide::New, (1, 2), "too long")], "too long"),
        (vec![file_part(&file), text("what is this?")], "what is this?"),
    ] {
        let chat = create(&mut client, parts).await.expect("it is created").chat.expect("a chat");
        assert_eq!(chat.title, title);
    }
}

#[tokio::test]
async fn parts_that_are_none_are_refused_by_their_fields() {
    let (_cluster, mut client) = cluster().await;
    let large = "x".repeat(TEXT_BYTES_MAX + 1);
    let long_path = "p".repeat(4097);
    let side = |side: i32| {
        let comment =
            DiffCommentPart { path: "a".to_owned(), side, start_line: 1, text: "x".to_owned(), end_line: 0 };
        part(Kind::DiffComment(comment))
    };

    for (wrong, expected) in [
        (part(Kind::File(FilePart::default())), "file.file_id"),
        (part(Kind::File(FilePart { file_id: "x".to_owned(), ..Default::default() })), "file.file_id"),
        (reference("", 1, 1, ""), "file_reference.path"),
        (reference("a\0", 1, 1, ""), "file_reference.path"),
        (reference(&long_path, 1, 1, ""), "file_reference.path"),
        (reference("a", -1, 0, ""), "file_reference.start_line"),
        (reference("a", 2, 1, ""), "file_reference.end_line"),
        (reference("a", 2, -1, ""), "file_reference.end_line"),
        (reference("a", 0, 1, ""), "file_reference.end_line"),
        (reference("a", 1, 1, &large), "file_reference.snippet"),
        (comment("", DiffSide::New, (1, 1), "x"), "diff_comment.path"),
        (comment(&long_path, DiffSide::New, (1, 1), "x"), "diff_comment.path"),
        (comment("a", DiffSide::New, (0, 1), "x"), "diff_comment.start_line"),
        (comment("a", DiffSide::New, (-1, 0), "x"), "diff_comment.start_line"),
        (comment("a", DiffSide::New, (3, 2), "x"), "diff_comment.end_line"),
        (comment("a", DiffSide::New, (1, 1), " "), "diff_comment.text"),
        (comment("a", DiffSide::New, (1, 1), &large), "diff_comment.text"),
        (side(0), "diff_comment.side"),
        (side(3), "diff_comment.side"),
        (text(&large), "text"),
        (text("\n"), "text"),
    ] {
        let refused = create(&mut client, vec![text("fine"), wrong]).await.expect_err(expected);
        assert_eq!(reason(&refused), "FIELD_INVALID");
        assert_eq!(field(&refused), format!("parts[1].{expected}"));
    }
    for wrong in [Part { kind: None }, part(Kind::ToolCall(ToolCallPart::default()))] {
        let refused = create(&mut client, vec![wrong]).await.expect_err("it is not for users");
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "parts[0]"));
    }
    let many = vec![reference("a", 1, 1, &"s".repeat(TEXT_BYTES_MAX)); 11];
    let refused = create(&mut client, many).await.expect_err("it is too large");
    assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "parts"));
}

#[tokio::test]
async fn a_message_names_twenty_files_and_no_more() {
    let (_cluster, mut client) = cluster().await;
    let file = client.upload("a.txt", b"a").await.expect("it is stored");
    let named = |count| [vec![text("Look.")], vec![file_part(&file); count]].concat();

    let refused = create(&mut client, named(21)).await.expect_err("it names too many");
    let chat = create(&mut client, named(20)).await.expect("it names as many as it may").chat;

    assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "parts"));
    let details = tonic_types::StatusExt::get_details_bad_request(&refused).expect("it names fields");
    assert!(details.field_violations[0].description.contains("at most 20 files"), "{details:?}");
    assert_eq!(chat.expect("a chat").files.len(), 1);
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let (_cluster, mut client) = cluster().await;
    let parts = vec![text(""), reference("", -1, -2, ""), comment("", DiffSide::Unspecified, (0, -1), "")];

    let refused = create(&mut client, parts).await.expect_err("nothing is right");

    let details = tonic_types::StatusExt::get_details_bad_request(&refused).expect("it names fields");
    let fields: Vec<_> = details.field_violations.into_iter().map(|violation| violation.field).collect();
    let expected = [
        "parts[0].text",
        "parts[1].file_reference.path",
        "parts[1].file_reference.start_line",
        "parts[1].file_reference.end_line",
        "parts[2].diff_comment.path",
        "parts[2].diff_comment.text",
        "parts[2].diff_comment.side",
        "parts[2].diff_comment.start_line",
        "parts[2].diff_comment.end_line",
    ];
    assert_eq!(fields, expected);
}
