//! While the agent works: steering, the queue, interrupts.

use crate::step::{Hook, Step, call, refused};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = steer();
    steps.extend(queue());
    steps.extend(change_the_queue());
    steps.extend(promote());
    steps.extend(interrupt());
    steps
}

fn steer() -> Vec<Step> {
    vec![
        Step::Section("While the agent works"),
        Step::Words("The agent is busy with something long."),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Make a calendar of the whole year."}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .into(),
        Step::Behind(Hook::Reached("calendar")),
        Step::Words(
            "A message can steer the turn that runs: it joins at the next step, together with what the tools have \
             brought or after the answer, and the turn goes on with it.",
        ),
        call(
            "ChatService/SendMessage",
            r#"{
  "chatId": "$chat",
  "parts": [{"text": {"text": "Leave the winter out."}}],
  "busyBehavior": "BUSY_BEHAVIOR_STEER"
}"#,
            &[
                "chat.state",
                "chat.queueLength",
                "queuedMessage.queuedMessageId",
                "queuedMessage.steering",
                "queuedMessage.previewText",
            ],
        )
        .into(),
        Step::Behind(Hook::Open("calendar")),
        Step::Words("A little later:"),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.state", "chat.lastTurnSummary"])
            .until("chat.state", "CHAT_STATE_WAITING")
            .into(),
    ]
}

fn queue() -> Vec<Step> {
    vec![
        Step::Words("Other messages to a busy chat wait until the turn ends."),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Now the same for herbs."}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .into(),
        Step::Behind(Hook::Reached("herbs")),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Which of them like shade?"}}]}"#,
            &["chat.state", "queuedMessage.queuedMessageId", "queuedMessage.previewText"],
        )
        .keep("shade", "queuedMessage.queuedMessageId")
        .into(),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "And flowers?"}}]}"#,
            &["chat.queueLength", "queuedMessage.queuedMessageId", "queuedMessage.previewText"],
        )
        .keep("flowers", "queuedMessage.queuedMessageId")
        .into(),
    ]
}

fn change_the_queue() -> Vec<Step> {
    vec![
        Step::Words("While they wait they can be listed, changed, moved and deleted."),
        call(
            "ChatService/ListQueuedMessages",
            r#"{"chatId": "$chat"}"#,
            &["queuedMessages.queuedMessageId", "queuedMessages.parts"],
        )
        .into(),
        call(
            "ChatService/EditQueuedMessage",
            r#"{
  "chatId": "$chat",
  "queuedMessageId": "$flowers",
  "parts": [{"text": {"text": "And flowers for bees?"}}]
}"#,
            &["queuedMessage.queuedMessageId", "queuedMessage.parts"],
        )
        .into(),
        call(
            "ChatService/MoveQueuedMessage",
            r#"{"chatId": "$chat", "queuedMessageId": "$flowers", "index": 0}"#,
            &["chat.queueLength", "queuedMessage.queuedMessageId"],
        )
        .into(),
        call(
            "ChatService/DeleteQueuedMessage",
            r#"{"chatId": "$chat", "queuedMessageId": "$shade"}"#,
            &["chat.queueLength"],
        )
        .into(),
        Step::Words("One that is gone, deleted or by now in the history, is not found."),
        refused("ChatService/DeleteQueuedMessage", r#"{"chatId": "$chat", "queuedMessageId": "$shade"}"#)
            .into(),
    ]
}

fn promote() -> Vec<Step> {
    vec![
        Step::Words("A queued message that cannot wait is promoted: what runs is stopped for it."),
        call(
            "ChatService/PromoteQueuedMessage",
            r#"{"chatId": "$chat", "queuedMessageId": "$flowers"}"#,
            &["chat.state", "queuedMessage.queuedMessageId"],
        )
        .into(),
        Step::Words(
            "The interrupted answer is kept as far as it came, and marked. In the history a message has an id of its \
             own, and keeps that of the queued message it was.",
        ),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.state", "chat.lastTurnSummary"])
            .until("chat.state", "CHAT_STATE_WAITING")
            .into(),
        call(
            "ChatService/ListMessages",
            r#"{"chatId": "$chat", "pageSize": 3}"#,
            &[
                "messages.messageId",
                "messages.role",
                "messages.parts",
                "messages.interrupted",
                "messages.queuedMessageId",
            ],
        )
        .into(),
    ]
}

fn interrupt() -> Vec<Step> {
    vec![
        Step::Words("To stop a turn and say nothing, interrupt it."),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Write a poem about compost."}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .into(),
        Step::Behind(Hook::Reached("poem")),
        call("ChatService/InterruptChat", r#"{"chatId": "$chat"}"#, &["chat.state"]).into(),
        call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat.state", "chat.lastTurnSummary"])
            .until("chat.state", "CHAT_STATE_WAITING")
            .into(),
        Step::Words(
            "`\"busyBehavior\": \"BUSY_BEHAVIOR_INTERRUPT\"` does both in one call: it sends a message and stops the \
             turn, so that the queue goes on. A queue has an end: this chat is busy, and fifty messages wait.",
        ),
        call(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "Draw a plan of the beds."}}]}"#,
            &["chat.state", "messages.messageId"],
        )
        .keep("plan", "messages.0.messageId")
        .into(),
        Step::Behind(Hook::Reached("beds")),
        Step::Behind(Hook::FillQueue("chat")),
        refused(
            "ChatService/SendMessage",
            r#"{"chatId": "$chat", "parts": [{"text": {"text": "One more thing."}}]}"#,
        )
        .into(),
    ]
}
