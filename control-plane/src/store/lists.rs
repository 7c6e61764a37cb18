//! Lists of chats: pages of a user's roots that pass a filter, and searches.
//!
//! A page is read in one snapshot, on connections of its own, where each filter is a statement
//! with a plan of its own, since one cannot serve them all. What is pinned comes first; the rest
//! in the chats' own order. Page tokens name what was pinned when the first page was read, and
//! the last chat, so rows that move meanwhile neither come twice nor push others out.

mod children;
mod conditions;
mod few;
mod page;
mod position;
mod recent;
mod searched;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use chatplane_domain::{MessageId, Role, UserId, WorkspaceId};
use chrono::{DateTime, Utc};
use sqlx::{Arguments as _, PgConnection, Postgres, QueryBuilder, postgres::PgArguments};
use uuid::Uuid;

use super::{
    ChatView, Error, Store,
    chats::{CHAT_VIEWS, ChatViewRow},
    feed::FEED_HORIZON,
    search::{SearchPosition, SearchTerms, Snippet, Window},
};
use crate::{chat_filter::ChatFilter, limits::metadata::PINS_MAX};

pub(super) use conditions::{of_chat, of_metadata, of_user};
pub(super) use few::{Few, few, has_others};
pub(super) use position::packed;
pub(crate) use position::{ListPosition, ListedPosition};
pub(super) use recent::joined;

/// Connections for lists. They are short, and however many clients page through their
/// chats, the turns' own connections stay free.
pub(super) const LIST_CONNECTIONS_MAX: u32 = 4;

/// How lists are planned: never by reading a table whole because an estimate says that a user
/// has most of it. A page is a hundred rows, so its joins are loops. Each kind of filter is a
/// statement of its own, with one plan for all values like every other: planning them anew took
/// a third of a page's time.
pub(super) const LIST_SETTINGS: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// Which chats are listed, and from where on.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    /// Whose, and who asks.
    pub user: UserId,
    /// Which.
    pub filter: ChatFilter,
    /// Words that they contain.
    pub terms: Option<SearchTerms>,
    /// Where the page begins; none for the first.
    pub after: Option<ListPosition>,
    /// How many.
    pub limit: usize,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub(crate) struct ChatList {
    /// The chats.
    pub entries: Vec<ListedChat>,
    /// The horizon of its snapshot: what has happened since comes from there.
    pub horizon: i64,
    end: ListEnd,
}

/// What says where the next page begins.
#[derive(Clone, Debug)]
enum ListEnd {
    Listed { begin_time: DateTime<Utc>, pinned: Vec<Uuid>, has_more: bool },
    Found { shown: Vec<Uuid>, windows: Vec<Window>, next: Option<Window> },
}

/// A chat of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedChat {
    /// The chat, a root.
    pub chat: ChatView,
    /// Its children, oldest first.
    pub children: Vec<ChatView>,
    /// Where it matches a search.
    pub found: Option<FoundAt>,
}

/// Where a chat matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundAt {
    /// The message and who wrote it; none for the title.
    pub message: Option<(MessageId, Role)>,
    /// The piece that matches.
    pub snippet: Snippet,
}

impl ChatList {
    /// Where the next page begins when this one shows so many of its chats, at least one;
    /// none when there are no more.
    pub(crate) fn next(&self, kept: usize) -> Option<ListPosition> {
        let last = kept.checked_sub(1)?;
        match &self.end {
            ListEnd::Listed { begin_time, pinned, has_more } => {
                if kept == self.entries.len() && !has_more {
                    return None;
                }
                let chat = &self.entries.get(last)?.chat;
                let place = pinned.iter().position(|&pinned| pinned == chat.chat_id.0);
                Some(ListPosition::Listed(ListedPosition {
                    begin_time: *begin_time,
                    pinned: pinned.clone(),
                    pinned_done: place.map_or(pinned.len(), |place| place + 1),
                    last: place.is_none().then_some((chat.update_time, chat.chat_id)),
                }))
            }
            ListEnd::Found { shown, windows, next } => {
                let window = windows.get(kept).copied().or(*next)?;
                let kept = self.entries.iter().take(kept).map(|entry| entry.chat.chat_id.0);
                let shown = shown.iter().copied().chain(kept).collect();
                Some(ListPosition::Search(SearchPosition { window, shown }))
            }
        }
    }
}

