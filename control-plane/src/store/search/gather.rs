//! Candidates of a search: the chats that match in a stretch of buckets.

use std::{cmp::Reverse, collections::HashMap, ops::RangeInclusive};

use chatplane_domain::{ChatId, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{buckets::prefix, terms::SearchTerms};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::{
        Error,
        lists::{of_chat, of_metadata, of_user},
    },
};

/// Chats that are ranked among themselves where there are as many: twice a usual page.
const CANDIDATES_ENOUGH: usize = 50;
/// Buckets of a window after which a page that is full is enough: where few chats pass a
/// filter, more to rank would cost too much.
const BUCKETS_ENOUGH: i64 = 8;
/// Chats that are ranked at once, in some milliseconds.
const CANDIDATES_MAX: usize = 128;
/// Messages of a chat that are ranked, the newest.
const PLACES_MAX: usize = 3;
/// Chats of buckets that one statement answers: a bucket has less.
const MATCHES_MAX: usize = 8192;
/// Looks into the index that one statement takes: a bucket takes one for each term.
pub(super) const LOOKS_MAX: usize = 512;

/// What is searched for, by whom.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Whose chats, and who asks.
    pub user: UserId,
    /// What else must hold of the chat.
    pub filter: ChatFilter,
    /// The chats that can be found, where they are few.
    pub among: Option<Vec<Uuid>>,
    /// The words.
    pub terms: SearchTerms,
}

/// A stretch of buckets whose matches are ranked among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The newest of it.
    pub from: i64,
    /// The oldest, once it is known.
    pub through: Option<i64>,
}

impl Window {
    /// What comes after it; nothing when its newest bucket is 0.
    pub(super) fn next(self) -> Self {
        Self { from: self.through.unwrap_or(1) - 1, through: None }
    }
}

/// A chat that matches, and where.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) chat: ChatId,
    pub(super) update_time: DateTime<Utc>,
    /// Messages with their buckets; 0 for the title.
    pub(super) places: Vec<(i64, i64)>,
}

impl Candidate {
    pub(super) fn new(chat: Uuid, update_time: DateTime<Utc>) -> Self {
        Self { chat: ChatId(chat), update_time, places: Vec::new() }
    }
}

/// What was found in a window.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) candidates: Vec<Candidate>,
    /// The window, with its end.
    pub(super) window: Window,
    /// Whether these are all chats that match in it.
    pub(super) is_whole: bool,
}

impl Gathered {
    /// All of them, the last changed first.
    pub(super) fn of(mut candidates: Vec<Candidate>, window: Window) -> Self {
        candidates.sort_unstable_by_key(|candidate| Reverse((candidate.update_time, candidate.chat.0)));
        Self { candidates, window, is_whole: true }
    }
}

#[derive(Debug, sqlx::FromRow)]
struct MatchRow {
    chat_id: Uuid,
    ids: Vec<i64>,
    bucket: i64,
    update_time: DateTime<Utc>,
}

impl Search {
    /// A filter that all chats pass.
    pub(super) fn any() -> ChatFilter {
        ChatFilter { archived: Archived::Any, ..ChatFilter::default() }
    }

    /// The chats that match in a window, but for those that were shown. One without an end
    /// goes on until there are enough of them.
    pub(super) async fn gather(
        &self,
        connection: &mut PgConnection,
        window: Window,
        shown: &[Uuid],
        wanted: usize,
    ) -> Result<Gathered, Error> {
        let enough = wanted.max(CANDIDATES_ENOUGH);
        let bottom = window.through.unwrap_or(1).max(1);
        let stretch_max = i64::try_from(LOOKS_MAX / self.terms.len()).unwrap_or(1).max(1);
        let (mut next, mut stretch, mut is_whole) = (window.from, 1, true);
        let mut found = HashMap::new();
        let is_enough = |found: usize, next: i64| {
            found >= enough || (found >= wanted && window.from - next >= BUCKETS_ENOUGH)
        };
        while next >= bottom && is_whole && (window.through.is_some() || !is_enough(found.len(), next)) {
            let low = bottom.max(next - stretch + 1);
            let rows: Vec<MatchRow> =
                self.matches("", low..=next, shown).build_query_as().fetch_all(&mut *connection).await?;
            if rows.len() > MATCHES_MAX && low < next {
                // Buckets are read whole, or it would not be known which are done.
                stretch = (next - low + 1) / 2;
                continue;
            }
            is_whole = rows.len() <= MATCHES_MAX;
            take(&mut found, rows);
            next = low - 1;
            stretch = (stretch * 2).min(stretch_max);
            if window.through.is_none() {
                stretch = stretch.min(stretch_for(wanted, found.len(), window.from - next));
            }
        }
        let window = Window { from: window.from, through: Some(window.through.unwrap_or(next + 1)) };
        let mut gathered = Gathered::of(found.into_values().collect(), window);
        gathered.is_whole = is_whole && gathered.candidates.len() <= CANDIDATES_MAX;
        gathered.candidates.truncate(CANDIDATES_MAX);
        Ok(gathered)
    }

