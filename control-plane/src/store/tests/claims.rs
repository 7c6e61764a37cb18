//! Whose chat is leased next.

use chatplane_domain::{ChatId, Command, SessionId, UserId};
use uuid::Uuid;

use super::world::{World, claimable, run, world};
use crate::{
    caps::Caps,
    store::{Claim, Claimable, DEFAULT_ORGANIZATION, Snapshot},
};

impl World {
    /// Another user of the same deployment, with chats that wait.
    async fn owner(&mut self, no: u128, chats: usize) -> UserId {
        let owner = UserId(Uuid::from_u128(no));
        self.store
            .create_user(owner, DEFAULT_ORGANIZATION, &owner.to_string(), false)
            .await
            .expect("the user is new");
        self.user = owner;
        for _ in 0..chats {
            self.new_chat().await;
        }
        owner
    }

    async fn next(&self, claimable: Claimable<'_>) -> Option<(UserId, ChatId)> {
        let session = SessionId(Uuid::now_v7());
        let lease = |snapshot: &Snapshot| run(snapshot, Command::Lease(session));
        match self.store.claim(claimable, lease).await.expect("it answers") {
            Claim::Leased(applied) => Some((applied.decision.chat.owner, applied.decision.chat.id)),
            Claim::Nothing => None,
            Claim::Lost => panic!("nobody else writes"),
        }
    }

    /// Whose chats are leased, one after the other, each search beginning behind the owner before.
    async fn order(&self, caps: Caps) -> Vec<UserId> {
        let (mut next, mut order) = (Claimable { caps, ..claimable(&[]) }, Vec::new());
        while let Some((owner, _)) = self.next(next).await {
            order.push(owner);
            next.after = owner;
        }
        order
    }
}

#[tokio::test]
async fn an_owner_with_one_chat_waits_at_most_a_round_behind_one_with_many() {
    let mut world = world().await;
    let many = world.owner(1, 5).await;
    let one = world.owner(2, 1).await;
    let two = world.owner(3, 2).await;

    let order = world.order(Caps::default()).await;

    assert_eq!(order, [many, one, two, many, two, many, many, many]);
}

#[tokio::test]
async fn of_an_owner_the_chat_that_waits_longest_comes_first() {
    let mut world = world().await;
    world.owner(1, 0).await;
    let (first, second) = (world.new_chat().await, world.new_chat().await);

    let chats = [world.next(claimable(&[])).await, world.next(claimable(&[])).await];

    assert_eq!(chats.map(|claimed| claimed.map(|(_, chat)| chat)), [Some(first), Some(second)]);
}

#[tokio::test]
async fn an_owner_whose_only_chat_is_left_alone_does_not_keep_the_others() {
    let mut world = world().await;
    world.owner(1, 0).await;
    let broken = world.new_chat().await;
    let other = world.owner(2, 1).await;

    let claimed = world.next(claimable(&[broken])).await;

    assert_eq!(claimed.map(|(owner, _)| owner), Some(other));
}

#[tokio::test]
async fn nobody_runs_more_chats_than_their_cap_while_others_go_on() {
    let mut world = world().await;
    let many = world.owner(1, 5).await;
    let one = world.owner(2, 1).await;
    let two = world.owner(3, 2).await;

    let order = world.order(Caps { owner_running_max: Some(2), ..Caps::default() }).await;

    assert_eq!(order, [many, one, two, many, two]);
}

#[tokio::test]
async fn an_organization_runs_no_more_chats_than_its_cap() {
    let mut world = world().await;
    let many = world.owner(1, 5).await;
    let one = world.owner(2, 1).await;

    let order = world.order(Caps { organization_running_max: Some(3), ..Caps::default() }).await;

    assert_eq!(order, [many, one, many]);
}
