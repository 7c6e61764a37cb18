//! Chats that are not pinned, those that changed last before the others.
//!
//! What a filter asks of the chat's own row is looked up in its index, most of it without the
//! row. Title, labels and what is unread stand elsewhere: of the chats that changed last some
//! are looked through, which is enough where a filter lets many pass. Where it does not, those
//! that pass come from an index of their own, if they are [few](super::few). Then those that
//! changed last are found on the way through the chats' index, without a row, or each of them
//! is looked up and put in order.

use chatplane_domain::UserId;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    ListQuery, begun, bound,
    few::{FEW_MAX, Few, few, has_others},
    of_chat, of_metadata, of_user,
};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::Error,
};

/// Chats that are looked through before it is asked which pass at all: in less than a millisecond.
const NEWEST: usize = 100;
/// Chats that are looked through next, at most, where as many of them as of the others would make
/// the page. Where it takes more, those that pass are asked for: that takes no longer.
const NEXT_MAX: usize = 900;
/// Chats that are looked through in all before that.
const NEWEST_MAX: usize = 2000;
/// Chats that are looked up sooner than a page of them is found on the way through an index.
const LOOKED_UP: usize = 400;
/// Entries of the chats' index that are gone through for those that pass: in two milliseconds.
const ENTRIES_MAX: usize = 2500;

/// Where a stretch of chats begins, and what is no part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentBounds<'a> {
    /// What is listed before.
    pub(super) pinned: &'a [Uuid],
    /// On no page but the first: what has changed since then.
    pub(super) begin_time: Option<DateTime<Utc>>,
    /// The last chat of the page before.
    pub(super) last: Option<(DateTime<Utc>, Uuid)>,
}

/// A chat, and by what it stands where it does.
#[derive(sqlx::FromRow)]
struct RecentRow {
    chat_id: Uuid,
    update_time: DateTime<Utc>,
}

