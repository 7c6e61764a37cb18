//! A search in few chats: those that a filter leaves. In the buckets, a common word would be
//! found many thousand times before a page of them has come together, so of a common word their
//! texts are looked through one by one, chats that changed last first, until there is a page.
//! A rare word is looked up in the buckets all the same: what it costs to drop its other
//! places is little.

use chatplane_domain::UserId;
use chrono::{DateTime, Utc};
use sqlx::{Arguments as _, PgConnection, Postgres, QueryBuilder, postgres::PgArguments};
use uuid::Uuid;

use super::{
    buckets::prefix,
    find::ScoreRow,
    gather::{Candidate, LOOKS_MAX, Search},
};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::{
        Error,
        lists::{Few, few, has_others, joined, of_chat, of_metadata, of_user},
    },
};

/// Chats that are few: where a filter leaves more, a page of them is in a few buckets.
const CHATS_MAX: usize = 2000;
/// Messages that are looked through at once: some ten milliseconds.
const MESSAGES_MAX: i64 = 2000;
/// Places of a word that is rare: dropping the others takes some milliseconds.
const PLACES_MAX: i64 = 4000;

/// Stands for the prefix in a query, which is that of the row: all lexemes of a row have the
/// same. No token has this character.
const PREFIX: &str = "#";

/// How well the texts of chats match, as in `find::RANK`: of each chat the newest that do, so
/// that of a common word few are read. $1 the chats, $2 the query of beginnings and $3 that of
/// words, with the prefix's mark. Of a row's lexemes one says the prefix.
pub(in crate::store) const RANK_ALL: &str = "
    select
        k.chat_id,
        f.id,
        ts_rank(f.search, replace($2, '#', f.prefix)::tsquery, 1)
        + ts_rank(f.search, replace($3, '#', f.prefix)::tsquery, 1) as score
    from unnest($1::uuid[]) as k (chat_id)
    cross join lateral (
        (
            select m.id, m.search, p.prefix
            from messages m
            cross join lateral (
                select left((l.lexeme).lexeme, 8) as prefix
                from (select unnest(m.search) as lexeme limit 1) l
                offset 0
            ) p
            where m.chat_id = k.chat_id
            and m.search is not null
            and m.search @@ replace($2, '#', p.prefix)::tsquery
            order by m.id desc
            limit 8
        )
        union all
        select 0, t.search, p.prefix
        from chat_metadata t
        cross join lateral (
            select left((l.lexeme).lexeme, 8) as prefix
            from (select unnest(t.search) as lexeme limit 1) l
            offset 0
        ) p
        where t.chat_id = k.chat_id
        and t.search is not null
        and t.search @@ replace($2, '#', p.prefix)::tsquery
    ) f";

/// A chat that a filter leaves.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct LeftChat {
    pub(super) chat_id: Uuid,
    update_time: DateTime<Utc>,
    next_message_id: i64,
}

impl LeftChat {
    pub(super) fn candidate(&self) -> Candidate {
        Candidate::new(self.chat_id, self.update_time)
    }
}

/// The first of these chats, whose messages are looked through at once, and the others.
pub(super) fn first_of(chats: &[LeftChat]) -> (&[LeftChat], &[LeftChat]) {
    let mut messages = 0;
    let count = chats.iter().take_while(|chat| {
        let is_first = messages == 0;
        messages += chat.next_message_id;
        is_first || messages <= MESSAGES_MAX
    });
    chats.split_at(count.count())
}

impl Search {
    /// The chats that the filter lets pass and that were not shown, when they are few; those
    /// that changed last come first.
    pub(super) async fn left(
        &self,
        connection: &mut PgConnection,
        shown: &[Uuid],
    ) -> Result<Option<Vec<LeftChat>>, Error> {
        if !narrows(&self.filter) {
            return Ok(None);
        }
        let few = few(connection, (self.user, &self.filter), CHATS_MAX).await?;
        if few.is_none() && has_others(&self.filter) {
            return Ok(None);
        }
        let mut left: Vec<LeftChat> =
            passing("", self.user, &self.filter, few).build_query_as().fetch_all(connection).await?;
        if left.len() > CHATS_MAX {
            return Ok(None);
        }
        left.retain(|chat| !shown.contains(&chat.chat_id));
        left.sort_unstable_by_key(|chat| std::cmp::Reverse((chat.update_time, chat.chat_id)));
        Ok(Some(left))
    }

