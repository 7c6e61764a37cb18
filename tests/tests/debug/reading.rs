//! Listing runs and reading their steps.

use std::collections::BTreeSet;

use chatplane_proto::{chat::v1 as proto, worker::v1 as worker};
use chatplane_tests::Client;

use crate::{Stage, field, reason};

fn list(chat: &str, page_size: i32, page_token: &str) -> proto::ListDebugRunsRequest {
    proto::ListDebugRunsRequest { chat_id: chat.to_owned(), page_size, page_token: page_token.to_owned() }
}

fn get(run: &proto::DebugRun, page_size: i32, page_token: &str) -> proto::GetDebugRunRequest {
    proto::GetDebugRunRequest {
        chat_id: run.chat_id.clone(),
        run_id: run.run_id.clone(),
        page_size,
        page_token: page_token.to_owned(),
    }
}

#[tokio::test]
async fn runs_and_steps_come_in_pages_that_leave_nothing_out() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(5).await;
    for (model_call, trigger) in (1..).zip(&users) {
        stage.record(stage.step(&chat, model_call, *trigger)).await.expect("it is stored");
    }
    for model_call in 11..22 {
        stage.record(stage.step(&chat, model_call, users[0])).await.expect("it is stored");
    }

    let (mut triggers, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page =
            stage.client.chats.list_debug_runs(list(&chat, 2, &token)).await.expect("a page").into_inner();
        sizes.push(page.runs.len());
        triggers.extend(page.runs.into_iter().map(|run| run.trigger_message_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let runs = stage.runs(&chat).await;
    let first = runs.last().expect("there are some");
    let page = stage.client.chats.get_debug_run(get(first, 0, "")).await.expect("a page").into_inner();
    let rest = get(first, 99, &page.next_page_token);
    let rest = stage.client.chats.get_debug_run(rest).await.expect("a page").into_inner();

    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(triggers, users.iter().rev().copied().collect::<Vec<_>>(), "newest first");
    assert_eq!(runs.len(), 5);
    assert_eq!((page.run.as_ref(), page.steps.len()), (Some(first), 10));
    let numbers: Vec<i32> = page.steps.iter().chain(&rest.steps).map(|step| step.step).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    assert_eq!(rest.next_page_token, "");
}

#[tokio::test]
async fn large_steps_make_a_page_shorter() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(1).await;
    for model_call in 1..=3 {
        let mut request = stage.step(&chat, model_call, users[0]);
        let step = request.step.as_mut().expect("it has one");
        step.request_json = "x".repeat(1024 * 1024);
        step.response_json = "y".repeat(1024 * 1024);
        stage.record(request).await.expect("it is stored");
    }
    let runs = stage.runs(&chat).await;

    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let page = stage.client.chats.get_debug_run(get(&runs[0], 50, &token)).await;
        let page = page.expect("it fits a message").into_inner();
        pages.push(page.steps.iter().map(|step| step.step).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }

    assert_eq!(pages, [[1], [2], [3]]);
}

#[tokio::test]
async fn what_is_not_there_or_anothers_is_not_found_and_wrong_fields_are_named() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(1).await;
    let (other_chat, _) = stage.chat(1).await;
    stage.record(stage.step(&chat, 1, users[0])).await.expect("it is stored");
    let run = stage.runs(&chat).await.remove(0);
    let elsewhere = proto::DebugRun { chat_id: other_chat, ..run.clone() };
    let unknown = proto::DebugRun { run_id: uuid::Uuid::now_v7().to_string(), ..run.clone() };
    let no_run = proto::DebugRun { run_id: "x".to_owned(), ..run.clone() };
    let mut reasons = BTreeSet::new();

    let mut stranger = Client::new(&stage.cluster.url(), &stage.cluster.tokens.stranger);
    let mut owner = Client::new(&stage.cluster.url(), &stage.cluster.tokens.owner);
    for client in [&mut stranger, &mut owner] {
        let listed = client.chats.list_debug_runs(list(&chat, 0, "")).await.expect_err("it is another's");
        let read = client.chats.get_debug_run(get(&run, 0, "")).await.expect_err("it is another's");
        reasons.extend([reason(&listed), reason(&read)]);
    }
    assert_eq!(reasons, BTreeSet::from(["CHAT_NOT_FOUND".to_owned()]));
    for missing in [elsewhere, unknown] {
        let refused =
            stage.client.chats.get_debug_run(get(&missing, 0, "")).await.expect_err("it is not there");
        assert_eq!(reason(&refused), "DEBUG_RUN_NOT_FOUND");
    }
    let chats = &mut stage.client.chats;
    let refusals = [
        ("chat_id", chats.list_debug_runs(list("x", 0, "")).await.expect_err("no id")),
        ("page_size", chats.list_debug_runs(list(&chat, -1, "")).await.expect_err("no size")),
        ("page_token", chats.list_debug_runs(list(&chat, 0, "x")).await.expect_err("no token")),
        ("run_id", chats.get_debug_run(get(&no_run, 0, "")).await.expect_err("no id")),
        ("page_size", chats.get_debug_run(get(&run, -1, "")).await.expect_err("no size")),
        ("page_token", chats.get_debug_run(get(&run, 0, "x")).await.expect_err("no token")),
    ];
    for (wrong, refused) in refusals {
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", wrong));
    }
}

#[tokio::test]
async fn the_tokens_of_all_steps_are_summed_and_no_sum_is_too_large() {
    let mut stage = Stage::new().await;
    let (chat, users) = stage.chat(1).await;
    for (model_call, input_tokens) in [(1, 2), (2, 3), (3, i64::MAX)] {
        let mut request = stage.step(&chat, model_call, users[0]);
        let usage = proto::Usage { input_tokens, output_tokens: 1, ..Default::default() };
        request.step.as_mut().expect("it has one").usage = Some(usage);
        stage.record(worker::RecordDebugStepRequest { ..request }).await.expect("it is stored");
    }

    let usage = stage.runs(&chat).await[0].usage.expect("every run has it");

    assert_eq!((usage.input_tokens, usage.output_tokens), (i64::MAX, 3));
}
