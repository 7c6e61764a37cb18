//! A page of a search: candidates of one window after another, ranked within each.

use std::collections::HashMap;

use chatplane_domain::{ChatId, MessageId};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    buckets::prefix,
    gather::{Candidate, Gathered, Search, Window},
    narrow::{LeftChat, first_of},
};
use crate::store::{Error, lists::packed};

/// Chats that a search lists over all its pages: each page names those before it.
pub(crate) const SEARCH_CHATS_MAX: usize = 1000;

/// What a title counts beside a text, whose rank is below 2.
const TITLE_SCORE: f32 = 4.0;

/// How well texts match, by their terms' number and nearness and their own length; those
/// that have the words themselves better than those with longer ones. $1 the chats, $2 the
/// messages, 0 for the title, $3 which of the queries: $4 of beginnings, $5 of words.
pub(in crate::store) const RANK: &str = "
    select
        k.chat_id,
        k.id,
        ts_rank(s.search, ($4::text[])[k.query]::tsquery, 1)
        + ts_rank(s.search, ($5::text[])[k.query]::tsquery, 1) as score
    from unnest($1::uuid[], $2::bigint[], $3::integer[]) as k (chat_id, id, query)
    cross join lateral (
        select m.search
        from messages m
        where k.id > 0
        and m.chat_id = k.chat_id
        and m.id = k.id
        union all
        select t.search
        from chat_metadata t
        where k.id = 0
        and t.chat_id = k.chat_id
    ) s";

/// Where a search goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchPosition {
    /// The window that is not shown to its end.
    pub window: Window,
    /// Chats that were shown.
    #[serde(with = "packed")]
    pub shown: Vec<Uuid>,
}

/// A chat of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The chat.
    pub chat: ChatId,
    /// Its best message; none where the title matches best.
    pub message: Option<MessageId>,
    /// The window that it was found in.
    pub window: Window,
}

#[derive(sqlx::FromRow)]
pub(super) struct ScoreRow {
    chat_id: Uuid,
    id: i64,
    score: f32,
}

/// The next chats of a search, at most as many as are wanted; fewer are the last.
pub(crate) async fn find(
    connection: &mut PgConnection,
    search: &Search,
    position: SearchPosition,
    wanted: usize,
) -> Result<Vec<Found>, Error> {
    let wanted = wanted.min(SEARCH_CHATS_MAX.saturating_sub(position.shown.len()));
    let Some(left) = search.left(connection, &position.shown).await? else {
        return find_in_buckets(connection, search, position, wanted).await;
    };
    if search.is_looked_through(connection, &left, position.window.from).await? {
        return find_in_chats(connection, search, (position.window, &left), wanted).await;
    }
    let among = left.iter().map(|chat| chat.chat_id).collect();
    // What passes the filter is known.
    let search = Search { among: Some(among), filter: Search::any(), ..search.clone() };
    find_in_buckets(connection, &search, position, wanted).await
}

/// In one window after another.
async fn find_in_buckets(
    connection: &mut PgConnection,
    search: &Search,
    SearchPosition { mut window, mut shown }: SearchPosition,
    wanted: usize,
) -> Result<Vec<Found>, Error> {
    let mut page = Vec::new();
    while page.len() < wanted && window.from >= 1 {
        let gathered = search.gather(connection, window, &shown, wanted - page.len()).await?;
        window = if gathered.is_whole { gathered.window.next() } else { gathered.window };
        let mut ranked = rank(connection, search, gathered).await?;
        ranked.truncate(wanted - page.len());
        shown.extend(ranked.iter().map(|found| found.chat.0));
        page.extend(ranked);
    }
    Ok(page)
}

/// In some of the chats that a filter leaves after others, until there is a page. The next page
/// begins with the first again, but for those that were shown.
async fn find_in_chats(
    connection: &mut PgConnection,
    search: &Search,
    (window, mut left): (Window, &[LeftChat]),
    wanted: usize,
) -> Result<Vec<Found>, Error> {
    let mut page = Vec::new();
    while page.len() < wanted && !left.is_empty() {
        let (first, others) = first_of(left);
        left = others;
        let scores = search.scores_of_all(connection, first).await?;
        let candidates = first.iter().map(LeftChat::candidate).collect();
        let mut ranked = in_order(&Gathered::of(candidates, window), scores);
        ranked.truncate(wanted - page.len());
        page.extend(ranked);
    }
    Ok(page)
}

/// The candidates, the best first, with their best places.
async fn rank(
    connection: &mut PgConnection,
    search: &Search,
    gathered: Gathered,
) -> Result<Vec<Found>, Error> {
    let (mut chats, mut ids, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    let mut buckets: Vec<i64> = Vec::new();
    for candidate in &gathered.candidates {
        for &(id, bucket) in &candidate.places {
            let index = buckets.iter().position(|&known| known == bucket).unwrap_or_else(|| {
                buckets.push(bucket);
                buckets.len() - 1
            });
            chats.push(candidate.chat.0);
            ids.push(id);
            // Arrays begin with 1 there.
            queries.push(i32::try_from(index + 1).map_err(|_| Error::RowInvalid)?);
        }
    }
    let of_all = |query: &dyn Fn(&str) -> String| -> Vec<String> {
        buckets.iter().map(|&bucket| query(&prefix(search.user, bucket))).collect()
    };
    let rows: Vec<ScoreRow> = sqlx::query_as(RANK)
        .bind(chats)
        .bind(ids)
        .bind(queries)
        .bind(of_all(&|prefix| search.terms.beginnings(prefix)))
        .bind(of_all(&|prefix| search.terms.words(prefix)))
        .fetch_all(connection)
        .await?;
    Ok(in_order(&gathered, rows))
}

fn in_order(gathered: &Gathered, rows: Vec<ScoreRow>) -> Vec<Found> {
    let mut best: HashMap<Uuid, (f32, i64)> = HashMap::new();
    for row in rows {
        let score = if row.id == 0 { row.score + TITLE_SCORE } else { row.score };
        let known = best.entry(row.chat_id).or_insert((score, row.id));
        if (score, row.id) > *known {
            *known = (score, row.id);
        }
    }
    let mut order: Vec<_> = gathered
        .candidates
        .iter()
        .filter_map(|candidate| Some((best.get(&candidate.chat.0)?, candidate)))
        .collect();
    // Candidates come with the last changed first, and stay so among equals.
    order.sort_by(|((left, _), _), ((right, _), _)| right.total_cmp(left));
    let found = |(&(_, id), candidate): (&(f32, i64), &Candidate)| Found {
        chat: candidate.chat,
        message: (id > 0).then_some(MessageId(id)),
        window: gathered.window,
    };
    order.into_iter().map(found).collect()
}
