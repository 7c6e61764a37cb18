//! The children of listed roots.

use std::collections::HashMap;

use chatplane_domain::{ChatId, UserId};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{ListedChat, views};
use crate::store::{Error, chats::ChatViewRow};

/// Children that are shown of a root, the oldest. Each root has its own, so that one with many
/// leaves the others theirs.
const CHILDREN_MAX: usize = 50;

/// Children of all roots of a page: with the roots as many chats as are held at a time.
const PAGE_CHILDREN_MAX: usize = 1000;

pub(super) fn children(before: &'static str, viewer: UserId, roots: Vec<Uuid>) -> QueryBuilder<Postgres> {
    let limit = CHILDREN_MAX.min(PAGE_CHILDREN_MAX / roots.len().max(1));
    let mut sql = views(before, viewer);
    sql.push("where c.chat_id = any (array(select l.chat_id from unnest(").push_bind(roots);
    sql.push(
        ") as r (root_chat_id)
        cross join lateral (
            select l.chat_id
            from chats l
            where l.root_chat_id = r.root_chat_id
            and l.parent_chat_id is not null
            and l.delete_time is null
            order by l.chat_id
            limit ",
    );
    sql.push_bind(i64::try_from(limit).unwrap_or(i64::MAX)).push(") l)) order by c.chat_id");
    sql
}

pub(super) async fn add_children(
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
        // A child of a child is younger than both, and so comes behind them.
        let index = child.parent_chat_id.and_then(|parent| indexes.get(&parent).copied());
        if let Some(index) = index {
            indexes.insert(child.chat_id, index);
            entries[index].children.push(child);
        }
    }
    Ok(())
}