/// What a user has pinned, in their order. $1 the user.
const PINS: &str = "
    select u.chat_id
    from chat_user_metadata u
    where u.user_id = $1
    and u.pin_order is not null
    order by u.pin_order, u.chat_id";

/// What is the same for all of a page.
struct Moment {
    time: DateTime<Utc>,
    horizon: i64,
    /// The newest bucket of texts.
    bucket: i64,
    /// What the user has pinned, in their order.
    pinned: Vec<Uuid>,
}

impl Store {
    /// A page of a user's own roots, each with its children.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn list_chats(&self, query: &ListQuery) -> Result<ChatList, Error> {
        let read = self.lists.in_snapshot(async |connection| list(connection, query).await);
        let (mut list, texts) = read.await?;
        if let Some(terms) = &query.terms {
            searched::cut(&mut list.entries, texts, terms).await?;
        }
        Ok(list)
    }

    /// Of each of these workspaces the root of the user that changed last and is not
    /// archived, if there is one.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn list_chats_by_workspace(
        &self,
        user: UserId,
        workspaces: &[WorkspaceId],
    ) -> Result<Vec<ChatView>, Error> {
        let workspaces: Vec<Uuid> = workspaces.iter().map(|workspace| workspace.0).collect();
        let rows: Vec<ChatViewRow> =
            by_workspace("", user, workspaces).build_query_as().fetch_all(&self.lists).await?;
        rows.into_iter().map(ChatViewRow::view).collect()
    }
}

/// A page, and the texts that its snippets are cut from.
async fn list(connection: &mut PgConnection, query: &ListQuery) -> Result<(ChatList, Vec<String>), Error> {
    let moment = moment(connection, query.user).await?;
    match &query.terms {
        None => Ok((page::listed(connection, query, &moment).await?, Vec::new())),
        Some(terms) => searched::found(connection, query, terms, &moment).await,
    }
}

async fn moment(connection: &mut PgConnection, user: UserId) -> Result<Moment, Error> {
    static MOMENT: LazyLock<String> = LazyLock::new(|| {
        // A row that is seen was written before the clock's time, whatever `now()` says.
        format!(
            "select clock_timestamp(), {FEED_HORIZON}, \
             coalesce(pg_sequence_last_value('search_buckets'::regclass), 1), array({PINS} limit {PINS_MAX})"
        )
    });
    let (time, horizon, bucket, pinned) =
        sqlx::query_as(MOMENT.as_str()).bind(user.0).fetch_one(connection).await?;
    Ok(Moment { time, horizon, bucket, pinned })
}

/// A number of rows, as PostgreSQL takes it.
fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Views of chats, to be followed by which; with words before it.
fn views(before: &'static str, viewer: UserId) -> QueryBuilder<Postgres> {
    begun(format!("{before}{CHAT_VIEWS}"), viewer)
}

/// The beginning of a statement that names the user by number.
fn begun(statement: String, user: UserId) -> QueryBuilder<Postgres> {
    let mut arguments = PgArguments::default();
    arguments.add(user.0).expect("a UUID is always encoded");
    QueryBuilder::with_arguments(statement, arguments)
}

fn by_workspace(before: &'static str, user: UserId, workspaces: Vec<Uuid>) -> QueryBuilder<Postgres> {
    let mut sql = views(before, user);
    sql.push(
        "where c.chat_id = any (array(
            select (
                select l.chat_id
                from chats l
                where l.workspace_id = w.workspace_id
                and l.owner_id = $1
                and not l.archived
                and l.parent_chat_id is null
                and l.delete_time is null
                order by l.update_time desc, l.chat_id desc
                limit 1
            )
            from unnest(",
    );
    sql.push_bind(workspaces).push(") as w (workspace_id)))");
    sql
}
