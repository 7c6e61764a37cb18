//! What clients ask for: new chats and messages.

use chatplane_domain::BusyBehavior;
use chatplane_proto::chat::v1 as proto;

use super::{
    chat_id, client_tools, configure::check_prompt, effort, labels, message_bound, message_id, page_size,
    part::user_parts, some_text, workspace_id,
};
use crate::{
    app::{CreateChat, EditMessage, Error, MessageBounds, MessageQuery, SendMessage},
    limits::pages,
};

pub(crate) fn create_chat(request: proto::CreateChatRequest) -> Result<CreateChat, Error> {
    let mut violations = Vec::new();
    labels::check("labels", &request.labels, &mut violations);
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
        parts: user_parts(request.parts)?,
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
        parts: user_parts(request.parts)?,
        model: some_text(request.model),
        busy,
    })
}

pub(crate) fn edit_message(request: proto::EditMessageRequest) -> Result<EditMessage, Error> {
    Ok(EditMessage {
        chat: chat_id(&request.chat_id)?,
        target: message_id("message_id", request.message_id)?,
        effort: effort(request.effort)?,
        parts: user_parts(request.parts)?,
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
