//! Chats without a worker: creating, reading, sending, archiving, repeating.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options, text};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let client = cluster.client();
    (cluster, client)
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

#[tokio::test]
async fn a_new_chat_runs_and_shows_its_first_message() {
    let (cluster, mut client) = cluster().await;

    let request = proto::CreateChatRequest {
        parts: vec![text("Hello\0there"), text("again")],
        labels: BTreeMap::from([("team/name".to_owned(), "ünïcode".to_owned())]),
        workspace_id: cluster.workspace.to_string(),
        effort: proto::Effort::High.into(),
        system_prompt: "Be brief.".to_owned(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("it is created").into_inner();

    let chat = created.chat.expect("a chat");
    assert_eq!(chat.state(), proto::ChatState::Running);
    assert_eq!((chat.snapshot_version, chat.history_version, chat.metadata_version), (1, 1, 1));
    assert_eq!(chat.title, "Hellothere again");
    assert_eq!(chat.model, "test");
    assert_eq!(chat.effort(), proto::Effort::High);
    assert_eq!(chat.labels["team/name"], "ünïcode");
    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there"), chat);
    let messages = client.messages(&chat.chat_id).await;
    assert_eq!(messages, vec![created.message.expect("a message")]);
    assert_eq!(messages[0].parts, vec![text("Hello\0there"), text("again")]);
    assert_eq!(messages[0].created_by, cluster.user.to_string());
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_reply_even_when_the_chat_has_moved_on() {
    let (_cluster, mut client) = cluster().await;
    let create = proto::CreateChatRequest {
        request_id: new_id(),
        parts: vec![text("one")],
        labels: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]),
        ..Default::default()
    };

    let first = client.chats.create_chat(create.clone()).await.expect("created").into_inner();
    let chat_id = first.chat.as_ref().expect("a chat").chat_id.clone();
    let send = proto::SendMessageRequest {
        chat_id: chat_id.clone(),
        request_id: new_id(),
        parts: vec![text("two")],
        busy_behavior: proto::BusyBehavior::Queue.into(),
        ..Default::default()
    };
    let queued = client.chats.send_message(send.clone()).await.expect("queued").into_inner();
    client.send(&chat_id, "three").await.expect("queued");

    assert_eq!(client.chats.create_chat(create.clone()).await.expect("again").into_inner(), first);
    assert_eq!(client.chats.send_message(send.clone()).await.expect("again").into_inner(), queued);
    let chat = client.chat(&chat_id).await.expect("it is there");
    assert_eq!(chat.queue_length, 2);
    let changed = proto::SendMessageRequest { parts: vec![text("other")], ..send };
    let refused = client.chats.send_message(changed).await.expect_err("another body");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
}

#[tokio::test]
async fn a_request_id_is_its_actors_own() {
    let (cluster, mut client) = cluster().await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let create =
        proto::CreateChatRequest { request_id: new_id(), parts: vec![text("mine")], ..Default::default() };

    let mine = client.chats.create_chat(create.clone()).await.expect("created").into_inner();
    let theirs = stranger.chats.create_chat(create).await.expect("created").into_inner();

    assert_ne!(mine.chat.expect("a chat").chat_id, theirs.chat.expect("a chat").chat_id);
}

#[tokio::test]
async fn messages_to_a_busy_chat_wait_in_order_and_an_interrupt_lets_one_in() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await;

    let second = client.send(&chat.chat_id, "second").await.expect("queued");
    let third = client.send(&chat.chat_id, "third").await.expect("queued");
    let listed = list(&mut client, &chat.chat_id, 0, 0, 0).await;
    let previews: Vec<&str> =
        listed.queued_messages.iter().map(|queued| queued.preview_text.as_str()).collect();
    assert_eq!(previews, ["second", "third"]);
    assert_eq!(second.queued_message.as_ref(), listed.queued_messages.first());
    assert_eq!(third.chat.expect("a chat").queue_length, 2);

    let interrupt = proto::SendMessageRequest {
        chat_id: chat.chat_id.clone(),
        parts: vec![text("fourth")],
        busy_behavior: proto::BusyBehavior::Interrupt.into(),
        ..Default::default()
    };
    let sent = client.chats.send_message(interrupt).await.expect("sent").into_inner();

    assert_eq!(sent.messages.len(), 1, "the head enters, not the message itself");
    assert_eq!(sent.messages[0].parts, vec![text("second")]);
    assert_eq!(
        sent.messages[0].queued_message_id,
        second.queued_message.expect("a queued message").queued_message_id
    );
    assert_eq!(sent.queued_message.expect("queued").preview_text, "fourth");
    assert_eq!(client.messages(&chat.chat_id).await.len(), 2);
}

#[tokio::test]
async fn a_full_queue_is_refused_and_says_so() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await;
    for _ in 0..50 {
        client.send(&chat.chat_id, "more").await.expect("queued");
    }

    let refused = client.send(&chat.chat_id, "too many").await.expect_err("full");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there").queue_length, 50);
}

