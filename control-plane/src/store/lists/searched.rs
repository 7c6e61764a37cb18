//! A page of a search: the chats that were found, and where they match.

use std::collections::HashMap;

use chatplane_domain::{ChatId, Role, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ChatList, FoundAt, ListEnd, ListPosition, ListQuery, ListedChat, Moment, views};
use crate::store::{
    ChatView, Error,
    chats::ChatViewRow,
    content,
    rows::word,
    search::{Found, Search, SearchPosition, SearchTerms, Window, find, snippet},
};

/// The text parts of messages, cut: a snippet is looked for in no more. $1 the chats, $2 the
/// messages, $3 the characters.
pub(super) const TEXTS: &str = "
    select
        m.chat_id,
        m.role,
        left(
            (
                select string_agg(p.text #>> '{}', E'\\n' order by p.place)
                from jsonb_path_query(m.content, '$.parts[*] ? (@.kind == \"text\").text')
                    with ordinality as p (text, place)
            ),
            $3
        ) as text
    from unnest($1::uuid[], $2::bigint[]) as k (chat_id, id)
    join messages m on m.chat_id = k.chat_id and m.id = k.id";

/// Characters of a message in which a snippet is looked for.
const TEXT_CHARS_MAX: i32 = 256 * 1024;

#[derive(sqlx::FromRow)]
struct TextRow {
    chat_id: Uuid,
    role: String,
    text: Option<String>,
}

pub(super) async fn found(
    connection: &mut PgConnection,
    query: &ListQuery,
    terms: &SearchTerms,
    moment: &Moment,
) -> Result<ChatList, Error> {
    let position = begin(query.after.as_ref(), moment);
    let shown = position.shown.clone();
    let search = Search { user: query.user, filter: query.filter.clone(), terms: terms.clone() };
    let mut found = find(connection, &search, position, query.limit + 1).await?;
    let next = found.get(query.limit).map(|next| next.window);
    found.truncate(query.limit);
    let entries = entries(connection, query.user, terms, &found).await?;
    let windows = found.iter().map(|found| found.window).collect();
    Ok(ChatList { entries, horizon: moment.horizon, end: ListEnd::Found { shown, windows, next } })
}

/// A page goes on where the one before ended. A position that somebody made up is brought
/// to the buckets there are.
fn begin(after: Option<&ListPosition>, moment: &Moment) -> SearchPosition {
    match after {
        Some(ListPosition::Search(position)) => {
            let from = position.window.from.clamp(0, moment.bucket);
            let through = position.window.through.map(|through| through.clamp(1, from.max(1)));
            SearchPosition { window: Window { from, through }, shown: position.shown.clone() }
        }
        None | Some(ListPosition::Pinned { .. } | ListPosition::Recent { .. }) => {
            SearchPosition { window: Window { from: moment.bucket, through: None }, shown: Vec::new() }
        }
    }
}

async fn entries(
    connection: &mut PgConnection,
    user: UserId,
    terms: &SearchTerms,
    found: &[Found],
) -> Result<Vec<ListedChat>, Error> {
    let chats = found.iter().map(|found| found.chat.0).collect();
    let mut views = views_of(connection, user, chats).await?;
    let mut texts = texts(connection, found).await?;
    let mut entries = Vec::with_capacity(found.len());
    for found in found {
        // Both are of the snapshot in which it was found.
        let chat = views.remove(&found.chat).ok_or(Error::RowInvalid)?;
        let at = match found.message {
            None => FoundAt { message: None, snippet: snippet(&chat.metadata.title, terms) },
            Some(message) => {
                let (role, text) = texts.remove(&found.chat).ok_or(Error::RowInvalid)?;
                FoundAt { message: Some((message, role)), snippet: snippet(&text, terms) }
            }
        };
        entries.push(ListedChat { chat, children: Vec::new(), found: Some(at) });
    }
    Ok(entries)
}

async fn views_of(
    connection: &mut PgConnection,
    user: UserId,
    chats: Vec<Uuid>,
) -> Result<HashMap<ChatId, ChatView>, Error> {
    let mut sql = views("", user);
    sql.push("where c.chat_id = any (").push_bind(chats).push(")");
    let rows: Vec<ChatViewRow> = sql.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(|row| row.view().map(|view| (view.chat_id, view))).collect()
}

/// Who wrote what in the messages that match.
async fn texts(
    connection: &mut PgConnection,
    found: &[Found],
) -> Result<HashMap<ChatId, (Role, String)>, Error> {
    let messages = found.iter().filter_map(|found| Some((found.chat.0, found.message?.0)));
    let (chats, ids): (Vec<Uuid>, Vec<i64>) = messages.unzip();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<TextRow> =
        sqlx::query_as(TEXTS).bind(chats).bind(ids).bind(TEXT_CHARS_MAX).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let text = content::unescape(row.text.unwrap_or_default());
            Ok((ChatId(row.chat_id), (word(&row.role)?, text)))
        })
        .collect()
}
