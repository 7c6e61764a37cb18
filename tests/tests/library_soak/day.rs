//! The day: who is there, what goes on, and how it ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, DEADLINE, Database, Options, model_server::ModelServer};
use sqlx::Executor as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    check, gone, journal, missing, model,
    replica::Replica,
    rest::come_to_rest,
    settings::Settings,
    transcript::{self, Shared, locked},
    user::{Desk, Hand},
};

/// Hands of each user.
const HANDS: u64 = 4;
/// Watchers of each user's chats.
const WATCHERS: u64 = 2;
/// Workers; each runs 16 chats at a time.
const WORKERS: usize = 1;
/// Between two looks of the librarian.
const LIBRARIAN_INTERVAL: Duration = Duration::from_millis(300);
/// Between two looks whether the day may end.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Somebody with chats.
struct Person {
    id: Uuid,
    clients: Vec<Client>,
    desk: Arc<Desk>,
    transcripts: Vec<Shared>,
}

/// Everything that is wrong in the end.
pub(crate) async fn spend(Settings { seed, duration }: Settings) -> Vec<String> {
    let model = ModelServer::start(model::script(seed)).await;
    let cluster = Cluster::start(options(&model)).await;
    let replica = Replica::start(&cluster.database).await;
    journal::begin(&cluster.database).await;
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    let mut people = people(&cluster, &replica).await;
    for (number, person) in (0u64..).zip(&mut people) {
        for watcher in 0..WATCHERS {
            let seed = seed.wrapping_add(1_000 * number + watcher);
            let clients = person.clients.clone();
            let begun = transcript::begin(&mut watching, person.id, clients, seed, stop.clone());
            person.transcripts.push(begun.await);
        }
    }
    keep_for_days(&cluster, 1).await;

    let over = CancellationToken::new();
    let mut hands = JoinSet::new();
    for (number, person) in (0u64..).zip(&people) {
        for hand in 0..HANDS {
            let seed = seed.wrapping_add(1_000_000 + 1_000 * number + hand);
            let hand = Hand::new(person.clients.clone(), Arc::clone(&person.desk), seed);
            hands.spawn(hand.use_chats(over.clone()));
        }
    }
    hands.spawn(let_time_pass(cluster.database.clone(), over.clone()));
    until_evening(&people, duration).await;
    over.cancel();
    while let Some(ended) = hands.join_next().await {
        ended.expect("nobody is told what may not be told");
    }
    keep_for_days(&cluster, 0).await;
    for person in &mut people {
        come_to_rest(&mut person.clients[0], &person.transcripts).await;
    }
    stop.cancel();
    while let Some(ended) = watching.join_next().await {
        ended.expect("a watcher is told what it asks for");
    }
    replica.stop().await;
    faults(&cluster.database, &people).await
}

/// The time has come. A day on which something never came to pass goes on for a while: on a busy
/// machine little happens in a short time.
async fn until_evening(people: &[Person], duration: Duration) {
    sleep(duration).await;
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline && !missing(people).is_empty() {
        sleep(LOOK_AGAIN).await;
    }
}

/// What has not come to pass.
fn missing(people: &[Person]) -> Vec<String> {
    let desks = people.iter().map(|person| person.desk.as_ref());
    let transcripts = people.iter().flat_map(|person| &person.transcripts);
    missing::missing(desks, transcripts)
}

fn options(model: &ModelServer) -> Options {
    let serve = BTreeMap::from([("CHATPLANE_GENERATE_TITLES", "true".to_owned())]);
    Options { model_url: model.url(), workers: WORKERS, workspace: true, serve, ..Options::default() }
}

async fn people(cluster: &Cluster, replica: &Replica) -> Vec<Person> {
    let mut people = Vec::new();
    for (name, token) in [
        ("user", &cluster.tokens.user),
        ("stranger", &cluster.tokens.stranger),
        ("owner", &cluster.tokens.owner),
    ] {
        let id = sqlx::query_scalar("select user_id from users where name = $1")
            .bind(name)
            .fetch_one(&mut cluster.database.connection().await)
            .await
            .expect("the user exists");
        let clients = vec![Client::new(&cluster.url(), token), Client::new(&replica.url(), token)];
        let workspace = (token == &cluster.tokens.user).then(|| cluster.workspace.to_string());
        let desk = Arc::new(Desk::new(workspace));
        people.push(Person { id, clients, desk, transcripts: Vec::new() });
    }
    people
}

/// Retention archives what nothing happened in for so many days, and deletes what was
/// archived as long ago.
async fn keep_for_days(cluster: &Cluster, days: i32) {
    let request = proto::UpdateRetentionRequest {
        auto_archive_days: days,
        delete_archived_days: days,
        delete_debug_days: days,
        expected_version: None,
    };
    let mut owner = Client::new(&cluster.url(), &cluster.tokens.owner);
    owner.settings.update_retention(request).await.expect("an owner may say so");
}

/// For some chats days pass at once. What is shown of a chat changes by that, as nothing
/// else would change it, so the change is named like any other.
async fn let_time_pass(database: Database, over: CancellationToken) {
    let mut connection = database.connection().await;
    while !over.is_cancelled() {
        let long_archived = "update chats
             set archive_time = archive_time - interval '2 days', change_xid = pg_current_xact_id()
             where archived and delete_time is null and random() < 0.1";
        connection.execute(long_archived).await.expect("time passes");
        let long_quiet = "update chats
             set update_time = update_time - interval '2 days', change_xid = pg_current_xact_id()
             where not archived and state in ('waiting', 'error') and random() < 0.01";
        connection.execute(long_quiet).await.expect("time passes");
        sleep(LIBRARIAN_INTERVAL).await;
    }
}

async fn faults(database: &Database, people: &[Person]) -> Vec<String> {
    let histories = journal::read(database).await;
    let mut faults = missing(people);
    for person in people {
        eprintln!("{}: {:?}", person.id, person.desk.counted());
        faults.extend(gone::unfounded(database, &person.desk.gone()).await);
    }
    for transcript in people.iter().flat_map(|person| &person.transcripts) {
        let transcript = locked(transcript);
        let streams = transcript.streams.len();
        eprintln!("{}: {} events in {streams} streams", transcript.owner, transcript.told.len());
        faults.extend(transcript.faults().iter().cloned());
        faults.extend(check::faults(&transcript, &histories));
    }
    let deleted = histories.values().filter_map(|history| history.chat.last());
    let deleted = deleted.filter(|version| version.said["is_deleted"] == true).count();
    eprintln!("{} chats, {deleted} of them deleted", histories.len());
    faults
}
