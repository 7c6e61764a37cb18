//! What becomes of files that no chat is linked to.

use std::time::Duration;

use chatplane_domain::{ChatId, Command, MessageId};
use sqlx::Connection as _;

use super::world::{World, applied, edit_message, run, world};
use crate::store::{Ask, FileView, Snapshot, files::sweep::SweptFiles};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl World {
    async fn chat_with(&self, file: &FileView) -> ChatId {
        let mut new = self.new_chat_of("");
        new.message = self.attaching(&[file]);
        applied(self.create(new, &self.attaches(&[file])).await).decision.chat.id
    }

    /// As if it were two days later.
    async fn two_days_pass(&self) {
        self.execute("update files set unlink_time = unlink_time - interval '2 days'").await;
    }

    async fn sweep(&self) -> SweptFiles {
        self.store.sweep_files(DAY, 10).await.expect("it answers")
    }

    /// Names of the files that there are.
    async fn names(&self) -> Vec<String> {
        let names = sqlx::query_scalar("select name from files order by name").fetch_all(&self.pool);
        names.await.expect("the statement is right")
    }

    async fn contents(&self) -> i64 {
        self.count("select count(*) from file_contents").await
    }
}

#[tokio::test]
async fn what_was_uploaded_and_linked_nowhere_goes_after_a_while() {
    let world = world().await;
    let linked = world.file("linked").await;
    world.file("unused").await;
    world.chat_with(&linked).await;

    let at_once = world.sweep().await;
    world.two_days_pass().await;
    let later = world.sweep().await;
    let again = world.sweep().await;

    assert_eq!(at_once, SweptFiles::default());
    assert_eq!(later, SweptFiles { seen: 2, deleted: 1 });
    assert_eq!(again, SweptFiles::default(), "what is linked is not looked at again");
    assert_eq!((world.names().await, world.contents().await), (vec!["linked".to_owned()], 1));
}

#[tokio::test]
async fn what_is_unlinked_goes_after_a_while_unless_another_chat_is_linked_to_it() {
    let world = world().await;
    let (mine, shared) = (world.file("mine").await, world.file("shared").await);
    world.chat_with(&shared).await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    let (queued, _) = world.send_files(chat, &[&mine, &shared]).await;
    world.two_days_pass().await;
    assert_eq!(world.sweep().await, SweptFiles { seen: 2, deleted: 0 });

    let ask = Ask { queued: Some(queued), ..world.ask() };
    applied(world.transact(chat, &ask, Command::DeleteQueuedMessage(queued)).await);
    let at_once = world.sweep().await;
    world.two_days_pass().await;
    let later = world.sweep().await;

    assert_eq!(at_once, SweptFiles::default(), "whoever edits has time to use it again");
    assert_eq!(later, SweptFiles { seen: 2, deleted: 1 });
    assert_eq!((world.names().await, world.contents().await), (vec!["shared".to_owned()], 1));
}

#[tokio::test]
async fn an_edit_that_drops_a_file_lets_it_go_though_the_chat_is_deleted_later() {
    let world = world().await;
    let file = world.file("file").await;
    let chat = world.chat_with(&file).await;
    world.apply(chat, Command::InterruptChat).await;
    let ask = Ask { target: Some(MessageId(1)), ..world.ask() };
    let replacement = world.message("no file");
    let edit = |snapshot: &Snapshot| run(snapshot, edit_message(snapshot, 1, replacement.clone()));
    applied(world.store.transact(chat, &ask, |_| Ok(()), edit).await);
    world.apply(chat, Command::InterruptChat).await;
    world.apply(chat, Command::ArchiveChat).await;
    world.apply(chat, Command::DeleteChat).await;
    assert_eq!(world.names().await, ["file"]);

    world.two_days_pass().await;
    world.sweep().await;

    assert_eq!((world.names().await.len(), world.contents().await), (0, 0));
}

#[tokio::test]
async fn a_file_that_somebody_is_linking_or_that_has_another_name_keeps_what_it_needs() {
    let world = world().await;
    let file = world.file("file").await;
    let sha256: [u8; 32] = sqlx::query_scalar::<_, Vec<u8>>("select sha256 from files")
        .fetch_one(&world.pool)
        .await
        .expect("it is there")
        .try_into()
        .expect("it has 32 bytes");
    let chat = world.new_chat().await;
    world.two_days_pass().await;
    world.file_named("other name", sha256).await;
    let mut linking = world.pool.begin().await.expect("it begins");
    sqlx::query("insert into chat_files (chat_id, file_id) values ($1, $2)")
        .bind(chat.0)
        .bind(file.file_id.0)
        .execute(&mut *linking)
        .await
        .expect("it is new");

    let meanwhile = world.sweep().await;
    linking.rollback().await.expect("it ends");
    let after = world.sweep().await;

    assert_eq!(meanwhile, SweptFiles::default());
    assert_eq!(after, SweptFiles { seen: 1, deleted: 1 });
    assert_eq!((world.names().await, world.contents().await), (vec!["other name".to_owned()], 1));
}

#[tokio::test]
async fn two_sweeps_at_once_do_not_wait_for_each_other() {
    let world = world().await;
    world.file("file").await;
    world.two_days_pass().await;
    let mut other = world.pool.acquire().await.expect("it connects");
    let mut sweeping = other.begin().await.expect("it begins");
    sqlx::query("select file_id from files for update")
        .fetch_all(&mut *sweeping)
        .await
        .expect("it is locked");

    let passed_over = world.sweep().await;
    sweeping.rollback().await.expect("it ends");

    assert_eq!(passed_over, SweptFiles::default());
    assert_eq!(world.sweep().await, SweptFiles { seen: 1, deleted: 1 });
}
