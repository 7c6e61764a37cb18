//! Hints between replicas. Polls, renewals and sweeps come every hour here, so that what
//! is seen was hinted at; and every moment where no hint gets through.

use std::time::Duration;

use chatplane_control_plane::{Limits, SchedulerLimits};
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_response::Message as Down},
};
use chatplane_tests::{Client, DEADLINE, Database, eventually};
use sqlx::PgConnection;
use tokio::time::timeout;
use tonic::Streaming;

use crate::{
    comes_to,
    replica::{Replica, World, quick},
    worker::{Held, Worker, answer},
};

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);

/// Replicas that find nothing by themselves.
pub(crate) fn hints_only() -> (Limits, SchedulerLimits) {
    let limits = SchedulerLimits { session_ttl: NEVER, renew_every: NEVER, sweep_every: NEVER, ..quick() };
    (Limits { watch_poll_interval: NEVER, ..Limits::default() }, limits)
}

/// Replicas that look for themselves all the time.
fn polls_only() -> (Limits, SchedulerLimits) {
    (Limits { watch_poll_interval: Duration::from_millis(100), ..Limits::default() }, quick())
}

async fn replica(world: &World, (calls, limits): (Limits, SchedulerLimits)) -> Replica {
    world.replica_within(calls, limits).await
}

/// A watcher of one chat.
struct Watcher(Streaming<chat::WatchChatResponse>);

impl Watcher {
    async fn open(client: &mut Client, chat_id: &str) -> Self {
        Self(client.watch(chat_id, "").await.expect("the chat can be watched"))
    }

    /// Waits until the chat is said to be in this state.
    async fn sees(&mut self, state: chat::ChatState) {
        let seen = async {
            loop {
                let event = self.0.message().await.expect("the stream goes on").expect("the stream goes on");
                let Some(chat::watch_chat_response::Event::State(change)) = event.event else { continue };
                if change.state() == state {
                    return;
                }
            }
        };
        timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{state:?} is seen"));
    }
}

async fn interrupt(client: &mut Client, chat_id: &str) {
    let request = chat::InterruptChatRequest { chat_id: chat_id.to_owned(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is interrupted");
}

async fn is_told_to_stop(worker: &mut Worker, held: &Held) {
    let told = worker.next().await.expect("a word");
    let Down::Interrupt(interrupt) = told else { panic!("not an interruption: {told:?}") };
    assert_eq!(interrupt.lease, Some(held.lease_key()));
}

async fn hands_in(worker: &mut Worker, held: &mut Held) {
    let finish = proto::FinishInterruptionRequest {
        header: held.write(),
        partial: Some(answer("As far as")),
        results: Vec::new(),
        model_call: 1,
    };
    worker.calls.finish_interruption(finish).await.expect("it is finished");
}

#[tokio::test]
async fn what_happens_on_one_replica_reaches_the_watchers_on_another() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut client = world.client(&first);
    let created = client.create_chat("Hello").await;
    let mut watcher = Watcher::open(&mut world.client(&second), &created.chat_id).await;
    watcher.sees(chat::ChatState::Running).await;

    // The first of them may be seen because LISTEN has just begun; not all.
    for _ in 0..3 {
        interrupt(&mut client, &created.chat_id).await;
        watcher.sees(chat::ChatState::Waiting).await;
        client.send(&created.chat_id, "Go on.").await.expect("it is sent");
        watcher.sees(chat::ChatState::Running).await;
    }
}

#[tokio::test]
async fn what_happens_on_one_replica_reaches_who_watches_all_chats_on_another() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut client = world.client(&first);
    let request = chat::WatchChatsRequest::default();
    let mut watching =
        world.client(&second).chats.watch_chats(request).await.expect("they can be watched").into_inner();

    for _ in 0..3 {
        let created = client.create_chat("Hello").await.chat_id;
        let seen = async {
            loop {
                let event =
                    watching.message().await.expect("the stream goes on").expect("the stream goes on");
                let Some(chat::watch_chats_response::Event::ChatChanged(changed)) = event.event else {
                    continue;
                };
                if changed.chat.is_some_and(|chat| chat.chat_id == created) {
                    return;
                }
            }
        };
        timeout(DEADLINE, seen).await.expect("the new chat is seen");
    }
}

