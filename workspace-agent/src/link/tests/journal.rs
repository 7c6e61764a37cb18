//! Calls that change something: asked for again after everything that can come in between.

use std::{
    fs, mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chatplane_proto::workspace::v1::{
    CallTool, JournalDisposition, JournalVerdicts, ToolEnded, attach_response::Message as ToAgent,
};
use rustix::fs::{CWD, Mode, mkfifoat};
use tonic::Status;

use super::{
    super::{Limits, asked::LATE_HOLDER},
    agent::{Agent, Place, limits},
    control_plane::{Attached, ControlPlane, call_id, ended},
    soon,
};
use crate::{
    journal::{self, Answer, Refusal},
    tools::Ended,
};

/// The end of a call that the journal answers itself.
fn told(call_index: i32, answer: Answer) -> ToolEnded {
    let Ended { output, is_error } = answer.into();
    ended(call_index, &output, is_error)
}

fn starts(place: &Place) -> usize {
    place.change.started.load(Ordering::Relaxed)
}

async fn begun(attached: &mut Attached, call_index: i32) {
    assert_eq!(attached.output().await, (call_id(call_index), b"begun".to_vec()));
}

/// A control plane, an agent, and the one call that it runs.
async fn with_one_running(place: &Arc<Place>) -> (ControlPlane, Agent, Attached) {
    let mut control_plane = ControlPlane::start().await;
    let agent = Agent::start_in(place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 1, "change", "{}").await;
    begun(&mut attached, 0).await;
    (control_plane, agent, attached)
}

#[tokio::test]
async fn a_call_outlives_its_stream_and_is_joined_from_its_beginning() {
    let place = Arc::new(Place::new());
    let (mut control_plane, _agent, attached) = with_one_running(&place).await;
    attached.fail(Status::unavailable("stopping")).await;
    let mut attached = control_plane.registered().await;
    assert_eq!(attached.listed().await, [call_id(0)]);

    attached.call(0, 2, "change", "{}").await;
    begun(&mut attached, 0).await;
    place.change.open.add_permits(9);

    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn a_second_holder_on_the_same_stream_gets_the_output_from_its_beginning() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;

    attached.call(0, 2, "change", "{}").await;
    begun(&mut attached, 0).await;
    place.change.open.add_permits(9);

    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    attached.ping(1).await;
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn a_call_that_ends_without_a_stream_keeps_its_answer() {
    let place = Arc::new(Place::new());
    let (control_plane, _agent, attached) = with_one_running(&place).await;
    let address = control_plane.address;
    drop(attached);
    control_plane.stop().await;

    place.change.open.add_permits(9);
    let mut control_plane = ControlPlane::start_at(address).await;
    let mut attached = control_plane.registered().await;

    for fence in [1, 2] {
        attached.call(0, fence, "change", "{}").await;
        assert_eq!(attached.ended_after_output().await, ended(0, "change 1", false));
    }
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn an_answer_survives_the_agent() {
    let place = Arc::new(Place::new());
    let (mut control_plane, agent, mut attached) = with_one_running(&place).await;
    place.change.open.add_permits(9);
    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    let journal_id = attached.journal_id.clone();
    agent.die().await;

    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 2, "change", "{}").await;

    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    assert_eq!((attached.journal_id, starts(&place)), (journal_id, 1));
}

#[tokio::test]
async fn a_call_under_which_the_agent_died_has_the_outcome_unknown_for_good() {
    let place = Arc::new(Place::new());
    let (mut control_plane, mut agent, _attached) = with_one_running(&place).await;

    for _ in 0..2 {
        agent.die().await;
        agent = Agent::start_in(&place, control_plane.address).await;
        let mut attached = control_plane.registered().await;
        for fence in [2, 3] {
            attached.call(0, fence, "change", "{}").await;
            assert_eq!(attached.ended().await, told(0, Answer::OutcomeUnknown));
        }
        assert_eq!(attached.listed().await, [call_id(0)]);
    }
    assert_eq!(starts(&place), 1);
    assert!(Ended::from(Answer::OutcomeUnknown).output.contains("outcome unknown"));
}

#[tokio::test]
async fn a_call_for_another_journal_or_for_none_is_not_run() {
    let place = Arc::new(Place::new());
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;

    for (journal_id, tool_name, expected) in [
        ("01890000-0000-7000-8000-000000000009", "change", told(0, Answer::OtherJournal)),
        ("01890000-0000-7000-8000-000000000009", "tool-of-before", told(0, Answer::OtherJournal)),
        ("", "change", told(0, Answer::NoJournal)),
        ("", "list_dir", ended(0, "(the directory is empty)", false)),
    ] {
        let call = CallTool {
            call_id: Some(call_id(0)),
            fence: 1,
            journal_id: journal_id.to_owned(),
            tool_name: tool_name.to_owned(),
            arguments_json: "{}".to_owned(),
        };
        attached.send(ToAgent::CallTool(call)).await;
        assert_eq!(attached.ended().await, expected);
    }
    assert_eq!(starts(&place), 0);
}

#[tokio::test]
async fn the_same_id_with_another_input_is_refused() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;
    place.change.open.add_permits(9);
    attached.ended().await;

    for (tool_name, arguments) in [("change", r#"{"other": 1}"#), ("list_dir", "{}")] {
        attached.call(0, 1, tool_name, arguments).await;
        assert_eq!(attached.ended().await, told(0, Answer::OtherInput));
    }
    attached.call(0, 1, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "change 1", false));
}

#[tokio::test]
async fn a_late_holder_gets_nothing_run_but_is_told_what_is_known() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;
    attached.call(0, 5, "change", "{}").await;
    begun(&mut attached, 0).await;

    attached.call(0, 4, "change", "{}").await;
    attached.ping(1).await;
    place.change.open.add_permits(9);
    assert_eq!(attached.ended().await, ended(0, "change 1", false));

    attached.call(0, 4, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    attached.call(1, 4, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(1, LATE_HOLDER, true));
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn a_call_is_cancelled_also_where_no_stream_follows_it() {
    let place = Arc::new(Place::new());
    let (mut control_plane, _agent, attached) = with_one_running(&place).await;
    attached.fail(Status::unavailable("stopping")).await;
    let mut attached = control_plane.registered().await;

    attached.cancel(0).await;
    attached.call(0, 2, "change", "{}").await;

    assert_eq!(attached.ended_after_output().await, ended(0, "cancelled", true));
}

#[tokio::test]
async fn verdicts_stop_what_runs_and_keep_its_end() {
    for disposition in [JournalDisposition::Cancel, JournalDisposition::Committed] {
        let place = Arc::new(Place::new());
        let (_control_plane, _agent, mut attached) = with_one_running(&place).await;

        attached.verdict(0, JournalDisposition::Keep).await;
        attached.verdict(0, JournalDisposition::Unspecified).await;
        attached.verdict(1, disposition).await;
        attached.send(ToAgent::JournalVerdicts(JournalVerdicts::default())).await;
        attached.ping(1).await;
        attached.verdict(0, disposition).await;

        assert_eq!(attached.ended().await, ended(0, "cancelled", true));
        attached.call(0, 2, "change", "{}").await;
        assert_eq!(attached.ended().await, ended(0, "cancelled", true));
    }
}

#[tokio::test]
async fn the_journal_is_listed_in_parts_and_what_is_committed_leaves_after_a_while() {
    let journal = journal::Limits { committed_for: Duration::ZERO, ..journal::Limits::default() };
    let place = Arc::new(Place { journal, ..Place::new() });
    place.change.open.add_permits(9);
    let limits = Limits { listing: Duration::from_millis(20), listed_max: 2, ..limits() };
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start_at(place.clone(), control_plane.address, "right", limits).await;
    let mut attached = control_plane.registered().await;
    for index in 0..3 {
        attached.call(index, 1, "change", "{}").await;
        begun(&mut attached, index).await;
        attached.ended().await;
    }

    // The first listings were sent while the calls were still being made: a part of two and a part of one are
    // all three.
    let mut parts = [Vec::new(), attached.listed().await];
    while (parts[0].len(), parts[1].len()) != (2, 1) {
        parts = [mem::take(&mut parts[1]), attached.listed().await];
    }
    let mut all = parts.concat();
    all.sort_by_key(|id| id.call.unwrap().call_index);
    assert_eq!(all, [call_id(0), call_id(1), call_id(2)]);

    attached.verdict(0, JournalDisposition::Committed).await;
    attached.verdict(2, JournalDisposition::Keep).await;
    attached.ping(1).await;
    attached.call(0, 1, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "change 1", false), "a late duplicate finds it");
    attached.verdict(0, JournalDisposition::Committed).await;
    attached.verdict(1, JournalDisposition::Committed).await;
    attached.verdict(1, JournalDisposition::Committed).await;
    while fs::read_dir(place.calls()).unwrap().count() != 1 {
        attached.listed().await;
    }
    // Parts of the listings before may still be on their way, but never one of one call after another.
    let mut parts = [Vec::new(), attached.listed().await];
    while parts != [[call_id(2)], [call_id(2)]] {
        parts = [mem::take(&mut parts[1]), attached.listed().await];
    }
}

#[tokio::test]
async fn verdicts_of_another_workspace_take_nothing_away() {
    let journal = journal::Limits { committed_for: Duration::ZERO, ..journal::Limits::default() };
    let place = Arc::new(Place { journal, ..Place::new() });
    place.change.open.add_permits(9);
    let (mut control_plane, agent, mut attached) = with_one_running(&place).await;
    attached.ended().await;
    agent.die().await;
    let agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.attached().await;
    attached.register_for("01890000-0000-7000-8000-00000000000f").await;

    for ping_no in 1..=3 {
        attached.verdict(0, JournalDisposition::Committed).await;
        attached.ping(ping_no).await;
    }
    attached.call(1, 1, "change", "{}").await;
    begun(&mut attached, 1).await;
    attached.ended().await;
    agent.die().await;

    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    assert_eq!(attached.listed().await, [call_id(0)]);
    attached.call(0, 1, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    assert_eq!(starts(&place), 2);
}

#[tokio::test]
async fn a_stopping_agent_stops_its_calls_and_records_their_ends() {
    let place = Arc::new(Place::new());
    let (mut control_plane, agent, mut attached) = with_one_running(&place).await;

    agent.shutdown.cancel();
    assert_eq!(attached.ended().await, ended(0, "cancelled", true));
    drop(attached);
    agent.result().await.unwrap();

    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "cancelled", true));
}

