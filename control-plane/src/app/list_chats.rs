//! Lists of the caller's chats, and searches.

use chatplane_domain::WorkspaceId;

use super::{App, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    chat_filter::{self, SearchText},
    store::{ChatList, ChatView, ListPosition, ListQuery, NoTerms, SearchTerms},
    watch::ChatsCursor,
};

/// A page of chats that is asked for.
pub(crate) struct ListChats<'a> {
    /// Which chats.
    pub(crate) q: &'a str,
    /// Where the page begins; none for the first.
    pub(crate) after: Option<ListPosition>,
    /// How many.
    pub(crate) limit: usize,
}

/// A page of chats.
pub(crate) struct ListedChats {
    /// The page.
    pub(crate) list: ChatList,
    /// From where WatchChats tells what has happened since.
    pub(crate) watch_cursor: String,
}

impl App {
    /// Lists or searches the caller's chats.
    ///
    /// # Errors
    ///
    /// `FieldInvalid`, `CredentialsInvalid`, or what the database says.
    pub(crate) async fn list_chats(&self, actor: &Actor, page: ListChats<'_>) -> Result<ListedChats, Error> {
        authz::may(actor, Action::ReadChat, Resource::Deployment).map_err(Error::chat_denied)?;
        let user = actor.user()?;
        let filter = chat_filter::parse(page.q).map_err(|error| refused(error.position, error.what))?;
        let terms = filter.search.as_ref().map(terms).transpose()?;
        let query = ListQuery { user, filter, terms, after: page.after, limit: page.limit };
        let list = self.inner.store.list_chats(&query).await?;
        let watch_cursor = ChatsCursor::at(list.horizon).encode(user);
        Ok(ListedChats { list, watch_cursor })
    }

    /// The caller's chat that changed last in each of these workspaces, where there is one.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, or what the database says.
    pub(crate) async fn list_chats_by_workspace(
        &self,
        actor: &Actor,
        workspaces: &[WorkspaceId],
    ) -> Result<Vec<ChatView>, Error> {
        authz::may(actor, Action::ReadChat, Resource::Deployment).map_err(Error::chat_denied)?;
        Ok(self.inner.store.list_chats_by_workspace(actor.user()?, workspaces).await?)
    }
}

fn terms(search: &SearchText) -> Result<SearchTerms, Error> {
    SearchTerms::of(&search.text).map_err(|reason| {
        let what = match reason {
            NoTerms::Empty => "there is no letter and no digit in it to search for",
            NoTerms::TooMany => "it searches for at most 64 words",
        };
        refused(search.position, what)
    })
}

fn refused(position: usize, what: &str) -> Error {
    Error::invalid("q", format!("at character {position}: {what}"))
}
