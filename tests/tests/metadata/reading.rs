//! How far a chat was read, and what makes it unread.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options,
    model_server::{Gate, ModelServer, Purpose, say},
    text,
};
use tonic::Code;

use crate::{answered, answering, becomes, cluster, fields, last_message, mark_read, new_id, reason};

#[tokio::test]
async fn an_answer_makes_a_chat_unread_and_a_users_message_does_not() {
    let model = ModelServer::start(|_| say("Done.")).await;
    let options = Options { model_url: model.url(), ..Options::default() };
    let mut cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await;
    client.send(&chat.chat_id, "and more").await.expect("it is queued");
    let before = client.chat(&chat.chat_id).await.expect("it is there");

    cluster.add_worker();
    let after = answered(&mut client, &chat.chat_id).await;

    assert_eq!((chat.read_message_id, chat.has_unread), (0, false));
    assert_eq!((before.read_message_id, before.has_unread), (0, false));
    assert_eq!((after.read_message_id, after.has_unread), (0, true));
}

#[tokio::test]
async fn what_was_read_grows_to_the_newest_message_and_never_back() {
    let (_model, _cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    let unread = answered(&mut client, &chat).await;
    let messages: Vec<i64> =
        client.messages(&chat).await.into_iter().map(|message| message.message_id).collect();
    let [question, answer] = messages[messages.len() - 2..] else { panic!("it was answered") };

    let asked = mark_read(&mut client, &chat, question).await.expect("it was read");
    let newest = mark_read(&mut client, &chat, 0).await.expect("it was read");
    let back = mark_read(&mut client, &chat, question).await.expect("it stays where it is");
    let beyond = mark_read(&mut client, &chat, i64::MAX).await.expect("that is the newest");
    client.send(&chat, "again").await.expect("it is sent");
    let again = answered(&mut client, &chat).await;
    let jumped = mark_read(&mut client, &chat, answer + 999).await.expect("that is the newest");

    assert!(unread.has_unread);
    assert_eq!((asked.read_message_id, asked.has_unread), (question, true));
    for read in [&newest, &back, &beyond] {
        assert_eq!((read.read_message_id, read.has_unread), (answer, false));
    }
    assert_eq!((newest.snapshot_version, newest.metadata_version), (unread.snapshot_version, 1));
    assert_eq!((again.read_message_id, again.has_unread), (answer, true));
    assert_eq!(jumped.read_message_id, last_message(&mut client, &chat).await);
    assert!(!jumped.has_unread);
    assert_eq!(client.chat(&chat).await.expect("it is there"), jumped);
}

#[tokio::test]
async fn boundaries_do_not_make_a_chat_unread() {
    let model = ModelServer::start(|request| match request.purpose() {
        Purpose::Summary => say("They said hello."),
        Purpose::Turn | Purpose::Title => say("Done."),
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;
    mark_read(&mut client, &chat, 0).await.expect("it was read");
    let before = client.messages(&chat).await.len();

    let compact = proto::CompactChatRequest { chat_id: chat.clone(), ..Default::default() };
    client.chats.compact_chat(compact).await.expect("it is to be summarized");
    let compacted = answered(&mut client, &chat).await;
    client.send(&chat, "again").await.expect("it is sent");
    answered(&mut client, &chat).await;
    mark_read(&mut client, &chat, 0).await.expect("it was read");
    let clear = proto::ClearContextRequest { chat_id: chat.clone(), ..Default::default() };
    let cleared = client.chats.clear_context(clear).await.expect("it is cleared").into_inner().chat;

    assert!(client.messages(&chat).await.len() > before + 2, "boundaries are messages, too");
    assert!(!compacted.has_unread);
    assert!(!cleared.expect("a chat").has_unread);
    assert!(!client.chat(&chat).await.expect("it is there").has_unread);
}

#[tokio::test]
async fn an_answer_that_is_taken_back_leaves_nothing_unread() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| {
        let mut script = say("Done.");
        if request.last_user_text().contains("edited") {
            script.insert(0, held.wait());
        }
        script
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let created = proto::CreateChatRequest { parts: vec![text("hello")], ..Default::default() };
    let created = client.chats.create_chat(created).await.expect("it is created").into_inner();
    let (chat, question) =
        (created.chat.expect("a chat").chat_id, created.message.expect("a message").message_id);
    let unread = answered(&mut client, &chat).await;

    let edit = proto::EditMessageRequest {
        chat_id: chat.clone(),
        message_id: question,
        parts: vec![text("edited")],
        ..Default::default()
    };
    client.chats.edit_message(edit).await.expect("it is edited");
    gate.reached().await;
    let taken_back = client.chat(&chat).await.expect("it is there");
    gate.open();
    let again = answered(&mut client, &chat).await;

    assert_eq!([unread, taken_back, again].map(|chat| chat.has_unread), [true, false, true]);
}

#[tokio::test]
async fn a_watch_reads_what_it_shows_when_it_begins_and_when_it_ends() {
    let (_model, _cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;
    let first = last_message(&mut client, &chat).await;

    let mut watch = client.watch(&chat, "").await.expect("it can be watched");
    let begun = becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;
    client.send(&chat, "again").await.expect("it is sent");
    let meanwhile = answered(&mut client, &chat).await;
    let second = last_message(&mut client, &chat).await;
    loop {
        let event = watch.message().await.expect("the stream goes on").expect("the stream goes on");
        if let Some(proto::watch_chat_response::Event::State(state)) = event.event
            && state.snapshot_version == meanwhile.snapshot_version
        {
            break;
        }
    }
    let still = client.chat(&chat).await.expect("it is there");
    drop(watch);
    let ended = becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;

    assert_eq!(begun.read_message_id, first);
    assert_eq!((still.read_message_id, still.has_unread), (first, true));
    assert_eq!(ended.read_message_id, second);
}

#[tokio::test]
async fn a_watch_without_history_and_one_with_a_cursor_read_the_chat_too() {
    let (_model, _cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;

    let request =
        proto::WatchChatRequest { chat_id: chat.clone(), history_limit: Some(0), ..Default::default() };
    let mut watch = client.chats.watch_chat(request).await.expect("it can be watched").into_inner();
    becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;
    let cursor = watch.message().await.expect("an event").expect("an event").cursor;
    drop(watch);
    client.send(&chat, "again").await.expect("it is sent");
    answered(&mut client, &chat).await;
    let _resumed = client.watch(&chat, &cursor).await.expect("it can be watched");
    let read = becomes(&mut client, &chat, "it is read", |chat| !chat.has_unread).await;

    assert_eq!(read.read_message_id, last_message(&mut client, &chat).await);
}

#[tokio::test]
async fn anothers_chat_is_none_and_bad_fields_are_named() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    let theirs = mark_read(&mut stranger, &chat, 0).await.expect_err("it is not theirs");
    let nobodys = mark_read(&mut client, &new_id(), 0).await.expect_err("there is none");
    let before_all = mark_read(&mut client, &chat, -1).await.expect_err("there is none");
    let malformed = mark_read(&mut client, "seven", 0).await.expect_err("it is no id");

    for refused in [theirs, nobodys] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "CHAT_NOT_FOUND"));
    }
    assert_eq!(fields(&before_all), ["message_id"]);
    assert_eq!(fields(&malformed), ["chat_id"]);
}

#[tokio::test]
async fn an_archived_chat_can_be_read() {
    let (_model, _cluster, mut client) = answering().await;
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;

    let archived = crate::archive(&mut client, &chat).await.expect("it is archived");
    let read = mark_read(&mut client, &chat, 0).await.expect("it was read");

    assert_eq!((archived.has_unread, read.has_unread), (true, false));
}
