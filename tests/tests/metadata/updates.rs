//! `UpdateChat` as such: what it changes, and what it leaves.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;
use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{archive, change, cluster, fields, found, idle, new_id, pairs, pin, reason, title, update};

#[tokio::test]
async fn a_title_is_changed_and_nothing_else_is() {
    let (_cluster, mut client) = cluster().await;
    let before = client.create_chat("hello").await;

    let renamed = update(&mut client, title(&before.chat_id, "Über \"beans\" 🫘")).await.expect("renamed");

    let expected = proto::Chat {
        title: "Über \"beans\" 🫘".to_owned(),
        metadata_version: before.metadata_version + 1,
        ..before.clone()
    };
    assert_eq!(renamed, expected);
    assert_eq!(client.chat(&before.chat_id).await.expect("it is there"), expected);
}

#[tokio::test]
async fn what_is_already_so_is_no_change() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await;

    let again = update(&mut client, title(&chat.chat_id, "hello")).await.expect("it is allowed");
    let unpinned = update(&mut client, pin(&chat.chat_id, 0)).await.expect("it is allowed");

    assert_eq!((&again, &unpinned), (&chat, &chat));
}

#[tokio::test]
async fn watchers_hear_of_a_new_title() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let mut watch = client.watch(&chat, "").await.expect("it can be watched");

    update(&mut client, title(&chat, "Beans")).await.expect("it is renamed");

    loop {
        let event = watch.message().await.expect("the stream goes on").expect("the stream goes on");
        if let Some(proto::watch_chat_response::Event::ChatUpdated(updated)) = event.event
            && updated.chat.is_some_and(|chat| chat.title == "Beans")
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_version_that_is_not_the_stored_one_changes_nothing() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let expecting =
        |version, request| proto::UpdateChatRequest { expected_version: Some(version), ..request };

    let first = update(&mut client, expecting(1, title(&chat, "one"))).await.expect("it is version 1");
    let late = update(&mut client, expecting(1, title(&chat, "two"))).await.expect_err("it is version 2");
    let late_pin = update(&mut client, expecting(1, pin(&chat, 1))).await.expect_err("it is version 2");

    assert_eq!(first.metadata_version, 2);
    for refused in [late, late_pin] {
        let info = refused.get_details_error_info().expect("a reason");
        assert_eq!((refused.code(), info.reason.as_str()), (Code::Aborted, "VERSION_MISMATCH"));
        assert_eq!(info.metadata["version"], "2");
    }
    assert_eq!(client.chat(&chat).await.expect("it is there"), first);
}

#[tokio::test]
async fn of_many_who_have_read_the_same_version_one_writes() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;

    let writes = (0..20).map(|number| {
        let mut client = client.clone();
        let request = title(&chat, &format!("title {number}"));
        let request = proto::UpdateChatRequest { expected_version: Some(1), ..request };
        async move { update(&mut client, request).await }
    });
    let written: Vec<proto::Chat> = join_all(writes).await.into_iter().filter_map(Result::ok).collect();

    assert_eq!(written.len(), 1);
    assert_eq!(client.chat(&chat).await.expect("it is there"), written[0]);
}

#[tokio::test]
async fn fields_that_cannot_be_used_are_named() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await;
    let id = chat.chat_id.as_str();
    let no_mask = proto::UpdateChatRequest { update_mask: None, ..title(id, "x") };
    let no_request = proto::UpdateChatRequest { request_id: "seven".to_owned(), ..title(id, "x") };
    let no_version = proto::UpdateChatRequest { expected_version: Some(-1), ..title(id, "x") };

    for (request, expected) in [
        (title(id, ""), "title"),
        (title(id, " \n"), "title"),
        (title(id, &"ü".repeat(201)), "title"),
        (change(id, &[]), "update_mask"),
        (change(id, &["title", "state"]), "update_mask"),
        (change(id, &["labels", "set_labels"]), "update_mask"),
        (change(id, &["labels", "remove_labels"]), "update_mask"),
        (pin(id, -1), "pin_order"),
        (no_mask, "update_mask"),
        (no_request, "request_id"),
        (no_version, "expected_version"),
        (title("seven", "x"), "chat_id"),
    ] {
        let refused = update(&mut client, request).await.expect_err(expected);
        assert_eq!(
            (reason(&refused).as_str(), fields(&refused)),
            ("FIELD_INVALID", vec![expected.to_owned()])
        );
    }
    assert_eq!(client.chat(id).await.expect("it is there"), chat);
    let longest = update(&mut client, title(id, &"ü".repeat(200))).await.expect("that is allowed");
    assert_eq!(longest.title.chars().count(), 200);
}

