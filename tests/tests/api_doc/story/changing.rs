//! Changing what was said: edits, forks, and prompts for recall.

use crate::step::{Step, call, refused};

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::Section("Changing what was said"),
        Step::Words(
            "A user's message can be replaced, whatever the chat is doing: the message and all that came after it are \
             dropped, the queue too, and a new turn starts with the replacement. Watchers get `historyReset`. What \
             was dropped stays accounted for.",
        ),
        call(
            "ChatService/EditMessage",
            r#"{
  "chatId": "$chat",
  "messageId": "$plan",
  "parts": [{"text": {"text": "Draw a plan of four beds."}}]
}"#,
            &["chat.state", "message.messageId", "message.role", "message.parts"],
        )
        .into(),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.state", "chat.lastTurnSummary"])
            .until("chat.state", "CHAT_STATE_WAITING")
            .into(),
        refused(
            "ChatService/EditMessage",
            r#"{
  "chatId": "$chat",
  "messageId": "$plan",
  "parts": [{"text": {"text": "Draw a plan of five beds."}}]
}"#,
        )
        .into(),
        Step::Words(
            "To keep both, fork: a new chat with copies of all messages up to one, under the same ids. The chat that \
             is copied stays as it is.",
        ),
        call(
            "ChatService/ForkChat",
            r#"{"chatId": "$chat", "messageId": "$answer"}"#,
            &["chat.chatId", "chat.title", "chat.state"],
        )
        .keep("fork", "chat.chatId")
        .into(),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$fork"}"#,
            &["messages.messageId", "messages.role", "messages.parts"],
        )
        .into(),
        Step::Words("What users wrote in a chat, newest first, for a composer's recall:"),
        call(
            "ChatService/ListPrompts",
            r#"{"chatId": "$chat", "limit": 3}"#,
            &["prompts.messageId", "prompts.text"],
        )
        .into(),
    ]
}
