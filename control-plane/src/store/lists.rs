//! Lists of chats: pages of a user's roots that pass a filter, and searches.
//!
//! A page is read in one snapshot, on connections of its own: its statements are planned for
//! their values, since one plan cannot serve every filter. What is pinned comes first, and is
//! read by the user's pins; the rest by the chats' own order. Page tokens name the last chat,
//! so rows that move meanwhile neither come twice nor push others out.

mod conditions;
mod page;
mod searched;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::LazyLock};

use chatplane_domain::{ChatId, MessageId, Role, UserId, WorkspaceId};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{
    Arguments as _, Connection as _, PgConnection, Postgres, QueryBuilder, Transaction, postgres::PgArguments,
};
use uuid::Uuid;

use super::{
    ChatView, Error, Store,
    chats::{CHAT_VIEWS, ChatViewRow},
    feed::FEED_HORIZON,
    search::{SearchPosition, SearchTerms, Snippet, Window},
};
use crate::chat_filter::ChatFilter;

pub(super) use conditions::{of_chat, of_metadata, of_user};

/// Connections for lists. They are short, and however many clients page through their
/// chats, the turns' own connections stay free.
pub(super) const LIST_CONNECTIONS_MAX: u32 = 4;

/// How lists are planned: for their values, and never by reading a table whole because an
/// estimate says that a user has most of it. A page is a hundred rows, so its joins are loops.
pub(super) const LIST_SETTINGS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Children of the roots of a page that are shown: what a page can hold.
const CHILDREN_MAX: i64 = 1000;

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

/// Where a page begins: behind what was listed before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListPosition {
    /// Within what is pinned.
    Pinned {
        /// When the first page was read: what has changed since is on none after it.
        begin_time: DateTime<Utc>,
        /// Place of the last chat.
        pin_order: i32,
        /// The last chat.
        chat_id: ChatId,
    },
    /// Within the rest.
    Recent {
        /// As above.
        begin_time: DateTime<Utc>,
        /// When the last chat changed.
        update_time: DateTime<Utc>,
        /// The last chat.
        chat_id: ChatId,
    },
    /// Within what was found.
    Search(SearchPosition),
}

impl ListPosition {
    /// Whether a page can have ended there, for one who made it up.
    pub(crate) fn is_possible(&self) -> bool {
        // Other times are none that PostgreSQL takes.
        let is_possible = |time: &DateTime<Utc>| (1970..=9999).contains(&time.year());
        match self {
            Self::Pinned { begin_time, .. } => is_possible(begin_time),
            Self::Recent { begin_time, update_time, .. } => {
                is_possible(begin_time) && is_possible(update_time)
            }
            Self::Search(position) => position.shown.len() <= super::search::SEARCH_CHATS_MAX,
        }
    }
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
    Listed { begin_time: DateTime<Utc>, has_more: bool },
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
            ListEnd::Listed { begin_time, has_more } => {
                if kept == self.entries.len() && !has_more {
                    return None;
                }
                let chat = &self.entries.get(last)?.chat;
                Some(match chat.pin_order {
                    Some(pin_order) => {
                        ListPosition::Pinned { begin_time: *begin_time, pin_order, chat_id: chat.chat_id }
                    }
                    None => ListPosition::Recent {
                        begin_time: *begin_time,
                        update_time: chat.update_time,
                        chat_id: chat.chat_id,
                    },
                })
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

/// What is the same for all of a page.
struct Moment {
    time: DateTime<Utc>,
    horizon: i64,
    /// The newest bucket of texts.
    bucket: i64,
}

impl Store {
    /// A page of a user's own roots, each with its children.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn list_chats(&self, query: &ListQuery) -> Result<ChatList, Error> {
        self.lists.with(async |connection| list(connection, query).await).await
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

async fn list(connection: &mut PgConnection, query: &ListQuery) -> Result<ChatList, Error> {
    let mut snapshot = begin(connection).await?;
    let moment = moment(&mut snapshot).await?;
    let mut list = match &query.terms {
        None => page::listed(&mut snapshot, query, &moment).await?,
        Some(terms) => searched::found(&mut snapshot, query, terms, &moment).await?,
    };
    add_children(&mut snapshot, query.user, &mut list.entries).await?;
    snapshot.commit().await?;
    Ok(list)
}

/// Everything that is read in it is of one moment.
async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, Error> {
    Ok(connection.begin_with("begin isolation level repeatable read, read only").await?)
}

async fn moment(connection: &mut PgConnection) -> Result<Moment, Error> {
    static MOMENT: LazyLock<String> = LazyLock::new(|| {
        // A row that is seen was written before the clock's time, whatever `now()` says.
        format!(
            "select clock_timestamp(), {FEED_HORIZON}, \
             coalesce(pg_sequence_last_value('search_buckets'::regclass), 1)"
        )
    });
    let (time, horizon, bucket) = sqlx::query_as(MOMENT.as_str()).fetch_one(connection).await?;
    Ok(Moment { time, horizon, bucket })
}

/// Views of chats, to be followed by which; with words before it.
fn views(before: &'static str, viewer: UserId) -> QueryBuilder<Postgres> {
    let mut arguments = PgArguments::default();
    arguments.add(viewer.0).expect("a UUID is always encoded");
    // The views name the viewer by number.
    QueryBuilder::with_arguments(format!("{before}{CHAT_VIEWS}"), arguments)
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

fn children(before: &'static str, viewer: UserId, roots: Vec<Uuid>) -> QueryBuilder<Postgres> {
    let mut sql = views(before, viewer);
    sql.push("where c.parent_chat_id is not null and c.delete_time is null and c.root_chat_id = any (");
    sql.push_bind(roots).push(") order by c.chat_id limit ").push_bind(CHILDREN_MAX);
    sql
}

async fn add_children(
    connection: &mut PgConnection,
    viewer: UserId,
    entries: &mut [ListedChat],
) -> Result<(), Error> {
    let roots: Vec<Uuid> = entries.iter().map(|entry| entry.chat.chat_id.0).collect();
    if roots.is_empty() {
        return Ok(());
    }
    let rows: Vec<ChatViewRow> = children("", viewer, roots).build_query_as().fetch_all(connection).await?;
    let indexes = entries.iter().enumerate().map(|(index, entry)| (entry.chat.chat_id, index));
    let mut indexes: HashMap<ChatId, usize> = indexes.collect();
    for row in rows {
        let child = row.view()?;
        // A child of a child is older than neither, and so comes behind both.
        let index = child.parent_chat_id.and_then(|parent| indexes.get(&parent).copied());
        if let Some(index) = index {
            indexes.insert(child.chat_id, index);
            entries[index].children.push(child);
        }
    }
    Ok(())
}
