//! Files belong to a chat by the messages that refer to them.

use chatplane_proto::chat::v1::{self as proto, Part};
use chatplane_tests::{Client, eventually, file_part, text};
use prost_types::FieldMask;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{cluster, files_of, holder::Holder, number, reason, shown, with_settings};

pub(crate) async fn create(client: &mut Client, parts: Vec<Part>) -> Result<proto::Chat, Status> {
    let request = proto::CreateChatRequest { parts, ..Default::default() };
    Ok(client.chats.create_chat(request).await?.into_inner().chat.expect("a chat"))
}

pub(crate) async fn send(
    client: &mut Client,
    chat: &str,
    parts: Vec<Part>,
) -> Result<proto::SendMessageResponse, Status> {
    let request = proto::SendMessageRequest { chat_id: chat.to_owned(), parts, ..Default::default() };
    Ok(client.chats.send_message(request).await?.into_inner())
}

async fn edit(
    client: &mut Client,
    chat: &str,
    message_id: i64,
    parts: Vec<Part>,
) -> Result<proto::Chat, Status> {
    let request =
        proto::EditMessageRequest { chat_id: chat.to_owned(), message_id, parts, ..Default::default() };
    Ok(client.chats.edit_message(request).await?.into_inner().chat.expect("a chat"))
}

/// Uploads files by these names.
pub(crate) async fn upload<const N: usize>(client: &mut Client, names: [&str; N]) -> [proto::File; N] {
    let mut files = Vec::new();
    for name in names {
        files.push(client.upload(name, name.as_bytes()).await.expect("it is stored"));
    }
    files.try_into().expect("one a name")
}

fn ids<const N: usize>(files: [&proto::File; N]) -> Vec<String> {
    files.iter().map(|file| file.file_id.clone()).collect()
}

#[tokio::test]
async fn a_chat_shows_the_files_of_its_messages_in_their_order() {
    let (cluster, mut client) = cluster().await;
    let [a, b, c] = upload(&mut client, ["a", "b", "c"]).await;

    let created = create(&mut client, vec![file_part(&b), text("x"), file_part(&b)]).await.expect("created");
    let mut holder = Holder::open(&cluster).await;
    holder.finish().await;
    let sent =
        send(&mut client, &created.chat_id, vec![file_part(&b), file_part(&a)]).await.expect("it is sent");

    assert_eq!(created.files, vec![b.clone()]);
    let chat = sent.chat.expect("a chat");
    assert_eq!(chat.files, vec![b.clone(), a.clone()]);
    assert_eq!(sent.messages[0].parts, [shown(&b), shown(&a)]);
    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there"), chat);
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("it is listed");
    assert_eq!(listed.into_inner().chats[0].chat.as_ref(), Some(&chat));
    let other = create(&mut client, vec![file_part(&c), text("x")]).await.expect("it is created");
    assert_eq!(other.files, vec![c]);
}

