//! Files of a chat: linked while something refers to them.

use chatplane_domain::{
    Body, BusyBehavior, ChatId, Command, DiffSide, EditQueuedMessage, FileRef, MessageId, NextStep,
    QueuedMessageId, SendMessage, UserMessage, UserPart,
};
use uuid::Uuid;

use super::world::{World, applied, edit_message, run, text, world};
use crate::store::{Ask, ChatView, FileView, Snapshot, content};

impl World {
    /// A message that refers to files, and to nothing else.
    pub(super) fn attaching(&self, files: &[&FileView]) -> UserMessage {
        let parts = files.iter().map(|file| {
            UserPart::File(FileRef {
                id: file.file_id,
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size_bytes: file.size_bytes,
            })
        });
        UserMessage { parts: parts.collect(), ..self.message("") }
    }

    pub(super) fn attaches(&self, files: &[&FileView]) -> Ask {
        Ask { files: files.iter().map(|file| file.file_id).collect(), ..self.ask() }
    }

    pub(super) async fn send_files(&self, chat: ChatId, files: &[&FileView]) -> (QueuedMessageId, ChatView) {
        let id = QueuedMessageId(Uuid::now_v7());
        let busy = BusyBehavior::Queue;
        let send = Command::SendMessage(SendMessage { id, message: self.attaching(files), busy });
        (id, applied(self.transact(chat, &self.attaches(files), send).await).reply.chat)
    }
}

fn names(chat: &ChatView) -> Vec<&str> {
    chat.files.iter().map(|file| file.name.as_str()).collect()
}

#[tokio::test]
async fn a_message_links_its_files_each_once_and_in_order() {
    let world = world().await;
    let (a, b, c) = (world.file("a").await, world.file("b").await, world.file("c").await);
    let mut new = world.new_chat_of("");
    new.message = world.attaching(&[&b, &b]);

    let created = applied(world.create(new, &world.attaches(&[&b])).await).reply.chat;
    let chat = created.chat_id;
    let (_, queued) = world.send_files(chat, &[&c, &a, &b]).await;

    assert_eq!(names(&created), ["b"]);
    assert_eq!(names(&queued), ["b", "a", "c"], "a queued message links when it is accepted");
    assert_eq!(world.view(chat).await, queued);
    assert_eq!(world.count("select count(*) from chat_files").await, 3);
    assert!(world.snapshot(chat, &Ask::default()).await.beside.files.is_empty(), "workers are not told");
}

#[tokio::test]
async fn what_is_edited_or_deleted_unlinks_what_nothing_else_refers_to() {
    let world = world().await;
    let (a, b, c) = (world.file("a").await, world.file("b").await, world.file("c").await);
    let chat = world.new_chat().await;
    world.lease(chat).await;
    let (first, _) = world.send_files(chat, &[&a, &b]).await;
    let (second, _) = world.send_files(chat, &[&b, &c]).await;

    let ask = Ask { queued: Some(second), ..world.attaches(&[&a]) };
    let parts = world.attaching(&[&a]).parts;
    let edit = Command::EditQueuedMessage(EditQueuedMessage { id: second, parts });
    let edited = applied(world.transact(chat, &ask, edit).await).reply.chat;
    let ask = Ask { queued: Some(first), ..world.ask() };
    let moved = Command::MoveQueuedMessage { id: first, index: 1 };
    let moved = applied(world.transact(chat, &ask, moved).await).reply.chat;
    let deleted = Command::DeleteQueuedMessage(first);
    let deleted = applied(world.transact(chat, &ask, deleted).await).reply.chat;

    assert_eq!(names(&edited), ["a", "b"], "the first still refers to b");
    assert_eq!(names(&moved), ["a", "b"]);
    assert_eq!(names(&deleted), ["a"], "the second refers to a");
    assert_eq!(world.view(chat).await, deleted);
    assert_eq!(world.count("select count(*) from files").await, 3, "files themselves stay");
}

