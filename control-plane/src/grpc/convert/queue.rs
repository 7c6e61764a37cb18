//! The queue, as users see and change it.

use chatplane_domain::{ChatId, EditQueuedMessage, QueuedMessageId};
use chatplane_proto::{MESSAGE_BYTES_MAX, chat::v1 as proto};
use prost::Message as _;

use super::{
    chat, chat_id, effort_of,
    message::message,
    part::{user_part, user_parts},
    timestamp, uuid,
};
use crate::app::{Error, QueuedView, SentMessage};

pub(crate) fn queued_message_id(text: &str) -> Result<QueuedMessageId, Error> {
    uuid("queued_message_id", text).map(QueuedMessageId)
}

pub(crate) fn edit_queued_message(
    request: proto::EditQueuedMessageRequest,
) -> Result<(ChatId, EditQueuedMessage), Error> {
    let id = queued_message_id(&request.queued_message_id)?;
    Ok((chat_id(&request.chat_id)?, EditQueuedMessage { id, parts: user_parts(request.parts)? }))
}

/// A place in the queue, which is clamped by who knows the queue.
pub(crate) fn queue_index(index: i32) -> Result<usize, Error> {
    usize::try_from(index).map_err(|_| Error::invalid("index", "it counts from 0, which is the head"))
}

/// A queued message, with its content where that was read.
pub(crate) fn queued(view: QueuedView) -> proto::QueuedMessage {
    proto::QueuedMessage {
        queued_message_id: view.id.to_string(),
        position: view.position,
        steering: view.steering,
        preview_text: view.preview_text,
        created_by: view.created_by.to_string(),
        model: view.model.unwrap_or_default(),
        effort: effort_of(view.effort.unwrap_or_default()).into(),
        create_time: Some(timestamp(view.create_time)),
        parts: view.parts.into_iter().map(user_part).collect(),
    }
}

/// What became of a message. A reply that would be too large for a message leaves out the
/// results that no tool wrote: a model that was interrupted may have called tools by any name,
/// and ListMessages has them.
pub(crate) fn sent(sent: SentMessage) -> proto::SendMessageResponse {
    let mut response = proto::SendMessageResponse {
        chat: Some(chat(sent.chat)),
        messages: sent.messages.into_iter().map(message).collect(),
        queued_message: sent.queued.map(queued),
    };
    if response.encoded_len() > MESSAGE_BYTES_MAX {
        response.messages.retain(|message| message.role() == proto::Role::User);
    }
    response
}

/// The same of a message that was promoted.
pub(crate) fn promoted(promoted: SentMessage) -> proto::PromoteQueuedMessageResponse {
    let proto::SendMessageResponse { chat, messages, queued_message } = sent(promoted);
    proto::PromoteQueuedMessageResponse { chat, messages, queued_message }
}