#[tokio::test]
async fn an_interrupt_without_a_worker_is_finished_on_the_spot() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await;

    let request = proto::InterruptChatRequest { chat_id: chat.chat_id.clone(), ..Default::default() };
    let interrupted = client.chats.interrupt_chat(request).await.expect("interrupted").into_inner();

    assert_eq!(interrupted.chat.expect("a chat").state(), proto::ChatState::Waiting);
}

#[tokio::test]
async fn only_an_idle_chat_is_archived_and_an_archived_one_takes_no_message() {
    let (_cluster, mut client) = cluster().await;
    let id = client.create_chat("first").await.chat_id;
    let archive = proto::ArchiveChatRequest { chat_id: id.clone(), request_id: String::new() };

    let refused = client.chats.archive_chat(archive.clone()).await.expect_err("it runs");
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!((refused.code(), info.reason.as_str()), (Code::FailedPrecondition, "STATE_FORBIDS"));
    assert_eq!(
        (info.metadata["state"].as_str(), info.metadata["command"].as_str()),
        ("running", "ArchiveChat")
    );

    let interrupt = proto::InterruptChatRequest { chat_id: id.clone(), ..Default::default() };
    client.chats.interrupt_chat(interrupt).await.expect("interrupted");
    let archived = client.chats.archive_chat(archive).await.expect("archived").into_inner();
    assert!(archived.chat.expect("a chat").archived);
    let refused = client.send(&id, "hello?").await.expect_err("archived");
    assert_eq!(reason(&refused), "STATE_FORBIDS");
    let unarchive = proto::UnarchiveChatRequest { chat_id: id.clone(), request_id: String::new() };
    let live = client.chats.unarchive_chat(unarchive).await.expect("unarchived").into_inner();
    assert!(!live.chat.expect("a chat").archived);
    client.send(&id, "hello?").await.expect("sent");
}

#[tokio::test]
async fn chats_are_listed_by_their_last_change_page_by_page() {
    let (_cluster, mut client) = cluster().await;
    let mut created = Vec::new();
    for number in 0..5 {
        created.push(client.create_chat(&format!("chat {number}")).await.chat_id);
    }
    client.send(&created[1], "newest again").await.expect("queued");

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListChatsRequest { page_size: 2, page_token, q: String::new() };
        let page = client.chats.list_chats(request).await.expect("listed").into_inner();
        listed.extend(page.chats.into_iter().filter_map(|listed| Some(listed.chat?.chat_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    let expected: Vec<String> = [1, 4, 3, 2, 0].map(|index: usize| created[index].clone()).into();
    assert_eq!(listed, expected);
    for page_token in ["nonsense", "e30"] {
        let request = proto::ListChatsRequest { page_token: page_token.to_owned(), ..Default::default() };
        let refused = client.chats.list_chats(request).await.expect_err("not ours");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    }
}

#[tokio::test]
async fn messages_are_listed_within_bounds_newest_first() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("0").await.chat_id;
    for number in 1..6 {
        let request = proto::SendMessageRequest {
            chat_id: chat.clone(),
            parts: vec![text(&number.to_string())],
            busy_behavior: proto::BusyBehavior::Interrupt.into(),
            ..Default::default()
        };
        client.chats.send_message(request).await.expect("sent");
    }
    let texts = |listed: &proto::ListMessagesResponse| -> Vec<String> {
        listed.messages.iter().map(|message| format!("{:?}", message.parts)).collect()
    };
    let all = list(&mut client, &chat, 0, 0, 0).await;
    assert_eq!(all.messages.len(), 6);
    assert!(!all.has_more);

    let newest = list(&mut client, &chat, 2, 0, 0).await;
    assert_eq!(texts(&newest), texts(&all)[..2]);
    assert!(newest.has_more);
    let older = list(&mut client, &chat, 10, newest.messages[1].message_id, 0).await;
    assert_eq!(texts(&older), texts(&all)[2..]);
    let after = list(&mut client, &chat, 10, 0, newest.messages[1].message_id).await;
    assert_eq!(texts(&after), texts(&all)[..1]);
    assert!(after.queued_messages.is_empty());
}

#[tokio::test]
async fn anothers_chat_is_not_found_and_changes_nothing() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("mine").await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    let id = chat.chat_id.clone();
    let refusals = [
        stranger.chat(&id).await.map(|_| ()),
        stranger.send(&id, "hello").await.map(|_| ()),
        stranger.watch(&id, "").await.map(|_| ()),
        stranger
            .chats
            .interrupt_chat(proto::InterruptChatRequest { chat_id: id.clone(), ..Default::default() })
            .await
            .map(|_| ()),
        stranger
            .chats
            .list_messages(proto::ListMessagesRequest { chat_id: id.clone(), ..Default::default() })
            .await
            .map(|_| ()),
        stranger
            .chats
            .archive_chat(proto::ArchiveChatRequest { chat_id: id.clone(), ..Default::default() })
            .await
            .map(|_| ()),
    ];

    for refusal in refusals {
        let refused = refusal.expect_err("it is somebody else's");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "CHAT_NOT_FOUND"));
    }
    let listed = stranger.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert!(listed.into_inner().chats.is_empty());
    assert_eq!(client.chat(&id).await.expect("it is there"), chat);
    let request = proto::CreateChatRequest {
        parts: vec![text("use it")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let refused = stranger.chats.create_chat(request).await.expect_err("somebody else's workspace");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "WORKSPACE_NOT_FOUND"));
}

