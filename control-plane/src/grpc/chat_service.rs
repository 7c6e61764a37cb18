//! `chatplane.chat.v1.ChatService`: thin handlers that decode, name the use case, encode.

use chatplane_proto::chat::v1::{self as proto, chat_service_server::ChatService};
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Repeatable},
    debug, list_chats, page_token, update_chat,
    watch_chat::WatchStream,
    watch_chats::WatchChatsStream,
};
use crate::{
    app::{App, Call, Error, QueueQuery},
    authz::Actor,
    limits::pages,
};

/// The handlers.
pub(crate) struct ChatHandlers {
    app: App,
}

impl ChatHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

/// The actor that the authentication layer found, and the message.
pub(crate) fn take<M>(request: Request<M>) -> Result<(Actor, M), Error> {
    let (_, mut extensions, message) = request.into_parts();
    let actor = extensions
        .remove::<Actor>()
        .ok_or(Error::CredentialsInvalid("send a token as `authorization: Bearer TOKEN` metadata"))?;
    Ok((actor, message))
}

/// The same of a call that may be repeated.
fn take_call<M: Repeatable>(request: Request<M>) -> Result<(Call, M), Error> {
    let (actor, mut message) = take(request)?;
    let call = convert::call(actor, &mut message)?;
    Ok((call, message))
}

#[tonic::async_trait]
impl ChatService for ChatHandlers {
    type WatchChatStream = WatchStream;
    type WatchChatsStream = WatchChatsStream;

