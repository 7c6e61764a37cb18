//! Writes title and labels, and the request that asked for it.

use std::iter;

use chatplane_domain::ChatId;
use serde_json::json;
use sqlx::PgConnection;

use super::MetadataWrite;
use crate::store::{ChatView, MetadataView, Reply, Request, Store, apply::storable, content};

/// No metadata have this version: they count from 1.
const NO_VERSION: i64 = 0;

impl Store {
    /// Writes title and labels. A title that a worker is about to write comes too late where a
    /// user has given one, be it the one that is there; other labels do not make it so.
    pub(super) async fn describe(
        &self,
        connection: &mut PgConnection,
        before: &ChatView,
        write: &MetadataWrite,
        after: &MetadataView,
    ) -> Result<(), sqlx::Error> {
        let search = self.buckets.document(before.owner_id, iter::once(after.title.as_str()));
        let jobs_version = if write.title.is_some() { NO_VERSION } else { after.metadata_version };
        sqlx::query!(
            "with described as ( \
                 update chat_metadata d \
                 set title = $2, \
                     labels = $3, \
                     search = case when d.title = $2 then d.search else $4::text::tsvector end, \
                     metadata_version = $5 \
                 where d.chat_id = $1 \
                 and d.metadata_version <> $5 \
                 returning d.chat_id \
             ), \
             told as ( \
                 update chat_user_metadata u \
                 set metadata_xid = pg_current_xact_id(), \
                     change_xid = pg_current_xact_id() \
                 from described \
                 where u.chat_id = described.chat_id \
             ) \
             update jobs j \
             set metadata_version = $6 \
             where j.chat_id = $1 \
             and j.kind = 'title' \
             and j.metadata_version = $7",
            before.chat_id.0,
            content::escape(&after.title),
            json!(after.labels),
            search,
            after.metadata_version,
            jobs_version,
            before.metadata.metadata_version,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Stores the request with its reply.
pub(super) async fn store_request(
    connection: &mut PgConnection,
    chat: ChatId,
    request: &Request,
    reply: &Reply,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
         values ($1, $2, $3, $4, $5, $6)",
        request.actor,
        request.id.0,
        request.method,
        &request.body_sha256[..],
        chat.0,
        storable(json!(reply)),
    )
    .execute(connection)
    .await?;
    Ok(())
}