/// Which chats are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Among<'a> {
    /// All, in their order, until there are enough.
    All,
    /// So many that changed last, but for so many before them.
    Newest { skipped: usize, count: usize },
    /// These, each of them.
    These(&'a [Uuid]),
    /// These, where they are among so many that changed last.
    TheseAmongNewest(&'a [Uuid], usize),
}

/// Those that are archived and those that are not are two stretches of an index, each in order.
pub(super) async fn recent_chats(
    connection: &mut PgConnection,
    query: &ListQuery,
    bounds: RecentBounds<'_>,
    wanted: usize,
) -> Result<Vec<Uuid>, Error> {
    let both = [Archived::No, Archived::Only];
    let stretches = match query.filter.archived {
        Archived::Any => &both[..],
        Archived::No => &both[..1],
        Archived::Only => &both[1..],
    };
    let mut chats = Vec::new();
    for &archived in stretches {
        let filter = ChatFilter { archived, ..query.filter.clone() };
        chats.extend(stretch(connection, (query.user, filter), bounds, wanted).await?);
    }
    if stretches.len() > 1 {
        chats.sort_by_key(|chat| std::cmp::Reverse((chat.update_time, chat.chat_id)));
        chats.truncate(wanted);
    }
    Ok(chats.into_iter().map(|chat| chat.chat_id).collect())
}

async fn stretch(
    connection: &mut PgConnection,
    (user, filter): (UserId, ChatFilter),
    bounds: RecentBounds<'_>,
    wanted: usize,
) -> Result<Vec<RecentRow>, Error> {
    if has_others(&filter) {
        let asked = (user, &filter);
        let (mut chats, mut skipped, mut next) = (Vec::new(), 0, Some(NEWEST));
        while let Some(count) = next.filter(|_| skipped < NEWEST_MAX) {
            let newest = Among::Newest { skipped, count };
            let missing = wanted - chats.len();
            chats.extend(listed(connection, recent("", asked, newest, bounds, missing)).await?);
            skipped += count;
            next = next_count(skipped, chats.len(), wanted);
        }
        if chats.len() == wanted {
            return Ok(chats);
        }
    }
    if let Some(Few { chats, rest }) = few(connection, (user, &filter), FEW_MAX).await? {
        return these(connection, (user, &rest), &chats, bounds, wanted).await;
    }
    listed(connection, recent("", (user, &filter), Among::All, bounds, wanted)).await
}

/// Those of these chats that pass and changed last.
async fn these(
    connection: &mut PgConnection,
    asked: (UserId, &ChatFilter),
    chats: &[Uuid],
    bounds: RecentBounds<'_>,
    wanted: usize,
) -> Result<Vec<RecentRow>, Error> {
    if chats.len() > LOOKED_UP {
        let among = Among::TheseAmongNewest(chats, ENTRIES_MAX);
        let newest = listed(connection, recent("", asked, among, bounds, wanted)).await?;
        if newest.len() == wanted {
            return Ok(newest);
        }
    }
    listed(connection, recent("", asked, Among::These(chats), bounds, wanted)).await
}

/// How many chats are looked through next when of so many newer ones so many passed: half as many
/// again as it takes if they are alike.
fn next_count(looked: usize, passed: usize, wanted: usize) -> Option<usize> {
    let missing = wanted.checked_sub(passed).filter(|&missing| missing > 0)?;
    let alike = (missing * looked).checked_div(passed)?;
    Some(alike + alike / 2).filter(|&count| count <= NEXT_MAX)
}

async fn listed(
    connection: &mut PgConnection,
    mut statement: QueryBuilder<Postgres>,
) -> Result<Vec<RecentRow>, Error> {
    Ok(statement.build_query_as().fetch_all(connection).await?)
}

/// The statement, with words before it.
pub(super) fn recent(
    before: &'static str,
    (user, filter): (UserId, &ChatFilter),
    among: Among<'_>,
    bounds: RecentBounds<'_>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = begun(format!("{before}select c.chat_id, c.update_time from "), user);
    match among {
        Among::All => {
            sql.push("chats c");
            beside(&mut sql, filter);
            sql.push(" where ");
            own(&mut sql, filter, bounds);
        }
        Among::Newest { skipped, count } => newest(&mut sql, filter, bounds, (skipped, count)),
        Among::TheseAmongNewest(chats, count) => {
            newest(&mut sql, filter, bounds, (0, count));
            // Put so, they are looked up in a hash table, and not one after another.
            sql.push(" and (c.chat_id in (select k.chat_id from unnest(").push_bind(chats.to_vec());
            sql.push(") as k (chat_id))) is true");
        }
        Among::These(chats) => {
            sql.push("unnest(").push_bind(chats.to_vec()).push(
                ") as k (chat_id)
                cross join lateral (
                    select c.chat_id, c.update_time from chats c where c.chat_id = k.chat_id and ",
            );
            own(&mut sql, filter, bounds);
            sql.push(" offset 0) c");
            beside(&mut sql, filter);
            sql.push(" where true");
        }
    }
    of_metadata(&mut sql, filter);
    of_user(&mut sql, filter);
    sql.push(" order by c.update_time desc, c.chat_id desc limit ").push_bind(bound(limit));
    sql
}

fn newest(
    sql: &mut QueryBuilder<Postgres>,
    filter: &ChatFilter,
    bounds: RecentBounds<'_>,
    (skipped, count): (usize, usize),
) {
    sql.push("(select c.chat_id, c.update_time from chats c where ");
    own(sql, filter, bounds);
    sql.push(" order by c.update_time desc, c.chat_id desc limit ").push_bind(bound(count));
    sql.push(" offset ").push_bind(bound(skipped)).push(") c");
    beside(sql, filter);
    sql.push(" where true");
}

/// What is asked of the chat's own row.
fn own(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter, bounds: RecentBounds<'_>) {
    sql.push("c.owner_id = $1 and c.parent_chat_id is null and c.delete_time is null");
    of_chat(sql, filter);
    if !bounds.pinned.is_empty() {
        sql.push(" and c.chat_id <> all (").push_bind(bounds.pinned.to_vec()).push(")");
    }
    if let Some(begin_time) = bounds.begin_time {
        sql.push(" and c.update_time <= ").push_bind(begin_time);
    }
    if let Some((update_time, chat)) = bounds.last {
        sql.push(" and (c.update_time, c.chat_id) < (").push_bind(update_time);
        sql.push(", ").push_bind(chat).push(")");
    }
}

/// The rows beside the chat's that a filter asks for, looked up chat by chat: that few pass is
/// an estimate, by which PostgreSQL would go through all of them before it reads the first chat.
pub(super) fn beside(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    if !filter.labels.is_empty() || filter.title.is_some() {
        sql.push(
            " cross join lateral (
                select d.title, d.labels from chat_metadata d where d.chat_id = c.chat_id offset 0
            ) d",
        );
    }
    if filter.has_unread.is_some() {
        sql.push(
            " left join lateral (
                select u.has_unread
                from chat_user_metadata u
                where u.chat_id = c.chat_id
                and u.user_id = $1
                offset 0
            ) u on true",
        );
    }
}

/// The same for PostgreSQL to join in whatever order.
pub(in crate::store) fn joined(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    if !filter.labels.is_empty() || filter.title.is_some() {
        sql.push(" join chat_metadata d on d.chat_id = c.chat_id");
    }
    if filter.has_unread.is_some() {
        sql.push(" left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = $1");
    }
}

#[cfg(test)]
mod tests {
    use super::next_count;

    #[test]
    fn the_next_chats_are_looked_through_where_they_are_likely_to_make_the_page() {
        assert_eq!(next_count(100, 26, 26), None, "there are enough");
        assert_eq!(next_count(100, 25, 26), Some(6));
        assert_eq!(next_count(200, 13, 26), Some(300));
        assert_eq!(next_count(100, 3, 26), None, "it would take too many");
        assert_eq!(next_count(100, 0, 26), None, "nobody knows");
    }
}
