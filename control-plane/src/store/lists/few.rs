//! The chats that pass what a filter asks of other rows than the chat's own, where they are few.

use chatplane_domain::UserId;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{begun, bound, of_metadata};
use crate::{
    chat_filter::ChatFilter,
    store::{Error, content},
};

/// Chats that are few for a list: looking each of them up takes some milliseconds. Where more
/// pass, a page of them is found sooner among those that changed last.
pub(super) const FEW_MAX: usize = 1000;

/// Chats with something unread that are few: their ids come from an index alone.
const UNREAD_MAX: usize = 3000;

/// By which index the chats that can pass a filter are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FewBy {
    /// Those of labels and titles; what is unread is looked up beside them.
    Metadata,
    /// That of what is unread.
    Unread,
}

/// All chats that can pass a filter.
#[derive(Debug)]
pub(in crate::store) struct Few {
    pub(in crate::store) chats: Vec<Uuid>,
    /// What they are not known to pass yet.
    pub(in crate::store) rest: ChatFilter,
}

/// Whether a filter asks for what has an index of its own beside the chats'.
pub(in crate::store) fn has_others(filter: &ChatFilter) -> bool {
    !FewBy::of(filter).is_empty()
}

/// The chats of a user that can pass; none where they are more than are few, or all can.
pub(in crate::store) async fn few(
    connection: &mut PgConnection,
    (user, filter): (UserId, &ChatFilter),
    few_max: usize,
) -> Result<Option<Few>, Error> {
    for by in FewBy::of(filter) {
        let few_max = by.max(few_max);
        let mut statement = passing("", by, (user, filter), few_max);
        let chats = statement.build_query_scalar().fetch_all(&mut *connection).await?;
        if chats.len() <= few_max {
            return Ok(Some(Few { chats, rest: by.rest(filter) }));
        }
    }
    Ok(None)
}

/// The chats that an index lets pass, with words before the statement.
pub(super) fn passing(
    before: &'static str,
    by: FewBy,
    (user, filter): (UserId, &ChatFilter),
    few_max: usize,
) -> QueryBuilder<Postgres> {
    let mut sql = begun(before.to_owned(), user);
    by.push(&mut sql, filter, few_max);
    sql
}

impl FewBy {
    /// Those that serve a filter, the one to be asked first before the other.
    pub(super) fn of(filter: &ChatFilter) -> Vec<Self> {
        let metadata = (!filter.labels.is_empty() || filter.title.is_some()).then_some(Self::Metadata);
        let unread = (filter.has_unread == Some(true)).then_some(Self::Unread);
        metadata.into_iter().chain(unread).collect()
    }

    /// How many are few.
    pub(super) fn max(self, few_max: usize) -> usize {
        match self {
            Self::Metadata => few_max,
            Self::Unread => few_max.max(UNREAD_MAX),
        }
    }

    /// What is still to be asked of those that were found.
    pub(super) fn rest(self, filter: &ChatFilter) -> ChatFilter {
        let has_unread = filter.has_unread.filter(|has_unread| !has_unread);
        match self {
            Self::Metadata => ChatFilter { labels: Vec::new(), title: None, has_unread, ..filter.clone() },
            Self::Unread => ChatFilter { has_unread, ..filter.clone() },
        }
    }

    /// The ids of those that were found, of the user whom the statement names by number; one
    /// more than are few says that they are not.
    pub(super) fn push(self, sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter, few_max: usize) {
        match self {
            Self::Metadata => push_with_metadata(sql, filter),
            Self::Unread => {
                sql.push("select u.chat_id from chat_user_metadata u where u.has_unread and u.user_id = $1");
            }
        }
        sql.push(" limit ").push_bind(bound(few_max + 1));
    }
}

/// The chats whose title and labels pass, and which have something unread where that is asked
/// for. Both indexes have the owner in each key: that of the owners, which PostgreSQL would go
/// through beside them, is kept out by the subquery.
fn push_with_metadata(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    sql.push(
        "select d.chat_id from (
            select d.chat_id, d.owner_id, d.title, d.labels from chat_metadata d where true",
    );
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
    of_metadata(sql, filter);
}
