//! A page of a list that is no search: what is pinned, then what changed last.

use chatplane_domain::UserId;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    ChatList, ListEnd, ListPosition, ListQuery, ListedChat, ListedPosition, Moment, begun, of_chat,
    of_metadata, of_user,
    recent::{RecentBounds, beside, recent_chats},
    views_of,
};
use crate::{chat_filter::Archived, limits::metadata::PINS_MAX, store::Error};

pub(super) async fn listed(
    connection: &mut PgConnection,
    query: &ListQuery,
    moment: &Moment,
) -> Result<ChatList, Error> {
    // One more says whether there is another page.
    let wanted = query.limit + 1;
    let (position, since) = match &query.after {
        Some(ListPosition::Listed(position)) => (position.clone(), Some(position.begin_time)),
        None | Some(ListPosition::Search(_)) => (first(connection, query, moment).await?, None),
    };
    let ListedPosition { begin_time, pinned, pinned_done, last } = position;
    let mut chats = Vec::new();
    if pinned_done < pinned.len() {
        let mut statement = pinned_chats("", query, &pinned[pinned_done..], wanted);
        chats = statement.build_query_scalar().persistent(false).fetch_all(&mut *connection).await?;
    }
    if chats.len() < wanted {
        let last = last.map(|(update_time, chat)| (update_time, chat.0));
        let bounds = RecentBounds { pinned: &pinned, begin_time: since, last };
        let rest = wanted - chats.len();
        chats.extend(recent_chats(connection, query, bounds, rest).await?);
    }
    let has_more = chats.len() > query.limit;
    chats.truncate(query.limit);
    let chats = views_of(connection, query.user, chats).await?;
    let entries = chats.into_iter().map(|chat| ListedChat { chat, children: Vec::new(), found: None });
    Ok(ChatList {
        entries: entries.collect(),
        horizon: moment.horizon,
        end: ListEnd::Listed { begin_time, pinned, has_more },
    })
}

/// Before everything: what is pinned now is what is pinned on all pages. No archived chat is.
async fn first(
    connection: &mut PgConnection,
    query: &ListQuery,
    moment: &Moment,
) -> Result<ListedPosition, Error> {
    let pinned = match query.filter.archived {
        Archived::Only => Vec::new(),
        Archived::No | Archived::Any => {
            pins("", query.user).build_query_scalar().fetch_all(connection).await?
        }
    };
    Ok(ListedPosition { begin_time: moment.time, pinned, pinned_done: 0, last: None })
}

/// What a user has pinned, in their order, with words before the statement.
pub(super) fn pins(before: &'static str, user: UserId) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(before);
    sql.push("select u.chat_id from chat_user_metadata u where u.pin_order is not null and u.user_id = ");
    sql.push_bind(user.0).push(" order by u.pin_order, u.chat_id");
    limited(sql, PINS_MAX)
}

/// Of these chats those that pass, in their order.
pub(super) fn pinned_chats(
    before: &'static str,
    query: &ListQuery,
    pinned: &[Uuid],
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = begun(format!("{before}select c.chat_id from unnest("), query.user);
    sql.push_bind(pinned.to_vec());
    sql.push(
        ") with ordinality as p (chat_id, place)
        cross join lateral (
            select c.chat_id
            from chats c
            where c.chat_id = p.chat_id
            and c.owner_id = $1
            and c.parent_chat_id is null
            and c.delete_time is null",
    );
    of_chat(&mut sql, &query.filter);
    sql.push(" offset 0) c");
    beside(&mut sql, &query.filter);
    sql.push(" where true");
    of_metadata(&mut sql, &query.filter);
    of_user(&mut sql, &query.filter);
    sql.push(" order by p.place");
    limited(sql, limit)
}

fn limited(mut sql: QueryBuilder<Postgres>, limit: usize) -> QueryBuilder<Postgres> {
    sql.push(" limit ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    sql
}
