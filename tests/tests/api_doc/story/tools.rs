//! Tools that the client runs.

use crate::step::{Step, call, event, refused, watched};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = declare();
    steps.extend(settle());
    steps
}

fn declare() -> Vec<Step> {
    vec![
        Step::Section("Tools of your own"),
        Step::Words(
            "A client can give a chat tools that it runs itself, at its creation or later. `updateMask` names the \
             settings that change; a worker that runs the chat uses them from its next model call on.",
        ),
        call(
            "ChatService/ConfigureChat",
            r#"{
  "chatId": "$chat",
  "updateMask": "clientTools,actionTimeoutMs",
  "clientTools": [{
    "name": "soil_temperature",
    "description": "Measures the temperature of the soil, in degrees Celsius.",
    "inputSchemaJson": "{\"type\": \"object\", \"properties\": {\"depth_cm\": {\"type\": \"integer\"}}}"
  }],
  "actionTimeoutMs": "600000"
}"#,
            &["chat.state", "chat.clientToolNames", "chat.actionTimeoutMs"],
        )
        .into(),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Is the soil warm enough to sow?"}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .into(),
        Step::Words(
            "When the model calls such a tool the chat is suspended: no worker waits with it. `actionRequired` says \
             which calls are open, and until when; after that they time out and the turn goes on without them.",
        ),
        watched(
            r#"{"chatId": "$chat", "historyLimit": 0}"#,
            vec![
                event("actionRequired", &["actionRequired"])
                    .keep("call", "actionRequired.calls.0.call.messageId"),
                event("state", &["state"]).with("state.state", "CHAT_STATE_SUSPENDED"),
            ],
        )
        .into(),
        Step::Words("`GetChat` says the same. The arguments stand in the message that has the call."),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$chat", "pageSize": 1}"#,
            &["messages.messageId", "messages.role", "messages.parts"],
        )
        .into(),
    ]
}

fn settle() -> Vec<Step> {
    vec![
        Step::Words("A call is named by its message and its place in it, which is 0 here and so need not be said."),
        refused(
            "ChatService/SubmitToolResults",
            r#"{"chatId": "$chat", "results": [{"call": {"messageId": "$call", "callIndex": 1}, "output": "9"}]}"#,
        )
        .into(),
        Step::Words("Each call is settled once. With the last open one the turn goes on."),
        call(
            "ChatService/SubmitToolResults",
            r#"{"chatId": "$chat", "results": [{"call": {"messageId": "$call"}, "output": "9"}]}"#,
            &["chat.state"],
        )
        .into(),
        call(
            "ChatService/GetChat",
            r#"{"chatId": "$chat"}"#,
            &["chat.state", "chat.lastTurnSummary"],
        )
        .until("chat.state", "CHAT_STATE_WAITING")
        .into(),
    ]
}
