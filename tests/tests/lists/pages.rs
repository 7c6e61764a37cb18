//! Pages, and what becomes of them while chats change.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;
use sqlx::Executor as _;

use crate::{archive, cluster, idle, ids, page, pin, request};

/// All pages from a token on.
async fn rest(client: &mut Client, q: &str, page_size: i32, mut page_token: String) -> Vec<String> {
    let mut chats = Vec::new();
    while !page_token.is_empty() {
        let page = page(client, proto::ListChatsRequest { page_size, page_token, q: q.to_owned() }).await;
        assert!(page.next_page_token.is_empty() || page.chats.len() == page_size as usize);
        chats.extend(ids(&page));
        page_token = page.next_page_token;
    }
    chats
}

#[tokio::test]
async fn a_filter_is_applied_before_the_page_is_cut() {
    let (_cluster, mut client) = cluster().await;
    let mut labelled = Vec::new();
    for number in 0..12 {
        let labels: &[_] = if number % 3 == 0 { &[("pick", "me")] } else { &[] };
        let chat = idle(&mut client, &format!("chat {number}"), labels).await;
        if number % 3 == 0 {
            labelled.insert(0, chat);
        }
    }
    pin(&mut client, &labelled[3].clone(), 1).await;
    labelled.rotate_right(1);

    let first = page(&mut client, proto::ListChatsRequest { page_size: 2, ..request("label:pick=me") }).await;
    let others = rest(&mut client, "label:pick=me", 2, first.next_page_token.clone()).await;

    assert_eq!(ids(&first), labelled[..2]);
    assert_eq!(others, labelled[2..]);
}

#[tokio::test]
async fn a_chat_that_changes_meanwhile_neither_comes_twice_nor_hides_another() {
    let (_cluster, mut client) = cluster().await;
    let mut chats = Vec::new();
    for number in 0..8 {
        chats.insert(0, idle(&mut client, &format!("chat {number}"), &[]).await);
    }
    pin(&mut client, &chats[7].clone(), 1).await;

    let first = page(&mut client, proto::ListChatsRequest { page_size: 3, ..request("") }).await;
    assert_eq!(ids(&first), [&chats[7], &chats[0], &chats[1]].map(String::clone));
    // One that was shown and one that was not move to the front, a new one comes, one goes.
    for index in [1, 4] {
        client.send(&chats[index], "more").await.expect("it is sent");
    }
    client.create_chat("new").await;
    archive(&mut client, &chats[5].clone()).await;
    let others = rest(&mut client, "", 3, first.next_page_token).await;

    assert_eq!(others, [&chats[2], &chats[3], &chats[6]].map(String::clone));
}

#[tokio::test]
async fn pins_fill_pages_like_everything_else() {
    let (_cluster, mut client) = cluster().await;
    let mut chats = Vec::new();
    for number in 0..5 {
        chats.push(idle(&mut client, &format!("chat {number}"), &[]).await);
    }
    for chat in &chats[..3] {
        pin(&mut client, chat, 100).await;
    }

    for page_size in 1..=5 {
        let first = page(&mut client, proto::ListChatsRequest { page_size, ..request("") }).await;
        let mut all = ids(&first);
        all.extend(rest(&mut client, "", page_size, first.next_page_token).await);
        assert_eq!(all, [0, 1, 2, 4, 3].map(|index: usize| chats[index].clone()), "by {page_size}");
    }
    // Nothing that has changed since the first page is on a later one.
    let first = page(&mut client, proto::ListChatsRequest { page_size: 2, ..request("") }).await;
    client.send(&chats[3], "more").await.expect("it is sent");
    let others = rest(&mut client, "", 2, first.next_page_token).await;
    assert_eq!(others, [2, 4].map(|index: usize| chats[index].clone()));
}

