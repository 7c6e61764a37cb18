//! Long chats, titles, and the archive.

use crate::step::{Step, call, refused};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = compact();
    steps.extend(title());
    steps.extend(archive());
    steps
}

fn compact() -> Vec<Step> {
    vec![
        Step::Section("When a chat grows long"),
        Step::Words(
            "A model has room for so much. Above a threshold the history is summarized beside the running turn, \
             without anybody asking; `CompactChat` asks for it now. The summary is what the model sees from then on; \
             all messages stay readable.",
        ),
        call("ChatService/CompactChat", r#"{"chatId": "$chat"}"#, &["chat.state", "chat.compactRequested"])
            .into(),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.state"])
            .until("chat.state", "CHAT_STATE_WAITING")
            .into(),
        Step::Words("It shows as a call that nobody has to settle, with its result."),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$chat", "pageSize": 2}"#,
            &[
                "messages.messageId",
                "messages.role",
                "messages.parts.toolResult.output",
                "messages.parts.toolCall.toolName",
                "messages.parts.toolCall.argumentsJson",
                "messages.coversThrough",
            ],
        )
        .into(),
        Step::Words("Nothing was said since, so there is nothing to summarize."),
        refused("ChatService/CompactChat", r#"{"chatId": "$chat"}"#).into(),
        Step::Words("`ClearContext` lets the model forget everything so far, without a summary and at once."),
        call("ChatService/ClearContext", r#"{"chatId": "$fork"}"#, &["chat.state"]).into(),
    ]
}

fn title() -> Vec<Step> {
    vec![
        Step::Section("Titles"),
        Step::Words(
            "At first a chat is titled with its first words. A model writes a better title after the first message, \
             where the operator has not switched that off, and whenever it is asked for one. It does so beside the \
             chat: the reply has the old title, and `chatUpdated` tells watchers of the new one.",
        ),
        call("ChatService/RegenerateTitle", r#"{"chatId": "$chat"}"#, &["chat.title"]).into(),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.title"])
            .until("chat.title", "A kitchen garden through the year")
            .into(),
    ]
}

fn archive() -> Vec<Step> {
    vec![
        Step::Section("The archive"),
        Step::Words(
            "An idle chat can be archived. It takes no messages then; it can be read, watched and forked.",
        ),
        call(
            "ChatService/ArchiveChat",
            r#"{"chatId": "$fork"}"#,
            &["chat.chatId", "chat.state", "chat.archived"],
        )
        .into(),
        refused(
            "ChatService/SendMessage",
            r#"{"chatId": "$fork", "parts": [{"text": {"text": "Still there?"}}]}"#,
        )
        .into(),
        call("ChatService/UnarchiveChat", r#"{"chatId": "$fork"}"#, &["chat.chatId", "chat.state"]).into(),
    ]
}