#[tokio::test]
async fn an_agent_that_stops_without_a_stream_records_the_ends_too() {
    let place = Arc::new(Place::new());
    let (control_plane, agent, attached) = with_one_running(&place).await;
    drop(attached);
    control_plane.stop().await;

    agent.shutdown.cancel();
    agent.result().await.unwrap();

    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "cancelled", true));
}

#[tokio::test]
async fn an_agent_that_must_go_for_another_reason_records_the_ends_too() {
    let place = Arc::new(Place::new());
    let (mut control_plane, agent, attached) = with_one_running(&place).await;

    attached.fail(Status::already_exists("replaced")).await;
    agent.result().await.unwrap_err();

    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "cancelled", true));
}

#[tokio::test]
async fn a_call_that_was_refused_is_not_run_when_it_is_asked_for_again() {
    let place = Arc::new(Place::new());
    let mut control_plane = ControlPlane::start().await;
    let limits = Limits { calls_max: 1, ..limits() };
    let _agent = Agent::start_at(place.clone(), control_plane.address, "right", limits).await;
    let mut attached = control_plane.registered().await;
    attached.call(0, 1, "change", "{}").await;
    begun(&mut attached, 0).await;

    let busy = Answer::Refused(Refusal::Busy { calls_max: 1 });
    attached.call(1, 1, "change", "{}").await;
    assert_eq!(attached.ended().await, told(1, busy));
    attached.call(2, 1, "list_dir", "{}").await;
    assert_eq!(attached.ended().await, told(2, busy));
    place.change.open.add_permits(9);
    attached.ended().await;

    attached.call(1, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, told(1, busy));
    attached.call(2, 2, "list_dir", "{}").await;
    assert!(!attached.ended().await.is_error, "reading is asked for again without harm");
    assert_eq!(starts(&place), 1);
}

