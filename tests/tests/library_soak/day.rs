//! The day: who is there, what goes on, and how it ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chatplane_proto::chat::v1::{self as proto, ChatState};
use chatplane_tests::{Client, Cluster, Database, Options, eventually, model_server::ModelServer};
use sqlx::Executor as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    check, journal, model,
    replica::Replica,
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

    let end = Instant::now() + duration;
    let mut hands = JoinSet::new();
    for (number, person) in (0u64..).zip(&people) {
        for hand in 0..HANDS {
            let seed = seed.wrapping_add(1_000_000 + 1_000 * number + hand);
            let hand = Hand::new(person.clients.clone(), Arc::clone(&person.desk), seed);
            hands.spawn(hand.use_chats(end));
        }
    }
    hands.spawn(let_time_pass(cluster.database.clone(), end));
    while let Some(ended) = hands.join_next().await {
        ended.expect("nobody is told what may not be told");
    }
    keep_for_days(&cluster, 0).await;
    for person in &mut people {
        come_to_rest(person).await;
    }
    stop.cancel();
    while let Some(ended) = watching.join_next().await {
        ended.expect("a watcher is told what it asks for");
    }
    replica.stop().await;
    let faults = faults(&cluster.database, &people).await;
    for person in &people {
        eprintln!("{}: {:?}", person.id, person.desk.counted());
    }
    faults
}

fn options(model: &ModelServer) -> Options {
    let serve = BTreeMap::from([("CHATPLANE_GENERATE_TITLES", "true".to_owned())]);
    Options { model_url: model.url(), workers: WORKERS, serve, ..Options::default() }
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
        people.push(Person { id, clients, desk: Arc::default(), transcripts: Vec::new() });
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
async fn let_time_pass(database: Database, end: Instant) {
    let mut connection = database.connection().await;
    while Instant::now() < end {
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

/// Waits until a person's chats are done with all that they were given, and everybody who
/// watches them knows what they are then.
async fn come_to_rest(person: &mut Person) {
    let client = &mut person.clients[0];
    eventually("every chat comes to rest", async || {
        let listed = list(client).await;
        let is_at_rest = |chat: &proto::Chat| matches!(chat.state(), ChatState::Waiting | ChatState::Error);
        listed.values().all(is_at_rest).then_some(())
    })
    .await;
    for transcript in &person.transcripts {
        let mut difference = String::new();
        let told = eventually_or(async || {
            let (listed, told) = (list(client).await, locked(transcript).chats.clone());
            difference = differences(&listed, &told);
            difference.is_empty()
        })
        .await;
        assert!(told, "a watcher does not know what is: {difference}");
    }
}

/// Whether it becomes true before the deadline.
async fn eventually_or(mut look: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + chatplane_tests::DEADLINE;
    while Instant::now() < deadline {
        if look().await {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

/// All chats of a person, roots and children.
async fn list(client: &mut Client) -> BTreeMap<String, proto::Chat> {
    let mut listed = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListChatsRequest { page_size: 7, page_token, q: "archived:any".to_owned() };
        let page = client.chats.list_chats(request).await.expect("chats are listed").into_inner();
        for entry in page.chats {
            let chats = entry.chat.into_iter().chain(entry.children);
            listed.extend(chats.map(|chat| (chat.chat_id.clone(), chat)));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return listed;
        }
    }
}

fn differences(listed: &BTreeMap<String, proto::Chat>, told: &BTreeMap<String, proto::Chat>) -> String {
    let mut lines = Vec::new();
    for chat in listed.keys().chain(told.keys()) {
        if listed.get(chat) != told.get(chat) {
            lines.push(format!("listed: {:?}\ntold: {:?}", listed.get(chat), told.get(chat)));
        }
    }
    lines.join("\n")
}

async fn faults(database: &Database, people: &[Person]) -> Vec<String> {
    let histories = journal::read(database).await;
    let mut faults = Vec::new();
    for transcript in people.iter().flat_map(|person| &person.transcripts) {
        let transcript = locked(transcript);
        eprintln!("{}: {} events in {} streams", transcript.owner, transcript.told.len(), transcript.streams);
        if transcript.told.is_empty() {
            faults.push("a watcher was told nothing".to_owned());
        }
        faults.extend(transcript.faults().iter().cloned());
        faults.extend(check::faults(&transcript, &histories));
    }
    let deleted = histories.values().filter_map(|history| history.chat.last());
    let deleted = deleted.filter(|version| version.said["is_deleted"] == true).count();
    eprintln!("{} chats, {deleted} of them deleted", histories.len());
    if deleted == 0 {
        faults.push("retention deleted nothing".to_owned());
    }
    faults
}
