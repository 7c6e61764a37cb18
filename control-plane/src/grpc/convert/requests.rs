//! What clients ask for: new chats and messages.

use std::collections::BTreeMap;

use chatplane_domain::{BusyBehavior, CLIENT_MESSAGE_BYTES_MAX, PARTS_MAX, TEXT_PART_BYTES_MAX};
use chatplane_proto::chat::v1 as proto;

use super::{
    chat_id, client_tools, configure::check_prompt, effort, message_bound, message_id, page_size, some_text,
    violation, workspace_id,
};
use crate::{
    app::{CreateChat, EditMessage, Error, FieldViolation, MessageBounds, MessageQuery, SendMessage},
    limits::{labels, pages},
};

pub(crate) fn create_chat(request: proto::CreateChatRequest) -> Result<CreateChat, Error> {
    let mut violations = Vec::new();
    check_labels(&request.labels, &mut violations);
    check_prompt(&request.system_prompt, &mut violations);
    let client_tools = client_tools::declared(request.client_tools, &mut violations);
    let action_timeout = match client_tools::action_timeout(request.action_timeout_ms) {
        Ok(timeout) => Some(timeout),
        Err(wrong) => {
            violations.push(wrong);
            None
        }
    };
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    Ok(CreateChat {
        workspace: workspace_id(&request.workspace_id)?,
        effort: effort(request.effort)?.unwrap_or_default(),
        texts: texts(request.parts)?,
        model: some_text(request.model),
        labels: request.labels,
        system_prompt: some_text(request.system_prompt),
        client_tools,
        action_timeout,
    })
}

pub(crate) fn send_message(request: proto::SendMessageRequest) -> Result<SendMessage, Error> {
    let busy = match proto::BusyBehavior::try_from(request.busy_behavior) {
        Ok(proto::BusyBehavior::Unspecified | proto::BusyBehavior::Queue) => BusyBehavior::Queue,
        Ok(proto::BusyBehavior::Interrupt) => BusyBehavior::Interrupt,
        Ok(proto::BusyBehavior::Steer) => BusyBehavior::Steer,
        Err(_) => return Err(Error::invalid("busy_behavior", "it is QUEUE, STEER or INTERRUPT")),
    };
    Ok(SendMessage {
        chat: chat_id(&request.chat_id)?,
        effort: effort(request.effort)?,
        texts: texts(request.parts)?,
        model: some_text(request.model),
        busy,
    })
}

pub(crate) fn edit_message(request: proto::EditMessageRequest) -> Result<EditMessage, Error> {
    Ok(EditMessage {
        chat: chat_id(&request.chat_id)?,
        target: message_id("message_id", request.message_id)?,
        effort: effort(request.effort)?,
        texts: texts(request.parts)?,
        model: some_text(request.model),
    })
}

pub(crate) fn list_messages(request: &proto::ListMessagesRequest) -> Result<MessageQuery, Error> {
    let before = message_bound("before_id", request.before_id)?;
    let after = message_bound("after_id", request.after_id)?;
    if let (Some(before), Some(after)) = (before, after)
        && after >= before
    {
        return Err(Error::invalid("after_id", "it must be below before_id"));
    }
    Ok(MessageQuery {
        chat: chat_id(&request.chat_id)?,
        bounds: MessageBounds { before, after },
        limit: page_size(request.page_size, pages::MESSAGES_DEFAULT, pages::MESSAGES_MAX)?,
    })
}

/// The text parts of a user's message.
pub(super) fn texts(parts: Vec<proto::Part>) -> Result<Vec<String>, Error> {
    if parts.is_empty() {
        return Err(Error::invalid("parts", "a message needs at least one part"));
    }
    if parts.len() > PARTS_MAX {
        return Err(Error::invalid("parts", format!("a message has at most {PARTS_MAX} parts")));
    }
    let mut texts = Vec::with_capacity(parts.len());
    let mut violations = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let field = format!("parts[{index}]");
        match part.kind {
            Some(proto::part::Kind::Text(text)) if text.text.len() > TEXT_PART_BYTES_MAX => {
                let description = format!("a text part has at most {TEXT_PART_BYTES_MAX} bytes");
                violations.push(violation(format!("{field}.text"), description));
            }
            Some(proto::part::Kind::Text(text)) if text.text.trim().is_empty() => {
                violations.push(violation(format!("{field}.text"), "it is empty"));
            }
            Some(proto::part::Kind::Text(text)) => texts.push(text.text),
            Some(_) | None => violations.push(violation(field, "a user's message has text parts only")),
        }
    }
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    if texts.iter().map(String::len).sum::<usize>() > CLIENT_MESSAGE_BYTES_MAX {
        let description = format!("a message has at most {CLIENT_MESSAGE_BYTES_MAX} bytes in all");
        return Err(Error::invalid("parts", description));
    }
    Ok(texts)
}

fn check_labels(given: &BTreeMap<String, String>, violations: &mut Vec<FieldViolation>) {
    if given.len() > labels::COUNT_MAX {
        violations.push(violation("labels", format!("at most {} labels", labels::COUNT_MAX)));
    }
    for (key, value) in given.iter().take(labels::COUNT_MAX) {
        let shown: String = key.chars().take(labels::KEY_CHARS_MAX).collect();
        let mut characters = key.chars();
        let first = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
        let rest = characters.all(|other| other.is_ascii_alphanumeric() || "._/-".contains(other));
        if !first || !rest || key.chars().count() > labels::KEY_CHARS_MAX {
            let description = format!(
                "a key is 1 to {} of A-Z a-z 0-9 . _ / - and begins with a letter or digit",
                labels::KEY_CHARS_MAX
            );
            violations.push(violation(format!("labels[{shown:?}]"), description));
        }
        let length = value.chars().count();
        if length == 0 || length > labels::VALUE_CHARS_MAX || value.contains('\0') {
            let description = format!("a value has 1 to {} characters and no NUL", labels::VALUE_CHARS_MAX);
            violations.push(violation(format!("labels[{shown:?}]"), description));
        }
    }
}
