//! Calls of the control plane, each repeated under its request id until it is answered or of no use.

use chatplane_proto::chat::v1::{
    ArchiveChatRequest, ArchiveChatResponse, ClearContextRequest, ClearContextResponse, CompactChatRequest,
    CompactChatResponse, CreateChatRequest, CreateChatResponse, DeleteQueuedMessageRequest,
    DeleteQueuedMessageResponse, ForkChatRequest, ForkChatResponse, GetChatRequest, GetChatResponse,
    InterruptChatRequest, InterruptChatResponse, ListChatsRequest, ListChatsResponse, ListMessagesRequest,
    ListMessagesResponse, ListPromptsRequest, ListPromptsResponse, ListQueuedMessagesRequest,
    ListQueuedMessagesResponse, MarkReadRequest, MarkReadResponse, SendMessageRequest, SendMessageResponse,
    UnarchiveChatRequest, UnarchiveChatResponse, UpdateChatRequest, UpdateChatResponse,
};
use tonic::{Request, Response, Status};

use crate::client::{
    ClientError,
    connection::{ChatClient, with_deadline},
    notes::Notes,
    outage::Outage,
};

/// The query of the chats that can be brought back.
pub(crate) const ARCHIVED: &str = "archived:true";
/// The query of the chats with an answer that the user has not read.
pub(crate) const UNREAD: &str = "has_unread:true";

/// Whom to call, and whom to tell when nobody answers.
#[derive(Clone)]
pub(crate) struct Caller {
    client: ChatClient,
    notes: Notes,
}

/// Defines a method that makes one call. A macro, for what differs is the name of a method and two types.
macro_rules! calls {
    ($($(#[$meta:meta])* $method:ident($request:ty) -> $response:ty, $action:literal;)*) => {
        $(
            $(#[$meta])*
            pub(crate) async fn $method(&self, request: &$request) -> Result<$response, ClientError> {
                let attempt = |request: Request<$request>| {
                    let mut client = self.client.clone();
                    async move { client.$method(request).await }
                };
                self.repeat($action, request, attempt).await
            }
        )*
    };
}

impl Caller {
    pub(crate) fn new(client: ChatClient, notes: Notes) -> Self {
        Self { client, notes }
    }

    pub(crate) fn client(&self) -> &ChatClient {
        &self.client
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    calls! {
        create_chat(CreateChatRequest) -> CreateChatResponse, "create a chat";
        send_message(SendMessageRequest) -> SendMessageResponse, "send the message";
        interrupt_chat(InterruptChatRequest) -> InterruptChatResponse, "interrupt the turn";
        delete_queued_message(DeleteQueuedMessageRequest) -> DeleteQueuedMessageResponse, "delete the queued message";
        fork_chat(ForkChatRequest) -> ForkChatResponse, "fork the chat";
        compact_chat(CompactChatRequest) -> CompactChatResponse, "summarize the chat";
        clear_context(ClearContextRequest) -> ClearContextResponse, "clear the context";
        list_chats(ListChatsRequest) -> ListChatsResponse, "list the chats";
        get_chat(GetChatRequest) -> GetChatResponse, "show the chat";
        update_chat(UpdateChatRequest) -> UpdateChatResponse, "change the chat";
        mark_read(MarkReadRequest) -> MarkReadResponse, "mark the chat as read";
        archive_chat(ArchiveChatRequest) -> ArchiveChatResponse, "archive the chat";
        unarchive_chat(UnarchiveChatRequest) -> UnarchiveChatResponse, "bring the chat back";
        list_messages(ListMessagesRequest) -> ListMessagesResponse, "list messages";
        list_prompts(ListPromptsRequest) -> ListPromptsResponse, "list prompts";
        list_queued_messages(ListQueuedMessagesRequest) -> ListQueuedMessagesResponse, "list queued messages";
    }

    async fn repeat<T: Clone, R, F: Future<Output = Result<Response<R>, Status>>>(
        &self,
        action: &'static str,
        request: &T,
        attempt: impl Fn(Request<T>) -> F,
    ) -> Result<R, ClientError> {
        let mut outage = Outage::new(action, self.notes.clone());
        loop {
            match attempt(with_deadline(request.clone())).await {
                Ok(response) => {
                    outage.is_over();
                    return Ok(response.into_inner());
                }
                Err(status) => outage.endure(status).await?,
            }
        }
    }
}
