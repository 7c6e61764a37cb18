//! Commands of the lease holder: the order of the checks, sizes, and what a reply
//! says of the rows.

use std::time::Duration;

use chatplane_domain::{
    ANSWER_BYTES_MAX, Answer, AnswerContent, AnswerPart, Body, CallKind, Chat, Command, Disposition,
    ErrorKind, ExpireCause, Fence, FinishedCall, HolderWrite, Inserted, MessageId, NextStep, PARTS_MAX,
    Rejection, Retry, TOOL_OUTPUT_BYTES_MAX, WriteHeader, WriteOutcome,
};
use chrono::TimeDelta;

use crate::{
    fixtures::{
        accepted, answer, chat_error, entered, expire, finished, holder, inserted, names_field, next_header,
        now, refused, retry, session, step, write, written,
    },
    states::{call_id, chat_in, short, with_calls, with_two_queued},
};

fn answer_of(text_bytes: usize, parts: usize) -> Answer {
    let part =
        |bytes| AnswerPart { content: AnswerContent::Text("x".repeat(bytes)), provider_state: Vec::new() };
    let mut texts = vec![part(text_bytes)];
    texts.resize_with(parts, || part(0));
    Answer { parts: texts, ..answer(&[]) }
}

fn result_of(index: i32, bytes: usize) -> FinishedCall {
    FinishedCall { output: "x".repeat(bytes), ..finished(call_id(index)) }
}

#[test]
fn the_header_is_checked_in_the_order_of_the_specification() {
    // Everything is wrong at first; each step makes right what the last refusal named.
    let released = chat_in("R0");
    let leased = chat_in("L0");
    let wrong = WriteHeader { session: session(2), fence: Fence(2), write_no: 9, history_version: 1 };
    let fail = |header| holder(header, HolderWrite::Fail(chat_error(ErrorKind::Internal)));

    assert_eq!(refused(&leased, fail(wrong)), Rejection::LeaseLost);
    let fence = WriteHeader { fence: Fence(3), ..wrong };
    assert_eq!(refused(&leased, fail(fence)), Rejection::LeaseLost);
    let session = WriteHeader { session: session(1), ..fence };
    assert!(names_field(&refused(&released, fail(session)), "write_no"));
    let number = WriteHeader { write_no: 3, ..session };
    assert_eq!(refused(&released, fail(number)), Rejection::LeaseLost);
    assert_eq!(refused(&leased, fail(number)), Rejection::Superseded);
    let history = WriteHeader { history_version: 8, ..number };
    accepted(&leased, fail(history));
}

#[test]
fn a_chat_that_was_never_leased_has_no_holder() {
    let chat = Chat { last_lease: None, ..chat_in("R0") };

    let command = holder(next_header(&chat_in("L0")), HolderWrite::Release);

    assert_eq!(refused(&chat, command), Rejection::LeaseLost);
}

#[test]
fn a_refused_write_does_not_use_up_its_number() {
    let chat = chat_in("L0");
    let header = next_header(&chat);

    let rejection = refused(&chat, holder(header, HolderWrite::CommitToolResults(Vec::new())));
    assert!(names_field(&rejection, "results"));

    let stored = accepted(&chat, holder(header, HolderWrite::Release));
    assert_eq!(stored.chat.last_lease.and_then(|lease| lease.last_write).map(|last| last.write_no), Some(3));
}

#[test]
fn writes_are_numbered_from_one_under_each_lease() {
    let leased = accepted(&chat_in("R0"), Command::Lease(session(2))).chat;

    let lease = leased.live_lease().expect("it was leased").clone();

    assert_eq!((lease.fence, lease.last_write), (Fence(4), None));
    assert_eq!(next_header(&leased).write_no, 1);
    accepted(&leased, write(&leased, HolderWrite::Release));
}

#[test]
fn only_the_newest_lease_commits_and_only_its_own_session() {
    let chat = chat_in("L0");
    let old = next_header(&chat);
    let free = accepted(&chat, expire(Fence(3), ExpireCause::SessionEnded)).chat;
    let leased = accepted(&free, Command::Lease(session(2))).chat;
    let commit = || step(Some(answer(&[])), NextStep::Finish);

    assert_eq!(refused(&leased, holder(old, commit())), Rejection::LeaseLost);
    let stolen = WriteHeader { session: session(1), ..next_header(&leased) };
    assert_eq!(refused(&leased, holder(stolen, commit())), Rejection::LeaseLost);
    accepted(&leased, write(&leased, commit()));
}

#[test]
fn a_reply_names_the_rows_that_the_holder_and_the_control_plane_added() {
    let calls = [CallKind::Worker, CallKind::Worker];
    let chat = with_calls(with_two_queued(chat_in("I1")), &calls);
    let finish = HolderWrite::FinishInterruption { partial: None, results: vec![finished(call_id(1))] };

    let decision = accepted(&chat, write(&chat, finish));

    let outcome = WriteOutcome {
        snapshot_version: 11,
        history_version: 11,
        disposition: Disposition::NextTurn,
        first_message_id: MessageId(4),
        boundary: 0,
        committed: 1,
        added: 2,
    };
    assert_eq!(written(&decision), outcome);
    let ids: Vec<MessageId> = inserted(&decision).iter().map(Inserted::message_id).collect();
    assert_eq!(ids, [4, 5, 6].map(MessageId));
    assert_eq!(entered(&decision).len(), 1);
}

