//! What lease holders write and read.

use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{self as proto, get_turn_response::Piece, session_response::Message as Down},
};
use futures::StreamExt;
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    comes_to, number, reason,
    replica::{World, quick},
    worker::{Held, Worker, answer, call, commit_of, result},
};

/// A turn's input, put together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    pub(crate) header: proto::TurnHeader,
    pub(crate) deleted_from: Option<i64>,
    pub(crate) messages: Vec<proto::TurnMessage>,
    pub(crate) largest_piece: usize,
}

pub(crate) async fn get_turn(
    worker: &mut Worker,
    request: proto::GetTurnRequest,
) -> Result<ReadTurn, Status> {
    let mut stream = worker.calls.get_turn(request).await?.into_inner();
    let mut read = Read::default();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        read.largest_piece = read.largest_piece.max(piece.encoded_len());
        match piece.piece.expect("a known piece") {
            Piece::Header(header) => read.header = header,
            Piece::DeletedFromMessageId(id) => read.deleted_from = Some(id),
            Piece::Messages(messages) => read.messages.extend(messages.messages),
        }
    }
    Ok(read)
}

type ReadTurn = Read;

async fn started() -> (World, crate::replica::Replica, Worker, Held) {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    world.client(&replica).create_chat("Hello").await;
    let held = worker.lease().await;
    (world, replica, worker, held)
}

#[tokio::test]
async fn a_turn_with_a_tool_call_goes_from_write_to_write() {
    let (world, replica, mut worker, mut held) = started().await;
    let mut client = world.client(&replica);

    let asked =
        worker.commit(&mut held, call("list_dir"), proto::NextStep::Continue).await.expect("committed");
    let early = worker.calls.commit_step(commit_of(&held, answer("Early."), proto::NextStep::Finish)).await;
    let results = proto::CommitToolResultsRequest { header: held.write(), results: vec![result(2, "a.txt")] };
    let stored = worker.calls.commit_tool_results(results).await.expect("stored").into_inner();
    held.written(&stored.outcome.expect("an outcome"));
    let done = worker.finish(&mut held).await;

    assert_eq!(
        (asked.disposition(), done.disposition()),
        (proto::Disposition::Continues, proto::Disposition::Released)
    );
    assert_eq!(reason(&early.expect_err("a call is open")), "FIELD_INVALID");
    let chat = comes_to(&mut client, &held.chat, chat::ChatState::Waiting).await;
    assert_eq!(chat.snapshot_version, done.snapshot_version);
    let roles: Vec<_> = client.messages(&held.chat).await.iter().map(chat::Message::role).collect();
    assert_eq!(roles, [chat::Role::User, chat::Role::Assistant, chat::Role::Tool, chat::Role::Assistant]);
}

#[tokio::test]
async fn a_repeated_write_gets_its_outcome_again_before_staleness_is_looked_at() {
    let (world, _replica, mut worker, mut held) = started().await;
    let request = commit_of(&held, answer("Done."), proto::NextStep::Finish);
    let first = worker.finish(&mut held).await;

    // The history has changed by this very write, and the lease has ended with it.
    let again = worker.calls.commit_step(request.clone()).await.expect("a repeat").into_inner().outcome;

    assert_eq!(again, Some(first));
    let skipped = proto::WriteHeader { write_no: 3, ..held.write().expect("a header") };
    let skipped = proto::ReleaseRequest { header: Some(skipped) };
    assert_eq!(reason(&worker.calls.release(skipped).await.expect_err("a gap")), "FIELD_INVALID");
    let ended = proto::ReleaseRequest { header: held.write() };
    assert_eq!(reason(&worker.calls.release(ended).await.expect_err("the lease has ended")), "LEASE_LOST");
    let mut database = world.database.connection().await;
    assert_eq!(number(&mut database, "select count(*) from model_calls".to_owned()).await, 1);
}

#[tokio::test]
async fn a_write_made_from_another_history_is_superseded_and_uses_up_no_number() {
    let (_world, _replica, mut worker, mut held) = started().await;
    let mut request = commit_of(&held, answer("Old."), proto::NextStep::Finish);
    request.header.as_mut().expect("a header").history_version = 7;

    let refused = worker.calls.commit_step(request).await.expect_err("another history");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "SUPERSEDED"));
    worker.finish(&mut held).await;
}

