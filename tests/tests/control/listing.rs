//! Reading a history: in both directions, and what users wrote.

use std::collections::BTreeMap;

use chatplane_proto::{MESSAGE_BYTES_MAX, chat::v1 as proto};
use chatplane_tests::{Client, Cluster, Options, eventually, text};
use prost::Message as _;
use sqlx::Executor as _;

use crate::{
    cluster,
    holder::{Holder, calls},
    stage::message,
};

/// Enters a message into a chat that no worker has.
async fn say(client: &mut Client, chat: &str, parts: Vec<proto::Part>) -> proto::Message {
    let request = proto::SendMessageRequest { parts, ..message(chat, proto::BusyBehavior::Interrupt) };
    client.chats.send_message(request).await.expect("it is sent").into_inner().messages.remove(0)
}

async fn list(
    client: &mut Client,
    chat: &str,
    page_size: i32,
    (before_id, after_id): (i64, i64),
) -> proto::ListMessagesResponse {
    let request = proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size, before_id, after_id };
    let listed = client.chats.list_messages(request).await.expect("listed").into_inner();
    assert!(listed.encoded_len() <= MESSAGE_BYTES_MAX);
    listed
}

fn ids(page: &proto::ListMessagesResponse) -> Vec<i64> {
    page.messages.iter().map(|message| message.message_id).collect()
}

#[tokio::test]
async fn messages_above_a_bound_alone_are_listed_oldest_first_for_polling() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("0").await.chat_id;
    for number in 1..6 {
        say(&mut client, &chat, vec![text(&number.to_string())]).await;
    }
    let mut all = ids(&list(&mut client, &chat, 0, (0, 0)).await);
    all.reverse();

    let mut polled = vec![all[0]];
    loop {
        let last = *polled.last().expect("it is not empty");
        let page = list(&mut client, &chat, 2, (0, last)).await;
        assert!(page.queued_messages.is_empty());
        polled.extend(ids(&page));
        if !page.has_more {
            break;
        }
        assert_eq!(page.messages.len(), 2);
    }

    assert_eq!(polled, all);
    assert!(ids(&list(&mut client, &chat, 2, (0, all[5])).await).is_empty());
    // With both bounds, or with none, it is the newest first.
    assert_eq!(ids(&list(&mut client, &chat, 9, (all[4], all[1])).await), [all[3], all[2]]);
    let page = list(&mut client, &chat, 2, (all[5], all[0])).await;
    assert_eq!((ids(&page), page.has_more), (vec![all[4], all[3]], true));
}

#[tokio::test]
async fn large_messages_make_pages_shorter_in_both_directions() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("0").await.chat_id;
    for _ in 0..4 {
        say(&mut client, &chat, vec![text(&"x".repeat(262_144)); 10]).await;
    }

    let (mut up, mut down) = (vec![1], Vec::new());
    let first = ids(&list(&mut client, &chat, 0, (0, 0)).await);
    down.extend(first);
    let oldest = loop {
        let last = *down.last().expect("it is not empty");
        let page = list(&mut client, &chat, 0, (last, 0)).await;
        down.extend(ids(&page));
        if !page.has_more {
            break *down.last().expect("it is not empty");
        }
    };
    up[0] = oldest;
    loop {
        let last = *up.last().expect("it is not empty");
        let page = list(&mut client, &chat, 0, (0, last)).await;
        up.extend(ids(&page));
        if !page.has_more {
            break;
        }
    }

    down.reverse();
    assert_eq!((up.len(), &up), (5, &down));
}

async fn prompts(client: &mut Client, chat: &str, limit: i32, before_id: i64) -> proto::ListPromptsResponse {
    let request = proto::ListPromptsRequest { chat_id: chat.to_owned(), limit, before_id };
    let listed = client.chats.list_prompts(request).await.expect("listed").into_inner();
    assert!(listed.encoded_len() <= MESSAGE_BYTES_MAX);
    listed
}

fn texts(page: &proto::ListPromptsResponse) -> Vec<&str> {
    page.prompts.iter().map(|prompt| prompt.text.as_str()).collect()
}

