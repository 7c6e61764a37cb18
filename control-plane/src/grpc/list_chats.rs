//! `ListChats` and `ListChatsByWorkspace`: decode, name the use case, encode.

use std::ops::Range;

use chatplane_domain::{MessageId, Role, WorkspaceId};
use chatplane_proto::chat::v1 as proto;

use super::{convert, page_token};
use crate::{
    app::{App, Error, FoundAt, ListChats, ListedChat},
    authz::Actor,
    limits::pages,
};

pub(super) async fn list_chats(
    app: &App,
    actor: &Actor,
    request: proto::ListChatsRequest,
) -> Result<proto::ListChatsResponse, Error> {
    let limit = convert::page_size(request.page_size, pages::CHATS_DEFAULT, pages::CHATS_MAX)?;
    let after = page_token::list(&request.page_token, &request.q)?;
    let page = app.list_chats(actor, ListChats { q: &request.q, after, limit }).await?;
    let chats = convert::fitting(&page.list.entries, listed_chat);
    let next = page.list.next(chats.len());
    Ok(proto::ListChatsResponse {
        chats,
        next_page_token: next.map(|next| page_token::of_list(&request.q, next)).unwrap_or_default(),
        watch_cursor: page.watch_cursor,
    })
}

pub(super) async fn list_chats_by_workspace(
    app: &App,
    actor: &Actor,
    request: proto::ListChatsByWorkspaceRequest,
) -> Result<proto::ListChatsByWorkspaceResponse, Error> {
    let ids = &request.workspace_ids;
    if !(1..=pages::WORKSPACE_IDS_MAX).contains(&ids.len()) {
        return Err(Error::invalid("workspace_ids", "there are 1 to 100 of them"));
    }
    let workspaces = ids
        .iter()
        .enumerate()
        .map(|(index, id)| convert::uuid(&format!("workspace_ids[{index}]"), id).map(WorkspaceId));
    let workspaces = workspaces.collect::<Result<Vec<_>, _>>()?;
    let views = app.list_chats_by_workspace(actor, &workspaces).await?;
    let chats = convert::fitting(&views, convert::chat);
    if chats.len() < views.len() {
        let room = chats.len();
        let sentence = format!(
            "an answer has room for {room} of these chats: ask for at most {room} workspaces at once"
        );
        return Err(Error::LimitExceeded(sentence));
    }
    let chats = chats.into_iter().map(|chat| (chat.workspace_id.clone(), chat)).collect();
    Ok(proto::ListChatsByWorkspaceResponse { chats })
}

fn listed_chat(entry: ListedChat) -> proto::ListedChat {
    proto::ListedChat {
        chat: Some(convert::chat(entry.chat)),
        children: entry.children.into_iter().map(convert::chat).collect(),
        r#match: entry.found.map(search_match),
    }
}

fn search_match(found: FoundAt) -> proto::SearchMatch {
    let (message, role) = found.message.unzip();
    proto::SearchMatch {
        message_id: message.map_or(0, |MessageId(id)| id),
        role: role.map_or(proto::Role::Unspecified, role_of).into(),
        snippet: found.snippet.text,
        highlights: found.snippet.highlights.into_iter().map(text_range).collect(),
    }
}

fn text_range(range: Range<usize>) -> proto::TextRange {
    // A snippet has some hundred characters.
    let place = |place: usize| i32::try_from(place).unwrap_or(i32::MAX);
    proto::TextRange { start: place(range.start), end: place(range.end) }
}

fn role_of(role: Role) -> proto::Role {
    match role {
        Role::System => proto::Role::System,
        Role::User => proto::Role::User,
        Role::Assistant => proto::Role::Assistant,
        Role::Tool => proto::Role::Tool,
    }
}