#[tokio::test]
async fn only_the_session_that_was_given_a_lease_may_write_under_it() {
    let (world, replica, mut worker, held) = started().await;
    let other = Worker::open(&replica, &world.worker_token, 1).await;
    let mut stolen = held.clone();
    stolen.session.clone_from(&other.session);

    let refused = worker.calls.release(proto::ReleaseRequest { header: stolen.write() }).await;
    let unread = get_turn(&mut worker, stolen.get(0)).await;

    assert_eq!(reason(&refused.expect_err("another's lease")), "LEASE_LOST");
    assert_eq!(reason(&unread.expect_err("another's lease")), "LEASE_LOST");
}

#[tokio::test]
async fn an_interruption_reaches_the_holder_which_hands_in_what_it_has() {
    let (world, replica, mut worker, mut held) = started().await;
    let mut client = world.client(&replica);

    let request = chat::InterruptChatRequest { chat_id: held.chat.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is interrupted");
    let told = worker.next().await.expect("a word");
    let finish = proto::FinishInterruptionRequest {
        header: held.write(),
        partial: Some(answer("As far as")),
        results: Vec::new(),
        model_call: 1,
    };
    let outcome = worker.calls.finish_interruption(finish).await.expect("finished").into_inner().outcome;

    let snapshot_version = held.header.snapshot_version + 1;
    let interrupt = proto::Interrupt { lease: Some(held.lease_key()), snapshot_version };
    assert_eq!(told, Down::Interrupt(interrupt));
    held.written(&outcome.expect("an outcome"));
    comes_to(&mut client, &held.chat, chat::ChatState::Waiting).await;
    let messages = client.messages(&held.chat).await;
    assert!(messages[1].interrupted);
}

#[tokio::test]
async fn a_stop_on_another_replica_reaches_the_holder_by_the_next_renewal() {
    let (world, _replica, mut worker, held) = started().await;
    let other = world.replica(quick()).await;

    let request = chat::InterruptChatRequest { chat_id: held.chat.clone(), ..Default::default() };
    world.client(&other).chats.interrupt_chat(request).await.expect("it is interrupted");

    let told = worker.next().await.expect("a word");
    // Above the version of the stop, so that it is heard whatever the holder has written.
    let snapshot_version = held.header.snapshot_version + 2;
    let interrupt = proto::Interrupt { lease: Some(held.lease_key()), snapshot_version };
    assert_eq!(told, Down::Interrupt(interrupt));
}

#[tokio::test]
async fn a_retry_and_a_failure_are_recorded_with_their_kind() {
    let (world, replica, mut worker, mut held) = started().await;
    let mut client = world.client(&replica);
    let error = chat::ChatError {
        kind: chat::ErrorKind::Overloaded.into(),
        message: "It is busy.".to_owned(),
        detail: "é".repeat(600),
        provider: "anthropic".to_owned(),
        status_code: 529,
        retryable: true,
    };

    let retry =
        proto::RecordRetryRequest { header: held.write(), error: Some(error.clone()), delay_ms: 1000 };
    let recorded = worker.calls.record_retry(retry).await.expect("recorded").into_inner().outcome;
    held.written(&recorded.expect("an outcome"));
    let retrying = client.chat(&held.chat).await.expect("it is there").retry.expect("a retry");
    let fail = proto::FailRequest { header: held.write(), error: Some(error.clone()) };
    worker.calls.fail(fail).await.expect("failed");
    let failed = comes_to(&mut client, &held.chat, chat::ChatState::Error).await;

    let cut = chat::ChatError { detail: "é".repeat(500), ..error };
    assert_eq!((retrying.attempt, retrying.error), (2, Some(cut.clone())));
    assert_eq!((failed.last_error, failed.retry), (Some(cut), None));
}

#[tokio::test]
async fn provider_state_comes_back_to_workers_byte_exactly_and_never_to_users() {
    let (world, replica, mut worker, mut held) = started().await;
    let state: Vec<u8> = (0..=255).collect();
    let secret = proto::NewMessage { provider_states: vec![state.clone().into()], ..answer("Nul: \0.") };
    worker.commit(&mut held, secret, proto::NextStep::Continue).await.expect("committed");

    let read = get_turn(&mut worker, held.get(0)).await.expect("read");

    assert_eq!(read.messages[1].provider_states, vec![state]);
    assert_eq!(read.messages[0].provider_states, Vec::<Vec<u8>>::new());
    let listed = world.client(&replica).messages(&held.chat).await;
    assert_eq!(Some(&listed[1]), read.messages[1].message.as_ref());
    assert!(!listed[1].encode_to_vec().windows(16).any(|window| window == &state_window()[..]));
}

fn state_window() -> Vec<u8> {
    (100..116).collect()
}

#[tokio::test]
async fn a_long_history_is_read_in_small_pieces_and_a_kept_prefix_is_not_read_again() {
    let (_world, _replica, mut worker, mut held) = started().await;
    let long = "x".repeat(700 * 1024);
    for _ in 0..5 {
        worker.commit(&mut held, answer(&long), proto::NextStep::Continue).await.expect("committed");
    }

    let all = get_turn(&mut worker, held.get(0)).await.expect("read");
    let newest =
        get_turn(&mut worker, held.get(all.messages[4].message.as_ref().expect("one").revision)).await;

    assert_eq!(all.messages.len(), 6);
    assert!(all.largest_piece < 2 * 1024 * 1024, "{}", all.largest_piece);
    let newest = newest.expect("read");
    assert_eq!(newest.messages, all.messages[5..]);
    assert_eq!((newest.header, newest.deleted_from), (all.header, None));
}

#[tokio::test]
async fn a_model_call_is_paid_for_once_whatever_became_of_its_answer() {
    let (world, _replica, mut worker, mut held) = started().await;
    let report = |fence: i64, model_call: i64| proto::ReportUsageRequest {
        session_id: held.session.clone(),
        chat_id: held.chat.clone(),
        fence,
        model_call,
        model: "test".to_owned(),
        usage: Some(chat::Usage { input_tokens: 9, ..Default::default() }),
    };
    let (refused_answer, committed, future) = (report(1, 2), report(1, 1), report(2, 1));
    worker.calls.report_usage(refused_answer.clone()).await.expect("kept");
    worker.calls.report_usage(refused_answer).await.expect("kept once");
    worker.finish(&mut held).await;

    worker.calls.report_usage(committed).await.expect("kept by the commit");
    let unknown = worker.calls.report_usage(future).await.expect_err("no such lease yet");

    assert_eq!(reason(&unknown), "LEASE_LOST");
    let mut database = world.database.connection().await;
    assert_eq!(
        number(&mut database, "select sum(input_tokens)::bigint from model_calls".to_owned()).await,
        12
    );
}

#[tokio::test]
async fn what_a_worker_may_not_send_is_refused_and_stores_nothing() {
    let (world, _replica, mut worker, held) = started().await;
    let refused = async |worker: &mut Worker, change: fn(&mut proto::CommitStepRequest)| {
        let mut request = commit_of(&held, answer("x"), proto::NextStep::Continue);
        change(&mut request);
        worker.calls.commit_step(request).await.expect_err("it is refused")
    };
    let changes: [fn(&mut proto::CommitStepRequest); 9] = [
        |request| request.header = None,
        |request| request.next = 0,
        |request| request.model_call = 0,
        |request| request.header.as_mut().unwrap().fence = 0,
        |request| request.header.as_mut().unwrap().chat_id = "7".to_owned(),
        |request| request.answer.as_mut().unwrap().runtime_ms = -1,
        |request| request.answer.as_mut().unwrap().provider_states = vec![Vec::new().into(); 2],
        |request| request.answer.as_mut().unwrap().usage.as_mut().unwrap().output_tokens = -1,
        |request| request.answer.as_mut().unwrap().parts = vec![chat::Part::default(); 101],
    ];

    for change in changes {
        let status = refused(&mut worker, change).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    }

    let mut database = world.database.connection().await;
    let rows = "select count(*) from messages union all select count(*) from model_calls";
    assert_eq!(number(&mut database, format!("select sum(count)::bigint from ({rows}) as c")).await, 1);
}
