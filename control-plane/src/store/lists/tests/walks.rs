//! Every chat is listed once, in its order, whatever the filter.

use std::cmp::Reverse;

use chatplane_domain::ChatId;
use uuid::Uuid;

use super::library::{Chat, Library};

#[tokio::test]
async fn every_chat_is_listed_and_found_once_over_all_pages() {
    let library = Library::build().await;

    every_filter_lists_its_chats_once_and_in_order(&library).await;
    a_search_finds_every_chat_once_over_all_its_pages(&library).await;
}

/// What a filter lets pass, said anew.
type Pass = Box<dyn Fn(&Chat) -> bool>;

/// The chats of an owner that a filter lets pass, in the order of a list.
fn expected(library: &Library, owner: usize, pass: impl Fn(&Chat) -> bool) -> Vec<ChatId> {
    let mut chats: Vec<&Chat> =
        library.chats.iter().filter(|chat| chat.owner == owner && pass(chat)).collect();
    chats.sort_by_key(|chat| {
        let pin = chat.pin_order.map_or(i32::MAX, |pin| pin);
        let pinned = chat.pin_order.map(|_| chat.id);
        (pin, pinned, Reverse((chat.update_time, chat.id)))
    });
    chats.into_iter().map(|chat| ChatId(chat.id)).collect()
}

async fn every_filter_lists_its_chats_once_and_in_order(library: &Library) {
    let blue = |chat: &Chat| chat.labels.get("team").is_some_and(|team| team == "blue");
    let rare = |chat: &Chat| chat.labels.contains_key("env");
    let workspace = format!("workspace:{} archived:any", library.workspaces[0]);
    let cases: Vec<(&str, Pass)> = vec![
        ("", Box::new(|chat| !chat.archived)),
        ("archived:true", Box::new(|chat| chat.archived)),
        ("archived:any", Box::new(|_| true)),
        ("state:error", Box::new(|chat| !chat.archived && chat.state == "error")),
        ("state:waiting archived:any", Box::new(|chat| chat.state == "waiting")),
        ("state:running", Box::new(|_| false)),
        ("has_unread:true", Box::new(|chat| !chat.archived && chat.has_unread)),
        ("has_unread:false archived:true", Box::new(|chat| chat.archived && !chat.has_unread)),
        ("label:team=blue", Box::new(move |chat| !chat.archived && blue(chat))),
        (
            "label:team=blue label:\"env=100% _rare\" archived:any",
            Box::new(move |chat| blue(chat) && rare(chat)),
        ),
        ("label:env=100%", Box::new(|_| false)),
        ("title:\"über 50% OF_\" archived:any", Box::new(|chat| chat.title.contains("Über"))),
        ("title:%5_", Box::new(|_| false)),
        ("title:c.at", Box::new(|_| false)),
        ("model:large", Box::new(|chat| !chat.archived && chat.model == "large")),
        ("model:lar%", Box::new(|_| false)),
        (&workspace, Box::new(|chat| chat.has_workspace)),
        (
            "created_after:2026-09-21T14:15:00Z",
            Box::new(|chat| {
                !chat.archived && chat.update_time.to_rfc3339().as_str() >= "2026-09-21T14:15:00"
            }),
        ),
        (
            "created_before:2026-09-21T14:15:00Z",
            Box::new(|chat| !chat.archived && chat.update_time.to_rfc3339().as_str() < "2026-09-21T14:15:00"),
        ),
    ];
    for (q, pass) in cases {
        let expected = expected(library, 0, pass);
        assert_eq!(
            expected.is_empty(),
            ["state:running", "label:env=100%", "title:%5_", "title:c.at", "model:lar%"].contains(&q),
            "{q}"
        );
        for limit in [7, 100] {
            assert_eq!(library.walk(library.query(0, q, limit)).await, expected, "{q} by {limit}");
        }
    }
}

/// Whether a chat has all the words, as beginnings, in its title or in one message; said
/// without what the search itself is made of.
fn has_words(chat: &Chat, search: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('ü', "u");
    let search = plain(search);
    let mut texts = chat.texts.iter().chain([&chat.title]).map(|text| plain(text));
    texts.any(|text| {
        let words: Vec<&str> = text.split(|character: char| !character.is_alphanumeric()).collect();
        search.split(' ').all(|wanted| match wanted.is_ascii() {
            true => words.iter().any(|word| word.starts_with(wanted)),
            false => text.contains(wanted),
        })
    })
}

async fn a_search_finds_every_chat_once_over_all_its_pages(library: &Library) {
    for (search, filter) in [
        ("the", ""),
        ("zanzibar", "archived:any"),
        ("zanz", "has_unread:false"),
        ("word5", "archived:true"),
        ("word17 word3", "archived:any"),
        // Few chats pass these: they are looked through one by one.
        ("zanzibar the", "label:team=blue"),
        ("the 東京", "label:team=blue"),
        ("über", "label:team=blue"),
        ("nowhere", "label:team=blue"),
        ("東京", ""),
        ("都", "archived:any"),
        ("über", "archived:any"),
        ("chat 77", ""),
        ("nowhere", ""),
    ] {
        let query = library.query(0, &format!("search:\"{search}\" {filter}"), 25);
        let pass = |chat: &Chat| match filter {
            "" => !chat.archived,
            "archived:true" => chat.archived,
            "has_unread:false" => !chat.archived && !chat.has_unread,
            "label:team=blue" => !chat.archived && chat.labels.contains_key("team"),
            _ => true,
        };
        let mut expected: Vec<Uuid> = expected(library, 0, |chat| pass(chat) && has_words(chat, search))
            .into_iter()
            .map(|chat| chat.0)
            .collect();
        expected.sort_unstable();

        let found = library.walk(query).await;

        let mut ids: Vec<Uuid> = found.iter().map(|chat| chat.0).collect();
        ids.sort_unstable();
        assert_eq!(ids.len(), expected.len(), "{search} {filter}");
        assert_eq!(ids, expected, "{search} {filter}");
    }
}
