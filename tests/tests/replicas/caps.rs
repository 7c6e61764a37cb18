//! Caps of running chats. Nothing is looked for by itself here: what waits is taken when a lease ends.

use chatplane_control_plane::{Caps, Limits};
use chatplane_tests::Client;

use crate::{
    hints::hints_only,
    replica::{Replica, World},
    worker::{Held, Worker},
};

async fn replica(world: &World, caps: Caps) -> Replica {
    let (calls, limits) = hints_only();
    world.replica_within(Limits { caps, ..calls }, limits).await
}

fn chat_of(held: &Held) -> String {
    held.lease_key().chat_id
}

#[tokio::test]
async fn a_user_at_their_cap_waits_for_their_own_chats_while_others_are_served() {
    let world = World::new().await;
    let replica = replica(&world, Caps { owner_running_max: Some(1), organization_running_max: None }).await;
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