#[tokio::test]
async fn a_stop_on_one_replica_reaches_the_worker_of_another() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let mut client = world.client(&first);
    let created = world.client(&second).create_chat("Hello").await;
    let mut held = worker.lease().await;

    for no in 0..2 {
        interrupt(&mut client, &created.chat_id).await;
        is_told_to_stop(&mut worker, &held).await;
        hands_in(&mut worker, &mut held).await;
        worker.forget(&held).await;
        comes_to(&mut client, &created.chat_id, chat::ChatState::Waiting).await;
        if no == 0 {
            world.client(&second).send(&created.chat_id, "Go on.").await.expect("it is sent");
            held = worker.lease().await;
        }
    }
}

#[tokio::test]
async fn an_edit_on_one_replica_reaches_the_worker_of_another() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let mut client = world.client(&first);
    let created = world.client(&second).create_chat("Hello").await;
    let held = worker.lease().await;
    let message_id = client.messages(&created.chat_id).await[0].message_id;

    let edit = chat::EditMessageRequest {
        chat_id: created.chat_id.clone(),
        message_id,
        parts: vec![chatplane_tests::text("Good morning")],
        ..Default::default()
    };
    client.chats.edit_message(edit).await.expect("it is edited");

    let told = worker.next().await.expect("a word");
    let Down::Reload(reload) = told else { panic!("not a reload: {told:?}") };
    assert_eq!(reload.lease, Some(held.lease_key()));
}

#[tokio::test]
async fn a_chat_that_waits_on_one_replica_is_taken_by_a_worker_of_another() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let mut client = world.client(&first);

    for _ in 0..3 {
        let created = client.create_chat("Hello").await;
        let mut held = worker.lease().await;
        assert_eq!(held.chat, created.chat_id);
        worker.finish(&mut held).await;
        worker.forget(&held).await;
    }
}

#[tokio::test]
async fn replicas_that_hear_nothing_of_each_other_find_everything_by_themselves() {
    let world = World::new().await;
    let (elsewhere, nowhere) = (Database::create().await, Database::create().await);
    let deaf = async |database: &Database| {
        let (calls, limits) = polls_only();
        let listener = Some(database.url().to_owned());
        world.replica_with(calls, limits, |config| config.listener_database_url = listener).await
    };
    let (first, second) = (deaf(&elsewhere).await, deaf(&nowhere).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let mut client = world.client(&first);

    let created = client.create_chat("Hello").await;
    let mut held = worker.lease().await;
    let mut watcher = Watcher::open(&mut world.client(&second), &created.chat_id).await;
    watcher.sees(chat::ChatState::Running).await;
    interrupt(&mut client, &created.chat_id).await;

    watcher.sees(chat::ChatState::Interrupting).await;
    is_told_to_stop(&mut worker, &held).await;
    hands_in(&mut worker, &mut held).await;
    watcher.sees(chat::ChatState::Waiting).await;
}

#[tokio::test]
async fn connections_for_hints_that_are_ended_come_back_and_nothing_is_missed() {
    let world = World::new().await;
    let (first, second) = (replica(&world, hints_only()).await, replica(&world, hints_only()).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let mut client = world.client(&first);
    let created = world.client(&second).create_chat("Hello").await;
    let mut held = worker.lease().await;
    let mut watcher = Watcher::open(&mut world.client(&second), &created.chat_id).await;
    watcher.sees(chat::ChatState::Running).await;
    let mut database = world.database.connection().await;

    for _ in 0..3 {
        end_hints(&mut database).await;
        interrupt(&mut client, &created.chat_id).await;
        watcher.sees(chat::ChatState::Interrupting).await;
        is_told_to_stop(&mut worker, &held).await;
        end_hints(&mut database).await;
        hands_in(&mut worker, &mut held).await;
        worker.forget(&held).await;
        watcher.sees(chat::ChatState::Waiting).await;
        end_hints(&mut database).await;
        client.send(&created.chat_id, "Go on.").await.expect("it is sent");
        held = worker.lease().await;
        watcher.sees(chat::ChatState::Running).await;
    }
}

/// Ends every connection for hints. There are some: two of each replica.
async fn end_hints(database: &mut PgConnection) {
    eventually("there are connections for hints", async || {
        let query = "select count(pg_terminate_backend(a.pid)) \
                     from pg_stat_activity a \
                     where a.datname = current_database() \
                     and a.application_name = 'chatplane hints'";
        let ended: i64 = sqlx::query_scalar(query).fetch_one(&mut *database).await.expect("it answers");
        (ended > 0).then_some(())
    })
    .await;
}