#[tokio::test]
async fn prompts_are_what_users_wrote_newest_first_and_verbatim() {
    let (cluster, mut client) = cluster().await;
    let request = proto::CreateChatRequest {
        parts: vec![text("one"), text(" \n"), text("and\0more")],
        system_prompt: "Never shown.".to_owned(),
        ..Default::default()
    };
    // A part of white space alone is refused where it is written, but an older release may have stored it.
    let refused = client.chats.create_chat(request.clone()).await.expect_err("white space");
    assert_eq!(crate::field(&refused), "parts[1].text");
    let request = proto::CreateChatRequest { parts: vec![text("one\n"), text(" and\0more ")], ..request };
    let chat =
        client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat").chat_id;
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Never shown either.").await;
    let two = client.send(&chat, "two").await.expect("sent").messages.remove(0);
    let blank = say(&mut client, &chat, vec![text("blank")]).await;
    let odd = say(&mut client, &chat, vec![text("odd")]).await;
    client.send(&chat, "queued, not said").await.expect("queued");
    let mut connection = cluster.database.connection().await;
    for (id, content) in [
        (blank.message_id, r#"{"parts": [{"kind": "text", "text": " \n\t"}]}"#),
        (odd.message_id, r#"{"parts": "no array"}"#),
    ] {
        let update = format!("update messages set content = '{content}' where id = {id}");
        connection.execute(sqlx::AssertSqlSafe(update)).await.expect("it is stored");
    }

    let all = prompts(&mut client, &chat, 0, 0).await;

    assert_eq!(texts(&all), ["two", "one\n and\0more "]);
    assert!(!all.has_more);
    assert_eq!((all.prompts[0].message_id, all.prompts[0].create_time), (two.message_id, two.create_time));
    assert_eq!(texts(&prompts(&mut client, &chat, 2000, two.message_id).await), ["one\n and\0more "]);
}

#[tokio::test]
async fn prompts_that_were_edited_away_are_gone_and_a_limit_counts_messages() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("zero").await.chat_id;
    for words in ["one", "two"] {
        say(&mut client, &chat, vec![text(words)]).await;
    }
    let message_id = client.messages(&chat).await[1].message_id;
    let request = proto::EditMessageRequest {
        chat_id: chat.clone(),
        message_id,
        parts: vec![text("better")],
        ..Default::default()
    };
    client.chats.edit_message(request).await.expect("it is edited");

    assert_eq!(texts(&prompts(&mut client, &chat, 0, 0).await), ["better", "zero"]);
    let newest = prompts(&mut client, &chat, 1, 0).await;
    assert_eq!((texts(&newest), newest.has_more), (vec!["better"], false));
}

#[tokio::test]
async fn large_prompts_make_the_list_shorter_and_it_goes_on() {
    let (_cluster, mut client) = cluster().await;
    let chat = client.create_chat("0").await.chat_id;
    for _ in 0..4 {
        say(&mut client, &chat, vec![text(&"x".repeat(262_144)); 10]).await;
    }

    let mut read = 0;
    let mut before_id = 0;
    loop {
        let page = prompts(&mut client, &chat, 0, before_id).await;
        read += page.prompts.len();
        if !page.has_more {
            break;
        }
        before_id = page.prompts.last().expect("a page has at least one").message_id;
    }

    assert_eq!(read, 5);
}

#[tokio::test]
async fn the_content_of_an_answer_names_who_settles_its_calls() {
    let (cluster, mut client) = cluster().await;
    let chat = client.create_chat("first").await.chat_id;
    let mut holder = Holder::open(&cluster).await;
    let next = chatplane_proto::worker::v1::NextStep::Continue;
    holder.commit(Some(calls(&["read_file"], proto::CallKind::Unspecified)), None, next).await;

    let messages = client.messages(&chat).await;

    let Some(proto::part::Kind::ToolCall(call)) = &messages[1].parts[0].kind else { panic!("no call") };
    assert_eq!((call.tool_name.as_str(), call.kind()), ("read_file", proto::CallKind::Unspecified));
}

#[tokio::test]
async fn a_model_tells_at_how_much_of_its_context_a_history_is_summarized() {
    for (tokens, percent) in [("499999", 70), ("500000", 30)] {
        let serve = BTreeMap::from([("CHATPLANE_MODEL_CONTEXT_TOKENS", tokens.to_owned())]);
        let cluster = Cluster::start(Options { serve, ..Options::default() }).await;
        let listed = async || {
            let request = proto::ListModelsRequest::default();
            let listed = cluster.client().chats.list_models(request).await.expect("listed");
            listed.into_inner().models.remove(0).compaction_threshold_percent
        };
        assert_eq!(listed().await, percent);

        let own = "update models set compaction_threshold_percent = 55";
        cluster.database.connection().await.execute(own).await.expect("it is stored");

        eventually("the model has its own", async || (listed().await == 55).then_some(())).await;
    }
}
