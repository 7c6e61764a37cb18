//! What the database says at every point: triggers of the test's own database write down
//! each version of each row that a chat's picture is made of.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_tests::Database;
use serde_json::Value;
use sqlx::Executor as _;
use uuid::Uuid;

/// Rows of one chat follow each other in the order of their commits, since whoever writes
/// one holds its lock; `number` keeps that order.
const TRIGGERS: &str = r"
create table library_journal (
    number bigserial primary key,
    xid bigint not null,
    relation text not null,
    chat_id uuid not null,
    user_id uuid,
    said jsonb not null
);

create function library_chat_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chats', new.chat_id, new.owner_id,
        jsonb_build_object(
            'snapshot_version', new.snapshot_version,
            'history_version', new.history_version,
            'queue_version', new.queue_version,
            'state', new.state,
            'archived', new.archived,
            'model', new.model,
            'effort', new.effort,
            'queue_length', new.queue_length,
            'last_turn_summary', new.last_turn_summary,
            'compact_requested', new.compact_requested,
            'client_tools', new.client_tools,
            'action_timeout_ms', new.action_timeout_ms,
            'open_call_count', case when new.state = 'suspended' then new.open_call_count else 0 end,
            'has_error', new.last_error is not null,
            'has_retry', new.retry is not null,
            'update_us', (extract(epoch from new.update_time) * 1000000)::bigint,
            'archive_us', (extract(epoch from new.archive_time) * 1000000)::bigint,
            'is_deleted', new.delete_time is not null
        )
    );
    return null;
end $$;
create trigger library_chat_written after insert or update on chats
    for each row execute function library_chat_written();

create function library_metadata_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_metadata', new.chat_id, null,
        jsonb_build_object(
            'metadata_version', new.metadata_version, 'title', new.title, 'labels', new.labels
        )
    );
    return null;
end $$;
create trigger library_metadata_written after insert or update on chat_metadata
    for each row execute function library_metadata_written();

create function library_user_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_user_metadata', new.chat_id, new.user_id,
        jsonb_build_object(
            'pin_order', coalesce(new.pin_order, 0),
            'read_message_id', coalesce(new.read_message_id, 0),
            'has_unread', new.has_unread
        )
    );
    return null;
end $$;
create trigger library_user_written after insert or update on chat_user_metadata
    for each row execute function library_user_written();

create function library_file_linked() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_files', coalesce(new.chat_id, old.chat_id), null,
        jsonb_build_object('file_id', coalesce(new.file_id, old.file_id), 'is_linked', tg_op = 'INSERT')
    );
    return null;
end $$;
create trigger library_file_linked after insert or delete on chat_files
    for each row execute function library_file_linked();
";

/// A committed version of a row.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// The transaction that wrote it.
    pub(crate) xid: i64,
    /// What it says.
    pub(crate) said: Value,
}

/// All versions of a chat's rows, each in the order of its commits.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Whose chat it is.
    pub(crate) owner: Uuid,
    pub(crate) chat: Vec<Version>,
    pub(crate) metadata: Vec<Version>,
    pub(crate) user: Vec<Version>,
    /// The files that were linked after each version of the chat.
    pub(crate) files: Vec<BTreeSet<String>>,
}

/// Writes down from now on what the rows say.
pub(crate) async fn begin(database: &Database) {
    database.connection().await.execute(TRIGGERS).await.expect("the triggers are right");
}

/// The histories of all chats.
pub(crate) async fn read(database: &Database) -> BTreeMap<String, History> {
    type Row = (i64, String, Uuid, Option<Uuid>, Value);
    let rows: Vec<Row> =
        sqlx::query_as("select xid, relation, chat_id, user_id, said from library_journal order by number")
            .fetch_all(&mut database.connection().await)
            .await
            .expect("the journal can be read");
    let mut histories: BTreeMap<String, History> = BTreeMap::new();
    let mut links: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for (xid, relation, chat, user, said) in rows {
        let history = histories.entry(chat.to_string()).or_default();
        let version = Version { xid, said };
        match relation.as_str() {
            "chats" => {
                history.owner = user.expect("a chat has an owner");
                add(&mut history.chat, version);
            }
            "chat_metadata" => add(&mut history.metadata, version),
            "chat_user_metadata" => add(&mut history.user, version),
            _ => links.entry(chat.to_string()).or_default().push(version),
        }
    }
    for (chat, history) in &mut histories {
        history.files = files(&history.chat, links.get(chat).map_or(&[], Vec::as_slice));
    }
    histories
}

/// Of what a transaction wrote into one row only the last is ever seen.
fn add(versions: &mut Vec<Version>, version: Version) {
    match versions.last_mut() {
        Some(last) if last.xid == version.xid => *last = version,
        Some(_) | None => versions.push(version),
    }
}

/// Files are linked and unlinked by transactions that write the chat, too.
fn files(chat: &[Version], links: &[Version]) -> Vec<BTreeSet<String>> {
    let mut linked = BTreeSet::new();
    let mut after = Vec::new();
    for version in chat {
        for link in links.iter().filter(|link| link.xid == version.xid) {
            let file = link.said["file_id"].as_str().expect("a file has an id").to_owned();
            if link.said["is_linked"] == true {
                linked.insert(file);
            } else {
                linked.remove(&file);
            }
        }
        after.push(linked.clone());
    }
    after
}
