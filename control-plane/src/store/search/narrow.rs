//! A search in few chats: where a filter leaves so few that their texts are looked through one
//! by one. In the buckets, a common word would be found many thousand times before a page of
//! them has come together.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    find::ScoreRow,
    gather::{Candidate, Gathered, Search, Window},
};
use crate::{
    chat_filter::{Archived, ChatFilter},
    store::{
        Error,
        lists::{of_chat, of_metadata, of_user},
    },
};

/// Chats that are few.
const CHATS_MAX: usize = 500;
/// Messages of them all that are looked through: some tens of milliseconds.
const MESSAGES_MAX: i64 = 20_000;

/// Stands for the prefix in a query, which is that of the row: all lexemes of a row have the
/// same. No token has this character.
const PREFIX: &str = "#";

/// How well the texts of chats match, as in `find::RANK`. $1 the chats, $2 the query of
/// beginnings and $3 that of words, with the prefix's mark.
pub(in crate::store) const RANK_ALL: &str = "
    select
        f.chat_id,
        f.id,
        ts_rank(f.search, q.beginnings, 1)
        + ts_rank(f.search, replace($3, '#', q.prefix)::tsquery, 1) as score
    from unnest($1::uuid[]) as k (chat_id)
    cross join lateral (
        select m.chat_id, m.id, m.search
        from messages m
        where m.chat_id = k.chat_id
        and m.search is not null
        union all
        select t.chat_id, 0, t.search
        from chat_metadata t
        where t.chat_id = k.chat_id
        and t.search is not null
    ) f
    cross join lateral (
        select p.prefix, replace($2, '#', p.prefix)::tsquery as beginnings
        from (select left((tsvector_to_array(f.search))[1], 8) as prefix offset 0) p
        offset 0
    ) q
    where f.search @@ q.beginnings";

#[derive(sqlx::FromRow)]
struct FewRow {
    chat_id: Uuid,
    update_time: DateTime<Utc>,
    next_message_id: i64,
}

impl Search {
    /// The chats that the filter lets pass and that were not shown, when they are few.
    pub(super) async fn few(
        &self,
        connection: &mut PgConnection,
        window: Window,
        shown: &[Uuid],
    ) -> Result<Option<Gathered>, Error> {
        if !narrows(&self.filter) {
            return Ok(None);
        }
        let rows: Vec<FewRow> = self.passing().build_query_as().fetch_all(connection).await?;
        let messages: i64 = rows.iter().map(|row| row.next_message_id).sum();
        if rows.len() > CHATS_MAX || messages > MESSAGES_MAX {
            return Ok(None);
        }
        let candidates = rows.into_iter().filter(|row| !shown.contains(&row.chat_id));
        let candidates = candidates.map(|row| Candidate::new(row.chat_id, row.update_time)).collect();
        Ok(Some(Gathered::of(candidates, window)))
    }

    fn passing(&self) -> QueryBuilder<Postgres> {
        let mut sql = QueryBuilder::new(
            "select c.chat_id, c.update_time, c.next_message_id
            from chats c
            join chat_metadata d on d.chat_id = c.chat_id
            left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = ",
        );
        sql.push_bind(self.user.0);
        sql.push(" where c.parent_chat_id is null and c.delete_time is null and c.owner_id = ");
        sql.push_bind(self.user.0);
        of_chat(&mut sql, &self.filter);
        of_metadata(&mut sql, &self.filter);
        of_user(&mut sql, &self.filter);
        sql.push(" limit ").push_bind(i64::try_from(CHATS_MAX + 1).expect("it is small"));
        sql
    }

    /// The matches in these chats, with what they count.
    pub(super) async fn scores_of_all(
        &self,
        connection: &mut PgConnection,
        gathered: &Gathered,
    ) -> Result<Vec<ScoreRow>, Error> {
        let chats: Vec<Uuid> = gathered.candidates.iter().map(|candidate| candidate.chat.0).collect();
        let rows = sqlx::query_as(RANK_ALL)
            .bind(chats)
            .bind(self.terms.beginnings(PREFIX))
            .bind(self.terms.words(PREFIX))
            .fetch_all(connection)
            .await?;
        Ok(rows)
    }
}

/// Whether a filter may leave few chats. Being archived is no rarity.
fn narrows(filter: &ChatFilter) -> bool {
    let rest = ChatFilter { archived: Archived::default(), search: None, ..filter.clone() };
    rest != ChatFilter::default()
}
