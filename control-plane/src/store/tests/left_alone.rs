//! Archiving by the clock: what happens between the look and the write.

use chatplane_domain::{ChatId, Command, Decision, Rejection, State};
use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::world::{Outcome, World, run, world};
use crate::store::{Ask, Snapshot, TransactError, Transacted};

/// A pin of the chat.
const PIN: &str = "update chat_user_metadata set pin_order = 1 where chat_id = $1";
/// What a child of the chat does.
const CHILD_IS_BUSY: &str =
    "update chats set state = 'running', runnable_since = now() where parent_chat_id = $1";
const CHILD_WAS_BUSY: &str =
    "update chats set update_time = now() + interval '1 day' where parent_chat_id = $1";
const ALL: [&str; 3] = [PIN, CHILD_IS_BUSY, CHILD_WAS_BUSY];

impl World {
    /// A chat that waits, with a child that does.
    async fn family(&self) -> ChatId {
        let (root, child) = (self.new_chat().await, self.new_chat().await);
        for chat in [root, child] {
            self.apply(chat, Command::InterruptChat).await;
        }
        let related = "update chats set root_chat_id = $1, parent_chat_id = $1 where chat_id = $2";
        let related = sqlx::query(related).bind(root.0).bind(child.0).execute(&self.pool);
        related.await.expect("the statement is right");
        root
    }

    /// Asks whether a chat has been left alone until now.
    async fn left_alone(&self) -> Ask {
        let now: DateTime<Utc> = sqlx::query_scalar("select now() + interval '1 hour'")
            .fetch_one(&self.pool)
            .await
            .expect("a time");
        Ask { left_alone_since: Some(now), ..self.ask() }
    }

    async fn happens(&self, what: &'static str, chat: ChatId) {
        let done = sqlx::query(what).bind(chat.0).execute(&self.pool).await.expect("the statement is right");
        assert_eq!(done.rows_affected(), 1);
    }

    /// Archives the chat if it is left alone, as a sweep does.
    fn sweep_chat(&self, chat: ChatId, ask: Ask) -> JoinHandle<Outcome> {
        let store = self.store.clone();
        tokio::spawn(async move { store.transact(chat, &ask, |_| Ok(()), archive).await })
    }
}

fn archive(snapshot: &Snapshot) -> Result<Decision, Rejection> {
    if snapshot.left_alone != Some(true) {
        return Err(Rejection::MessageNotFound);
    }
    run(snapshot, Command::ArchiveChat)
}

#[tokio::test]
async fn a_family_that_is_left_alone_is_archived() {
    let world = world().await;
    let chat = world.family().await;

    let swept = world.sweep_chat(chat, world.left_alone().await).await.expect("it does not panic");

    let Ok(Transacted::Applied(applied)) = swept else { panic!("{swept:?}") };
    assert!(applied.decision.chat.archived());
    assert_eq!(applied.decision.chat.state(), State::Waiting);
}

#[tokio::test]
async fn what_happens_between_the_look_and_the_write_keeps_a_chat() {
    for what in ALL {
        let world = world().await;
        let chat = world.family().await;
        let ask = world.left_alone().await;
        let snapshot = world.snapshot(chat, &ask).await;
        let decision = archive(&snapshot).expect("it is left alone");

        world.happens(what, chat).await;
        let written = world.store.write(&snapshot, &decision, &ask).await;

        assert!(matches!(written, Ok(false)), "{what}: {written:?}");
        assert!(!world.view(chat).await.archived, "{what}");
    }
}

#[tokio::test]
async fn what_is_happening_at_the_moment_of_the_write_is_waited_for() {
    for what in ALL {
        let world = world().await;
        let chat = world.family().await;
        let ask = world.left_alone().await;
        let mut happening = world.pool.begin().await.expect("it begins");
        sqlx::query(what).bind(chat.0).execute(&mut *happening).await.expect("the statement is right");

        let sweeping = world.sweep_chat(chat, ask);
        world.until_somebody_waits().await;
        happening.commit().await.expect("it is committed");

        let swept = sweeping.await.expect("it does not panic");
        assert!(matches!(swept, Err(TransactError::Refused(_))), "{what}: {swept:?}");
        assert!(!world.view(chat).await.archived, "{what}");
    }
}