#[tokio::test]
async fn an_edit_keeps_the_files_of_what_it_keeps() {
    let world = world().await;
    let (a, b, c) = (world.file("a").await, world.file("b").await, world.file("c").await);
    let mut new = world.new_chat_of("");
    new.message = world.attaching(&[&a]);
    let chat = applied(world.create(new, &world.attaches(&[&a])).await).decision.chat.id;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.send_files(chat, &[&a, &b]).await;
    world.lease(chat).await;
    world.send_files(chat, &[&c]).await;

    let ask = Ask { target: Some(MessageId(3)), ..world.ask() };
    let replacement = world.message("no files");
    let edit = |snapshot: &Snapshot| run(snapshot, edit_message(snapshot, 3, replacement.clone()));
    let edited = applied(world.store.transact(chat, &ask, |_| Ok(()), edit).await).reply.chat;

    assert_eq!(names(&edited), ["a"], "b left with its message, c with the queue");
    assert_eq!(world.view(chat).await, edited);
}

#[tokio::test]
async fn a_copy_is_linked_to_the_files_of_what_is_copied() {
    let world = world().await;
    let (a, b) = (world.file("a").await, world.file("b").await);
    let mut new = world.new_chat_of("");
    new.message = world.attaching(&[&a]);
    let source = applied(world.create(new, &world.attaches(&[&a])).await).decision.chat.id;
    world.lease(source).await;
    world.answer(source, vec![text("one")], NextStep::Finish).await;
    world.send_files(source, &[&b]).await;

    let copied = applied(world.fork(source, 2, None).await).reply.chat;
    let bare = applied(world.fork(source, 3, None).await).reply.chat;

    assert_eq!(names(&copied), ["a"]);
    assert_eq!(world.view(copied.chat_id).await, copied);
    assert_eq!(names(&bare), ["a", "b"]);
    assert_eq!(copied.read_message_id, Some(MessageId(2)));
    assert!(!copied.has_unread);
}

#[tokio::test]
async fn a_file_that_went_meanwhile_is_told_and_not_linked() {
    let world = world().await;
    let a = world.file("a").await;
    let chat = world.new_chat().await;
    let ask = world.attaches(&[&a]);
    let snapshot = world.snapshot(chat, &ask).await;
    world.execute("delete from files").await;

    let decision = run(&snapshot, world.send("words")).expect("it is allowed");
    let written = world.store.write(&snapshot, &decision, &ask).await;
    let again = world.snapshot(chat, &ask).await;

    assert!(matches!(written, Ok(false)), "it is read and decided again: {written:?}");
    assert_eq!(snapshot.file_facts.map(|facts| facts.asked.len()), Some(1));
    assert_eq!(again.file_facts.map(|facts| facts.asked.len()), Some(0), "and then it is not there");
}

#[tokio::test]
async fn pieces_that_only_users_have_are_read_as_they_were_stored() {
    let world = world().await;
    let file = world.file("a").await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    let mut message = world.attaching(&[&file]);
    message.parts.push(UserPart::Text("see \0 this".to_owned()));
    message.parts.push(UserPart::FileReference {
        path: "src/\u{1a}.rs".to_owned(),
        start_line: 3,
        end_line: 4,
        snippet: "let it = 1;".to_owned(),
    });
    message.parts.push(UserPart::DiffComment {
        path: "src/b.rs".to_owned(),
        side: DiffSide::Old,
        start_line: 1,
        end_line: 0,
        text: "why?".to_owned(),
    });
    let id = QueuedMessageId(Uuid::now_v7());
    let busy = BusyBehavior::Queue;
    let send = Command::SendMessage(SendMessage { id, message: message.clone(), busy });

    let sent = applied(world.transact(chat, &world.attaches(&[&file]), send).await);
    let listed = world.store.queue_page(chat, None, 10).await.expect("it answers").entries;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    let entered = world.store.messages_by_id(chat, &[MessageId(3)]).await.expect("it answers");

    assert_eq!(listed[0].parts, message.parts);
    assert_eq!(sent.reply.queued.map(|queued| queued.preview_text), Some("see   this".to_owned()));
    let [entered] = entered.as_slice() else { panic!("it entered: {entered:?}") };
    let Body::User(user) = &entered.body else { panic!("{entered:?}") };
    assert_eq!(user.parts, message.parts);
    // The release before reads what has nothing but texts.
    let versions = "select count(*) from messages where content_version = 2";
    assert_eq!(world.count(versions).await, 1);
    assert!(content::check_version(3).is_err());
}
