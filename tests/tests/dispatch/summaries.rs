//! Summaries that ride on a commit, and what a turn is afterwards.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, session_request::Message as Up},
};
use chatplane_tests::{Client, DEADLINE};
use futures::StreamExt as _;
use tokio::time::timeout;
use tonic::Code;

use crate::{
    comes_to, number, reason,
    replica::{Replica, World, quick},
    worker::{Held, Worker, answer, commit_of},
    writes::get_turn,
};

/// A chat of two steps that goes on: messages 1 to 3.
async fn talked() -> (World, Replica, Worker, Held) {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    world.client(&replica).create_chat("Hello").await;
    let mut held = worker.lease().await;
    for words in ["One.", "Two."] {
        worker.commit(&mut held, answer(words), proto::NextStep::Continue).await.expect("committed");
    }
    (world, replica, worker, held)
}

fn summary(held: &Held, covers_through: i64) -> proto::Summary {
    proto::Summary {
        covers_through,
        history_version: held.header.history_version,
        text: "They said hello.".to_owned(),
        model: "test".to_owned(),
        usage: Some(chat::Usage { input_tokens: 11, output_tokens: 5, ..Default::default() }),
        runtime_ms: 4,
        model_call: 90,
        context_tokens: 800,
        context_percent: 80,
    }
}

fn with_summary(held: &Held, covers_through: i64) -> proto::CommitStepRequest {
    let request = commit_of(held, answer("Three."), proto::NextStep::Continue);
    proto::CommitStepRequest { summary: Some(summary(held, covers_through)), ..request }
}

async fn commit(
    worker: &mut Worker,
    held: &mut Held,
    request: proto::CommitStepRequest,
) -> proto::WriteOutcome {
    let committed = worker.calls.commit_step(request).await.expect("it is committed").into_inner();
    let outcome = committed.outcome.expect("an outcome");
    held.written(&outcome);
    outcome
}

fn ids(read: &crate::writes::Read) -> Vec<i64> {
    read.messages.iter().filter_map(|message| message.message.as_ref()).map(|row| row.message_id).collect()
}

