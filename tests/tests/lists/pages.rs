//! Pages, and what becomes of them while chats change.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;

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