#[test]
fn a_partial_answer_is_marked_interrupted() {
    let chat = chat_in("I0");
    let finish = HolderWrite::FinishInterruption { partial: Some(answer(&[])), results: Vec::new() };

    let decision = accepted(&chat, write(&chat, finish));

    let Inserted::New(message) = &inserted(&decision)[0] else {
        panic!("the answer is stored");
    };
    let expected = Answer { interrupted: true, ..answer(&[]) };
    assert_eq!(message.body, Body::Assistant(expected));
}

#[test]
fn an_answer_opens_its_calls_in_order() {
    let chat = chat_in("L0");
    let kinds = [CallKind::Worker, CallKind::Client];

    let committed = accepted(&chat, write(&chat, step(Some(answer(&kinds)), NextStep::Continue)));

    let open = &committed.chat.open_calls;
    assert_eq!(open.iter().map(|call| call.id.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(open.iter().map(|call| call.kind).collect::<Vec<_>>(), kinds);
    assert!(open.iter().all(|call| call.id.message == MessageId(4)));
    assert!(committed.chat.answered);
}

#[test]
fn a_chat_is_suspended_until_its_deadline_and_its_lease_has_ended() {
    let chat = chat_in("L0");

    let suspended = accepted(&chat, write(&chat, step(Some(answer(&[CallKind::Client])), NextStep::Suspend)));

    let deadline = now() + TimeDelta::seconds(60);
    assert_eq!(suspended.chat.execution, chatplane_domain::Execution::Suspended { deadline });
    assert_eq!(suspended.chat.live_lease(), None);
    assert_eq!(written(&suspended).disposition, Disposition::Released);
}

#[test]
fn a_retry_is_shown_until_the_call_succeeds_or_the_lease_ends() {
    let chat = chat_in("L0");
    let retried = accepted(&chat, write(&chat, retry())).chat;
    let shown = Retry {
        error: chat_error(ErrorKind::Overloaded),
        attempt: 2,
        next_attempt_time: now() + TimeDelta::seconds(2),
    };
    assert_eq!((retried.retry.as_ref(), retried.attempt), (Some(&shown), 2));
    let answered = step(Some(answer(&[CallKind::Worker])), NextStep::Continue);

    let ends = [
        accepted(&retried, write(&retried, answered)).chat,
        accepted(&retried, write(&retried, HolderWrite::Release)).chat,
        accepted(&retried, Command::InterruptChat).chat,
        accepted(&retried, expire(Fence(3), ExpireCause::SessionEnded)).chat,
    ];

    for ended in ends {
        assert_eq!(ended.retry, None, "{}", short(&ended));
        assert_eq!(ended.versions.retry, ended.versions.snapshot);
    }
}

#[test]
fn a_time_beyond_the_calendar_is_a_wrong_field() {
    let ages = Duration::from_millis(i64::MAX.unsigned_abs());
    let mut chat = with_calls(chat_in("L0"), &[CallKind::Client]);
    chat.settings.action_timeout = ages;
    let wait = step(None, NextStep::Suspend);
    let delay = HolderWrite::RecordRetry { error: chat_error(ErrorKind::Overloaded), delay: ages };

    assert!(names_field(&refused(&chat, write(&chat, wait)), "next"));
    assert!(names_field(&refused(&chat, write(&chat, delay)), "delay_ms"));
}

#[test]
fn an_answer_has_bounds() {
    let chat = chat_in("L0");
    let commit = |answer| write(&chat, step(Some(answer), NextStep::Finish));

    accepted(&chat, commit(answer_of(ANSWER_BYTES_MAX, PARTS_MAX)));

    let large = refused(&chat, commit(answer_of(ANSWER_BYTES_MAX + 1, 1)));
    let many = refused(&chat, commit(answer_of(1, PARTS_MAX + 1)));
    assert!(names_field(&large, "answer") && names_field(&many, "answer"));
}

#[test]
fn results_have_bounds_alone_and_together() {
    let chat = with_calls(chat_in("L0"), &[CallKind::Worker; 3]);
    let commit = |results| write(&chat, HolderWrite::CommitToolResults(results));
    let largest = |index| result_of(index, TOOL_OUTPUT_BYTES_MAX);

    accepted(&chat, commit(vec![largest(0), largest(1)]));

    let one = refused(&chat, commit(vec![result_of(0, TOOL_OUTPUT_BYTES_MAX + 1)]));
    let all = refused(&chat, commit(vec![largest(0), largest(1), largest(2)]));
    assert!(names_field(&one, "results") && names_field(&all, "results"));
}

#[test]
fn a_commit_that_would_leave_a_call_without_a_result_is_refused() {
    let both = with_calls(chat_in("L0"), &[CallKind::Worker, CallKind::Client]);
    let refusals = [
        (chat_in("L0"), step(Some(answer(&[CallKind::Worker])), NextStep::Finish), "next"),
        (chat_in("L0"), step(Some(answer(&[CallKind::Worker])), NextStep::Suspend), "next"),
        (chat_in("L0"), step(Some(answer(&[])), NextStep::Suspend), "next"),
        (both.clone(), step(None, NextStep::Suspend), "next"),
        (both.clone(), step(Some(answer(&[])), NextStep::Continue), "answer"),
        (both, HolderWrite::CommitToolResults(vec![finished(call_id(1))]), "results"),
    ];

    for (chat, what, field) in refusals {
        let rejection = refused(&chat, write(&chat, what));
        assert!(names_field(&rejection, field), "{rejection:?} does not name {field}");
    }
}

#[test]
fn a_holder_that_releases_keeps_the_attempts() {
    let tired = Chat { attempt: 7, ..chat_in("L0") };

    let released = accepted(&tired, write(&tired, HolderWrite::Release)).chat;

    assert_eq!((short(&released), released.attempt), ("R0", 7));
}
