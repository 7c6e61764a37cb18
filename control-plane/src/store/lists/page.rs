//! A page of a list that is no search: what is pinned, then what changed last.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    ChatList, ListEnd, ListPosition, ListQuery, ListedPosition, Moment, begun, bound,
    children::families_of,
    of_chat, of_metadata, of_user,
    recent::{RecentBounds, beside, recent_chats},
};
use crate::{chat_filter::Archived, store::Error};

pub(super) async fn listed(
    connection: &mut PgConnection,
    query: &ListQuery,
    moment: &Moment,
) -> Result<ChatList, Error> {
    // One more says whether there is another page.
    let wanted = query.limit + 1;
    let (position, since) = match &query.after {
        Some(ListPosition::Listed(position)) => (position.clone(), Some(position.begin_time)),
        None | Some(ListPosition::Search(_)) => (first(query, moment), None),
    };
    let ListedPosition { begin_time, pinned, pinned_done, last } = position;
    let mut chats = Vec::new();
    if pinned_done < pinned.len() {
        let mut statement = pinned_chats("", query, &pinned[pinned_done..], wanted);
        chats = statement.build_query_scalar().fetch_all(&mut *connection).await?;
    }
    if chats.len() < wanted {
        let last = last.map(|(update_time, chat)| (update_time, chat.0));
        let bounds = RecentBounds { pinned: &pinned, begin_time: since, last };
        let rest = wanted - chats.len();
        chats.extend(recent_chats(connection, query, bounds, rest).await?);
    }
    let has_more = chats.len() > query.limit;
    chats.truncate(query.limit);
    Ok(ChatList {
        entries: families_of(connection, query.user, chats).await?,
        horizon: moment.horizon,
        end: ListEnd::Listed { begin_time, pinned, has_more },
    })
}

/// Before everything: what is pinned now is what is pinned on all pages. No archived chat is.
fn first(query: &ListQuery, moment: &Moment) -> ListedPosition {
    let pinned = match query.filter.archived {
        Archived::Only => Vec::new(),
        Archived::No | Archived::Any => moment.pinned.clone(),
    };
    ListedPosition { begin_time: moment.time, pinned, pinned_done: 0, last: None }
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
    sql.push(" order by p.place limit ");
    sql.push_bind(bound(limit));
    sql
}
