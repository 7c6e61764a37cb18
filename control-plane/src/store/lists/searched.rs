//! A page of a search: the chats that were found, and where they match.

use std::collections::HashMap;

use chatplane_domain::{ChatId, Role, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ChatList, FoundAt, ListEnd, ListPosition, ListQuery, ListedChat, Moment, children::families_of};
use crate::store::{
    Error, content,
    rows::word,
    search::{
        Found, Search, SearchPosition, SearchTerms, Snippet, TEXT_CHARS_MAX, Window, aside, find, snippets,
    },
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

#[derive(sqlx::FromRow)]
struct TextRow {
    chat_id: Uuid,
    role: String,
    text: Option<String>,
}

/// The page without its snippets, and the texts of its chats that they are to be cut from.
pub(super) async fn found(
    connection: &mut PgConnection,
    query: &ListQuery,
    terms: &SearchTerms,
    moment: &Moment,
) -> Result<(ChatList, Vec<String>), Error> {
    let position = begin(query.after.as_ref(), moment);
    let shown = position.shown.clone();
    let search = Search { user: query.user, filter: query.filter.clone(), terms: terms.clone(), among: None };
    let mut found = find(connection, &search, position, query.limit + 1).await?;
    let next = found.get(query.limit).map(|next| next.window);
    found.truncate(query.limit);
    let (entries, texts) = entries(connection, query.user, &found).await?;
    let windows = found.iter().map(|found| found.window).collect();
    let end = ListEnd::Found { shown, windows, next };
    Ok((ChatList { entries, horizon: moment.horizon, end }, texts))
}

/// Cuts the snippets of a page: where that holds up nobody, and when its transaction is over, which
/// must not wait for it. There are as many at a time as there are connections for lists.
pub(super) async fn cut(
    entries: &mut [ListedChat],
    texts: Vec<String>,
    terms: &SearchTerms,
) -> Result<(), Error> {
    let terms = terms.clone();
    let snippets = aside(move || snippets(&texts, &terms)).await?;
    for (entry, snippet) in entries.iter_mut().zip(snippets) {
        if let Some(found) = &mut entry.found {
            found.snippet = snippet;
        }
    }
    Ok(())
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
        None | Some(ListPosition::Listed(_)) => {
            SearchPosition { window: Window { from: moment.bucket, through: None }, shown: Vec::new() }
        }
    }
}

async fn entries(
    connection: &mut PgConnection,
    user: UserId,
    found: &[Found],
) -> Result<(Vec<ListedChat>, Vec<String>), Error> {
    let chats = found.iter().map(|found| found.chat.0).collect();
    let mut entries = families_of(connection, user, chats).await?;
    let mut said = texts(connection, found).await?;
    let mut texts = Vec::with_capacity(found.len());
    // Both are of the snapshot in which they were found.
    if entries.len() != found.len() {
        return Err(Error::RowInvalid);
    }
    for (found, entry) in found.iter().zip(&mut entries) {
        let (message, text) = match found.message {
            None => (None, entry.chat.metadata.title.clone()),
            Some(message) => {
                let (role, text) = said.remove(&found.chat).ok_or(Error::RowInvalid)?;
                (Some((message, role)), text)
            }
        };
        entry.found = Some(FoundAt { message, snippet: Snippet::default() });
        texts.push(text);
    }
    Ok((entries, texts))
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
    let chars = i32::try_from(TEXT_CHARS_MAX).expect("it is small");
    let rows: Vec<TextRow> =
        sqlx::query_as(TEXTS).bind(chats).bind(ids).bind(chars).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let text = content::unescape(row.text.unwrap_or_default());
            Ok((ChatId(row.chat_id), (word(&row.role)?, text)))
        })
        .collect()
}