#[tokio::test]
async fn a_file_that_is_not_the_callers_is_not_found_and_nothing_is_stored() {
    let (cluster, mut client) = cluster().await;
    let [mine] = upload(&mut client, ["mine"]).await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let [theirs] = upload(&mut stranger, ["theirs"]).await;
    let gone = proto::File { file_id: Uuid::now_v7().to_string(), ..Default::default() };
    let chat = create(&mut client, vec![text("hello"), file_part(&mine)]).await.expect("it is created");
    let first = client.messages(&chat.chat_id).await.last().expect("a message").message_id;
    let queued = send(&mut client, &chat.chat_id, vec![text("next")]).await.expect("it is queued");
    let queued = queued.queued_message.expect("queued").queued_message_id;
    let before = client.chat(&chat.chat_id).await.expect("it is there");

    for file in [&theirs, &gone] {
        let parts = vec![file_part(&mine), file_part(file)];
        let request = proto::EditQueuedMessageRequest {
            chat_id: chat.chat_id.clone(),
            queued_message_id: queued.clone(),
            parts: parts.clone(),
            ..Default::default()
        };
        for refused in [
            create(&mut client, parts.clone()).await.err(),
            send(&mut client, &chat.chat_id, parts.clone()).await.err(),
            edit(&mut client, &chat.chat_id, first, parts).await.err(),
            client.chats.edit_queued_message(request).await.err(),
        ] {
            let refused = refused.expect("it is refused");
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
        }
    }
    // Whether a file is there is not told to whom the chat is not.
    for file in [&theirs, &gone] {
        let refused =
            send(&mut stranger, &chat.chat_id, vec![file_part(file)]).await.expect_err("not theirs");
        assert_eq!(reason(&refused), "CHAT_NOT_FOUND");
    }

    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there"), before);
    let mut connection = cluster.database.connection().await;
    assert_eq!(number(&mut connection, "select count(*) from chats").await, 1);
    assert_eq!(number(&mut connection, "select count(*) from chat_files").await, 1);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_was() {
    let (_cluster, mut client) = cluster().await;
    let [a] = upload(&mut client, ["a"]).await;
    let create = proto::CreateChatRequest {
        request_id: Uuid::now_v7().to_string(),
        parts: vec![file_part(&a)],
        ..Default::default()
    };
    let first = client.chats.create_chat(create.clone()).await.expect("it is created").into_inner();
    let chat_id = first.chat.clone().expect("a chat").chat_id;
    let send = proto::SendMessageRequest {
        chat_id: chat_id.clone(),
        request_id: Uuid::now_v7().to_string(),
        parts: vec![file_part(&a), text("x")],
        ..Default::default()
    };
    let sent = client.chats.send_message(send.clone()).await.expect("it is queued").into_inner();

    let created_again = client.chats.create_chat(create).await.expect("it is a repeat").into_inner();
    let sent_again = client.chats.send_message(send).await.expect("it is a repeat").into_inner();

    assert_eq!(created_again, first);
    assert_eq!(sent_again, sent);
    assert_eq!(client.chat(&chat_id).await.expect("it is there").queue_length, 1);
}

#[tokio::test]
async fn a_repeat_shows_the_files_of_then_though_requests_keep_none() {
    let (cluster, mut client) = cluster().await;
    let [a, b, c] = upload(&mut client, ["a", "b", "c"]).await;
    let request_id = || Uuid::now_v7().to_string();
    let create = proto::CreateChatRequest {
        request_id: request_id(),
        parts: vec![file_part(&a)],
        ..Default::default()
    };
    let created = client.chats.create_chat(create.clone()).await.expect("it is created").into_inner();
    let chat_id = created.chat.clone().expect("a chat").chat_id;
    let message_id = created.message.as_ref().expect("a message").message_id;
    let sending = proto::SendMessageRequest {
        chat_id: chat_id.clone(),
        request_id: request_id(),
        parts: vec![file_part(&b)],
        ..Default::default()
    };
    let sent = client.chats.send_message(sending.clone()).await.expect("it is queued").into_inner();
    let title = proto::UpdateChatRequest {
        chat_id: chat_id.clone(),
        request_id: request_id(),
        title: "title".to_owned(),
        update_mask: Some(FieldMask { paths: vec!["title".to_owned()] }),
        ..Default::default()
    };
    let titled = client.chats.update_chat(title.clone()).await.expect("it is titled").into_inner();
    let fork = proto::ForkChatRequest { chat_id: chat_id.clone(), message_id, request_id: request_id() };
    let forked = client.chats.fork_chat(fork.clone()).await.expect("it is forked").into_inner();
    send(&mut client, &chat_id, vec![file_part(&c)]).await.expect("it is queued");

    let created_again = client.chats.create_chat(create).await.expect("it is a repeat").into_inner();
    let sent_again = client.chats.send_message(sending.clone()).await.expect("it is a repeat").into_inner();
    let titled_again = client.chats.update_chat(title).await.expect("it is a repeat").into_inner();
    let forked_again = client.chats.fork_chat(fork).await.expect("it is a repeat").into_inner();

    assert_eq!((created_again, &sent_again), (created, &sent));
    assert_eq!((titled_again, forked_again), (titled, forked));
    assert_eq!(files_of(&sent_again.chat.expect("a chat")), ids([&a, &b]));
    let mut connection = cluster.database.connection().await;
    let keeping = "select count(*) from requests where result::text like '%sha256%'";
    assert_eq!(number(&mut connection, keeping).await, 0);
    let delete = proto::DeleteQueuedMessageRequest {
        chat_id,
        queued_message_id: sent.queued_message.expect("it is queued").queued_message_id,
        ..Default::default()
    };
    client.chats.delete_queued_message(delete).await.expect("it is deleted");
    let without = client.chats.send_message(sending).await.expect("it is a repeat").into_inner();
    assert_eq!(
        files_of(&without.chat.expect("a chat")),
        ids([&a]),
        "what is not the chat's any more is not shown"
    );
}

#[tokio::test]
async fn a_message_with_more_files_than_a_chat_may_have_is_refused() {
    let (_cluster, mut client) = with_settings([("CHATPLANE_FILES_PER_CHAT_MAX", "2".to_owned())]).await;
    let [a, b, c] = upload(&mut client, ["a", "b", "c"]).await;

    let too_many = create(&mut client, vec![file_part(&a), file_part(&b), file_part(&c)]).await;
    let chat = create(&mut client, vec![file_part(&a), file_part(&a)]).await.expect("it has one").chat_id;
    send(&mut client, &chat, vec![file_part(&b), text("x")]).await.expect("now it has two");
    let above = send(&mut client, &chat, vec![file_part(&c)]).await;
    let first = client.messages(&chat).await.last().expect("a message").message_id;
    send(&mut client, &chat, vec![file_part(&a), file_part(&b)]).await.expect("it has them already");

    for refused in [too_many.map(drop), above.map(drop)] {
        let refused = refused.expect_err("it would have too many");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
        assert!(refused.message().contains('2'), "{}", refused.message());
    }
    // What goes away with the edit makes room.
    let edited =
        edit(&mut client, &chat, first, vec![file_part(&c), file_part(&b)]).await.expect("it has two");
    assert_eq!(files_of(&edited).len(), 2);
}

#[tokio::test]
async fn an_edit_unlinks_what_no_message_refers_to_any_more() {
    let (cluster, mut client) = cluster().await;
    let [a, b, c, d] = upload(&mut client, ["a", "b", "c", "d"]).await;
    let chat = create(&mut client, vec![file_part(&a)]).await.expect("it is created").chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish().await;
    let second = send(&mut client, &chat, vec![file_part(&a), file_part(&b)]).await.expect("it is sent");
    send(&mut client, &chat, vec![file_part(&c)]).await.expect("it is queued");
    assert_eq!(files_of(&client.chat(&chat).await.expect("it is there")), ids([&a, &b, &c]));

    let edited =
        edit(&mut client, &chat, second.messages[0].message_id, vec![file_part(&d)]).await.expect("edited");

    assert_eq!(files_of(&edited), ids([&a, &d]));
    assert_eq!(client.chat(&chat).await.expect("it is there"), edited);
    for file in [&b, &c] {
        let request = proto::GetFileRequest { file_id: file.file_id.clone() };
        client.files.get_file(request).await.expect("it is the user's still");
    }
}

#[tokio::test]
async fn a_fork_shares_the_files_of_what_it_copies() {
    let (cluster, mut client) = cluster().await;
    let [a, b] = upload(&mut client, ["a", "b"]).await;
    let chat = create(&mut client, vec![file_part(&a)]).await.expect("it is created").chat_id;
    Holder::open(&cluster).await.finish().await;
    let answer = client.messages(&chat).await.last().expect("an answer").message_id;
    send(&mut client, &chat, vec![file_part(&b)]).await.expect("it is sent");

    let request = proto::ForkChatRequest { chat_id: chat.clone(), message_id: answer, ..Default::default() };
    let fork =
        client.chats.fork_chat(request).await.expect("it is forked").into_inner().chat.expect("a chat");

    assert_eq!(fork.files, vec![a.clone()]);
    assert_eq!(client.chat(&fork.chat_id).await.expect("it is there"), fork);
    let copied = client.messages(&fork.chat_id).await;
    let user = copied.iter().find(|message| message.role() == proto::Role::User).expect("it is copied");
    assert_eq!(user.parts, [shown(&a)]);
    assert_eq!(files_of(&client.chat(&chat).await.expect("it is there")), ids([&a, &b]));
}

#[tokio::test]
async fn a_message_that_comes_while_its_file_is_deleted_is_told_that_it_is_not_there() {
    let (cluster, mut client) = cluster().await;
    let chat = create(&mut client, vec![text("hello")]).await.expect("it is created").chat_id;
    let [file] = upload(&mut client, ["a"]).await;
    let mut deleting = cluster.database.connection().await;
    let mut looking = cluster.database.connection().await;
    for statement in ["begin", "select file_id from files for update", "delete from files"] {
        sqlx::query(statement).execute(&mut deleting).await.expect("the statement is right");
    }

    let creating = tokio::spawn({
        let (mut client, parts) = (client.clone(), vec![file_part(&file)]);
        async move { create(&mut client, parts).await }
    });
    let sending = tokio::spawn({
        let (mut client, chat, parts) = (client.clone(), chat.clone(), vec![file_part(&file)]);
        async move { send(&mut client, &chat, parts).await }
    });
    let waiting = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    eventually("both wait", async || (number(&mut looking, waiting).await == 2).then_some(())).await;
    sqlx::query("commit").execute(&mut deleting).await.expect("it is committed");

    let created = creating.await.expect("it does not panic").expect_err("the file is gone");
    let sent = sending.await.expect("it does not panic").expect_err("the file is gone");
    assert_eq!((created.code(), reason(&created).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
    assert_eq!((sent.code(), reason(&sent).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
}