    /// The matches in these buckets, by chat, with words before the statement. Subqueries that
    /// refer to what stands before them keep PostgreSQL from another order: it cannot know how
    /// few rows an owner's lexemes have. A chat is looked up once for all its messages of a bucket.
    pub(in crate::store) fn matches(
        &self,
        before: &'static str,
        buckets: RangeInclusive<i64>,
        shown: &[Uuid],
    ) -> QueryBuilder<Postgres> {
        let buckets: Vec<i64> = buckets.rev().collect();
        let queries = buckets.iter().map(|&bucket| self.terms.beginnings(&prefix(self.user, bucket)));
        let queries: Vec<String> = queries.collect();
        let mut sql = QueryBuilder::new(before);
        sql.push("select f.chat_id, f.ids, b.bucket, e.update_time from unnest(");
        sql.push_bind(buckets).push(", ").push_bind(queries);
        sql.push(
            "::tsquery[]) as b (bucket, query)
            cross join lateral (
                select p.chat_id, (array_agg(p.id order by p.id = 0 desc, p.id desc))[1:3] as ids
                from (
                    select m.chat_id, m.id
                    from messages m
                    where m.search @@ b.query
                    union all
                    select t.chat_id, 0
                    from chat_metadata t
                    where t.search @@ b.query
                ) p
                group by p.chat_id
            ) f
            cross join lateral (
                select c.update_time
                from chats c
                where c.chat_id = f.chat_id
                and c.parent_chat_id is null
                and c.delete_time is null
                and c.owner_id = ",
        );
        sql.push_bind(self.user.0);
        of_chat(&mut sql, &self.filter);
        if !self.filter.labels.is_empty() || self.filter.title.is_some() {
            sql.push(" and exists (select from chat_metadata d where d.chat_id = c.chat_id");
            of_metadata(&mut sql, &self.filter);
            sql.push(")");
        }
        if self.filter.has_unread.is_some() {
            sql.push(
                " and exists (
                    select
                    from (select) one
                    left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = ",
            );
            sql.push_bind(self.user.0).push(" where true");
            of_user(&mut sql, &self.filter);
            sql.push(")");
        }
        sql.push(" offset 0) e where true");
        if let Some(among) = &self.among {
            // Put so, they are looked up in a hash table, and not one after another.
            sql.push(" and (f.chat_id in (select k.chat_id from unnest(").push_bind(among.clone());
            sql.push(") as k (chat_id))) is true");
        }
        if !shown.is_empty() {
            sql.push(" and f.chat_id <> all (").push_bind(shown.to_vec()).push(")");
        }
        sql.push(" limit ").push_bind(i64::try_from(MATCHES_MAX + 1).expect("it is small"));
        sql
    }
}

/// How many buckets are likely to hold what is missing of a page, and a quarter more, when so many
/// were found in so many: the last stretch would else be as long as all before it.
fn stretch_for(wanted: usize, found: usize, buckets: i64) -> i64 {
    let missing = i64::try_from(wanted.saturating_sub(found)).unwrap_or(i64::MAX);
    let found = i64::try_from(found).unwrap_or(i64::MAX);
    let expected = missing.saturating_mul(buckets).checked_div(found).unwrap_or(i64::MAX);
    expected.saturating_add(expected / 4).max(BUCKETS_ENOUGH / 2)
}

fn take(found: &mut HashMap<Uuid, Candidate>, mut rows: Vec<MatchRow>) {
    // The newest first, and the title, which is 0, before them.
    rows.sort_unstable_by_key(|row| Reverse(row.bucket));
    for row in rows {
        let candidate =
            found.entry(row.chat_id).or_insert_with(|| Candidate::new(row.chat_id, row.update_time));
        let places = row.ids.into_iter().map(|id| (id, row.bucket));
        candidate.places.extend(places);
        candidate.places.sort_by_key(|&(id, _)| (id != 0, Reverse(id)));
        candidate.places.truncate(PLACES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::stretch_for;

    #[test]
    fn a_stretch_is_as_long_as_what_is_missing_is_likely_to_be_found_in() {
        assert_eq!(stretch_for(26, 20, 20), 7);
        assert_eq!(stretch_for(26, 25, 16), 4, "some are read at once in any case");
        assert_eq!(stretch_for(26, 26, 8), 4);
        assert_eq!(stretch_for(26, 0, 16), i64::MAX, "nobody knows");
    }
}
