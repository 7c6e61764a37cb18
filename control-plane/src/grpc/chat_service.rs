//! `chatplane.chat.v1.ChatService`: thin handlers that decode, name the use case, encode.

use std::mem;

use chatplane_proto::chat::v1::{self as proto, chat_service_server::ChatService};
use tonic::{Request, Response, Status};

use super::{convert, page_token, watch_chat::WatchStream};
use crate::{
    app::{App, ChatPosition, Error, MessageBounds, MessageQuery},
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

#[tonic::async_trait]
impl ChatService for ChatHandlers {
    type WatchChatStream = WatchStream;

    async fn create_chat(
        &self,
        request: Request<proto::CreateChatRequest>,
    ) -> Result<Response<proto::CreateChatResponse>, Status> {
        let (actor, mut request) = take(request)?;
        let id = mem::take(&mut request.request_id);
        let call = convert::call(actor, "CreateChat", &id, &request)?;
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
        let limit = convert::page_size(request.page_size, pages::CHATS_DEFAULT, pages::CHATS_MAX)?;
        let after = page_token::chats(&request.page_token, request.archived)?;
        let page = self.app.list_chats(&actor, request.archived, after, limit).await?;
        let (chats, cut) = convert::fitting(page.chats, convert::chat);
        let next_page_token = match chats.last() {
            Some((last, _)) if page.has_more || cut => page_token::of_chats(
                request.archived,
                ChatPosition { update_time: last.update_time, chat_id: last.chat_id },
            ),
            Some(_) | None => String::new(),
        };
        let chats = chats.into_iter().map(|(_, chat)| chat).collect();
        Ok(Response::new(proto::ListChatsResponse { chats, next_page_token }))
    }

    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Result<Response<proto::SendMessageResponse>, Status> {
        let (actor, mut request) = take(request)?;
        let id = mem::take(&mut request.request_id);
        let call = convert::call(actor, "SendMessage", &id, &request)?;
        let sent = self.app.send_message(&call, convert::send_message(request)?).await?;
        Ok(Response::new(proto::SendMessageResponse {
            chat: Some(convert::chat(sent.chat)),
            messages: sent.messages.into_iter().map(convert::message).collect(),
            queued_message: sent.queued.map(convert::queued),
        }))
    }

    async fn interrupt_chat(
        &self,
        request: Request<proto::InterruptChatRequest>,
    ) -> Result<Response<proto::InterruptChatResponse>, Status> {
        let (actor, mut request) = take(request)?;
        let id = mem::take(&mut request.request_id);
        let call = convert::call(actor, "InterruptChat", &id, &request)?;
        let view = self.app.interrupt_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::InterruptChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn list_messages(
        &self,
        request: Request<proto::ListMessagesRequest>,
    ) -> Result<Response<proto::ListMessagesResponse>, Status> {
        let (actor, request) = take(request)?;
        let bounds = MessageBounds {
            before: convert::message_bound("before_id", request.before_id)?,
            after: convert::message_bound("after_id", request.after_id)?,
        };
        if let (Some(before), Some(after)) = (bounds.before, bounds.after)
            && after >= before
        {
            return Err(Error::invalid("after_id", "it must be below before_id").into());
        }
        let query = MessageQuery {
            chat: convert::chat_id(&request.chat_id)?,
            bounds,
            limit: convert::page_size(request.page_size, pages::MESSAGES_DEFAULT, pages::MESSAGES_MAX)?,
        };
        let reply = self.app.list_messages(&actor, query).await?;
        Ok(Response::new(proto::ListMessagesResponse {
            messages: reply.page.messages.into_iter().map(convert::message).collect(),
            has_more: reply.page.has_more,
            queued_messages: reply.queue.into_iter().map(convert::queued).collect(),
        }))
    }

    async fn archive_chat(
        &self,
        request: Request<proto::ArchiveChatRequest>,
    ) -> Result<Response<proto::ArchiveChatResponse>, Status> {
        let (actor, mut request) = take(request)?;
        let id = mem::take(&mut request.request_id);
        let call = convert::call(actor, "ArchiveChat", &id, &request)?;
        let view = self.app.archive_chat(&call, convert::chat_id(&request.chat_id)?).await?;
        Ok(Response::new(proto::ArchiveChatResponse { chat: Some(convert::chat(view)) }))
    }

    async fn unarchive_chat(
        &self,
        request: Request<proto::UnarchiveChatRequest>,
    ) -> Result<Response<proto::UnarchiveChatResponse>, Status> {
        let (actor, mut request) = take(request)?;
        let id = mem::take(&mut request.request_id);
        let call = convert::call(actor, "UnarchiveChat", &id, &request)?;
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
        let (workspaces, cut) = convert::fitting(page.workspaces, convert::workspace);
        let next_page_token = match workspaces.last() {
            Some(((last, _), _)) if page.has_more || cut => page_token::of_workspaces(last.workspace_id),
            Some(_) | None => String::new(),
        };
        let workspaces = workspaces.into_iter().map(|(_, workspace)| workspace).collect();
        Ok(Response::new(proto::ListWorkspacesResponse { workspaces, next_page_token }))
    }

    async fn watch_chat(
        &self,
        request: Request<proto::WatchChatRequest>,
    ) -> Result<Response<Self::WatchChatStream>, Status> {
        let (actor, request) = take(request)?;
        super::watch_chat::watch_chat(&self.app, &actor, request).await
    }
}
