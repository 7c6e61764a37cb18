//! `WatchChats`: decodes the request, encodes the events.

use std::pin::Pin;

use chatplane_proto::chat::v1::{self as proto, watch_chats_response::Event};
use futures::{Stream, StreamExt};
use tonic::{Response, Status};

use super::convert;
use crate::{
    app::App,
    authz::Actor,
    watch::{ChatChange, ChatsEmitted, ChatsEvent},
};

/// The events of a watch.
pub(crate) type WatchChatsStream =
    Pin<Box<dyn Stream<Item = Result<proto::WatchChatsResponse, Status>> + Send>>;

pub(super) async fn watch_chats(
    app: &App,
    actor: &Actor,
    request: proto::WatchChatsRequest,
) -> Result<Response<WatchChatsStream>, Status> {
    let cursor = Some(request.cursor.as_str()).filter(|cursor| !cursor.is_empty());
    let events = app.watch_chats(actor, cursor).await?;
    let responses = events.map(|emitted| Ok(response(emitted?)));
    Ok(Response::new(Box::pin(responses)))
}

fn response(emitted: ChatsEmitted) -> proto::WatchChatsResponse {
    let event = match emitted.event {
        ChatsEvent::Changed { chat, changes } => Event::ChatChanged(proto::ChatChanged {
            chat: Some(convert::chat(*chat)),
            changes: changes.into_iter().map(|change| chat_change(change).into()).collect(),
        }),
        ChatsEvent::Deleted(chat) => Event::ChatDeleted(proto::ChatDeleted { chat_id: chat.to_string() }),
        ChatsEvent::Progress => Event::Progress(proto::Progress {}),
    };
    proto::WatchChatsResponse { cursor: emitted.cursor, event: Some(event) }
}

fn chat_change(change: ChatChange) -> proto::ChatChange {
    match change {
        ChatChange::Other => proto::ChatChange::Unspecified,
        ChatChange::Created => proto::ChatChange::Created,
        ChatChange::Archived => proto::ChatChange::Archived,
        ChatChange::Unarchived => proto::ChatChange::Unarchived,
        ChatChange::State => proto::ChatChange::State,
        ChatChange::Metadata => proto::ChatChange::Metadata,
        ChatChange::Summary => proto::ChatChange::Summary,
        ChatChange::ActionRequired => proto::ChatChange::ActionRequired,
        ChatChange::ReadState => proto::ChatChange::ReadState,
        ChatChange::Pin => proto::ChatChange::Pin,
    }
}
