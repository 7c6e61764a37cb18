//! Files of a turn: read under its lease when the model is called.

use chatplane_proto::{
    chat::v1::{self as chat, part::Kind},
    worker::v1::session_response::Message as Down,
};
use tonic::Code;

use super::{
    ControlPlane, RunningWorker, ScriptedModel,
    control_plane::{CHAT_ID, Fault, Tool},
    model::{answer, call, end, say, words},
};
use crate::llm::{PromptMessage, StopReason, UserPiece};

const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01";

/// A chat whose second message has an image and a long text.
async fn start() -> ControlPlane {
    let control_plane = ControlPlane::start().await;
    let mut state = control_plane.state();
    let kinds = vec![
        Kind::Text(chat::TextPart { text: "Look.".to_owned() }),
        state.file("a.png", "image/png", IMAGE),
        state.file("long.txt", "text/plain", &[b'x'; 300_000]),
    ];
    state.user_parts(kinds);
    drop(state);
    control_plane
}

fn said(message: &PromptMessage) -> &[UserPiece] {
    let PromptMessage::User { parts } = message else { panic!("{message:?}") };
    parts
}

#[tokio::test]
async fn files_are_read_once_under_the_lease_and_every_call_of_the_turn_sends_the_same() {
    let control_plane = start().await;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let step = [call("list_dir", "{}"), end(StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let calls = model.calls();
    let [text, label, image, long] = said(&calls[0].messages[1]) else { panic!("{:?}", calls[0].messages) };
    assert_eq!(text, &UserPiece::Text("Look.".to_owned()));
    assert!(matches!(label, UserPiece::Text(label) if label.contains("a.png")), "{label:?}");
    assert!(matches!(image, UserPiece::Image(image) if image.data == IMAGE), "{image:?}");
    let UserPiece::Text(long) = long else { panic!("{long:?}") };
    assert_eq!(long.matches('x').count(), 128 * 1024 + "text/plain long.txt".matches('x').count());
    assert!(long.contains("cut here"));
    assert_eq!(calls[1].messages[..2], calls[0].messages[..]);
    let state = control_plane.state();
    assert_eq!(state.aside.file_reads.len(), 2, "each was read once");
    for read in &state.aside.file_reads {
        assert_eq!((read.session_id.as_str(), read.chat_id.as_str(), read.fence), ("session", CHAT_ID, 1));
    }
}

#[tokio::test]
async fn another_lease_of_the_same_process_need_not_read_again() {
    let control_plane = start().await;
    let model = ScriptedModel::new([answer("one"), answer("two")]);
    let _worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    control_plane.state().user("And now?");
    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(control_plane.state().aside.file_reads.len(), 2);
    assert_eq!(model.calls()[1].messages[..2], model.calls()[0].messages[..]);
}

#[tokio::test]
async fn a_read_that_breaks_is_repeated_and_one_that_is_refused_becomes_a_placeholder() {
    let control_plane = start().await;
    {
        let mut state = control_plane.state();
        state.aside.file_faults.extend([Fault::Unreachable, Fault::LoseReply]);
        let gone = state.file("gone.pdf", "application/pdf", b"%PDF-");
        state.aside.files.remove(&match &gone {
            Kind::File(part) => part.file_id.clone(),
            other => panic!("{other:?}"),
        });
        state.user_parts(vec![gone]);
    }
    let model = ScriptedModel::new([answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let call = &model.calls()[0];
    assert!(said(&call.messages[1]).iter().any(|piece| matches!(piece, UserPiece::Image(_))));
    assert!(words(&call.messages[1])[2].contains("cut here"), "it was read after all");
    assert!(words(&call.messages[2])[0].contains("gone.pdf"));
    assert!(words(&call.messages[2])[0].contains("could not be read"));
}

#[tokio::test]
async fn a_file_without_a_valid_id_does_not_stop_the_turn() {
    let control_plane = ControlPlane::start().await;
    let part = chat::FilePart {
        file_id: "nonsense".to_owned(),
        name: "a.png".to_owned(),
        media_type: "image/png".to_owned(),
        size_bytes: -1,
    };
    control_plane.state().user_parts(vec![Kind::File(part)]);
    let model = ScriptedModel::new([answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert!(words(&model.calls()[0].messages[1])[0].contains("could not be read"));
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_file_that_never_comes() {
    let control_plane = start().await;
    control_plane.state().aside.file_reads_hang = true;
    let model = ScriptedModel::new([]);
    let worker = RunningWorker::start(&control_plane, &model);
    control_plane.lease().await;
    control_plane.until("the read", |state| !state.aside.file_reads.is_empty()).await;

    let interrupt = control_plane.interrupt();
    control_plane.send(Down::Interrupt(interrupt));
    control_plane.until("the end", |state| !state.leased).await;

    assert_eq!(control_plane.state().writes, [("FinishInterruption", 1)]);
    assert!(model.calls().is_empty());
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_is_lost_while_a_file_is_read_is_over() {
    let control_plane = start().await;
    let lost = Fault::Refuse(Code::FailedPrecondition, "LEASE_LOST");
    control_plane.state().aside.file_faults.push_back(lost);
    let model = ScriptedModel::new([answer("done")]);
    let worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the read", |state| !state.aside.file_reads.is_empty()).await;
    control_plane.state().lease();
    control_plane.until("the end", |state| state.fence == 2 && !state.leased).await;

    assert_eq!(model.calls().len(), 1);
    assert_eq!(control_plane.state().told().last().map(String::as_str), Some("done"));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_summary_is_asked_for_with_the_files_as_the_turn_has_them() {
    let control_plane = start().await;
    control_plane.state().compaction_threshold_percent = 70;
    control_plane.state().tools.insert("list_dir", Tool::Ends("a.txt"));
    let step = [call("list_dir", "{}"), super::model::end_at(800, StopReason::ToolUse)];
    let model = ScriptedModel::new([step.concat(), answer("in short"), answer("done")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    let calls = model.calls();
    let summary = calls.iter().find(|call| super::compaction::is_summary_request(call)).expect("a summary");
    assert_eq!(summary.messages[..2], calls[0].messages[..]);
    assert_eq!(control_plane.state().aside.file_reads.len(), 2);
}

#[tokio::test]
async fn places_and_comments_reach_the_model_as_words() {
    let control_plane = ControlPlane::start().await;
    let reference = chat::FileReferencePart {
        path: "src/main.rs".to_owned(),
        start_line: 3,
        end_line: 4,
        snippet: "let a = 1;".to_owned(),
    };
    let mut comment = chat::DiffCommentPart {
        path: "src/lib.rs".to_owned(),
        start_line: 7,
        text: "Why?".to_owned(),
        ..chat::DiffCommentPart::default()
    };
    comment.set_side(chat::DiffSide::Old);
    let parts = vec![Kind::FileReference(reference), Kind::DiffComment(comment)];
    control_plane.state().user_parts(parts);
    let model = ScriptedModel::new([[say("done"), end(StopReason::EndTurn)].concat()]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;
    control_plane.until("the end", |state| state.fence == 1 && !state.leased).await;

    assert_eq!(
        words(&model.calls()[0].messages[1]),
        [
            "<file_reference path=\"src/main.rs\" lines=\"3-4\">\nlet a = 1;\n</file_reference>",
            "<diff_comment path=\"src/lib.rs\" side=\"old\" lines=\"7\">\nWhy?\n</diff_comment>",
        ]
    );
}