#[tokio::test]
async fn anothers_chat_is_none() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("mine").await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    for request in [title(&chat.chat_id, "theirs"), pin(&chat.chat_id, 1), title(&new_id(), "nobody's")] {
        let refused = update(&mut stranger, request).await.expect_err("it is not theirs");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "CHAT_NOT_FOUND"));
    }

    assert_eq!(client.chat(&chat.chat_id).await.expect("it is there"), chat);
}

#[tokio::test]
async fn an_archived_chat_has_title_and_labels_and_no_pin() {
    let (_cluster, mut client) = cluster().await;
    let chat = idle(&mut client).await;
    archive(&mut client, &chat).await.expect("it is archived");

    let both = proto::UpdateChatRequest {
        title: "Old beans".to_owned(),
        set_labels: pairs(&[("kept", "yes")]),
        ..change(&chat, &["title", "set_labels", "pin_order"])
    };
    let changed = update(&mut client, both).await.expect("no pin is no pin");
    let refused = update(&mut client, pin(&chat, 1)).await.expect_err("it is archived");

    assert_eq!((changed.title.as_str(), changed.labels["kept"].as_str()), ("Old beans", "yes"));
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STATE_FORBIDS"));
    assert!(refused.message().contains("UnarchiveChat"), "{}", refused.message());
}

#[tokio::test]
async fn a_repeat_gets_the_reply_of_then_and_changes_nothing() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;
    let other = client.create_chat("other").await.chat_id;
    let named = |request| proto::UpdateChatRequest {
        request_id: "0193b7a0-0000-7000-8000-000000000001".to_owned(),
        ..request
    };
    let request = named(proto::UpdateChatRequest {
        title: "one".to_owned(),
        pin_order: 1,
        expected_version: Some(1),
        ..change(&chat, &["title", "pin_order"])
    });

    let first = update(&mut client, request.clone()).await.expect("it is changed");
    update(&mut client, title(&chat, "two")).await.expect("it is changed");
    let now = update(&mut client, pin(&chat, 0)).await.expect("it is changed");
    let again = update(&mut client, request).await.expect("it is answered");
    let reused = update(&mut client, named(title(&chat, "three"))).await.expect_err("it says something else");
    let elsewhere = update(&mut client, named(title(&other, "one"))).await.expect_err("it is another chat");

    assert_eq!((first.title.as_str(), first.pin_order), ("one", 1));
    assert_eq!(again, first);
    for refused in [reused, elsewhere] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    }
    assert_eq!(client.chat(&chat).await.expect("it is there"), now);
    assert_eq!((now.title.as_str(), now.metadata_version, now.pin_order), ("two", 3, 0));
}

#[tokio::test]
async fn calls_at_once_under_one_request_id_have_the_effect_of_one() {
    let (_cluster, mut client) = cluster().await;
    let chats = [client.create_chat("one").await.chat_id, client.create_chat("two").await.chat_id];
    let id = new_id();

    // Half of them are about another chat: of the two, one comes first.
    let calls = (0..16).map(|number| {
        let mut client = client.clone();
        let request = proto::UpdateChatRequest { request_id: id.clone(), ..title(&chats[number % 2], "new") };
        async move { update(&mut client, request).await }
    });
    let (answered, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);

    let answered: Vec<proto::Chat> = answered.into_iter().map(|answer| answer.expect("it is one")).collect();
    assert!(answered.windows(2).all(|pair| pair[0] == pair[1]), "{answered:?}");
    assert_eq!((answered.len(), refused.len()), (8, 8));
    let reasons = refused.into_iter().map(|refused| reason(&refused.expect_err("it is one")));
    assert!(reasons.into_iter().all(|reason| reason == "REQUEST_ID_REUSED"));
    let mut versions = Vec::new();
    for chat in &chats {
        versions.push(client.chat(chat).await.expect("it is there").metadata_version);
    }
    versions.sort_unstable();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test]
async fn a_chat_is_found_by_its_new_title_and_not_by_the_old_one() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("hello").await.chat_id;

    update(&mut client, title(&chat, "Runner beans")).await.expect("it is renamed");
    let first = found(&mut client, "runner").await;
    update(&mut client, title(&chat, "Peas")).await.expect("it is renamed");
    let labels =
        proto::UpdateChatRequest { set_labels: pairs(&[("a", "1")]), ..change(&chat, &["set_labels"]) };
    update(&mut client, labels).await.expect("it is labelled");

    assert_eq!(first, std::slice::from_ref(&chat));
    assert_eq!(found(&mut client, "runner").await, Vec::<String>::new());
    assert_eq!(found(&mut client, "peas").await, [chat]);
}
