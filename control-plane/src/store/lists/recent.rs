//! Chats that are not pinned, those that changed last before the others.
//!
//! What a filter asks of the chat's own row is looked up in its index, most of it without the
//! row. Title, labels and what is unread stand elsewhere: of the chats that changed last some
//! are looked through, which is enough where a filter lets many pass; where it does not, those
//! that pass come from an index of their own, and are put in order if they are [few](super::few).

use chatplane_domain::UserId;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    ListQuery, begun,
    few::{FEW_MAX, FewBy},
    of_chat, of_metadata, of_user,
};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::Error,
};

/// Chats that are looked through before it is asked which pass at all: in a millisecond.
const NEWEST: i64 = 300;
/// Chats that are looked through where some of these passed: in as many milliseconds as it
/// takes to ask, and usually a page comes together among them.
const NEWEST_MAX: i64 = 1500;
/// So many passed that a page of the usual size may be expected among those.
const NEWEST_PASSED: usize = 5;

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
pub(super) enum Among {
    /// All, in their order, until there are enough.
    All,
    /// So many that changed last.
    Newest(i64),
    /// Those that an index lets pass, if they are at most so many.
    Few(FewBy, usize),
}

/// A chat as `RecentRow`, beside how many passed; none where they were too many, or no other
/// condition lets any pass.
#[derive(sqlx::FromRow)]
struct FewRow {
    passed: i64,
    chat_id: Option<Uuid>,
    update_time: Option<DateTime<Utc>>,
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
    if !FewBy::of(&filter).is_empty() {
        let asked = (user, &filter);
        let mut chats = listed(connection, recent("", asked, Among::Newest(NEWEST), bounds, wanted)).await?;
        if (NEWEST_PASSED..wanted).contains(&chats.len()) {
            let among = Among::Newest(NEWEST_MAX);
            chats = listed(connection, recent("", asked, among, bounds, wanted)).await?;
        }
        if chats.len() == wanted {
            return Ok(chats);
        }
    }
    for by in FewBy::of(&filter) {
        let few_max = by.max(FEW_MAX);
        let few = recent("", (user, &filter), Among::Few(by, few_max), bounds, wanted);
        if let Some(chats) = listed_few(connection, few, few_max).await? {
            return Ok(chats);
        }
    }
    listed(connection, recent("", (user, &filter), Among::All, bounds, wanted)).await
}

async fn listed(
    connection: &mut PgConnection,
    mut statement: QueryBuilder<Postgres>,
) -> Result<Vec<RecentRow>, Error> {
    Ok(statement.build_query_as().persistent(false).fetch_all(connection).await?)
}

/// Those that were asked for, where they are few.
async fn listed_few(
    connection: &mut PgConnection,
    mut statement: QueryBuilder<Postgres>,
    few_max: usize,
) -> Result<Option<Vec<RecentRow>>, Error> {
    let rows: Vec<FewRow> = statement.build_query_as().persistent(false).fetch_all(connection).await?;
    let is_few = |row: &FewRow| usize::try_from(row.passed).is_ok_and(|passed| passed <= few_max);
    if !rows.iter().all(is_few) {
        return Ok(None);
    }
    let chat = |row: FewRow| Some(RecentRow { chat_id: row.chat_id?, update_time: row.update_time? });
    Ok(Some(rows.into_iter().filter_map(chat).collect()))
}

/// The statement, with words before it.
pub(super) fn recent(
    before: &'static str,
    (user, filter): (UserId, &ChatFilter),
    among: Among,
    bounds: RecentBounds<'_>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = begun(before.to_owned(), user);
    match among {
        Among::All => {
            sql.push("select c.chat_id, c.update_time from chats c");
            beside(&mut sql, filter);
            sql.push(" where ");
            own(&mut sql, filter, bounds);
        }
        Among::Newest(count) => {
            sql.push(
                "select c.chat_id, c.update_time from (select c.chat_id, c.update_time from chats c where ",
            );
            own(&mut sql, filter, bounds);
            sql.push(" order by c.update_time desc, c.chat_id desc limit ").push_bind(count);
            sql.push(") c");
            beside(&mut sql, filter);
            sql.push(" where true");
        }
        Among::Few(by, few_max) => return few(sql, (by, few_max), filter, bounds, limit),
    }
    in_order(&mut sql, filter, limit);
    sql
}

/// All in one statement: what passes in the index is neither sent nor put in order where it is
/// too much.
fn few(
    mut sql: QueryBuilder<Postgres>,
    (by, few_max): (FewBy, usize),
    filter: &ChatFilter,
    bounds: RecentBounds<'_>,
    limit: usize,
) -> QueryBuilder<Postgres> {
    sql.push("with few as materialized (");
    by.push(&mut sql, filter, few_max);
    sql.push(
        ") select k.passed, c.chat_id, c.update_time
        from (select count(*) as passed from few) k
        left join lateral (
            select c.chat_id, c.update_time
            from few f
            cross join lateral (
                select c.chat_id, c.update_time from chats c where c.chat_id = f.chat_id and ",
    );
    own(&mut sql, filter, bounds);
    sql.push(" offset 0) c");
    let rest = by.rest(filter);
    beside(&mut sql, &rest);
    sql.push(" where k.passed <= ").push_bind(i64::try_from(few_max).unwrap_or(i64::MAX));
    in_order(&mut sql, &rest, limit);
    sql.push(") c on true order by c.update_time desc, c.chat_id desc");
    sql
}

/// What is asked of the rows beside the chat's, and how many of those that pass are listed.
fn in_order(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter, limit: usize) {
    of_metadata(sql, filter);
    of_user(sql, filter);
    sql.push(" order by c.update_time desc, c.chat_id desc limit ");
    sql.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
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
