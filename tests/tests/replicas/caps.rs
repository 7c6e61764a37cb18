//! Caps of running chats. Nothing is looked for by itself here: what waits is taken when a lease ends.

use chatplane_control_plane::{Caps, Limits};
use chatplane_proto::chat::v1 as chat;
use chatplane_tests::{Client, eventually};
use futures::future::join_all;

use crate::{
    hints::hints_only,
    replica::{Replica, World},
    worker::{Held, Worker},
};

/// One chat of a user at a time.
const ONE: Caps = Caps { owner_running_max: Some(1), organization_running_max: None };
/// A replica's connections to the database, where few are to be under way at the same moment.
const CONNECTIONS: u32 = 2;
/// Far more writes at a time than there are connections.
const WRITES: usize = 24;
/// Each worker could run all of them.
const SLOTS: i32 = 24;

async fn replica(world: &World, caps: Caps) -> Replica {
    let (calls, limits) = hints_only();
    world.replica_within(Limits { caps, ..calls }, limits).await
}

/// A replica of few connections.
async fn narrow(world: &World) -> Replica {
    let (calls, limits) = hints_only();
    let calls = Limits { caps: ONE, ..calls };
    world.replica_with(calls, limits, |config| config.database_connections = CONNECTIONS).await
}

/// How many chats of the user have a lease once each replica has passed by those that wait.
async fn leased(world: &World, replicas: &[Replica]) -> i64 {
    let mut database = world.database.connection().await;
    for (replica, token) in replicas.iter().zip([&world.stranger_token, &world.owner_token]) {
        // Nobody overtakes what waits, so a lease for somebody else is given after a look at it.
        let theirs = Client::new(&replica.url(), token).create_chat("Me, too.").await.chat_id;
        eventually("somebody else is served", async || {
            let leased =
                sqlx::query_scalar("select leased from chats where chat_id = $1::uuid").bind(&theirs);
            leased.fetch_one(&mut database).await.ok().filter(|leased: &bool| *leased)
        })
        .await;
    }
    let count = "select count(*) from chats c join users u on u.user_id = c.owner_id \
                 where c.leased and u.name = 'user'";
    sqlx::query_scalar(count).fetch_one(&mut database).await.expect("it answers")
}

/// The most leases that there may be: one a connection, each of which may have counted before any
/// other's was written. Whoever counts later finds the cap reached.
fn bound(replicas: &[Replica]) -> i64 {
    i64::from(CONNECTIONS) * i64::try_from(replicas.len()).expect("there are few")
}

fn chat_of(held: &Held) -> String {
    held.lease_key().chat_id
}

#[tokio::test]
async fn a_user_at_their_cap_waits_for_their_own_chats_while_others_are_served() {
    let world = World::new().await;
    let replica = replica(&world, ONE).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 4).await;
    let (mut client, mut stranger) =
        (world.client(&replica), Client::new(&replica.url(), &world.stranger_token));

    let first = client.create_chat("One").await.chat_id;
    let mut held = worker.lease().await;
    let second = client.create_chat("Two").await.chat_id;
    let theirs = stranger.create_chat("Three").await.chat_id;
    let others = worker.lease().await;
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    let next = worker.lease().await;

    assert_eq!([chat_of(&held), chat_of(&others), chat_of(&next)], [first, theirs, second]);
    replica.stop().await;
}

#[tokio::test]
async fn an_organization_at_its_cap_waits_until_one_of_its_chats_ends_on_another_replica() {
    let world = World::new().await;
    let caps = Caps { owner_running_max: None, organization_running_max: Some(1) };
    let (here, there) = (replica(&world, caps).await, replica(&world, caps).await);
    let mut busy = Worker::open(&here, &world.worker_token, 1).await;
    let first = world.client(&here).create_chat("One").await.chat_id;
    let mut held = busy.lease().await;
    let mut idle = Worker::open(&there, &world.worker_token, 1).await;
    let second = Client::new(&there.url(), &world.stranger_token).create_chat("Two").await.chat_id;

    let chat = world.client(&there).chat(&first).await.expect("it is theirs");
    busy.finish(&mut held).await;
    // Its slot is not told to be free: whoever takes the second chat is the other's worker.
    let next = idle.lease().await;

    assert_eq!(chat.state(), chatplane_proto::chat::v1::ChatState::Running);
    assert_eq!([chat_of(&held), chat_of(&next)], [first, second]);
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn chats_created_at_the_same_time_pass_the_cap_by_no_more_than_there_are_connections() {
    let world = World::new().await;
    let replicas = [narrow(&world).await, narrow(&world).await];
    let mut workers = Vec::new();
    for replica in &replicas {
        workers.push(Worker::open(replica, &world.worker_token, SLOTS).await);
    }

    let creations = (0..WRITES).map(|no| {
        let mut client = world.client(&replicas[no % replicas.len()]);
        async move { client.create_chat("Go.").await }
    });
    join_all(creations).await;

    let leased = leased(&world, &replicas).await;
    assert!((1..=bound(&replicas)).contains(&leased), "{leased} chats run");
}

#[tokio::test]
async fn messages_sent_at_the_same_time_pass_the_cap_by_no_more_than_there_are_connections() {
    let world = World::new().await;
    let replicas = [narrow(&world).await, narrow(&world).await];
    let mut client = world.client(&replicas[0]);
    let mut idle = Vec::new();
    for _ in 0..WRITES {
        idle.push(client.create_chat("Go.").await.chat_id);
    }
    for chat_id in &idle {
        let request = chat::InterruptChatRequest { chat_id: chat_id.clone(), ..Default::default() };
        client.chats.interrupt_chat(request).await.expect("it is interrupted");
    }
    let mut workers = Vec::new();
    for replica in &replicas {
        workers.push(Worker::open(replica, &world.worker_token, SLOTS).await);
    }

    let sent = idle.iter().zip(replicas.iter().cycle()).map(|(chat_id, replica)| {
        let mut client = world.client(replica);
        async move { client.send(chat_id, "Go on.").await.expect("it is sent") }
    });
    join_all(sent).await;

    let leased = leased(&world, &replicas).await;
    assert!((1..=bound(&replicas)).contains(&leased), "{leased} chats run");
}

#[tokio::test]
async fn a_user_at_their_cap_who_sends_into_another_chat_waits_until_the_first_ends() {
    let world = World::new().await;
    let replica = replica(&world, ONE).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 4).await;
    let (mut client, mut stranger) =
        (world.client(&replica), Client::new(&replica.url(), &world.stranger_token));
    let idle = client.create_chat("One").await.chat_id;
    let mut held = worker.lease().await;
    worker.finish(&mut held).await;
    worker.forget(&held).await;

    let first = client.create_chat("Two").await.chat_id;
    let mut held = worker.lease().await;
    client.send(&idle, "Go on.").await.expect("it is sent");
    let theirs = stranger.create_chat("Three").await.chat_id;
    let others = worker.lease().await;
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    let next = worker.lease().await;

    assert_eq!([chat_of(&held), chat_of(&others), chat_of(&next)], [first, theirs, idle]);
    replica.stop().await;
}
