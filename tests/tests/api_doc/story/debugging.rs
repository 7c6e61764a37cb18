//! What was recorded of a turn.

use crate::step::{Step, call, refused};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = switches();
    steps.extend(runs());
    steps
}

fn switches() -> Vec<Step> {
    vec![
        Step::Section("Why did it say that?"),
        Step::Words(
            "What a model was asked and what it answered can be recorded. Nothing is, unless owners allow it or make \
             it the rule.",
        ),
        refused("SettingsService/UpdateDebugRecording", r#"{"userEnabled": true}"#).into(),
        call(
            "SettingsService/UpdateDebugRecording",
            r#"{"policy": "DEBUG_POLICY_ALLOWED"}"#,
            &["debugRecording"],
        )
        .with_token("$owner_token")
        .into(),
        Step::Words("Then each user decides, for turns that begin from then on."),
        call(
            "SettingsService/UpdateDebugRecording",
            r#"{"userEnabled": true}"#,
            &["debugRecording.policy", "debugRecording.userEnabled", "debugRecording.effective"],
        )
        .into(),
        call(
            "SettingsService/GetDebugRecording",
            "{}",
            &["debugRecording.policy", "debugRecording.userEnabled", "debugRecording.effective"],
        )
        .into(),
    ]
}

fn runs() -> Vec<Step> {
    vec![
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "When do I harvest?"}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .into(),
        Step::Words(
            "A turn is a run, of as many steps as it had model calls. They come a moment after the answer.",
        ),
        call(
            "ChatService/ListDebugRuns",
            r#"{"chatId": "$chat"}"#,
            &[
                "runs.runId",
                "runs.triggerMessageId",
                "runs.historyTipMessageId",
                "runs.stepCount",
                "runs.startTime",
                "runs.usage",
            ],
        )
        .until("runs.0.usage.outputTokens", "5")
        .keep("run", "runs.0.runId")
        .into(),
        Step::Words("A step also has its `requestJson`, the tries that it took, and how long."),
        call(
            "ChatService/GetDebugRun",
            r#"{"chatId": "$chat", "runId": "$run"}"#,
            &[
                "run.runId",
                "steps.step",
                "steps.assistantMessageId",
                "steps.model",
                "steps.responseJson",
                "steps.usage",
                "steps.attempts.attempt",
            ],
        )
        .into(),
    ]
}