#[tokio::test]
async fn bad_fields_are_named_and_nothing_is_stored() {
    let (_cluster, mut client) = cluster().await;
    let valid = || proto::CreateChatRequest { parts: vec![text("hello")], ..Default::default() };
    let many_labels = (0..51).map(|number| (format!("key{number}"), "value".to_owned())).collect();
    let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let cases: Vec<(&str, proto::CreateChatRequest)> = vec![
        ("parts", proto::CreateChatRequest { parts: vec![], ..valid() }),
        ("parts[0].text", proto::CreateChatRequest { parts: vec![text(" \n ")], ..valid() }),
        (
            "parts[1]",
            proto::CreateChatRequest { parts: vec![text("a"), proto::Part { kind: None }], ..valid() },
        ),
        ("parts[0].text", proto::CreateChatRequest { parts: vec![text(&"x".repeat(262_145))], ..valid() }),
        ("parts", proto::CreateChatRequest { parts: vec![text("x"); 101], ..valid() }),
        ("parts", proto::CreateChatRequest { parts: vec![text(&"x".repeat(262_144)); 11], ..valid() }),
        ("request_id", proto::CreateChatRequest { request_id: "seven".to_owned(), ..valid() }),
        ("workspace_id", proto::CreateChatRequest { workspace_id: "seven".to_owned(), ..valid() }),
        ("effort", proto::CreateChatRequest { effort: 77, ..valid() }),
        ("labels", proto::CreateChatRequest { labels: many_labels, ..valid() }),
        ("labels[\"-x\"]", proto::CreateChatRequest { labels: label("-x", "v"), ..valid() }),
        ("labels[\"x\"]", proto::CreateChatRequest { labels: label("x", ""), ..valid() }),
        ("system_prompt", proto::CreateChatRequest { system_prompt: "x".repeat(65_537), ..valid() }),
    ];

    for (field, request) in cases {
        let refused = client.chats.create_chat(request).await.expect_err(field);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        let details = refused.get_details_bad_request().expect("the fields are named");
        assert_eq!(details.field_violations[0].field, field);
    }
    let unknown = proto::CreateChatRequest { model: "none".to_owned(), ..valid() };
    let refused = client.chats.create_chat(unknown).await.expect_err("no such model");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert!(listed.into_inner().chats.is_empty());
}

#[tokio::test]
async fn bad_ids_bounds_and_sizes_are_refused() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;

    for (id, code, expected) in [
        ("seven", Code::InvalidArgument, "FIELD_INVALID"),
        ("", Code::InvalidArgument, "FIELD_INVALID"),
        ("01890a5d-ac96-774b-bcce-b302099a8057", Code::NotFound, "CHAT_NOT_FOUND"),
    ] {
        let refused = client.chat(id).await.expect_err("no such chat");
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected));
        let refused = client.send(id, "hello").await.expect_err("no such chat");
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected));
    }
    for (page_size, before_id, after_id) in [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 3, 3)] {
        let request = proto::ListMessagesRequest { chat_id: chat.clone(), page_size, before_id, after_id };
        let refused = client.chats.list_messages(request).await.expect_err("bounds");
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }
}

#[tokio::test]
async fn models_and_workspaces_are_listed() {
    let (cluster, mut client) = cluster().await;

    let models = client.chats.list_models(proto::ListModelsRequest::default()).await.expect("listed");
    let workspaces =
        client.chats.list_workspaces(proto::ListWorkspacesRequest::default()).await.expect("listed");

    let models = models.into_inner().models;
    assert_eq!((models[0].name.as_str(), models[0].is_default), ("test", true));
    let workspaces = workspaces.into_inner().workspaces;
    assert_eq!(workspaces[0].workspace_id, cluster.workspace.to_string());
    assert!(!workspaces[0].online);
}

async fn list(
    client: &mut Client,
    chat: &str,
    page_size: i32,
    before_id: i64,
    after_id: i64,
) -> proto::ListMessagesResponse {
    let request = proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size, before_id, after_id };
    client.chats.list_messages(request).await.expect("listed").into_inner()
}
