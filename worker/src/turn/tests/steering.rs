//! What users say while a turn runs, and what they say of every turn.

use chatplane_proto::worker::v1::session_response::Message as Down;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::Tool,
    model::{Beat, answer, begin, call, end, end_at, fail, say},
};
use crate::llm::{PromptMessage, StopReason, UserPiece};

fn words(text: &str) -> PromptMessage {
    PromptMessage::User { parts: vec![UserPiece::Text(text.to_owned())] }
}

#[tokio::test]
async fn what_is_put_in_while_tools_run_is_read_together_with_their_results() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let step =
        [say("I look"), call("list_dir", "{}"), vec![Beat::Wait(gate.clone())], end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    control_plane.state().steering.push_back("rather there".to_owned());
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let messages = model.calls()[1].messages.clone();
    assert!(matches!(messages[2], PromptMessage::Tool { .. }), "{messages:?}");
    assert_eq!(messages[3..], [words("rather there")]);
    assert_eq!(control_plane.state().turns_read, 1);
}

#[tokio::test]
async fn what_is_put_in_while_the_last_answer_is_given_extends_the_turn() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().queue.push_back("the next turn".to_owned());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let first = [say("done"), vec![Beat::Wait(gate.clone())], end(StopReason::EndTurn)].concat();
    let model = ScriptedModel::new([first, answer("that too"), answer("next")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    control_plane.state().steering.extend(["and that".to_owned(), "please".to_owned()]);
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let told = ["hi", "done", "and that", "please", "that too", "the next turn", "next"];
    assert_eq!(control_plane.state().told(), told);
    assert_eq!(model.calls()[1].messages[2..], [words("and that"), words("please")]);
}

#[tokio::test]
async fn a_turn_keeps_the_instructions_that_its_owner_had_when_it_began() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    control_plane.state().user_instructions = "be brief";
    control_plane.state().queue.push_back("and now?".to_owned());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let step =
        [say("I look"), vec![Beat::Wait(gate.clone())], call("list_dir", "{}"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("first"), answer("second")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| !state.live(0).is_empty()).await;

    control_plane.state().user_instructions = "be long";
    let reload = control_plane.new_settings("smarter");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the read", |state| state.turns_read == 1).await;
    gate.add_permits(1);
    control_plane.until("the end", |state| !state.leased).await;

    let told: Vec<_> = model.calls().into_iter().map(|call| (call.provider_model, call.system)).collect();
    let told: Vec<_> = told.iter().map(|(model, system)| (model.as_str(), system.join("|"))).collect();
    let expected = [("smart", "be brief"), ("smarter", "be brief"), ("smarter", "be long")];
    assert_eq!(told, expected.map(|(model, system)| (model, system.to_owned())));
}

#[tokio::test]
async fn an_edit_begins_a_turn_with_the_instructions_and_the_summaries_of_its_own() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    control_plane.state().user_instructions = "be brief";
    control_plane.state().compaction_threshold_percent = 70;
    let full = || [call("list_dir", "{}"), end_at(800, StopReason::ToolUse)].concat();
    let failing = || fail(chatplane_domain::ErrorKind::Overloaded, true);
    let hanging = [begin("to the old"), vec![Beat::Hang]].concat();
    let model = ScriptedModel::new([full(), failing(), hanging, full(), failing(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the answer", |state| state.live(0).iter().any(|piece| piece.contains("old"))).await;

    control_plane.state().user_instructions = "be long";
    let reload = control_plane.edit(1, "edited");
    control_plane.send(Down::Reload(reload));
    control_plane.until("the end", |state| !state.leased).await;

    let told: Vec<_> = model.calls().into_iter().map(|call| call.system.join("|")).collect();
    let (before, after) = (["be brief"; 3], ["be long"; 3]);
    assert_eq!(told, [before, after].concat(), "a turn that an edit begins may try a summary anew");
}