#[tokio::test]
async fn a_full_journal_refuses_calls_that_change_something() {
    let journal = journal::Limits { entries_max: 1, ..journal::Limits::default() };
    let place = Arc::new(Place { journal, ..Place::new() });
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;

    attached.call(1, 1, "change", "{}").await;

    assert_eq!(attached.ended().await, told(1, Answer::Refused(Refusal::Full)));
    attached.call(2, 1, "list_dir", "{}").await;
    assert!(!attached.ended().await.is_error);
}

#[tokio::test]
async fn a_call_whose_start_cannot_be_written_is_not_run() {
    let place = Arc::new(Place::new());
    let mut control_plane = ControlPlane::start().await;
    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;
    fs::remove_dir(place.calls()).unwrap();

    for fence in [1, 2] {
        attached.call(0, fence, "change", "{}").await;
        assert_eq!(attached.ended().await, told(0, Answer::Refused(Refusal::NotWritten)));
    }
    assert_eq!(starts(&place), 0);
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_told_once() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;
    fs::remove_dir_all(place.calls()).unwrap();

    place.change.open.add_permits(9);

    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    attached.call(0, 1, "change", "{}").await;
    assert_eq!(attached.ended().await, told(0, Answer::OutcomeUnknown));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unknown() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;
    place.change.open.add_permits(9);
    attached.ended().await;
    for file in fs::read_dir(place.calls()).unwrap() {
        fs::write(file.unwrap().path(), "garbled").unwrap();
    }

    for fence in [1, 2] {
        attached.call(0, fence, "change", "{}").await;
        assert_eq!(attached.ended().await, told(0, Answer::OutcomeUnknown));
    }
}

