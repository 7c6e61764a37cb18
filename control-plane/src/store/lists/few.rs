//! The chats that pass what a filter asks of other rows than the chat's own, where they are few.

use chatplane_domain::UserId;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{begun, of_metadata};
use crate::{
    chat_filter::ChatFilter,
    store::{Error, content},
};

/// Chats that are few for a list: looking each of them up takes some milliseconds. Where more
/// pass, a page of them is found sooner among those that changed last.
pub(super) const FEW_MAX: usize = 1000;

/// Chats with something unread that are few: their ids come from an index alone.
const UNREAD_MAX: usize = 3000;

/// All chats that can pass a filter.
#[derive(Debug)]
pub(in crate::store) struct Few {
    pub(in crate::store) chats: Vec<Uuid>,
    /// What they are not known to pass yet.
    pub(in crate::store) rest: ChatFilter,
}

/// Whether a filter asks for what has an index of its own beside the chats'.
pub(in crate::store) fn has_others(filter: &ChatFilter) -> bool {
    asks_for_metadata(filter) || filter.has_unread == Some(true)
}

fn asks_for_metadata(filter: &ChatFilter) -> bool {
    !filter.labels.is_empty() || filter.title.is_some()
}

/// The chats of a user that can pass; none where they are more than are few, or all can.
pub(in crate::store) async fn few(
    connection: &mut PgConnection,
    (user, filter): (UserId, &ChatFilter),
    few_max: usize,
) -> Result<Option<Few>, Error> {
    if asks_for_metadata(filter) {
        let mut statement = with_metadata("", (user, filter), few_max);
        let chats = statement.build_query_scalar().persistent(false).fetch_all(&mut *connection).await?;
        if chats.len() <= few_max {
            let has_unread = filter.has_unread.filter(|has_unread| !has_unread);
            let rest = ChatFilter { labels: Vec::new(), title: None, has_unread, ..filter.clone() };
            return Ok(Some(Few { chats, rest }));
        }
    }
    if filter.has_unread == Some(true) {
        let few_max = few_max.max(UNREAD_MAX);
        let chats = unread("", user, few_max).build_query_scalar().fetch_all(connection).await?;
        if chats.len() <= few_max {
            return Ok(Some(Few { chats, rest: ChatFilter { has_unread: None, ..filter.clone() } }));
        }
    }
    Ok(None)
}

/// The chats whose title and labels pass, and which have something unread where that is asked
/// for, with words before the statement. Both indexes have the owner in each key: that of the
/// owners, which PostgreSQL would go through beside them, is kept out by the subquery.
pub(super) fn with_metadata(
    before: &'static str,
    (user, filter): (UserId, &ChatFilter),
    few_max: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = begun(format!("{before}select d.chat_id from ("), user);
    sql.push("select d.chat_id, d.owner_id, d.title, d.labels from chat_metadata d where true");
    if !filter.labels.is_empty() {
        let labels = filter.labels.iter().cloned().map(|(key, value)| (key, value.into()));
        // Of a key with two values one is asked for here, and both below.
        let labels: serde_json::Map<_, _> = labels.collect();
        sql.push(" and chat_label_terms(d.owner_id, d.labels) @> chat_label_terms($1, ");
        sql.push_bind(serde_json::Value::Object(labels)).push(")");
    }
    if let Some(title) = &filter.title {
        sql.push(" and chat_title_grams(d.owner_id, d.title) @@ chat_title_query($1, ");
        sql.push_bind(content::escape(title)).push(")");
    }
    sql.push(" offset 0) d");
    if filter.has_unread == Some(true) {
        sql.push(
            " cross join lateral (
                select
                from chat_user_metadata u
                where u.chat_id = d.chat_id
                and u.user_id = $1
                and u.has_unread
                offset 0
            ) u",
        );
    }
    sql.push(" where d.owner_id = $1");
    of_metadata(&mut sql, filter);
    limited(sql, few_max)
}

/// The chats that have something unread, with words before the statement.
pub(super) fn unread(before: &'static str, user: UserId, few_max: usize) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(before);
    sql.push("select u.chat_id from chat_user_metadata u where u.has_unread and u.user_id = ");
    sql.push_bind(user.0);
    limited(sql, few_max)
}

/// One more says that they are not few.
fn limited(mut sql: QueryBuilder<Postgres>, few_max: usize) -> QueryBuilder<Postgres> {
    sql.push(" limit ").push_bind(i64::try_from(few_max + 1).unwrap_or(i64::MAX));
    sql
}