    async fn create_chat(
        &self,
        request: Request<proto::CreateChatRequest>,
    ) -> Result<Response<proto::CreateChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let created = self.app.create_chat(&call, convert::create_chat(request)?).await?;
        Ok(Response::new(proto::CreateChatResponse {
            chat: Some(convert::chat(created.chat)),
            message: created.messages.into_iter().next().map(convert::message),
        }))
    }

    async fn get_chat(
        &self,
        request: Request<proto::GetChatRequest>,
    ) -> Result<Response<proto::GetChatResponse>, Status> {
        let (actor, request) = take(request)?;
        let view = self.app.get_chat(&actor, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::GetChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn list_chats(
        &self,
        request: Request<proto::ListChatsRequest>,
    ) -> Result<Response<proto::ListChatsResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(list_chats::list_chats(&self.app, &actor, request).await?))
    }

    async fn list_chats_by_workspace(
        &self,
        request: Request<proto::ListChatsByWorkspaceRequest>,
    ) -> Result<Response<proto::ListChatsByWorkspaceResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(list_chats::list_chats_by_workspace(&self.app, &actor, request).await?))
    }

    async fn update_chat(
        &self,
        request: Request<proto::UpdateChatRequest>,
    ) -> Result<Response<proto::UpdateChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        Ok(Response::new(update_chat::update_chat(&self.app, &call, request).await?))
    }

    async fn mark_read(
        &self,
        request: Request<proto::MarkReadRequest>,
    ) -> Result<Response<proto::MarkReadResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(update_chat::mark_read(&self.app, &actor, request).await?))
    }

    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Result<Response<proto::SendMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let sent = self.app.send_message(&call, convert::send_message(request)?).await?;
        Ok(Response::new(convert::sent(sent)))
    }

    async fn interrupt_chat(
        &self,
        request: Request<proto::InterruptChatRequest>,
    ) -> Result<Response<proto::InterruptChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.interrupt_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::InterruptChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn edit_message(
        &self,
        request: Request<proto::EditMessageRequest>,
    ) -> Result<Response<proto::EditMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let edited = self.app.edit_message(&call, convert::edit_message(request)?).await?;
        Ok(Response::new(proto::EditMessageResponse {
            chat: Some(convert::chat(edited.chat)),
            message: edited.messages.into_iter().next().map(convert::message),
        }))
    }

    async fn fork_chat(
        &self,
        request: Request<proto::ForkChatRequest>,
    ) -> Result<Response<proto::ForkChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let source = convert::chat_id(&request.chat_id)?;
        let target = convert::message_id("message_id", request.message_id)?;
        let view = self.app.fork_chat(&call, source, target).await?;
        Ok(Response::new(proto::ForkChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn configure_chat(
        &self,
        request: Request<proto::ConfigureChatRequest>,
    ) -> Result<Response<proto::ConfigureChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.configure_chat(&call, convert::configure_chat(request)?).await?;
        Ok(Response::new(proto::ConfigureChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn submit_tool_results(
        &self,
        request: Request<proto::SubmitToolResultsRequest>,
    ) -> Result<Response<proto::SubmitToolResultsResponse>, Status> {
        let (call, request) = take_call(request)?;
        let chat = convert::chat_id(&request.chat_id)?;
        let view = self.app.submit_tool_results(&call, chat, convert::submitted(request.results)?).await?;
        Ok(Response::new(proto::SubmitToolResultsResponse { chat: Some(convert::chat(view)) }))
    }

    async fn compact_chat(
        &self,
        request: Request<proto::CompactChatRequest>,
    ) -> Result<Response<proto::CompactChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.compact_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::CompactChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn clear_context(
        &self,
        request: Request<proto::ClearContextRequest>,
    ) -> Result<Response<proto::ClearContextResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.clear_context(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::ClearContextResponse { chat: Some(convert::chat(view)) }))
    }

    async fn list_queued_messages(
        &self,
        request: Request<proto::ListQueuedMessagesRequest>,
    ) -> Result<Response<proto::ListQueuedMessagesResponse>, Status> {
        let (actor, request) = take(request)?;
        let query = QueueQuery {
            chat: convert::chat_id(&request.chat_id)?,
            after: page_token::queue(&request.page_token)?,
            limit: convert::page_size(request.page_size, pages::QUEUE_DEFAULT, pages::QUEUE_MAX)?,
        };
        let page = self.app.list_queued_messages(&actor, query).await?;
        let queued_messages = convert::fitting(&page.entries, convert::queued);
        let last = convert::last_shown(&page.entries, queued_messages.len(), page.has_more);
        let next_page_token = last.map(|last| page_token::of_queue(last.position)).unwrap_or_default();
        Ok(Response::new(proto::ListQueuedMessagesResponse { queued_messages, next_page_token }))
    }

    async fn edit_queued_message(
        &self,
        request: Request<proto::EditQueuedMessageRequest>,
    ) -> Result<Response<proto::EditQueuedMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let (chat, edit) = convert::edit_queued_message(request)?;
        let edited = self.app.edit_queued_message(&call, chat, edit).await?;
        Ok(Response::new(proto::EditQueuedMessageResponse {
            chat: Some(convert::chat(edited.chat)),
            queued_message: edited.queued.map(convert::queued),
        }))
    }

    async fn delete_queued_message(
        &self,
        request: Request<proto::DeleteQueuedMessageRequest>,
    ) -> Result<Response<proto::DeleteQueuedMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let chat = convert::chat_id(&request.chat_id)?;
        let id = convert::queued_message_id(&request.queued_message_id)?;
        let view = self.app.delete_queued_message(&call, chat, id).await?;
        Ok(Response::new(proto::DeleteQueuedMessageResponse { chat: Some(convert::chat(view)) }))
    }

    async fn promote_queued_message(
        &self,
        request: Request<proto::PromoteQueuedMessageRequest>,
    ) -> Result<Response<proto::PromoteQueuedMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let chat = convert::chat_id(&request.chat_id)?;
        let id = convert::queued_message_id(&request.queued_message_id)?;
        let promoted = self.app.promote_queued_message(&call, chat, id).await?;
        Ok(Response::new(convert::promoted(promoted)))
    }

    async fn move_queued_message(
        &self,
        request: Request<proto::MoveQueuedMessageRequest>,
    ) -> Result<Response<proto::MoveQueuedMessageResponse>, Status> {
        let (call, request) = take_call(request)?;
        let chat = convert::chat_id(&request.chat_id)?;
        let id = convert::queued_message_id(&request.queued_message_id)?;
        let index = convert::queue_index(request.index)?;
        let moved = self.app.move_queued_message(&call, chat, id, index).await?;
        Ok(Response::new(proto::MoveQueuedMessageResponse {
            chat: Some(convert::chat(moved.chat)),
            queued_message: moved.queued.map(convert::queued),
        }))
    }

    async fn list_messages(
        &self,
        request: Request<proto::ListMessagesRequest>,
    ) -> Result<Response<proto::ListMessagesResponse>, Status> {
        let (actor, request) = take(request)?;
        let reply = self.app.list_messages(&actor, convert::list_messages(&request)?).await?;
        Ok(Response::new(proto::ListMessagesResponse {
            messages: reply.page.messages.into_iter().map(convert::message).collect(),
            has_more: reply.page.has_more,
            queued_messages: reply.queue.into_iter().map(convert::queued).collect(),
        }))
    }

    async fn list_prompts(
        &self,
        request: Request<proto::ListPromptsRequest>,
    ) -> Result<Response<proto::ListPromptsResponse>, Status> {
        let (actor, request) = take(request)?;
        let page = self.app.list_prompts(&actor, convert::list_prompts(&request)?).await?;
        Ok(Response::new(convert::prompts(page)))
    }

    async fn regenerate_title(
        &self,
        request: Request<proto::RegenerateTitleRequest>,
    ) -> Result<Response<proto::RegenerateTitleResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.regenerate_title(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::RegenerateTitleResponse { chat: Some(convert::chat(view)) }))
    }

    async fn archive_chat(
        &self,
        request: Request<proto::ArchiveChatRequest>,
    ) -> Result<Response<proto::ArchiveChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.archive_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::ArchiveChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn unarchive_chat(
        &self,
        request: Request<proto::UnarchiveChatRequest>,
    ) -> Result<Response<proto::UnarchiveChatResponse>, Status> {
        let (call, request) = take_call(request)?;
        let view = self.app.unarchive_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::UnarchiveChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let (actor, request) = take(request)?;
        let limit = convert::page_size(request.page_size, pages::CATALOG_DEFAULT, pages::CATALOG_MAX)?;
        let after = page_token::models(&request.page_token)?;
        let page = self.app.list_models(&actor, after.as_deref(), limit).await?;
        let next_page_token = match page.models.last() {
            Some(last) if page.has_more => page_token::of_models(&last.name),
            Some(_) | None => String::new(),
        };
        let models = page.models.into_iter().map(convert::model).collect();
        Ok(Response::new(proto::ListModelsResponse { models, next_page_token }))
    }

    async fn list_workspaces(
        &self,
        request: Request<proto::ListWorkspacesRequest>,
    ) -> Result<Response<proto::ListWorkspacesResponse>, Status> {
        let (actor, request) = take(request)?;
        let limit = convert::page_size(request.page_size, pages::CATALOG_DEFAULT, pages::CATALOG_MAX)?;
        let after = page_token::workspaces(&request.page_token)?;
        let page = self.app.list_workspaces(&actor, after, limit).await?;
        let workspaces = convert::fitting(&page.workspaces, convert::workspace);
        let last = convert::last_shown(&page.workspaces, workspaces.len(), page.has_more);
        let next_page_token =
            last.map(|(last, _)| page_token::of_workspaces(last.workspace_id)).unwrap_or_default();
        Ok(Response::new(proto::ListWorkspacesResponse { workspaces, next_page_token }))
    }

    async fn watch_chat(
        &self,
        request: Request<proto::WatchChatRequest>,
    ) -> Result<Response<Self::WatchChatStream>, Status> {
        let (actor, request) = take(request)?;
        super::watch_chat::watch_chat(&self.app, &actor, request).await
    }

    async fn watch_chats(
        &self,
        request: Request<proto::WatchChatsRequest>,
    ) -> Result<Response<Self::WatchChatsStream>, Status> {
        let (actor, request) = take(request)?;
        super::watch_chats::watch_chats(&self.app, &actor, request).await
    }

    async fn list_debug_runs(
        &self,
        request: Request<proto::ListDebugRunsRequest>,
    ) -> Result<Response<proto::ListDebugRunsResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(debug::list_debug_runs(&self.app, &actor, request).await?))
    }

    async fn get_debug_run(
        &self,
        request: Request<proto::GetDebugRunRequest>,
    ) -> Result<Response<proto::GetDebugRunResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(debug::get_debug_run(&self.app, &actor, request).await?))
    }
}
