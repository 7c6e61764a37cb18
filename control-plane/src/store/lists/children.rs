//! What is shown of listed roots: each with its children.

use std::collections::HashMap;

use chatplane_domain::{ChatId, UserId};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{ListedChat, bound, views};
use crate::store::{ChatView, Error, chats::ChatViewRow};

/// Children that are shown of a root, the oldest. Each root has its own, so that one with many
/// leaves the others theirs.
const CHILDREN_MAX: usize = 50;

/// Children of all roots of a page: with the roots as many chats as are held at a time.
const PAGE_CHILDREN_MAX: usize = 1000;

/// Roots and children in one statement, since what it takes to begin one is most of it.
pub(super) fn families(before: &'static str, viewer: UserId, roots: Vec<Uuid>) -> QueryBuilder<Postgres> {
    let limit = CHILDREN_MAX.min(PAGE_CHILDREN_MAX / roots.len().max(1));
    let mut sql = views(before, viewer);
    sql.push("where c.chat_id = any (").push_bind(roots.clone());
    sql.push(" || array(select l.chat_id from unnest(").push_bind(roots);
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
    sql.push_bind(bound(limit)).push(") l))");
    sql
}

/// These roots in their order, each with its children, the oldest first.
pub(super) async fn families_of(
    connection: &mut PgConnection,
    viewer: UserId,
    roots: Vec<Uuid>,
) -> Result<Vec<ListedChat>, Error> {
    if roots.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<ChatViewRow> =
        families("", viewer, roots.clone()).build_query_as().fetch_all(connection).await?;
    let views = rows.into_iter().map(ChatViewRow::view).collect::<Result<Vec<_>, _>>()?;
    Ok(gathered(&roots, views))
}

fn gathered(roots: &[Uuid], views: Vec<ChatView>) -> Vec<ListedChat> {
    let mut places: HashMap<ChatId, usize> =
        roots.iter().enumerate().map(|(place, &root)| (ChatId(root), place)).collect();
    let (mut listed, mut children): (Vec<_>, Vec<_>) =
        views.into_iter().partition(|view| places.contains_key(&view.chat_id));
    listed.sort_by_key(|view| places.get(&view.chat_id).copied());
    places = listed.iter().enumerate().map(|(place, view)| (view.chat_id, place)).collect();
    let mut entries: Vec<_> =
        listed.into_iter().map(|chat| ListedChat { chat, children: Vec::new(), found: None }).collect();
    children.sort_by_key(|child| child.chat_id.0);
    for child in children {
        // A child of a child is younger than both, and so comes behind them.
        let place = child.parent_chat_id.and_then(|parent| places.get(&parent).copied());
        if let Some(place) = place {
            places.insert(child.chat_id, place);
            entries[place].children.push(child);
        }
    }
    entries
}
