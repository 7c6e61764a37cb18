//! Lines of the golden table: commands of the lease holder and the control plane.

use chatplane_domain::{
    ATTEMPTS_MAX, CallKind, Chat, Command, Covered, ErrorKind, ExpireCause, Fence, HolderWrite, NextStep,
    State, Summary, WriteHeader,
};

use super::Line;
use crate::{
    fixtures::{
        answer, chat_error, expire, finished, holder, later, next_header, retry, session, step, summarizing,
        summary, write,
    },
    states::{call_id, chat_in, push, with_calls, with_two_queued},
};

pub(super) fn lines() -> Vec<Line> {
    let groups = [
        headers(),
        steps(),
        steps_with_calls(),
        steps_with_summaries(),
        summaries_alone(),
        results(),
        interruptions(),
        ends(),
        control_plane(),
    ];
    groups.into_iter().flatten().collect()
}

fn written(name: &str, what: impl Fn() -> HolderWrite + 'static) -> Line {
    Line::new(name, move |chat| write(chat, what()))
}

/// A write of the last lease that every leased state takes, its header changed.
fn any_write(name: &str, change: fn(WriteHeader) -> WriteHeader) -> Line {
    Line::new(name, move |chat| {
        let fail = HolderWrite::Fail(chat_error(ErrorKind::Internal));
        holder(change(next_header(chat)), fail)
    })
}

/// What is leased keeps its lease.
fn never_leased() -> Line {
    let header = next_header(&chat_in("L0"));
    let fail = move |_: &Chat| holder(header, HolderWrite::Fail(chat_error(ErrorKind::Internal)));
    Line::new("any write, unless leased never leased", fail)
        .given(|chat| Chat { last_lease: chat.live_lease().cloned(), ..chat })
}

fn with_worker_call(chat: Chat) -> Chat {
    with_calls(chat, &[CallKind::Worker])
}

fn with_client_call(chat: Chat) -> Chat {
    with_calls(chat, &[CallKind::Client])
}

fn with_both_calls(chat: Chat) -> Chat {
    with_calls(chat, &[CallKind::Worker, CallKind::Client])
}

/// The only queued message is a steering one, where a state can have one.
fn steered(mut chat: Chat) -> Chat {
    if matches!(chat.state(), State::Running | State::Suspended) {
        for queued in &mut chat.queue {
            queued.steering = true;
        }
    }
    chat
}

/// The first of two queued messages is a steering one, where a state can have one.
fn steered_of_two(chat: Chat) -> Chat {
    let mut chat = steered(chat);
    if !chat.queue.is_empty() {
        push(&mut chat, 2, false);
    }
    chat
}

fn tired(chat: Chat) -> Chat {
    Chat { attempt: ATTEMPTS_MAX, ..chat }
}

fn headers() -> Vec<Line> {
    vec![
        any_write("any write, another fence", |header| WriteHeader { fence: Fence(2), ..header }),
        any_write("any write, another session", |header| WriteHeader { session: session(2), ..header }),
        any_write("any write, the last one again", |header| WriteHeader { write_no: 2, ..header }),
        any_write("any write, the last one again, old history", |header| WriteHeader {
            write_no: 2,
            history_version: 5,
            ..header
        }),
        any_write("any write, an older number", |header| WriteHeader { write_no: 1, ..header }),
        any_write("any write, a number too high", |header| WriteHeader { write_no: 4, ..header }),
        any_write("any write, old history", |header| WriteHeader { history_version: 5, ..header }),
        any_write("any write, its number and history right", |header| header),
        never_leased(),
    ]
}

fn steps() -> Vec<Line> {
    let plain = |next| move || step(Some(answer(&[])), next);
    let nothing = |next| move || step(None, next);
    vec![
        written("CommitStep continue", plain(NextStep::Continue)),
        written("CommitStep continue, steering queued", plain(NextStep::Continue)).given(steered),
        written("CommitStep continue, 1 of 2 steering", plain(NextStep::Continue)).given(steered_of_two),
        written("CommitStep continue, no answer", nothing(NextStep::Continue)),
        written("CommitStep finish", plain(NextStep::Finish)),
        written("CommitStep finish, 2 queued", plain(NextStep::Finish)).given(with_two_queued),
        written("CommitStep finish, steering queued", plain(NextStep::Finish)).given(steered),
        written("CommitStep finish, 1 of 2 steering", plain(NextStep::Finish)).given(steered_of_two),
        written("CommitStep finish, no answer", nothing(NextStep::Finish)),
        written("CommitStep suspend", plain(NextStep::Suspend)),
        written("CommitStep suspend, no answer", nothing(NextStep::Suspend)),
        written("CommitStep suspend, no answer, client call open", nothing(NextStep::Suspend))
            .given(with_client_call),
        written("CommitStep suspend, no answer, worker call open", nothing(NextStep::Suspend))
            .given(with_worker_call),
        written("CommitStep suspend, no answer, both kinds open", nothing(NextStep::Suspend))
            .given(with_both_calls),
        written("CommitStep over an open call", plain(NextStep::Continue)).given(with_worker_call),
    ]
}

