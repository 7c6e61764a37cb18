//! Files of messages that wait.

use chatplane_proto::chat::v1::{self as proto, ListQueuedMessagesRequest};
use chatplane_tests::{Client, file_part, text};

use crate::{
    cluster, files_of,
    linking::{create, send, upload},
    shown,
};

async fn queue(client: &mut Client, chat: &str) -> Vec<proto::QueuedMessage> {
    let request = ListQueuedMessagesRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.list_queued_messages(request).await.expect("it is listed").into_inner().queued_messages
}

#[tokio::test]
async fn a_queued_message_keeps_its_files_until_it_enters_the_history() {
    let (_cluster, mut client) = cluster().await;
    let [a, b] = upload(&mut client, ["a.txt", "b.txt"]).await;
    let chat = create(&mut client, vec![text("first")]).await.expect("it is created").chat_id;

    let sent = send(&mut client, &chat, vec![file_part(&a), file_part(&b)]).await.expect("it is queued");

    let (changed, queued) = (sent.chat.expect("a chat"), sent.queued_message.expect("it is queued"));
    assert_eq!(files_of(&changed), [a.file_id.clone(), b.file_id.clone()]);
    assert_eq!(queued.preview_text, "a.txt");
    assert_eq!(queue(&mut client, &chat).await[0].parts, [shown(&a), shown(&b)]);

    let request = proto::PromoteQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: queued.queued_message_id,
        ..Default::default()
    };
    let promoted = client.chats.promote_queued_message(request).await.expect("it enters").into_inner();
    assert_eq!(promoted.messages.last().expect("it entered").parts, [shown(&a), shown(&b)]);
    assert_eq!(files_of(&client.chat(&chat).await.expect("it is there")).len(), 2);
}

#[tokio::test]
async fn changing_the_queue_unlinks_what_nothing_refers_to_any_more() {
    let (_cluster, mut client) = cluster().await;
    let [a, b, c, d] = upload(&mut client, ["a", "b", "c", "d"]).await;
    let chat = create(&mut client, vec![file_part(&a)]).await.expect("it is created").chat_id;
    let mut queued = Vec::new();
    for parts in [vec![file_part(&a), file_part(&b)], vec![file_part(&b), file_part(&c)]] {
        let sent = send(&mut client, &chat, parts).await.expect("it is queued");
        queued.push(sent.queued_message.expect("it is queued").queued_message_id);
    }

    let edit = proto::EditQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: queued[1].clone(),
        parts: vec![text("now with"), file_part(&d)],
        ..Default::default()
    };
    let edited = client.chats.edit_queued_message(edit).await.expect("it is edited").into_inner();
    let after_edit = edited.chat.expect("a chat");
    let delete = |queued: &str| proto::DeleteQueuedMessageRequest {
        chat_id: chat.clone(),
        queued_message_id: queued.to_owned(),
        ..Default::default()
    };
    let first = client.chats.delete_queued_message(delete(&queued[0])).await.expect("it is deleted");
    let first = first.into_inner().chat.expect("a chat");
    let last = client.chats.delete_queued_message(delete(&queued[1])).await.expect("it is deleted");
    let last = last.into_inner().chat.expect("a chat");

    assert_eq!(edited.queued_message.expect("it is there").parts, [text("now with"), shown(&d)]);
    // The other message refers to `b` still.
    assert_eq!(files_of(&after_edit), [&a, &b, &d].map(|file| file.file_id.clone()));
    assert_eq!(files_of(&first), [&a, &d].map(|file| file.file_id.clone()));
    assert_eq!(files_of(&last), [a.file_id]);
    assert_eq!(client.chat(&chat).await.expect("it is there"), last);
}
