//! Words for texts that were stored without them: by the release before this one.
//!
//! `search_backlog` has a row for each chat with such texts: the migration wrote one for all
//! that there were, and triggers write more as long as a replica of the release before runs.
//! When all is done the table is empty, and a look, of which each replica takes one a second,
//! reads nothing.
//!
//! Any replica takes a chat by moving the time at which it is due; whoever ends in between
//! leaves it to the next one then. Nothing is locked between the statements, so that no write
//! of a chat waits for this. A text is given its words only if its row still is the version
//! that was read, and the chat is done only if nothing has come to it since it was taken. A
//! text without words gets none, and is not looked at again.

use std::{sync::Arc, time::Duration};

use chatplane_domain::{ChatId, UserId};
use serde_json::{Value, json};

use super::{aside, buckets::Buckets};
use crate::store::{Error, Store, content};

/// Texts of a chat that are read at a time, so that a long chat takes turns with the others.
const ROWS_MAX: i64 = 256;
/// Bytes of messages that are read at a time, but for one that is larger by itself.
const BYTES_MAX: i64 = 1024 * 1024;
/// A chat that somebody has taken is due again after this time: they did not do it.
const TAKEN: Duration = Duration::from_secs(30);
/// A chat is looked at once more after this time when its queue had texts without words. One
/// of them may be entering the history, by a statement that has read it before it got them;
/// no use of a connection takes as long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A chat that was taken from the backlog.
#[derive(Clone, Copy, Debug)]
struct Taken {
    chat: ChatId,
    owner: UserId,
    /// None for the current one.
    bucket: Option<i64>,
    /// What is up to here has its words.
    after: i64,
    marks: i64,
    /// What is left of its texts is being erased.
    is_deleted: bool,
}

/// A row as it was read, which says whether it still is.
struct Read<Key> {
    key: Key,
    version: String,
    texts: Vec<String>,
}

impl Taken {
    fn document(&self, buckets: &Buckets, texts: &[String]) -> Option<String> {
        let texts = texts.iter().map(String::as_str);
        match self.bucket {
            Some(bucket) => buckets.document_of(bucket, self.owner, texts),
            None => buckets.document(self.owner, texts),
        }
    }

    /// What is to be written of rows that have words.
    async fn documents<Key: serde::Serialize + Send + 'static>(
        self,
        buckets: &Arc<Buckets>,
        rows: Vec<Read<Key>>,
    ) -> Result<Vec<Value>, Error> {
        let buckets = Arc::clone(buckets);
        aside(move || {
            let words = rows.into_iter().filter_map(|row| {
                let search = self.document(&buckets, &row.texts)?;
                Some(json!({ "key": row.key, "version": row.version, "search": search }))
            });
            words.collect()
        })
        .await
    }
}

impl Store {
    /// Gives some texts of one chat their words. Answers whether there was such a chat.
    ///
    /// # Errors
    ///
    /// What the database says; the chat is tried again later.
    pub(crate) async fn fill_search(&self) -> Result<bool, Error> {
        let Some(taken) = self.take_unsearched().await? else { return Ok(false) };
        if taken.is_deleted {
            self.done(&taken).await?;
            return Ok(true);
        }
        let (messages, through) = self.unsearched_messages(&taken).await?;
        let messages_changed = self.fill_messages(&taken, messages).await?;
        if let Some(through) = through.filter(|_| !messages_changed) {
            self.put_back(&taken, through, Duration::ZERO).await?;
            return Ok(true);
        }
        self.fill_title(&taken).await?;
        let had_queue = self.fill_queue(&taken).await?;
        if had_queue || messages_changed {
            self.put_back(&taken, taken.after, LOOK_AGAIN).await?;
        } else {
            self.done(&taken).await?;
        }
        Ok(true)
    }

    /// The newest chats first: they are looked for most.
    async fn take_unsearched(&self) -> Result<Option<Taken>, Error> {
        let row = sqlx::query!(
            r#"update search_backlog b
               set due_time = now() + $1::bigint * interval '1 millisecond'
               from chats c
               where b.chat_id = (
                   select d.chat_id
                   from search_backlog d
                   where d.due_time <= now()
                   order by d.chat_id desc
                   limit 1
                   for update skip locked
               )
               and c.chat_id = b.chat_id
               returning
                   b.chat_id,
                   c.owner_id,
                   b.bucket,
                   b.after_message_id,
                   b.marks,
                   c.delete_time is not null as "is_deleted!""#,
            millis(TAKEN),
        )
        .fetch_optional(&self.connections)
        .await?;
        Ok(row.map(|row| Taken {
            chat: ChatId(row.chat_id),
            owner: UserId(row.owner_id),
            bucket: row.bucket,
            after: row.after_message_id,
            marks: row.marks,
            is_deleted: row.is_deleted,
        }))
    }

