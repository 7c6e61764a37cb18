//! Labels: their rules, and how they are set, replaced, removed and cleared.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{change, cluster, fields, pairs, reason, update};

async fn replace(client: &mut Client, chat: &str, labels: &[(&str, &str)]) -> Result<proto::Chat, Status> {
    update(client, proto::UpdateChatRequest { labels: pairs(labels), ..change(chat, &["labels"]) }).await
}

async fn edit(
    client: &mut Client,
    chat: &str,
    set: &[(&str, &str)],
    remove: &[&str],
) -> Result<proto::Chat, Status> {
    let request = proto::UpdateChatRequest {
        set_labels: pairs(set),
        remove_labels: remove.iter().map(|&key| key.to_owned()).collect(),
        ..change(chat, &["set_labels", "remove_labels"])
    };
    update(client, request).await
}

#[tokio::test]
async fn labels_are_replaced_set_removed_and_cleared() {
    let (_cluster, mut client) = cluster().await;
    let request = proto::CreateChatRequest {
        parts: vec![text("hello")],
        labels: pairs(&[("team", "blue"), ("old", "1")]),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;

    let edited =
        edit(&mut client, &chat, &[("team", "red"), ("a/b.c_d-9", "ü \n\"")], &["old", "never"]).await;
    let edited = edited.expect("they are edited");
    let replaced = replace(&mut client, &chat, &[("0", "x")]).await.expect("they are replaced");
    let same = edit(&mut client, &chat, &[("0", "x")], &[]).await.expect("nothing is to be done");
    let cleared = replace(&mut client, &chat, &[]).await.expect("they are cleared");

    assert_eq!(edited.labels, pairs(&[("team", "red"), ("a/b.c_d-9", "ü \n\"")]));
    assert_eq!(replaced.labels, pairs(&[("0", "x")]));
    assert_eq!(same, replaced);
    assert!(cleared.labels.is_empty());
    let versions = [edited, replaced, cleared.clone()].map(|chat| chat.metadata_version);
    assert_eq!(versions, [2, 3, 4]);
    assert_eq!(client.chat(&chat).await.expect("it is there"), cleared);
}

#[tokio::test]
async fn each_rule_that_a_label_breaks_is_told_by_every_call_that_takes_labels() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await;
    let (long_key, long_value) = ("k".repeat(65), "v".repeat(257));
    let broken: [(&str, &str, usize); 8] = [
        ("", "v", 1),
        (&long_key, "v", 1),
        ("-x", "v", 1),
        ("x y", "v", 1),
        ("x", "", 1),
        ("x", &long_value, 1),
        ("x", "\0", 1),
        ("-ä", "", 3),
    ];

    for (key, value, rules) in broken {
        let labels = pairs(&[(key, value)]);
        let create = proto::CreateChatRequest {
            parts: vec![text("hello")],
            labels: labels.clone(),
            ..Default::default()
        };
        let created = client.chats.create_chat(create).await.expect_err("it breaks a rule");
        let replaced =
            replace(&mut client, &chat.chat_id, &[(key, value)]).await.expect_err("it breaks a rule");
        let set = edit(&mut client, &chat.chat_id, &[(key, value)], &[]).await.expect_err("it breaks a rule");

        let shown: String = key.chars().take(64).collect();
        for (refused, field) in [(created, "labels"), (replaced, "labels"), (set, "set_labels")] {
            assert_eq!(reason(&refused), "FIELD_INVALID");
            assert_eq!(fields(&refused), vec![format!("{field}[{shown:?}]"); rules], "{key:?}: {value:?}");
        }
    }
    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there"), chat);
}

#[tokio::test]
async fn a_key_is_not_set_and_removed_at_once() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;

    let refused = edit(&mut client, &chat, &[("a", "1")], &["b", "a"]).await.expect_err("which is it?");

    assert_eq!(fields(&refused), ["remove_labels[1]"]);
}

#[tokio::test]
async fn a_chat_has_fifty_labels_at_most_however_they_come() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let keys: Vec<String> = (0..51).map(|number| format!("k{number}")).collect();
    let labels: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();

    let replaced = replace(&mut client, &chat, &labels).await.expect_err("it is one too many");
    let set = edit(&mut client, &chat, &labels, &[]).await.expect_err("it is one too many");
    let full = replace(&mut client, &chat, &labels[..50]).await.expect("there is room");
    let one_more = edit(&mut client, &chat, &labels[50..], &[]).await.expect_err("it is one too many");
    let swapped = edit(&mut client, &chat, &labels[50..], &["k0"]).await.expect("one goes, one comes");

    assert_eq!((fields(&replaced), fields(&set)), (vec!["labels".to_owned()], vec!["set_labels".to_owned()]));
    assert_eq!(fields(&one_more), ["set_labels"]);
    let said = one_more.get_details_bad_request().expect("a field").field_violations.remove(0).description;
    assert!(said.contains("remove_labels") && said.contains("51"), "{said}");
    assert_eq!((full.labels.len(), swapped.labels.len()), (50, 50));
    assert!(swapped.labels.contains_key("k50") && !swapped.labels.contains_key("k0"));
}
