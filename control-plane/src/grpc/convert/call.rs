//! Calls that change something: how a repeat of one is known.

use chatplane_domain::RequestId;
use chatplane_proto::chat::v1 as proto;
use sha2::{Digest, Sha256};

use super::uuid;
use crate::{
    app::{Call, Error, Request},
    authz::Actor,
};

/// A request that may be repeated under its `request_id`.
pub(crate) trait Repeatable: prost::Message {
    /// The RPC.
    const METHOD: &'static str;

    /// The id that the client gave it, which is no part of what it asks for.
    fn take_request_id(&mut self) -> String;
}

macro_rules! repeatable {
    ($($request:ident: $method:literal,)*) => {
        $(impl Repeatable for proto::$request {
            const METHOD: &'static str = $method;

            fn take_request_id(&mut self) -> String {
                std::mem::take(&mut self.request_id)
            }
        })*
    };
}

repeatable! {
    CreateChatRequest: "CreateChat",
    SendMessageRequest: "SendMessage",
    InterruptChatRequest: "InterruptChat",
    EditMessageRequest: "EditMessage",
    ForkChatRequest: "ForkChat",
    ConfigureChatRequest: "ConfigureChat",
    SubmitToolResultsRequest: "SubmitToolResults",
    CompactChatRequest: "CompactChat",
    ClearContextRequest: "ClearContext",
    EditQueuedMessageRequest: "EditQueuedMessage",
    DeleteQueuedMessageRequest: "DeleteQueuedMessage",
    PromoteQueuedMessageRequest: "PromoteQueuedMessage",
    MoveQueuedMessageRequest: "MoveQueuedMessage",
    RegenerateTitleRequest: "RegenerateTitle",
    ArchiveChatRequest: "ArchiveChat",
    UnarchiveChatRequest: "UnarchiveChat",
    UpdateChatRequest: "UpdateChat",
}

/// Who calls, and how a repeat is known: by the body without its id.
pub(crate) fn call<M: Repeatable>(actor: Actor, request: &mut M) -> Result<Call, Error> {
    let request_id = request.take_request_id();
    if request_id.is_empty() {
        return Ok(Call { actor, request: None });
    }
    let id = RequestId(uuid("request_id", &request_id)?);
    let body_sha256 = Sha256::digest(request.encode_to_vec()).into();
    let request = Request { actor: actor.id(), id, method: M::METHOD, body_sha256 };
    Ok(Call { actor, request: Some(request) })
}
