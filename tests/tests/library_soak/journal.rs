//! What the database says at every point: triggers of the test's own database write down
//! each version of each row that a chat's picture is made of.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_tests::Database;
use serde_json::Value;
use sqlx::Executor as _;
use uuid::Uuid;

use crate::picture;

const TRIGGERS: &str = include_str!("journal.sql");

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
        let version = Version { xid, said: with_time_of_retry(said) };
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

/// The one time that is stored as text.
fn with_time_of_retry(mut said: Value) -> Value {
    if let Some(time) = said.pointer_mut("/retry/next_attempt_time") {
        *time = picture::time(time.as_str().expect("a time is text")).into();
    }
    said
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
