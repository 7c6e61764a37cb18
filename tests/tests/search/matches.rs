//! What matches, which chat is first, and what is shown of it.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;

use crate::{chat, cluster, found, rename, request, search, shown};

#[tokio::test]
async fn words_are_found_by_their_beginnings_and_all_in_one_text() {
    let (_cluster, mut client) = cluster().await;
    let deploy = chat(&mut client, "Please deploy the Größe service, it can't wait").await;
    let other = chat(&mut client, "We deployed file_name.rs at 100%").await;
    client.send(&other, "the service waits").await.expect("it is queued");

    for (words, expected) in [
        ("deploy", vec![&deploy, &other]),
        ("DEPLOYED", vec![&other]),
        ("grosse", vec![&deploy]),
        ("GRÖSSE", vec![&deploy]),
        ("große", vec![&deploy]),
        ("grö", vec![&deploy]),
        ("GROßE", vec![&deploy]),
        ("größe SERV", vec![&deploy]),
        ("deploy can't", vec![&deploy]),
        ("deployed serv", vec![]),
        ("ploy", vec![]),
        ("name rs", vec![&other]),
        ("file%name", vec![&other]),
        ("10", vec![&other]),
        ("nothing", vec![]),
    ] {
        let mut found = found(&mut client, words).await;
        found.sort_unstable();
        let mut expected: Vec<String> = expected.into_iter().cloned().collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{words}");
    }
}

#[tokio::test]
async fn texts_without_spaces_are_found_by_any_piece() {
    let (_cluster, mut client) = cluster().await;
    let chinese = chat(&mut client, "我們明天在東京都開會。").await;
    let japanese = chat(&mut client, "データベースが遅いです").await;
    let thai = chat(&mut client, "สวัสดีชาวโลก").await;

    for (words, expected) in [
        ("東京都", vec![&chinese]),
        ("京都", vec![&chinese]),
        ("都", vec![&chinese]),
        ("會", vec![&chinese]),
        ("京東", vec![]),
        ("ベース", vec![&japanese]),
        ("ﾃﾞｰﾀ", vec![&japanese]),
        ("遅い", vec![&japanese]),
        ("ชาว", vec![&thai]),
        ("โลกชาว", vec![]),
    ] {
        assert_eq!(
            found(&mut client, words).await,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{words}"
        );
    }
    let page = search(&mut client, request("東京")).await;
    assert_eq!(shown(&page), ["我們明天在[東京]都開會。"]);
}

#[tokio::test]
async fn a_match_tells_the_message_and_shows_what_matches() {
    let (_cluster, mut client) = cluster().await;
    let id = chat(&mut client, "nothing of it").await;
    let long = format!(
        "{} Deploy the\n\tservice 🚀, then deploy again. {}",
        "before ".repeat(60),
        "after ".repeat(60)
    );
    let send = |parts| proto::SendMessageRequest {
        chat_id: id.clone(),
        parts,
        busy_behavior: proto::BusyBehavior::Interrupt.into(),
        ..Default::default()
    };
    let sent = client.chats.send_message(send(vec![chatplane_tests::text(&long)])).await.expect("it is sent");
    let message_id = sent.into_inner().messages[0].message_id;

    let page = search(&mut client, request("deploy serv")).await;

    let found = page.chats[0].r#match.as_ref().expect("a search says where");
    assert_eq!((found.message_id, found.role()), (message_id, proto::Role::User));
    assert!(found.snippet.chars().count() <= 200);
    let snippet = &shown(&page)[0];
    assert!(snippet.contains("before [Deploy] the [service] 🚀, then [deploy] again. after"), "{snippet}");
}

#[tokio::test]
async fn titles_are_first_and_whole_words_before_beginnings() {
    let (_cluster, mut client) = cluster().await;
    let titled = chat(&mut client, "something else").await;
    let beginning = chat(&mut client, "the rollbacks are done").await;
    let whole = chat(&mut client, "the rollback is done").await;
    let latest_beginning = chat(&mut client, "all rollbacks are done").await;
    rename(&mut client, &titled, "Rollback plan").await;

    let page = search(&mut client, request("rollback")).await;

    let order = crate::ids(&page);
    assert_eq!(order[..2], [titled, whole]);
    assert_eq!(order[2..].len(), 2);
    assert!(order.contains(&beginning) && order.contains(&latest_beginning));
    let title = page.chats[0].r#match.as_ref().expect("a search says where");
    assert_eq!((title.message_id, title.role()), (0, proto::Role::Unspecified));
    assert_eq!(shown(&page)[..2], ["[Rollback] plan", "the [rollback] is done"]);
}

#[tokio::test]
async fn another_users_texts_are_not_found() {
    let (cluster, mut client) = cluster().await;
    let mine = chat(&mut client, "our secret").await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let theirs = chat(&mut stranger, "their secret").await;

    assert_eq!(found(&mut client, "secret").await, [mine]);
    assert_eq!(found(&mut stranger, "secret").await, [theirs]);
}

#[tokio::test]
async fn a_filter_holds_for_what_is_found() {
    let (_cluster, mut client) = cluster().await;
    let running = chat(&mut client, "a word").await;
    let waiting = chat(&mut client, "a word").await;
    let stop = proto::InterruptChatRequest { chat_id: waiting.clone(), ..Default::default() };
    client.chats.interrupt_chat(stop).await.expect("it is stopped");
    let archived = chat(&mut client, "a word").await;
    let stop = proto::InterruptChatRequest { chat_id: archived.clone(), ..Default::default() };
    client.chats.interrupt_chat(stop).await.expect("it is stopped");
    let archive = proto::ArchiveChatRequest { chat_id: archived.clone(), ..Default::default() };
    client.chats.archive_chat(archive).await.expect("it is archived");

    for (filter, expected) in [
        ("state:running", vec![&running]),
        ("state:waiting", vec![&waiting]),
        ("archived:true", vec![&archived]),
        ("has_unread:true", vec![]),
        ("title:untitled archived:any state:waiting", vec![&archived, &waiting]),
        ("label:a=b", vec![]),
    ] {
        let q = format!("{filter} search:word");
        let page = search(&mut client, proto::ListChatsRequest { q: q.clone(), ..Default::default() }).await;
        assert_eq!(crate::ids(&page), expected.into_iter().cloned().collect::<Vec<_>>(), "{q}");
    }
}
