//! The soak: two hundred chats under everything that users can do, at once and at random;
//! then everything comes to rest, and every invariant of the state machine is looked for
//! in the database, and every watcher's transcript is held against the chat.
//!
//! Meanwhile workers die (`kill -9`) and others take their place. Every other fault is left to
//! the chaos of part 4, which has several replicas: a replica that dies or is paused, a worker
//! that is paused and comes back, a workspace agent that dies, connections that are cut or
//! partitioned, and a database that restarts or ends its backends.
//!
//! It runs for 10 s, with `CI=true` for 120 s, and for as long as `CHATPLANE_SOAK_SECONDS`
//! says; a little longer where something that must be put to the test has not come to pass
//! yet. `CHATPLANE_SOAK_SEED` repeats the choices of a run, though not its timing.

mod audience;
mod faults;
mod invariants;
mod model;
mod records;
mod settings;
mod storm;
mod trace;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use chatplane_proto::chat::v1::{self as proto, ChatState};
use chatplane_tests::{Client, Cluster, DEADLINE, Database, Options, eventually, model_server::ModelServer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};

use crate::{
    audience::Watched,
    settings::Settings,
    storm::{Storm, User},
};

/// Chats that users begin; copies come on top.
const CHATS: usize = 200;
/// Users who are at it at the same time.
const USERS: u64 = 48;
/// Some chats have a second watcher, to be compared with the first.
const SECOND_WATCHERS: usize = 50;
/// Workers; each runs 16 chats at a time.
const WORKERS: usize = 2;
/// Connections of clients: watchers and users share them.
const CONNECTIONS: usize = 8;
/// Between two looks whether the storm may end.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The tool that clients run.
const CLIENT_TOOL: &str = "ask_user";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_breaks_an_invariant_whatever_users_do() {
    let settings = Settings::from_environment();
    eprintln!(
        "CHATPLANE_SOAK_SEED={} repeats the choices of this run of {:?}",
        settings.seed, settings.duration
    );

    let found = LocalSet::new().run_until(Box::pin(soak(settings))).await;

    assert!(found.is_empty(), "with seed {}:\n{}", settings.seed, found.join("\n"));
}

/// Everything that is wrong in the end.
async fn soak(Settings { seed, duration }: Settings) -> Vec<String> {
    let model = ModelServer::start(model::script(seed)).await;
    let mut cluster = Cluster::start(options(&model)).await;
    trace::begin(&cluster.database).await;
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| cluster.client()).collect();
    let storm = Rc::new(Storm::new(seed, &cluster.workspace.to_string()));
    begin(&clients, &storm).await;

    let mut users = JoinSet::new();
    for (number, client) in (0..USERS).zip(clients.iter().cycle()) {
        let user = User::new(client.clone(), Rc::clone(&storm), seed.wrapping_add(1_000 + number));
        users.spawn_local(user.use_chats());
    }
    let database = cluster.database.clone();
    let (_, unreported, ()) = tokio::join!(
        users.join_all(),
        faults::kill_workers(&mut cluster, &model, &storm, duration),
        calm(&database, &storm, duration),
    );
    let mut user = User::new(cluster.client(), Rc::clone(&storm), seed);
    for chat in storm.chats() {
        come_to_rest(&mut user, &mut cluster.client(), storm.watched(&chat)).await;
    }

    let mut found = trace::end(&cluster.database).await;
    found.extend(invariants::broken(&cluster.database, &storm, &model.calls(), &unreported).await);
    found.extend(invariants::missing(&cluster.database, &storm).await);
    eprintln!("{}", invariants::summary(&cluster.database, &storm).await);
    found
}

/// Ends the storm when its time has come. One in which something never came to pass goes on
/// for a while: on a busy machine little happens in a short time.
async fn calm(database: &Database, storm: &Storm, duration: Duration) {
    sleep(duration).await;
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline && !invariants::missing(database, storm).await.is_empty() {
        sleep(LOOK_AGAIN).await;
    }
    storm.end();
}

/// A chat ends what it was given, and everybody who watches it knows what it is then.
async fn come_to_rest(user: &mut User, client: &mut Client, watched: Watched) {
    let chat = rest(user, client, watched.chat()).await;
    let messages = messages(client, &chat.chat_id).await;
    let queue = queue(client, &chat.chat_id).await;
    watched.compare(&chat, &messages, &queue).await;
}

fn options(model: &ModelServer) -> Options {
    let serve = BTreeMap::from([
        ("CHATPLANE_GENERATE_TITLES", "false".to_owned()),
        ("CHATPLANE_MODEL_CONTEXT_TOKENS", model::CONTEXT_TOKENS.to_string()),
    ]);
    Options { model_url: model.url(), workers: WORKERS, workspace: true, serve, ..Options::default() }
}

/// The chats that users begin.
async fn begin(clients: &[Client], storm: &Rc<Storm>) {
    let mut random = StdRng::seed_from_u64(storm.seed);
    for (number, client) in (0..CHATS).zip(clients.iter().cycle()) {
        let chat = User::new(client.clone(), Rc::clone(storm), random.random()).create(number).await;
        if number < SECOND_WATCHERS {
            storm.watch(&chat, client.clone(), random.random());
        }
    }
}

/// Waits until a chat is done with all it was given, and hands in what it waits for.
async fn rest(user: &mut User, client: &mut Client, chat: &str) -> proto::Chat {
    eventually("a chat comes to rest", async || {
        let read = client.chat(chat).await.expect("a chat can always be read");
        match read.state() {
            ChatState::Waiting | ChatState::Error => return Some(read),
            ChatState::Suspended => user.submit(chat).await,
            ChatState::Running | ChatState::Interrupting | ChatState::Unspecified => {}
        }
        None
    })
    .await
}

/// All messages, newest first.
async fn messages(client: &mut Client, chat: &str) -> Vec<proto::Message> {
    let mut messages: Vec<proto::Message> = Vec::new();
    loop {
        let request = proto::ListMessagesRequest {
            chat_id: chat.to_owned(),
            page_size: 200,
            before_id: messages.last().map_or(0, |last| last.message_id),
            ..Default::default()
        };
        let page = client.chats.list_messages(request).await.expect("a chat can always be read").into_inner();
        messages.extend(page.messages);
        if !page.has_more {
            return messages;
        }
    }
}

async fn queue(client: &mut Client, chat: &str) -> Vec<proto::QueuedMessage> {
    let request = proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 1, ..Default::default() };
    client.chats.list_messages(request).await.expect("a chat can always be read").into_inner().queued_messages
}
