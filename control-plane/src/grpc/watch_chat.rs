//! `WatchChat`: decodes the request, encodes the events.

use std::pin::Pin;

use chatplane_proto::chat::v1::{self as proto, watch_chat_response::Event as ProtoEvent};
use futures::{Stream, StreamExt};
use tonic::{Response, Status};

use super::convert::{self, LivePart};
use crate::{
    app::{App, Error, WatchChat, WatchFrom},
    authz::Actor,
    relay::PartOffset,
    watch::{DurableEvent, Emitted, Event, LiveEvent},
};

#[cfg(test)]
mod simulation;

/// Messages that a watcher without a cursor is sent first, unless it says otherwise.
const HISTORY_LIMIT_DEFAULT: u32 = 50;

/// The events of a watch.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchChatResponse, Status>> + Send>>;

pub(crate) async fn watch_chat(
    app: &App,
    actor: &Actor,
    request: proto::WatchChatRequest,
) -> Result<Response<WatchStream>, Status> {
    let events = app.watch_chat(actor, watch(request)?).await?;
    let responses = events.map(|emitted| Ok(response(emitted?)));
    Ok(Response::new(Box::pin(responses)))
}

fn watch(request: proto::WatchChatRequest) -> Result<WatchChat, Error> {
    let history_limit = match request.history_limit {
        None => Some(HISTORY_LIMIT_DEFAULT),
        Some(-1) => None,
        Some(limit) => {
            let description = "it is -1 for all, or not negative";
            Some(u32::try_from(limit).map_err(|_| Error::invalid("history_limit", description))?)
        }
    };
    let from = if request.cursor.is_empty() {
        WatchFrom::Start { history_limit }
    } else {
        WatchFrom::Cursor(request.cursor)
    };
    Ok(WatchChat { chat: convert::chat_id(&request.chat_id)?, from })
}

fn response(emitted: Emitted) -> proto::WatchChatResponse {
    let event = match emitted.event {
        Event::Durable(event) => durable_event(event),
        Event::Live(event) => live_event(event),
    };
    proto::WatchChatResponse { cursor: emitted.cursor, event: Some(event) }
}

fn durable_event(event: DurableEvent) -> ProtoEvent {
    match event {
        DurableEvent::Message(message) => ProtoEvent::Message(convert::message(*message)),
        DurableEvent::QueuedUpserted(queued) => ProtoEvent::QueuedMessageUpserted(convert::queued(queued)),
        DurableEvent::QueuedRemoved(id) => ProtoEvent::QueuedMessageRemoved(proto::QueuedMessageRemoved {
            queued_message_id: id.to_string(),
        }),
        DurableEvent::Retry(retry) => {
            ProtoEvent::Retry(proto::RetryChanged { retry: retry.map(convert::retry) })
        }
        DurableEvent::Error(error) => {
            ProtoEvent::Error(proto::ErrorChanged { error: error.map(convert::chat_error) })
        }
        DurableEvent::ActionRequired(required) => {
            ProtoEvent::ActionRequired(convert::action_required(required))
        }
        DurableEvent::State(state) => ProtoEvent::State(proto::StateChanged {
            state: convert::state(state.state).into(),
            archived: state.archived,
            snapshot_version: state.snapshot_version,
            history_version: state.history_version,
            queue_length: i32::try_from(state.queue_length).unwrap_or(i32::MAX),
        }),
        DurableEvent::ChatUpdated(chat) => {
            ProtoEvent::ChatUpdated(proto::ChatUpdated { chat: Some(convert::chat(*chat)) })
        }
        DurableEvent::HistoryReset(from) => {
            ProtoEvent::HistoryReset(proto::HistoryReset { from_message_id: from.0 })
        }
    }
}

fn live_event(event: LiveEvent) -> ProtoEvent {
    match event {
        LiveEvent::PreviewReset(stream) => {
            ProtoEvent::PreviewReset(proto::PreviewReset { stream: stream.map(convert::stream_id) })
        }
        LiveEvent::PartStarted { stream, kind, part, header } => {
            ProtoEvent::PartStarted(convert::part_started(LivePart {
                stream,
                stream_kind: kind,
                part,
                header,
            }))
        }
        LiveEvent::PartAppend { stream, part, offset, data } => {
            ProtoEvent::PartAppend(convert::part_append(stream, PartOffset { part, offset }, data))
        }
        LiveEvent::PreviewTruncated(stream) => {
            ProtoEvent::PreviewTruncated(proto::PreviewTruncated { stream: Some(convert::stream_id(stream)) })
        }
        LiveEvent::Progress => ProtoEvent::Progress(proto::Progress {}),
    }
}
