//! A page of a list that is no search: what is pinned, then what changed last.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    ChatList, ListEnd, ListPosition, ListQuery, ListedChat, Moment, of_chat, of_metadata, of_user, views,
};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::{ChatView, Error, chats::ChatViewRow},
};

/// Behind which chat the rest goes on, and what has changed since the first page.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentBounds {
    pub(super) begin_time: DateTime<Utc>,
    pub(super) last: Option<(DateTime<Utc>, Uuid)>,
}

pub(super) async fn listed(
    connection: &mut PgConnection,
    query: &ListQuery,
    moment: &Moment,
) -> Result<ChatList, Error> {
    // One more says whether there is another page.
    let wanted = query.limit + 1;
    let (begin_time, bounds) = match &query.after {
        None | Some(ListPosition::Search(_)) => (moment.time, None),
        Some(ListPosition::Pinned { begin_time, .. }) => {
            (*begin_time, Some(RecentBounds { begin_time: *begin_time, last: None }))
        }
        Some(ListPosition::Recent { begin_time, update_time, chat_id }) => {
            let last = Some((*update_time, chat_id.0));
            (*begin_time, Some(RecentBounds { begin_time: *begin_time, last }))
        }
    };
    let mut chats = Vec::new();
    let are_pinned_listed = matches!(query.after, Some(ListPosition::Recent { .. }));
    if !are_pinned_listed && query.filter.archived != Archived::Only {
        let mut statement = pinned("", query, wanted);
        read(connection, &mut statement, &mut chats).await?;
    }
    if chats.len() < wanted {
        let rest = wanted - chats.len();
        chats.extend(recent_chats(connection, query, bounds, rest).await?);
    }
    let has_more = chats.len() > query.limit;
    chats.truncate(query.limit);
    let entries = chats.into_iter().map(|chat| ListedChat { chat, children: Vec::new(), found: None });
    Ok(ChatList {
        entries: entries.collect(),
        horizon: moment.horizon,
        end: ListEnd::Listed { begin_time, has_more },
    })
}

/// Chats that are not pinned. Those that are archived and those that are not are two
/// stretches of an index, each in order.
async fn recent_chats(
    connection: &mut PgConnection,
    query: &ListQuery,
    bounds: Option<RecentBounds>,
    wanted: usize,
) -> Result<Vec<ChatView>, Error> {
    let both = [Archived::No, Archived::Only];
    let stretches = match query.filter.archived {
        Archived::Any => &both[..],
        Archived::No => &both[..1],
        Archived::Only => &both[1..],
    };
    let mut chats = Vec::new();
    for &archived in stretches {
        let filter = ChatFilter { archived, ..query.filter.clone() };
        let mut statement = recent("", &ListQuery { filter, ..query.clone() }, bounds, wanted);
        read(connection, &mut statement, &mut chats).await?;
    }
    if stretches.len() > 1 {
        chats.sort_by_key(|chat| std::cmp::Reverse((chat.update_time, chat.chat_id.0)));
        chats.truncate(wanted);
    }
    Ok(chats)
}

async fn read(
    connection: &mut PgConnection,
    statement: &mut QueryBuilder<Postgres>,
    chats: &mut Vec<ChatView>,
) -> Result<(), Error> {
    let rows: Vec<ChatViewRow> = statement.build_query_as().fetch_all(connection).await?;
    for row in rows {
        chats.push(row.view()?);
    }
    Ok(())
}

/// Pinned chats in their order, with words before the statement.
pub(super) fn pinned(before: &'static str, query: &ListQuery, limit: usize) -> QueryBuilder<Postgres> {
    let mut sql = roots(before, query);
    sql.push(" and u.pin_order is not null");
    if let Some(ListPosition::Pinned { pin_order, chat_id, .. }) = &query.after {
        sql.push(" and (u.pin_order, u.chat_id) > (").push_bind(*pin_order);
        sql.push(", ").push_bind(chat_id.0).push(")");
    }
    sql.push(" order by u.pin_order, u.chat_id");
    limited(sql, limit)
}

/// Other chats, those that changed last before the others.
pub(super) fn recent(
    before: &'static str,
    query: &ListQuery,
    bounds: Option<RecentBounds>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = roots(before, query);
    sql.push(" and u.pin_order is null");
    if let Some(bounds) = bounds {
        sql.push(" and c.update_time <= ").push_bind(bounds.begin_time);
        if let Some((update_time, chat)) = bounds.last {
            sql.push(" and (c.update_time, c.chat_id) < (").push_bind(update_time);
            sql.push(", ").push_bind(chat).push(")");
        }
    }
    sql.push(" order by c.update_time desc, c.chat_id desc");
    limited(sql, limit)
}

fn roots(before: &'static str, query: &ListQuery) -> QueryBuilder<Postgres> {
    let mut sql = views(before, query.user);
    sql.push("where c.owner_id = $1 and c.parent_chat_id is null and c.delete_time is null");
    of_chat(&mut sql, &query.filter);
    of_metadata(&mut sql, &query.filter);
    of_user(&mut sql, &query.filter);
    sql
}

fn limited(mut sql: QueryBuilder<Postgres>, limit: usize) -> QueryBuilder<Postgres> {
    sql.push(" limit ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    sql
}
