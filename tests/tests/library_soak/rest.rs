//! How the day ends.

use std::{collections::BTreeMap, time::Duration};

use chatplane_proto::chat::v1::{self as proto, ChatState};
use chatplane_tests::{Client, eventually};
use tokio::time::{Instant, sleep};

use crate::transcript::{Shared, locked};

/// Waits until a person's chats are done with all that they were given, and everybody who
/// watches them knows what they are then.
pub(crate) async fn come_to_rest(client: &mut Client, transcripts: &[Shared]) {
    eventually("every chat comes to rest", async || {
        let listed = list(client).await;
        let is_at_rest = |chat: &proto::Chat| matches!(chat.state(), ChatState::Waiting | ChatState::Error);
        listed.values().all(is_at_rest).then_some(())
    })
    .await;
    for transcript in transcripts {
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