/// Six chats, of which these are pinned in this order, and the first page of two of them.
async fn with_pins(client: &mut Client, pinned: &[usize]) -> (Vec<String>, proto::ListChatsResponse) {
    let mut chats = Vec::new();
    for number in 0..6 {
        chats.insert(0, idle(client, &format!("chat {number}"), &[]).await);
    }
    for &index in pinned {
        pin(client, &chats[index], 100).await;
    }
    let first = page(client, proto::ListChatsRequest { page_size: 2, ..request("") }).await;
    (chats, first)
}

#[tokio::test]
async fn a_pin_taken_off_between_pages_neither_loses_nor_doubles_a_chat() {
    let (_cluster, mut client) = cluster().await;
    let (chats, first) = with_pins(&mut client, &[3, 4, 5, 0]).await;
    assert_eq!(ids(&first), [&chats[3], &chats[4]].map(String::clone));

    // One that was shown, and one that was not.
    pin(&mut client, &chats[3], 0).await;
    pin(&mut client, &chats[0], 0).await;
    let others = rest(&mut client, "", 2, first.next_page_token).await;

    assert_eq!(others, [5, 0, 1, 2].map(|index: usize| chats[index].clone()));
}

#[tokio::test]
async fn a_pin_moved_between_pages_neither_loses_nor_doubles_a_chat() {
    let (_cluster, mut client) = cluster().await;
    let (chats, first) = with_pins(&mut client, &[3, 4, 5, 0]).await;

    // The last one goes before what was shown, and one that was shown to the end.
    pin(&mut client, &chats[0], 1).await;
    pin(&mut client, &chats[3], 4).await;
    let others = rest(&mut client, "", 1, first.next_page_token).await;

    assert_eq!(others, [5, 0, 1, 2].map(|index: usize| chats[index].clone()));
}

#[tokio::test]
async fn a_chat_pinned_between_pages_stays_where_it_was() {
    let (_cluster, mut client) = cluster().await;
    let (chats, first) = with_pins(&mut client, &[5]).await;
    assert_eq!(ids(&first), [&chats[5], &chats[0]].map(String::clone));

    // One that was shown, and one that was not.
    pin(&mut client, &chats[0], 1).await;
    pin(&mut client, &chats[3], 1).await;
    let others = rest(&mut client, "", 2, first.next_page_token).await;

    assert_eq!(others, [1, 2, 3, 4].map(|index: usize| chats[index].clone()));
}

#[tokio::test]
async fn what_was_pinned_and_passes_no_more_leaves_a_full_page() {
    let (_cluster, mut client) = cluster().await;
    let (chats, first) = with_pins(&mut client, &[3, 4, 5, 0]).await;

    archive(&mut client, &chats[5]).await;
    let others = rest(&mut client, "", 2, first.next_page_token).await;

    assert_eq!(others, [0, 1, 2].map(|index: usize| chats[index].clone()));
}

#[tokio::test]
async fn a_token_is_short_however_many_chats_are_pinned() {
    let (cluster, mut client) = cluster().await;
    for number in 0..3 {
        idle(&mut client, &format!("chat {number}"), &[]).await;
    }
    let copies = "
        with made as (
            insert into chats (
                chat_id, organization_id, owner_id, root_chat_id, model, effort, state, snapshot_version,
                history_version, next_message_id
            )
            select i.id, organization_id, owner_id, i.id, model, effort, 'waiting', 1, 1, 1
            from (select * from chats limit 1) c, (select gen_random_uuid() as id from generate_series(1, 100)) i
            returning chat_id, owner_id
        ), titled as (
            insert into chat_metadata (chat_id, owner_id) select chat_id, owner_id from made
        )
        insert into chat_user_metadata (chat_id, user_id, pin_order)
        select chat_id, owner_id, row_number() over () from made";
    cluster.database.connection().await.execute(copies).await.expect("they are stored");

    let first = page(&mut client, proto::ListChatsRequest { page_size: 1, ..request("") }).await;
    let token = first.next_page_token.clone();
    let others = rest(&mut client, "", 50, token.clone()).await;

    assert!(token.len() < 4096, "{}", token.len());
    assert_eq!(others.len(), 102);
}
