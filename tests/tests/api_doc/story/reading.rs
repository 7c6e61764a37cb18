//! From nothing to a chat with an answer, and how to read it.

use crate::step::{Step, call, event, refused, watched};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = before();
    steps.extend(create());
    steps.extend(watch());
    steps.extend(read());
    steps.extend(go_on());
    steps
}

fn before() -> Vec<Step> {
    vec![
        Step::Section("Before the first chat"),
        Step::Words("A chat needs a model; one of them is the default."),
        call("ChatService/ListModels", "{}", &["models"]).into(),
        Step::Words(
            "And a workspace, if the agent is to read files or run commands. `online` says that an agent of the \
             workspace is connected. A chat without a workspace has no such tools.",
        ),
        call(
            "ChatService/ListWorkspaces",
            "{}",
            &["workspaces.workspaceId", "workspaces.name", "workspaces.online"],
        )
        .keep("workspace", "workspaces.0.workspaceId")
        .into(),
        Step::Words(
            "Every call needs the token of a user. [Errors](#errors) tells how refusals are to be read.",
        ),
        refused("ChatService/ListModels", "{}").with_token("wrong").into(),
    ]
}

fn create() -> Vec<Step> {
    vec![
        Step::Section("A chat begins"),
        Step::Words(
            "The first message creates the chat, and a turn of the agent starts at once. `requestId` is any UUID: a \
             client that got no reply repeats the call with the same one, and the repeat has the effect of one call \
             and the same reply. Every call that changes a chat takes one; without it a repeat is a new request.",
        ),
        call(
            "ChatService/CreateChat",
            r#"{
  "requestId": "6d2f8f0c-7f3e-4a51-9d43-0c8e5a1b7f10",
  "workspaceId": "$workspace",
  "parts": [{"text": {"text": "What can I sow in March?"}}],
  "labels": {"project": "garden"}
}"#,
            &[
                "chat.chatId",
                "chat.title",
                "chat.labels",
                "chat.state",
                "chat.model",
                "message.messageId",
                "message.role",
                "message.parts",
            ],
        )
        .keep("chat", "chat.chatId")
        .keep("message", "message.messageId")
        .into(),
    ]
}

fn watch() -> Vec<Step> {
    vec![
        Step::Words(
            "To follow it, watch it: on any replica, for as long as the chat lives. First come the last messages, the \
             queue and the state; `StateChanged` ends what changed together, so whoever has read one has a whole \
             picture. Then comes everything that happens, the answer as it is written. `partAppend` has bytes at an \
             offset of a live part. The committed message takes the place of the preview: of the answer whose \
             `baseVersion` is below its `revision`. (The command goes on until you stop it.)",
        ),
        watched(
            r#"{"chatId": "$chat"}"#,
            vec![
                event("message", &["message.messageId", "message.role", "message.parts", "message.revision"])
                    .with("message.role", "ROLE_USER"),
                event("state", &["state"]).with("state.state", "CHAT_STATE_RUNNING"),
                event("partStarted", &["partStarted"]),
                event("partAppend", &["partAppend"]).opens("vegetables"),
                event(
                    "message",
                    &[
                        "message.messageId",
                        "message.role",
                        "message.parts",
                        "message.model",
                        "message.usage",
                        "message.revision",
                    ],
                )
                .with("message.role", "ROLE_ASSISTANT")
                .keep("answer", "message.messageId"),
                event("state", &["cursor", "state"])
                    .with("state.state", "CHAT_STATE_WAITING")
                    .keep("cursor", "cursor"),
            ],
        )
        .into(),
        Step::Words("A `requestId` that was used for something else is refused."),
        refused(
            "ChatService/CreateChat",
            r#"{
  "requestId": "6d2f8f0c-7f3e-4a51-9d43-0c8e5a1b7f10",
  "parts": [{"text": {"text": "Something else."}}]
}"#,
        )
        .into(),
    ]
}

fn read() -> Vec<Step> {
    vec![
        Step::Section("Reading"),
        Step::Words(
            "A chat says what it is doing (`state`) and, in a line for lists and notifications, what its last turn \
             came to.",
        ),
        call(
            "ChatService/GetChat",
            r#"{"chatId": "$chat"}"#,
            &["chat.chatId", "chat.state", "chat.lastTurnSummary", "chat.createTime"],
        )
        .into(),
        Step::Words(
            "Messages come newest first, a page at a time; `beforeId` asks for the page after this one.",
        ),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$chat", "pageSize": 1}"#,
            &["messages.messageId", "messages.role", "messages.parts", "hasMore"],
        )
        .into(),
        Step::Words("With `afterId` alone they come oldest first: that is how to poll."),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$chat", "afterId": "$message"}"#,
            &["messages.messageId", "messages.role", "messages.parts"],
        )
        .into(),
        Step::Words(
            "Your chats, the one that changed last first. [Many chats](#many-chats) tells how to find some of them.",
        ),
        call(
            "ChatService/ListChats",
            r#"{"pageSize": 10}"#,
            &["chats.chat.chatId", "chats.chat.title", "chats.chat.state", "chats.chat.lastTurnSummary"],
        )
        .into(),
        Step::Words("A chat that is not there, or not yours, is the same to you."),
        refused("ChatService/GetChat", r#"{"chatId": "0198c5a0-ffff-7000-8000-000000000000"}"#).into(),
    ]
}

fn go_on() -> Vec<Step> {
    vec![
        Step::Section("Going on"),
        Step::Words("A message to a waiting chat enters its history and starts the next turn."),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "And in May?"}}]}"#,
            &["chat.state", "messages.messageId", "messages.role", "messages.parts"],
        )
        .into(),
        Step::Words(
            "Every event has a cursor. A client that lost its connection goes on after the last event it has read, on \
             any replica and at any time; what it has read does not come again, and nothing is missing.",
        ),
        watched(
            r#"{"chatId": "$chat", "cursor": "$cursor"}"#,
            vec![
                event("message", &["message.messageId", "message.role", "message.parts"])
                    .with("message.role", "ROLE_USER"),
                event("message", &["message.messageId", "message.role", "message.parts"])
                    .with("message.role", "ROLE_ASSISTANT"),
                event("state", &["cursor", "state"]).with("state.state", "CHAT_STATE_WAITING"),
            ],
        )
        .into(),
    ]
}
