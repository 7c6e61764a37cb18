//! A search goes on page by page, whatever is written meanwhile.

use std::collections::BTreeSet;

use chatplane_proto::chat::v1 as proto;

use crate::{chat, cluster, ids, request, search};

#[tokio::test]
async fn every_chat_is_found_once_while_others_come_and_change() {
    let (cluster, mut client) = cluster().await;
    let mut chats = BTreeSet::new();
    for number in 0..30 {
        chats.insert(chat(&mut client, &format!("needle {number} {}", "hay ".repeat(number % 7))).await);
    }

    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let page =
            search(&mut client, proto::ListChatsRequest { page_size: 7, page_token, ..request("needle") })
                .await;
        seen.extend(ids(&page));
        if page.next_page_token.is_empty() {
            break;
        }
        assert_eq!(page.chats.len(), 7);
        page_token = page.next_page_token;
        // What was shown says it again, and somebody else says it, too.
        client.send(&seen[0], "another needle").await.expect("it is queued");
        let mut stranger = chatplane_tests::Client::new(&cluster.url(), &cluster.tokens.stranger);
        chat(&mut stranger, "needle").await;
    }

    assert_eq!(seen.len(), 30);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), chats);
}