fn steps_with_calls() -> Vec<Line> {
    let calling = |kinds: &'static [CallKind], next| move || step(Some(answer(kinds)), next);
    let worker: &[CallKind] = &[CallKind::Worker];
    let settled: &[CallKind] = &[CallKind::Client, CallKind::Approval, CallKind::Child];
    let both: &[CallKind] = &[CallKind::Worker, CallKind::Client];
    vec![
        written("CommitStep continue, worker call", calling(worker, NextStep::Continue)),
        written("CommitStep continue, worker call, steering queued", calling(worker, NextStep::Continue))
            .given(steered),
        written("CommitStep continue, client call", calling(settled, NextStep::Continue)),
        written("CommitStep finish, worker call", calling(worker, NextStep::Finish)),
        written("CommitStep finish, client call", calling(settled, NextStep::Finish)),
        written("CommitStep suspend, worker call", calling(worker, NextStep::Suspend)),
        written("CommitStep suspend, client, approval and child call", calling(settled, NextStep::Suspend)),
        written("CommitStep suspend, client call, steering queued", calling(settled, NextStep::Suspend))
            .given(steered),
        written("CommitStep suspend, both kinds", calling(both, NextStep::Suspend)),
    ]
}

/// Where a state can have one, the turn is to make a summary.
pub(super) fn asked(chat: Chat) -> Chat {
    let compact_requested = matches!(chat.state(), State::Running | State::Interrupting);
    Chat { compact_requested, ..chat }
}

fn changed_since() -> Summary {
    Summary { covered: Covered { live: true, changed_since: true }, ..summary(3) }
}

fn steps_with_summaries() -> Vec<Line> {
    let with = |kinds: &'static [CallKind], next, summary: fn() -> Summary| {
        move || summarizing(summary(), Some(answer(kinds)), next)
    };
    let good: fn() -> Summary = || summary(3);
    let client: &[CallKind] = &[CallKind::Client];
    let finish = NextStep::Finish;
    vec![
        written("CommitStep continue, and a summary", with(&[], NextStep::Continue, good)),
        written("CommitStep finish, and a summary", with(&[], finish, good)),
        written("CommitStep finish, and a summary, asked for", with(&[], finish, good)).given(asked),
        written("CommitStep finish, and an untrue summary", with(&[], finish, changed_since)),
        written(
            "CommitStep finish, and an empty summary",
            with(&[], finish, || Summary { text: "\n ".to_owned(), ..summary(3) }),
        ),
        written("CommitStep finish, and a summary of a row to come", with(&[], finish, || summary(4))),
        written("CommitStep suspend, client call, and a summary", with(client, NextStep::Suspend, good)),
    ]
}

fn summaries_alone() -> Vec<Line> {
    let alone = |next, summary: fn() -> Summary| move || summarizing(summary(), None, next);
    let good: fn() -> Summary = || summary(3);
    let (on, finish) = (NextStep::Continue, NextStep::Finish);
    vec![
        written("CommitStep continue, a summary alone", alone(on, good)),
        written("CommitStep continue, a summary alone, steering queued", alone(on, good)).given(steered),
        written("CommitStep continue, an untrue summary alone", alone(on, changed_since)),
        written("CommitStep continue, a summary alone, worker call open", alone(on, good))
            .given(with_worker_call),
        written("CommitStep finish, a summary alone", alone(finish, good)),
        written("CommitStep finish, a summary alone, asked for", alone(finish, good)).given(asked),
        written("CommitStep finish, a summary alone, asked for, 2 queued", alone(finish, good))
            .given(|chat| asked(with_two_queued(chat))),
        written("CommitStep finish, a summary alone, asked for, steering", alone(finish, good))
            .given(|chat| asked(steered(chat))),
        written("CommitStep finish, an untrue summary alone, asked for", alone(finish, changed_since))
            .given(asked),
        written("CommitStep suspend, a summary alone, client call open", alone(NextStep::Suspend, good))
            .given(with_client_call),
    ]
}

