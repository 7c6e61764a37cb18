//! Pins: places from 1 without gaps, whoever else writes.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster};
use futures::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sqlx::Executor as _;
use tonic::Code;

use crate::{archive, cluster, fields, idle, pin, reason, update};

async fn chats(client: &mut Client, count: usize) -> Vec<String> {
    let mut chats = Vec::new();
    for _ in 0..count {
        chats.push(client.create_chat("hello").await.chat_id);
    }
    chats
}

/// Pins them in this order.
async fn pinned(client: &mut Client, count: usize) -> Vec<String> {
    let chats = chats(client, count).await;
    for chat in &chats {
        update(client, pin(chat, 1)).await.expect("it is pinned");
    }
    chats
}

async fn places(client: &mut Client, chats: &[String]) -> Vec<i32> {
    let mut places = Vec::new();
    for chat in chats {
        places.push(client.chat(chat).await.expect("it is there").pin_order);
    }
    places
}

#[tokio::test]
async fn new_pins_go_to_the_end_and_others_make_room_and_close_ranks() {
    let (_cluster, mut client) = cluster().await;
    let chats = pinned(&mut client, 4).await;
    assert_eq!(places(&mut client, &chats).await, [1, 2, 3, 4]);

    for (chat, place, expected) in [
        (3, 1, [2, 3, 4, 1]),
        (3, 3, [1, 2, 4, 3]),
        (0, 99, [4, 1, 3, 2]),
        (2, 3, [4, 1, 3, 2]),
        (1, 0, [3, 0, 2, 1]),
        (1, 0, [3, 0, 2, 1]),
        (1, 1, [3, 4, 2, 1]),
    ] {
        let changed = update(&mut client, pin(&chats[chat], place)).await.expect("it is moved");
        assert_eq!(changed.pin_order, expected[chat], "chat {chat} to {place}");
        assert_eq!(places(&mut client, &chats).await, expected, "chat {chat} to {place}");
    }
    let version = client.chat(&chats[0]).await.expect("it is there").metadata_version;
    assert_eq!(version, 1, "a pin is nobody else's");
}

#[tokio::test]
async fn pins_of_users_are_their_own() {
    let (cluster, mut client) = cluster().await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    let mine = pinned(&mut client, 2).await;
    let theirs = pinned(&mut stranger, 2).await;
    update(&mut stranger, pin(&theirs[1], 1)).await.expect("it is moved");

    assert_eq!(places(&mut client, &mine).await, [1, 2]);
    assert_eq!(places(&mut stranger, &theirs).await, [2, 1]);
}

#[tokio::test]
async fn archiving_unpins_and_the_next_pin_closes_the_gap() {
    let (_cluster, mut client) = cluster().await;
    let mut chats = vec![idle(&mut client).await];
    update(&mut client, pin(&chats[0], 1)).await.expect("it is pinned");
    chats.extend(pinned(&mut client, 2).await);

    let archived = archive(&mut client, &chats[0]).await.expect("it is archived");
    let with_gap = places(&mut client, &chats).await;
    update(&mut client, pin(&chats[1], 1)).await.expect("it has its place");
    let unarchive = proto::UnarchiveChatRequest { chat_id: chats[0].clone(), ..Default::default() };
    client.chats.unarchive_chat(unarchive).await.expect("it is back");

    assert_eq!(archived.pin_order, 0);
    assert_eq!(with_gap, [0, 2, 3]);
    assert_eq!(places(&mut client, &chats).await, [0, 1, 2]);
    let again = update(&mut client, pin(&chats[0], 1)).await.expect("it may be pinned again");
    assert_eq!(again.pin_order, 3);
}

#[tokio::test]
async fn a_child_is_not_pinned() {
    let (cluster, mut client) = cluster().await;
    let chats = chats(&mut client, 2).await;
    let family = format!(
        "update chats set parent_chat_id = '{0}', root_chat_id = '{0}' where chat_id = '{1}'",
        chats[0], chats[1]
    );
    let mut connection = cluster.database.connection().await;
    connection.execute(sqlx::AssertSqlSafe(family)).await.expect("it is stored");

    let refused = update(&mut client, pin(&chats[1], 1)).await.expect_err("it is a child");

    assert_eq!(
        (reason(&refused).as_str(), fields(&refused)),
        ("FIELD_INVALID", vec!["pin_order".to_owned()])
    );
    assert_eq!(places(&mut client, &chats).await, [0, 0]);
}

#[tokio::test]
async fn a_user_has_a_hundred_pins_at_most() {
    let (_cluster, mut client) = cluster().await;
    let chats = pinned(&mut client, 100).await;
    let one_more = client.create_chat("one more").await.chat_id;

    let refused = update(&mut client, pin(&one_more, 1)).await.expect_err("it is one too many");
    let moved = update(&mut client, pin(&chats[99], 1)).await.expect("it has its place already");
    update(&mut client, pin(&chats[0], 0)).await.expect("it makes room");
    let taken = update(&mut client, pin(&one_more, 1)).await.expect("there is room");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    assert!(refused.message().contains("100"), "{}", refused.message());
    assert_eq!((moved.pin_order, taken.pin_order), (1, 100));
}

/// All places that are taken in the database.
async fn taken(cluster: &Cluster) -> Vec<i32> {
    let taken = "select pin_order from chat_user_metadata where pin_order is not null order by pin_order";
    let mut connection = cluster.database.connection().await;
    sqlx::query_scalar(taken).fetch_all(&mut connection).await.expect("it answers")
}

#[tokio::test]
async fn writes_at_once_leave_places_without_gaps_and_doubles() {
    let (cluster, mut client) = cluster().await;
    let chats = chats(&mut client, 12).await;
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let writes = (0..50).map(|_| {
        let request = pin(&chats[random.random_range(0..chats.len())], random.random_range(0..8));
        let mut client = client.clone();
        async move { update(&mut client, request).await.expect("every write is applied").pin_order }
    });
    let replies = join_all(writes.collect::<Vec<_>>()).await;

    let taken = taken(&cluster).await;
    let most = i32::try_from(chats.len()).expect("it is 12");
    assert!(replies.iter().all(|place| (0..=most).contains(place)), "{replies:?}");
    assert_eq!(taken, (1..).take(taken.len()).collect::<Vec<i32>>());
    let mut shown = places(&mut client, &chats).await;
    shown.retain(|&place| place > 0);
    shown.sort_unstable();
    assert_eq!(shown, taken);
}