#[tokio::test]
async fn pings_are_answered_while_the_disk_of_an_answer_hangs() {
    let place = Arc::new(Place::new());
    let (_control_plane, _agent, mut attached) = with_one_running(&place).await;
    place.change.open.add_permits(9);
    attached.ended().await;
    let file = fs::read_dir(place.calls()).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&file).unwrap();
    // Who opens a pipe to read waits until somebody writes.
    mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();

    attached.call(0, 2, "change", "{}").await;
    attached.ping(1).await;
    attached.ping(2).await;
    let garbled = tokio::task::spawn_blocking(move || fs::write(file, "garbled"));

    assert_eq!(attached.ended().await, told(0, Answer::OutcomeUnknown));
    soon("the write", garbled).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_that_only_reads_still_answers_for_calls_of_before() {
    let place = Arc::new(Place::new());
    let (mut control_plane, agent, mut attached) = with_one_running(&place).await;
    place.change.open.add_permits(1);
    attached.ended().await;
    place.change.open.forget_permits(1);
    attached.call(1, 1, "change", "{}").await;
    begun(&mut attached, 1).await;
    agent.die().await;
    let place = Arc::try_unwrap(place).ok().expect("the agent is gone");
    let place = Arc::new(Place { is_read_only: true, ..place });

    let _agent = Agent::start_in(&place, control_plane.address).await;
    let mut attached = control_plane.registered().await;

    attached.call(0, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, ended(0, "change 1", false));
    attached.call(1, 2, "change", "{}").await;
    assert_eq!(attached.ended().await, told(1, Answer::OutcomeUnknown));
    attached.call(2, 2, "change", "{}").await;
    let none = attached.ended().await;
    assert!(none.is_error && none.output.starts_with("There is no tool `change`"), "{none:?}");
}