#[tokio::test]
async fn a_summary_rides_on_a_commit_and_takes_the_place_of_what_it_covers() {
    let (world, replica, mut worker, mut held) = talked().await;
    let request = with_summary(&held, 2);

    let outcome = commit(&mut worker, &mut held, request.clone()).await;
    let again = worker.calls.commit_step(request).await.expect("a repeat").into_inner().outcome;
    let read = get_turn(&mut worker, held.get(0)).await.expect("the turn is read");
    let newer =
        get_turn(&mut worker, held.get(outcome.snapshot_version - 1)).await.expect("the turn is read");

    assert_eq!(
        (&outcome.boundary_message_ids[..], &outcome.committed_message_ids[..]),
        (&[4, 5, 6][..], &[7][..])
    );
    // What the model was then is not kept: a repeat names the one of now.
    let again = proto::WriteOutcome { model: None, ..again.expect("an outcome") };
    assert_eq!(again, outcome);
    // What is covered is gone from the turn; a holder that keeps a prefix is told to drop it.
    assert_eq!((ids(&read), read.deleted_from), (vec![3, 4, 7], None));
    assert_eq!((ids(&newer), newer.deleted_from), (vec![3, 4, 7], Some(1)));
    let row = read.messages[1].message.as_ref().expect("a message");
    assert_eq!((row.role(), row.covers_through), (chat::Role::User, 2));
    assert_eq!(row.parts, [chatplane_tests::text("They said hello.")]);

    let listed = world.client(&replica).messages(&held.chat).await;
    let shown: Vec<(i64, i64)> = listed.iter().map(|row| (row.message_id, row.covers_through)).collect();
    assert_eq!(shown, [(1, 0), (2, 0), (3, 0), (5, 2), (6, 2), (7, 0)]);
    let Some(chat::part::Kind::ToolCall(call)) = &listed[3].parts[0].kind else { panic!("{:?}", listed[3]) };
    assert_eq!(call.tool_name, "chat_summarized");
    assert_eq!(call.arguments_json, r#"{"source":"automatic","percent":80,"tokens":800}"#);
    assert_eq!(listed[3].usage, summary(&held, 2).usage);
    let mut database = world.database.connection().await;
    let accounts = "select sum(input_tokens)::bigint from model_calls where model_call in (3, 90)";
    assert_eq!(number(&mut database, accounts.to_owned()).await, 3 + 11);
}

#[tokio::test]
async fn a_summary_of_what_is_not_what_it_was_is_ignored_and_the_step_stored() {
    let (world, _replica, mut worker, mut held) = talked().await;
    let first = with_summary(&held, 2);
    commit(&mut worker, &mut held, first).await;
    let stale = proto::Summary { history_version: 1, ..summary(&held, 3) };
    let boundaries_own = summary(&held, 5);
    let below = summary(&held, 2);

    for (given, model_call) in [(stale, 91), (boundaries_own, 92), (below, 93)] {
        let request = commit_of(&held, answer("On."), proto::NextStep::Continue);
        let given = Some(proto::Summary { model_call, ..given });
        let request = proto::CommitStepRequest { summary: given, ..request };
        let outcome = commit(&mut worker, &mut held, request).await;
        assert_eq!((outcome.boundary_message_ids.len(), outcome.committed_message_ids.len()), (0, 1));
    }

    let mut database = world.database.connection().await;
    let boundaries = "select count(distinct covers_through) from messages where covers_through is not null";
    assert_eq!(number(&mut database, boundaries.to_owned()).await, 1);
    let accounts = "select count(*) from model_calls where model_call between 91 and 93";
    assert_eq!(number(&mut database, accounts.to_owned()).await, 3, "they were paid for all the same");
}

#[tokio::test]
async fn a_turn_may_wait_for_its_summary_and_go_on_without_an_answer() {
    let (_world, _replica, mut worker, mut held) = talked().await;
    let next = proto::NextStep::Continue.into();
    let request = proto::CommitStepRequest {
        header: held.write(),
        next,
        summary: Some(summary(&held, 3)),
        ..Default::default()
    };

    let outcome = commit(&mut worker, &mut held, request).await;

    assert_eq!(outcome.disposition(), proto::Disposition::Continues);
    assert_eq!((outcome.boundary_message_ids.len(), outcome.committed_message_ids.len()), (3, 0));
    let read = get_turn(&mut worker, held.get(0)).await.expect("the turn is read");
    assert_eq!(ids(&read), [4]);
    worker.finish(&mut held).await;
}

#[tokio::test]
async fn a_summary_that_was_asked_for_is_the_whole_turn() {
    let (world, replica, mut worker, mut held) = talked().await;
    let mut client = world.client(&replica);
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    comes_to(&mut client, &held.chat, chat::ChatState::Waiting).await;
    let request = chat::CompactChatRequest { chat_id: held.chat.clone(), ..Default::default() };
    client.chats.compact_chat(request).await.expect("it is asked for");

    let mut turn = worker.lease().await;
    let request = proto::CommitStepRequest {
        header: turn.write(),
        next: proto::NextStep::Finish.into(),
        summary: Some(summary(&turn, 4)),
        ..Default::default()
    };
    let outcome = commit(&mut worker, &mut turn, request).await;

    assert!(turn.header.compact_requested);
    assert_eq!(outcome.disposition(), proto::Disposition::Released);
    let done = comes_to(&mut client, &held.chat, chat::ChatState::Waiting).await;
    assert!(!done.compact_requested);
    let listed = client.messages(&held.chat).await;
    let Some(chat::part::Kind::ToolCall(call)) = &listed[4].parts[0].kind else { panic!("{:?}", listed[4]) };
    assert_eq!(call.arguments_json, r#"{"source":"manual","percent":80,"tokens":800}"#);
}

/// What makes a summary wrong.
type Change = fn(&mut proto::Summary);

#[tokio::test]
async fn a_summary_that_is_wrong_is_refused_with_the_step() {
    let (world, _replica, mut worker, held) = talked().await;
    let changes: [(&str, Change); 10] = [
        ("summary.covers_through", |summary| summary.covers_through = 0),
        ("summary.covers_through", |summary| summary.covers_through = 4),
        ("summary.history_version", |summary| summary.history_version = 0),
        ("summary.text", |summary| summary.text = " \n ".to_owned()),
        ("summary.text", |summary| summary.text = "x".repeat(256 * 1024 + 1)),
        ("summary.runtime_ms", |summary| summary.runtime_ms = -1),
        ("summary.context_tokens", |summary| summary.context_tokens = -1),
        ("summary.context_percent", |summary| summary.context_percent = -1),
        ("summary.usage", |summary| {
            summary.usage = Some(chat::Usage { input_tokens: -1, ..Default::default() });
        }),
        ("summary.model_call", |summary| summary.model_call = 3),
    ];

    for (field, change) in changes {
        let mut request = with_summary(&held, 2);
        change(request.summary.as_mut().expect("a summary"));
        let refused = worker.calls.commit_step(request).await.expect_err("it is refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert_eq!(crate::field(&refused), field);
    }

    let mut database = world.database.connection().await;
    assert_eq!(number(&mut database, "select count(*) from messages".to_owned()).await, 3);
}

/// Writes the whole of a part.
async fn stream(worker: &Worker, held: &Held, index: i64, kind: chat::PartKind, words: &str) {
    let lease = Some(held.lease_key());
    let stream = Some(chat::StreamId { base_version: held.header.snapshot_version, index });
    let part_started = Some(chat::PartStarted { stream, kind: kind.into(), ..Default::default() });
    worker.send(Up::LivePartStarted(proto::LivePartStarted { lease: lease.clone(), part_started })).await;
    let part_append =
        Some(chat::PartAppend { stream, part: 0, offset: 0, data: words.as_bytes().to_vec().into() });
    worker.send(Up::LivePartAppend(proto::LivePartAppend { lease, part_append })).await;
}

#[tokio::test]
async fn a_summary_streams_beside_the_answer_until_it_is_closed() {
    use chatplane_tests::fold::Fold;
    async fn until(
        events: &mut tonic::Streaming<chat::WatchChatResponse>,
        fold: &mut Fold,
        is_so: impl Fn(&Fold) -> bool,
    ) {
        while !is_so(fold) {
            let event = timeout(DEADLINE, events.next()).await.expect("in time").expect("it goes on");
            fold.apply(&event.expect("it goes on")).expect("the events are right");
        }
    }
    let (world, replica, mut worker, mut held) = talked().await;
    let mut client: Client = world.client(&replica);
    let base = held.header.snapshot_version;
    let mut events = client.watch(&held.chat, "").await.expect("it is watched");
    let mut fold = Fold::default();
    stream(&worker, &held, 0, chat::PartKind::Text, "Three").await;
    stream(&worker, &held, 1, chat::PartKind::Summary, "They said").await;
    let shows = |fold: &Fold, index: i64, words: &str| {
        let preview = fold.previews.get(&(base, index));
        preview.is_some_and(|preview| preview.parts[0].bytes == words.as_bytes())
    };
    until(&mut events, &mut fold, |fold| shows(fold, 0, "Three") && shows(fold, 1, "They said")).await;

    worker.commit(&mut held, answer("Three."), proto::NextStep::Continue).await.expect("committed");
    until(&mut events, &mut fold, |fold| !shows(fold, 0, "Three")).await;
    assert!(shows(&fold, 1, "They said"), "it outlives the step beside which it began");
    let request = with_summary(&held, 2);
    commit(&mut worker, &mut held, request).await;
    let stream = Some(chat::StreamId { base_version: base, index: 1 });
    let closed = proto::LiveStreamClosed { lease: Some(held.lease_key()), stream, abandoned: false };
    worker.send(Up::LiveStreamClosed(closed)).await;
    until(&mut events, &mut fold, |fold| fold.previews.is_empty()).await;

    assert_eq!(fold.durable.messages.values().filter(|row| row.covers_through == 2).count(), 2);
}