    /// Whether it is cheaper to look through these chats than for their places among all.
    pub(super) async fn is_looked_through(
        &self,
        connection: &mut PgConnection,
        left: &[LeftChat],
        newest: i64,
    ) -> Result<bool, Error> {
        let messages: i64 = left.iter().map(|chat| chat.next_message_id).sum();
        if messages <= MESSAGES_MAX {
            return Ok(true);
        }
        let places: i64 = self.places("", newest).build_query_scalar().fetch_one(connection).await?;
        Ok(places > PLACES_MAX)
    }

    /// How many places there are, up to those of a rare word, with words before the statement.
    pub(in crate::store) fn places(&self, before: &'static str, newest: i64) -> QueryBuilder<Postgres> {
        let looks = i64::try_from(LOOKS_MAX / self.terms.len()).unwrap_or(1).max(1);
        let buckets = ((newest - looks).max(0) + 1..=newest).rev();
        let queries = buckets.map(|bucket| self.terms.beginnings(&prefix(self.user, bucket)));
        let mut sql = QueryBuilder::new(before);
        sql.push("select count(*) from (select from unnest(").push_bind(queries.collect::<Vec<_>>());
        sql.push(
            "::tsquery[]) as b (query)
            cross join lateral (select from messages m where m.search @@ b.query offset 0) m
            limit ",
        );
        sql.push_bind(PLACES_MAX + 1).push(") p");
        sql
    }

    /// The matches in these chats, with what they count.
    pub(super) async fn scores_of_all(
        &self,
        connection: &mut PgConnection,
        chats: &[LeftChat],
    ) -> Result<Vec<ScoreRow>, Error> {
        let chats: Vec<Uuid> = chats.iter().map(|chat| chat.chat_id).collect();
        let rows = sqlx::query_as(RANK_ALL)
            .bind(chats)
            .bind(self.terms.beginnings(PREFIX))
            .bind(self.terms.words(PREFIX))
            .fetch_all(connection)
            .await?;
        Ok(rows)
    }
}

fn passing(
    before: &'static str,
    user: UserId,
    filter: &ChatFilter,
    few: Option<Few>,
) -> QueryBuilder<Postgres> {
    let mut arguments = PgArguments::default();
    arguments.add(user.0).expect("a UUID is always encoded");
    // Conditions name the user by number.
    let mut sql = QueryBuilder::with_arguments(before, arguments);
    let own = "c.owner_id = $1 and c.parent_chat_id is null and c.delete_time is null";
    sql.push("select c.chat_id, c.update_time, c.next_message_id from ");
    let filter = match few {
        None => {
            sql.push("chats c");
            joined(&mut sql, filter);
            sql.push(" where ").push(own);
            of_chat(&mut sql, filter);
            filter.clone()
        }
        Some(Few { chats, rest }) => {
            sql.push("unnest(").push_bind(chats);
            sql.push(") as f (chat_id) cross join lateral (select c.* from chats c where c.chat_id = f.chat_id and ");
            sql.push(own);
            of_chat(&mut sql, &rest);
            sql.push(" offset 0) c");
            joined(&mut sql, &rest);
            sql.push(" where true");
            rest
        }
    };
    of_metadata(&mut sql, &filter);
    of_user(&mut sql, &filter);
    sql.push(" limit ").push_bind(i64::try_from(CHATS_MAX + 1).expect("it is small"));
    sql
}

/// Whether a filter may leave few chats. Being archived is no rarity.
fn narrows(filter: &ChatFilter) -> bool {
    let rest = ChatFilter { archived: Archived::default(), search: None, ..filter.clone() };
    rest != ChatFilter::default()
}
