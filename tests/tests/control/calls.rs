//! Every RPC of `ChatService` that concerns one chat, called with what each needs.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};
use futures::future::{BoxFuture, FutureExt as _};
use prost::Message as _;
use tonic::Status;

/// What the calls name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) chat: String,
    pub(crate) message: i64,
    pub(crate) queued: String,
    pub(crate) call: proto::CallId,
}

/// An encoded reply.
type Answer = Result<Vec<u8>, Status>;

/// One RPC with its request.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    run: Box<dyn Fn(Client, String) -> BoxFuture<'static, Answer> + Send + Sync>,
}

impl Call {
    /// Calls it, with this request id where it takes one.
    pub(crate) async fn run(&self, client: &Client, request_id: &str) -> Answer {
        (self.run)(client.clone(), request_id.to_owned()).await
    }
}

macro_rules! change {
    ($method:ident, $request:expr) => {{
        let request = $request;
        Call {
            name: stringify!($method),
            run: Box::new(move |mut client: Client, request_id: String| {
                let mut request = request.clone();
                request.request_id = request_id;
                async move { Ok(client.chats.$method(request).await?.into_inner().encode_to_vec()) }.boxed()
            }),
        }
    }};
}

macro_rules! read {
    ($method:ident, $request:expr) => {{
        let request = $request;
        Call {
            name: stringify!($method),
            run: Box::new(move |mut client: Client, _: String| {
                let request = request.clone();
                async move { Ok(client.chats.$method(request).await?.into_inner().encode_to_vec()) }.boxed()
            }),
        }
    }};
}

/// Every RPC that changes a chat.
pub(crate) fn changes(target: &Target) -> Vec<Call> {
    let Target { chat, message, queued, call } = target.clone();
    let parts = || vec![text("something new")];
    let mut calls = vec![
        change!(
            send_message,
            proto::SendMessageRequest { chat_id: chat.clone(), parts: parts(), ..Default::default() }
        ),
        change!(interrupt_chat, proto::InterruptChatRequest { chat_id: chat.clone(), ..Default::default() }),
        change!(
            edit_message,
            proto::EditMessageRequest {
                chat_id: chat.clone(),
                message_id: message,
                parts: parts(),
                ..Default::default()
            }
        ),
        change!(
            fork_chat,
            proto::ForkChatRequest { chat_id: chat.clone(), message_id: message, ..Default::default() }
        ),
        change!(
            configure_chat,
            proto::ConfigureChatRequest {
                chat_id: chat.clone(),
                update_mask: Some(prost_types::FieldMask { paths: vec!["effort".to_owned()] }),
                effort: proto::Effort::High.into(),
                ..Default::default()
            }
        ),
        change!(
            submit_tool_results,
            proto::SubmitToolResultsRequest {
                chat_id: chat.clone(),
                results: vec![proto::SubmittedResult {
                    call: Some(call),
                    output: "42".to_owned(),
                    is_error: false,
                }],
                ..Default::default()
            }
        ),
        change!(compact_chat, proto::CompactChatRequest { chat_id: chat.clone(), ..Default::default() }),
        change!(clear_context, proto::ClearContextRequest { chat_id: chat.clone(), ..Default::default() }),
        change!(
            update_chat,
            proto::UpdateChatRequest {
                chat_id: chat.clone(),
                update_mask: Some(prost_types::FieldMask { paths: vec!["title".to_owned()] }),
                title: "something new".to_owned(),
                ..Default::default()
            }
        ),
        change!(
            regenerate_title,
            proto::RegenerateTitleRequest { chat_id: chat.clone(), ..Default::default() }
        ),
        change!(archive_chat, proto::ArchiveChatRequest { chat_id: chat.clone(), ..Default::default() }),
        change!(unarchive_chat, proto::UnarchiveChatRequest { chat_id: chat.clone(), ..Default::default() }),
    ];
    calls.extend(queue_changes(&chat, &queued));
    calls
}

fn queue_changes(chat: &str, queued: &str) -> Vec<Call> {
    let (chat_id, queued_message_id) = (chat.to_owned(), queued.to_owned());
    vec![
        change!(
            edit_queued_message,
            proto::EditQueuedMessageRequest {
                chat_id: chat_id.clone(),
                queued_message_id: queued_message_id.clone(),
                parts: vec![text("edited")],
                ..Default::default()
            }
        ),
        change!(
            move_queued_message,
            proto::MoveQueuedMessageRequest {
                chat_id: chat_id.clone(),
                queued_message_id: queued_message_id.clone(),
                index: 1,
                ..Default::default()
            }
        ),
        change!(
            promote_queued_message,
            proto::PromoteQueuedMessageRequest {
                chat_id: chat_id.clone(),
                queued_message_id: queued_message_id.clone(),
                ..Default::default()
            }
        ),
        change!(
            delete_queued_message,
            proto::DeleteQueuedMessageRequest { chat_id, queued_message_id, ..Default::default() }
        ),
    ]
}

/// Every RPC that reads a chat once, or says that it was read.
pub(crate) fn reads(target: &Target) -> Vec<Call> {
    let chat_id = target.chat.clone();
    vec![
        read!(get_chat, proto::GetChatRequest { chat_id: chat_id.clone() }),
        read!(list_messages, proto::ListMessagesRequest { chat_id: chat_id.clone(), ..Default::default() }),
        read!(
            list_queued_messages,
            proto::ListQueuedMessagesRequest { chat_id: chat_id.clone(), ..Default::default() }
        ),
        read!(mark_read, proto::MarkReadRequest { chat_id: chat_id.clone(), ..Default::default() }),
        read!(
            list_debug_runs,
            proto::ListDebugRunsRequest { chat_id: chat_id.clone(), ..Default::default() }
        ),
        read!(
            get_debug_run,
            proto::GetDebugRunRequest {
                chat_id: chat_id.clone(),
                run_id: crate::new_id(),
                ..Default::default()
            }
        ),
        read!(list_prompts, proto::ListPromptsRequest { chat_id, ..Default::default() }),
    ]
}
