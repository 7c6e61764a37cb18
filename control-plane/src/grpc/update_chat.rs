//! `UpdateChat` and `MarkRead`: decode, name the use case, encode.

use chatplane_proto::chat::v1 as proto;

use super::convert;
use crate::{
    app::{App, Call, Error},
    authz::Actor,
};

pub(super) async fn update_chat(
    app: &App,
    call: &Call,
    request: proto::UpdateChatRequest,
) -> Result<proto::UpdateChatResponse, Error> {
    let view = app.update_chat(call, convert::update_chat(request)?).await?;
    Ok(proto::UpdateChatResponse { chat: Some(convert::chat(view)) })
}

pub(super) async fn mark_read(
    app: &App,
    actor: &Actor,
    request: proto::MarkReadRequest,
) -> Result<proto::MarkReadResponse, Error> {
    let view = app.mark_read(actor, convert::mark_read(&request)?).await?;
    Ok(proto::MarkReadResponse { chat: Some(convert::chat(view)) })
}