fn results() -> Vec<Line> {
    let results = |indices: &'static [i32]| {
        move || {
            let calls = indices.iter().map(|index| finished(call_id(*index)));
            HolderWrite::CommitToolResults(calls.collect())
        }
    };
    let two: fn(Chat) -> Chat = |chat| with_calls(chat, &[CallKind::Worker, CallKind::Worker]);
    vec![
        written("CommitToolResults, the last open one", results(&[0])).given(with_worker_call),
        written("CommitToolResults, the last, steering queued", results(&[0]))
            .given(|chat| steered(with_worker_call(chat))),
        written("CommitToolResults, 1 of 2", results(&[1])).given(two),
        written("CommitToolResults, 1 of 2, steering queued", results(&[1]))
            .given(|chat| steered(with_calls(chat, &[CallKind::Worker, CallKind::Worker]))),
        written("CommitToolResults, 2 of 2", results(&[1, 0])).given(two),
        written("CommitToolResults, one call twice", results(&[0, 0])).given(two),
        written("CommitToolResults of a client's call", results(&[0])).given(with_client_call),
        written("CommitToolResults of no open call", results(&[0])),
        written("CommitToolResults, none", results(&[])),
        written("RecordRetry", retry),
        written("RecordRetry, 25 attempts made", retry).given(tired),
    ]
}

fn interruptions() -> Vec<Line> {
    let finish = |partial: Option<&'static [CallKind]>, results: &'static [i32]| {
        move || HolderWrite::FinishInterruption {
            partial: partial.map(answer),
            results: results.iter().map(|index| finished(call_id(*index))).collect(),
        }
    };
    let worker: &[CallKind] = &[CallKind::Worker];
    vec![
        written("FinishInterruption, nothing", finish(None, &[])),
        written("FinishInterruption, nothing, 2 queued", finish(None, &[])).given(with_two_queued),
        written("FinishInterruption, nothing, worker call open", finish(None, &[])).given(with_worker_call),
        written("FinishInterruption, an answer", finish(Some(&[]), &[])),
        written("FinishInterruption, an answer with a call", finish(Some(worker), &[])),
        written("FinishInterruption, an answer over an open call", finish(Some(&[]), &[]))
            .given(with_worker_call),
        written("FinishInterruption, a result", finish(None, &[0])).given(with_worker_call),
        written("FinishInterruption, a result and an answer", finish(Some(&[]), &[0]))
            .given(with_worker_call),
        written("FinishInterruption, a result of no open call", finish(None, &[0])),
    ]
}

fn ends() -> Vec<Line> {
    let fail = || HolderWrite::Fail(chat_error(ErrorKind::Refused));
    vec![
        written("Fail", fail),
        written("Fail, worker call open", fail).given(with_worker_call),
        written("Fail, 2 queued", fail).given(with_two_queued),
        written("Fail, steering queued", fail).given(steered),
        written("Release", || HolderWrite::Release),
        written("Release, worker call open", || HolderWrite::Release).given(with_worker_call),
        written("Release, 2 queued", || HolderWrite::Release).given(with_two_queued),
        written("Release, a summary asked for", || HolderWrite::Release).given(asked),
    ]
}

fn control_plane() -> Vec<Line> {
    let ended = |_: &Chat| expire(Fence(3), ExpireCause::SessionEnded);
    let overdue = |_: &Chat| expire(Fence(3), ExpireCause::InterruptionOverdue);
    let another = |_: &Chat| expire(Fence(2), ExpireCause::SessionEnded);
    let fail = |_: &Chat| Command::FailRunnable(chat_error(ErrorKind::ModelUnusable));
    vec![
        Line::new("Lease", |_| Command::Lease(session(2))),
        Line::new("Lease, 25 attempts made", |_| Command::Lease(session(2))).given(tired),
        Line::new("ExpireLease, session ended", ended),
        Line::new("ExpireLease, session ended, worker call open", ended).given(with_worker_call),
        Line::new("ExpireLease, session ended, 2 queued", ended).given(with_two_queued),
        Line::new("ExpireLease, session ended, lease offered", ended).offered(),
        Line::new("ExpireLease, interruption overdue", overdue).at(later(9)),
        Line::new("ExpireLease, interruption not 10 s old", overdue).at(later(8)),
        Line::new("ExpireLease, another fence", another),
        Line::new("ExpireLease, session ended, a summary asked for", ended).given(asked),
        Line::new("ExpireCalls", |_| Command::ExpireCalls).at(later(60)),
        Line::new("ExpireCalls, steering queued", |_| Command::ExpireCalls).given(steered).at(later(60)),
        Line::new("ExpireCalls before the deadline", |_| Command::ExpireCalls).at(later(59)),
        Line::new("FailRunnable", fail),
        Line::new("FailRunnable, worker call open", fail).given(with_worker_call),
        Line::new("DeleteChat", |_| Command::DeleteChat),
    ]
}
