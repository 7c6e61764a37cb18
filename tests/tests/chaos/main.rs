//! Chaos on the real thing: three replicas, four workers, workspace agents and PostgreSQL as
//! processes, chats with tools, watchers and users, and faults as a seed plans them: kills,
//! stops, partitions of every line, sessions of the database that end, restarts of it.
//!
//! Afterwards everything comes to rest within a minute, and what is there is held against what
//! users were promised, what the model server sent, what the tools did and what watchers were
//! told: see `verify`.
//!
//! - `plan` (pure) and `faults`: what goes wrong, and when;
//! - `stage`: the processes, and the lines between them;
//! - `model`, `users`, `watchers`: what the system is put to;
//! - `notes`, `recoveries`, `report`: what came of it;
//! - `records`, `trace` and the rules over rows are those of the soak.
//!
//! It runs for 15 s, with `CI=true` for 120 s, and for as long as `CHATPLANE_CHAOS_SECONDS`
//! says; from 120 s on with 300 chats and 200 watchers, otherwise with fewer.
//! `CHATPLANE_CHAOS_SEED` repeats the plan of faults and the choices of a run, though not its
//! timing. `CHATPLANE_CHAOS_REPORT` names a file for the report, `CHATPLANE_CHAOS_LOGS` a
//! directory in which the processes' logs stay. `CHATPLANE_CHAOS_RELEASE_BEFORE` names the binary
//! of the release before, for a run in the middle of an upgrade.

mod faults;
mod model;
mod notes;
mod plan;
#[path = "../soak/records.rs"]
#[expect(dead_code, reason = "the soak's users do more")]
mod records;
mod recoveries;
mod report;
mod settings;
mod stage;
mod told;
#[path = "../soak/trace.rs"]
mod trace;
mod users;
mod verify;
mod watchers;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, DEADLINE, eventually, model_server::ModelServer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    model::Calm,
    notes::Notes,
    settings::{Load, Settings},
    stage::{Ended, Stage},
    users::{Crowd, User},
    verify::rest::{REST_TIME_MAX, come_to_rest},
    watchers::{Surroundings, Watched, lists},
};

const REPLICAS: usize = 3;
const WORKERS: usize = 4;
const AGENTS: usize = 3;
/// Connections of clients to each replica: watchers and users share them.
const CONNECTIONS: usize = 8;
/// Between two looks whether a watcher has been told.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The tool that clients run.
const CLIENT_TOOL: &str = "ask_user";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_happens_twice_whatever_dies() {
    let settings = Settings::from_environment();
    eprintln!(
        "CHATPLANE_CHAOS_SEED={} plans the faults of this run of {:?}",
        settings.seed, settings.duration
    );

    let found = LocalSet::new().run_until(Box::pin(chaos(&settings))).await;

    assert!(found.is_empty(), "with seed {}:\n{}", settings.seed, found.join("\n"));
}

/// Everything that is wrong in the end.
async fn chaos(settings: &Settings) -> Vec<String> {
    let seed = settings.seed;
    let notes = Arc::new(Notes::default());
    let calm = Calm::default();
    let model = Arc::new(ModelServer::start_lean(model::script(seed, calm.clone())).await);
    let stage = Arc::new(Stage::start(settings, model.url()).await);
    trace::begin(&stage.database).await;
    let supervisor = supervise(&stage, &notes);
    let clients: Vec<Vec<Client>> = (0..CONNECTIONS).map(|_| stage.clients()).collect();
    let surroundings = Surroundings { notes: Arc::clone(&notes), model: Arc::clone(&model) };
    let mut random = StdRng::seed_from_u64(seed);

    let mut list_watching = JoinSet::new();
    let pictures = watch_all(&mut list_watching, &clients, settings.load, &mut random, &notes).await;
    let crowd = Rc::new(Crowd::new(&notes));
    begin_chats(&crowd, &stage, &clients, settings.load, &mut random).await;
    let watched = watch_each(&crowd, &clients, settings.load, &mut random, &surroundings);
    let mut users = JoinSet::new();
    for (_, clients) in (0..settings.load.users).zip(clients.iter().cycle()) {
        users.spawn_local(User::new(&crowd, clients.clone(), random.random()).use_chats());
    }
    faults::rage(&stage, &notes, plan::plan(seed, settings.duration)).await;
    let last_fault = Instant::now();
    crowd.end();
    calm.begin();
    users.join_all().await;

    let deadline = last_fault + REST_TIME_MAX;
    let mut user = User::new(&crowd, stage.clients(), seed);
    let mut found = come_to_rest(&stage.database, &mut user, deadline).await;
    let rest = last_fault.elapsed();
    found.extend(compare(&mut user, watched, &pictures, Instant::now() + DEADLINE).await);
    list_watching.shutdown().await;
    drop(supervisor);
    stage.followers.close();
    stage.followers.wait().await;
    found.extend(trace::end(&stage.database).await);
    let (recorded, calls) = (crowd.records.recorded(), model.calls());
    found.extend(verify::broken(&stage.database, &stage.workspaces, &recorded, &calls).await);
    found.extend(stage.processes.panics());
    found.extend(verify::missing(&notes, &verify::totals(&stage.database).await));
    found.extend(notes.all_found());
    tell(settings, &report::report(settings, &stage, &notes, calls.len(), rest).await);
    found
}