    /// The next messages that users find, with the last of them where there may be more.
    async fn unsearched_messages(&self, taken: &Taken) -> Result<(Vec<Read<i64>>, Option<i64>), Error> {
        let rows = sqlx::query!(
            r#"select n.id, n.content, n.version as "version!", n.count as "count!"
               from (
                   select
                       m.*,
                       (sum(m.content_bytes) over (order by m.id) - m.content_bytes)::bigint as bytes_before,
                       count(*) over () as count
                   from (
                       select m.id, m.content, m.content_bytes, m.xmin::text as version
                       from messages m
                       where m.chat_id = $1
                       and m.id > $2
                       and m.role in ('user', 'assistant')
                       and m.visibility <> 'model'
                       and not m.deleted
                       and m.search is null
                       order by m.id
                       limit $3
                   ) m
               ) n
               where n.bytes_before < $4
               order by n.id"#,
            taken.chat.0,
            taken.after,
            ROWS_MAX,
            BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await?;
        let count = rows.first().map_or(0, |row| row.count);
        let is_last = count < ROWS_MAX && i64::try_from(rows.len()) == Ok(count);
        let through = rows.last().filter(|_| !is_last).map(|row| row.id);
        let rows = rows.into_iter().map(|row| Read {
            key: row.id,
            version: row.version,
            texts: content::text_parts(&row.content).unwrap_or_default(),
        });
        Ok((rows.collect(), through))
    }

    /// Answers whether any of them is not what was read any more.
    async fn fill_messages(&self, taken: &Taken, rows: Vec<Read<i64>>) -> Result<bool, Error> {
        let documents = taken.documents(&self.buckets, rows).await?;
        if documents.is_empty() {
            return Ok(false);
        }
        let filled = sqlx::query!(
            "update messages m \
             set search = n.search::tsvector \
             from jsonb_to_recordset($2) as n (key bigint, version text, search text) \
             where m.chat_id = $1 \
             and m.id = n.key \
             and m.xmin = n.version::xid",
            taken.chat.0,
            json!(documents),
        )
        .execute(&self.connections)
        .await?;
        Ok(filled.rows_affected() < documents.len() as u64)
    }

    /// Answers whether there was anything to do.
    async fn fill_queue(&self, taken: &Taken) -> Result<bool, Error> {
        let rows = sqlx::query!(
            r#"select n.queued_message_id as "key!", n.content as "content!", n.version as "version!"
               from (
                   select
                       q.queued_message_id,
                       q.content,
                       q.xmin::text as version,
                       (sum(q.content_bytes) over (order by q.position) - q.content_bytes)::bigint as bytes_before
                   from queued_messages q
                   where q.chat_id = $1
                   and not q.removed
                   and q.search is null
               ) n
               where n.bytes_before < $2"#,
            taken.chat.0,
            BYTES_MAX,
        )
        .fetch_all(&self.connections)
        .await?;
        let rows = rows.into_iter().map(|row| Read {
            key: row.key,
            version: row.version,
            texts: content::text_parts(&row.content).unwrap_or_default(),
        });
        let documents = taken.documents(&self.buckets, rows.collect()).await?;
        if documents.is_empty() {
            return Ok(false);
        }
        sqlx::query!(
            "update queued_messages q \
             set search = n.search::tsvector \
             from jsonb_to_recordset($2) as n (key uuid, version text, search text) \
             where q.chat_id = $1 \
             and q.queued_message_id = n.key \
             and q.xmin = n.version::xid",
            taken.chat.0,
            json!(documents),
        )
        .execute(&self.connections)
        .await?;
        Ok(true)
    }

    /// A title that changes meanwhile gets its words by that.
    async fn fill_title(&self, taken: &Taken) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"select d.title, d.xmin::text as "version!"
               from chat_metadata d
               where d.chat_id = $1
               and d.search is null"#,
            taken.chat.0,
        )
        .fetch_optional(&self.connections)
        .await?;
        let Some(row) = row else { return Ok(()) };
        let search = taken.document(&self.buckets, &[content::unescape(row.title)]);
        sqlx::query!(
            "update chat_metadata d \
             set search = $3::text::tsvector \
             where d.chat_id = $1 \
             and d.xmin = $2::text::xid \
             and $3::text is not null",
            taken.chat.0,
            row.version,
            search,
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }

    /// There is more to do of a chat, unless something has come to it since: then it is due.
    async fn put_back(&self, taken: &Taken, after: i64, delay: Duration) -> Result<(), Error> {
        sqlx::query!(
            "update search_backlog b \
             set after_message_id = $3, \
                 due_time = now() + $4::bigint * interval '1 millisecond' \
             where b.chat_id = $1 \
             and b.marks = $2",
            taken.chat.0,
            taken.marks,
            after,
            millis(delay),
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }

    /// A chat is done, unless something has come to it since.
    async fn done(&self, taken: &Taken) -> Result<(), Error> {
        sqlx::query!(
            "delete from search_backlog b where b.chat_id = $1 and b.marks = $2",
            taken.chat.0,
            taken.marks,
        )
        .execute(&self.connections)
        .await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("it is some seconds")
}
