//! Owners take turns. Nothing is looked for by itself here: what waits is claimed when a worker comes.

use std::collections::BTreeSet;

use chatplane_tests::Client;

use crate::{hints::hints_only, replica::World, worker::Worker};

async fn create(client: &mut Client, chats: usize) -> BTreeSet<String> {
    let mut created = BTreeSet::new();
    for _ in 0..chats {
        created.insert(client.create_chat("Hello").await.chat_id);
    }
    created
}

#[tokio::test]
async fn owners_take_turns_although_several_chats_are_claimed_at_a_time() {
    let world = World::new().await;
    let (calls, limits) = hints_only();
    let replica = world.replica_within(calls, limits).await;
    create(&mut world.client(&replica), 6).await;
    let theirs = create(&mut Client::new(&replica.url(), &world.stranger_token), 2).await;

    let mut worker = Worker::open(&replica, &world.worker_token, 4).await;
    let mut leased = BTreeSet::new();
    for _ in 0..4 {
        leased.insert(worker.lease().await.chat);
    }

    assert_eq!(leased.len(), 4);
    assert!(theirs.is_subset(&leased), "the stranger waits behind who has more: {leased:?}");
    replica.stop().await;
}