/// Starts what ends unasked; a process may do so only for reasons that are known.
fn supervise(stage: &Arc<Stage>, notes: &Arc<Notes>) -> AbortOnDropHandle<()> {
    let (stage, notes) = (Arc::clone(stage), Arc::clone(notes));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let tell = |Ended { process, excuse, last_words }: Ended| match excuse {
            Some(excuse) => notes.count(&format!("a {process} ended and was started again: {excuse}")),
            None => notes.found(format!("a {process} ended by itself: {last_words}")),
        };
        stage.processes.supervise(tell).await;
    }))
}

/// Watchers of all chats, from before the first.
async fn watch_all(
    tasks: &mut JoinSet<()>,
    clients: &[Vec<Client>],
    load: Load,
    random: &mut StdRng,
    notes: &Arc<Notes>,
) -> Vec<lists::Shared> {
    let watchers = (0..load.list_watchers).zip(clients.iter().cycle());
    let pictures: Vec<lists::Shared> =
        watchers.map(|(_, clients)| lists::begin(tasks, clients.clone(), random.random(), notes)).collect();
    eventually("all chats are watched", async || pictures.iter().all(lists::has_begun).then_some(())).await;
    pictures
}

async fn begin_chats(
    crowd: &Rc<Crowd>,
    stage: &Stage,
    clients: &[Vec<Client>],
    load: Load,
    random: &mut StdRng,
) {
    for (number, clients) in (0..load.chats).zip(clients.iter().cycle()) {
        let workspace = stage.workspaces[number % AGENTS].id.to_string();
        let mut user = User::new(crowd, clients.clone(), random.random());
        user.create(number, &workspace).await.expect("nothing stands in the way of a new chat");
    }
}

/// Watchers of one chat each; some chats have several, to be compared.
fn watch_each(
    crowd: &Crowd,
    clients: &[Vec<Client>],
    load: Load,
    random: &mut StdRng,
    surroundings: &Surroundings,
) -> Vec<Watched> {
    let chats = crowd.chats();
    let watched: Vec<RefCell<Watched>> = chats.iter().map(|chat| RefCell::new(Watched::new(chat))).collect();
    // Two of three watchers are alone with their chat, the others share few chats.
    for (number, clients) in (0..load.watchers).zip(clients.iter().cycle()) {
        let place = if number % 3 == 0 { number % (chats.len() / 6 + 1) } else { number };
        watched[place % chats.len()].borrow_mut().add(clients.clone(), random.random(), surroundings);
    }
    watched.into_iter().map(RefCell::into_inner).collect()
}

/// At rest everybody who watches knows what is.
async fn compare(
    user: &mut User,
    watched: Vec<Watched>,
    pictures: &[lists::Shared],
    deadline: Instant,
) -> Vec<String> {
    let mut found = Vec::new();
    for watched in watched {
        let Some((chat, messages, queue)) = read(user, &watched.chat).await else {
            found.push(format!("chat {} cannot be read", watched.chat));
            continue;
        };
        for picture in pictures {
            while let Some(difference) = lists::difference(picture, &chat) {
                if Instant::now() > deadline {
                    found.push(format!("watch: a watcher of all chats does not know: {difference}"));
                    break;
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        found.extend(watched.compare(&chat, &messages, &queue, deadline).await);
    }
    found
}

type Read = (proto::Chat, Vec<proto::Message>, Vec<proto::QueuedMessage>);

/// A chat with all its messages and its queue.
async fn read(user: &mut User, chat: &str) -> Option<Read> {
    let is = user.chat(chat).await?;
    let (mut messages, mut before_id) = (Vec::new(), 0);
    loop {
        let page = user.page(chat, before_id).await?;
        messages.extend(page.messages);
        before_id = messages.last().map_or(0, |last: &proto::Message| last.message_id);
        if !page.has_more {
            return Some((is, messages, page.queued_messages));
        }
    }
}

fn tell(settings: &Settings, report: &str) {
    eprintln!("{report}");
    if let Some(path) = &settings.report {
        std::fs::write(path, report).expect("the report can be written");
    }
}
