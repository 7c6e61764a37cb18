//! A model of what PostgreSQL does with the rows of one user's chats: transactions that
//! begin, write and end in any order, and snapshots.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_domain::ChatId;
use serde_json::json;
use uuid::Uuid;

use crate::store::{ChatView, FeedAspects, FeedEntry, FeedFrom, FeedPage, FeedPosition, FeedSnapshot};

/// What a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Write {
    Create,
    Delete,
    /// Nothing that has a name.
    Touch,
    Archive,
    State,
    Summary,
    Action,
    Metadata,
    Read,
    Pin,
}

impl Write {
    /// Whether it goes to the owner's row.
    pub(super) fn is_users(self) -> bool {
        matches!(self, Self::Metadata | Self::Read | Self::Pin)
    }
}

/// A chat as it is committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    chat_xid: i64,
    user_xid: i64,
    aspects: FeedAspects,
    pub(super) archived: bool,
    pub(super) is_deleted: bool,
    /// What each of its commits changed; how many there are is shown as its version.
    pub(super) commits: Vec<Vec<Write>>,
}

#[derive(Debug)]
pub(super) struct Database {
    next_xid: i64,
    running: BTreeMap<i64, Vec<(ChatId, Write)>>,
    pub(super) chats: BTreeMap<ChatId, Row>,
    page_max: usize,
}

pub(super) fn chat(number: usize) -> ChatId {
    ChatId(Uuid::from_u128(number as u128 + 1))
}

impl Database {
    pub(super) fn new(page_max: usize) -> Self {
        Self { next_xid: 100, running: BTreeMap::new(), chats: BTreeMap::new(), page_max }
    }

    pub(super) fn begin(&mut self) -> i64 {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.running.insert(xid, Vec::new());
        xid
    }

    /// Writes, unless another transaction has the row.
    pub(super) fn write(&mut self, xid: i64, chat: ChatId, write: Write) -> bool {
        let is_locked = |(other, writes): (&i64, &Vec<(ChatId, Write)>)| {
            let same_row = |of: &(ChatId, Write)| {
                let whole = matches!(of.1, Write::Create | Write::Delete)
                    || matches!(write, Write::Create | Write::Delete);
                of.0 == chat && (whole || of.1.is_users() == write.is_users())
            };
            *other != xid && writes.iter().any(same_row)
        };
        if self.running.iter().any(is_locked) {
            return false;
        }
        let own = self.running.get(&xid).expect("the transaction runs");
        let creates = own.contains(&(chat, Write::Create));
        let exists = self.chats.get(&chat).is_some_and(|row| !row.is_deleted) || creates;
        let was_there = self.chats.contains_key(&chat) || creates;
        let deletes = own.contains(&(chat, Write::Delete));
        let is_possible = if write == Write::Create { !was_there } else { exists && !deletes };
        if is_possible {
            self.running.get_mut(&xid).expect("the transaction runs").push((chat, write));
        }
        is_possible
    }

    pub(super) fn abort(&mut self, xid: i64) {
        self.running.remove(&xid);
    }

    pub(super) fn commit(&mut self, xid: i64) {
        let mut by_chat: BTreeMap<ChatId, Vec<Write>> = BTreeMap::new();
        for (chat, write) in self.running.remove(&xid).expect("the transaction runs") {
            by_chat.entry(chat).or_default().push(write);
        }
        for (chat, writes) in by_chat {
            let row = self.chats.entry(chat).or_default();
            for write in &writes {
                row.write(xid, *write);
            }
            row.commits.push(writes);
        }
    }

    /// One write in a transaction of its own.
    pub(super) fn apply(&mut self, chat: ChatId, write: Write) {
        let xid = self.begin();
        assert!(self.write(xid, chat, write), "{write:?} is possible");
        self.commit(xid);
    }

    pub(super) fn running(&self) -> Vec<i64> {
        self.running.keys().copied().collect()
    }

    pub(super) fn snapshot(&self) -> FeedSnapshot {
        let running = self.running();
        FeedSnapshot::of(running.first().copied().unwrap_or(self.next_xid), self.next_xid, &running)
    }

    /// As `Store::feed`.
    pub(super) fn feed(&self, from: &FeedFrom) -> FeedPage {
        let snapshot = Some(self.snapshot());
        let FeedFrom::After { seen, after } = from else {
            return FeedPage { snapshot, entries: Vec::new(), through: None };
        };
        let mut places = BTreeSet::new();
        for (chat, row) in &self.chats {
            let xids = [row.chat_xid, row.user_xid].into_iter().filter(|xid| !seen.sees(*xid));
            places.extend(xids.map(|xid| FeedPosition { xid, chat: *chat }).filter(|place| place > after));
        }
        let entries: Vec<FeedEntry> =
            places.into_iter().take(self.page_max).map(|place| self.entry(place)).collect();
        let through = entries.last().map(|entry| entry.position).filter(|_| entries.len() == self.page_max);
        FeedPage { snapshot: snapshot.filter(|_| !entries.is_empty()), entries, through }
    }

    fn entry(&self, position: FeedPosition) -> FeedEntry {
        let row = &self.chats[&position.chat];
        FeedEntry {
            position,
            chat_xid: row.chat_xid,
            user_xid: row.user_xid,
            aspects: row.aspects,
            chat: (!row.is_deleted).then(|| Box::new(view(position.chat, row))),
        }
    }
}

impl Row {
    fn write(&mut self, xid: i64, write: Write) {
        let aspects = &mut self.aspects;
        match write {
            Write::Create => {
                self.user_xid = xid;
                let FeedAspects { create, archive, state, metadata, summary, action, read, pin } = aspects;
                for aspect in [create, archive, state, metadata, summary, action, read, pin] {
                    *aspect = xid;
                }
            }
            Write::Delete => self.is_deleted = true,
            Write::Touch => {}
            Write::Archive => {
                self.archived = !self.archived;
                aspects.archive = xid;
            }
            Write::State => aspects.state = xid,
            Write::Summary => aspects.summary = xid,
            Write::Action => aspects.action = xid,
            Write::Metadata => aspects.metadata = xid,
            Write::Read => aspects.read = xid,
            Write::Pin => aspects.pin = xid,
        }
        if write.is_users() { self.user_xid = xid } else { self.chat_xid = xid }
    }
}

/// A chat whose version is the number of its commits.
fn view(chat: ChatId, row: &Row) -> ChatView {
    let nobody = Uuid::nil();
    let time = "2026-01-01T00:00:00Z";
    let view = json!({
        "chat_id": chat.0, "organization_id": nobody, "owner_id": nobody, "workspace_id": null,
        "state": "waiting", "archived": row.archived, "model": "test", "effort": "unspecified",
        "queue_length": 0, "last_error": null, "retry": null, "fence": null, "leased": false,
        "versions": { "snapshot": row.commits.len(), "history": 1, "queue": 0, "retry": 0, "error": 0 },
        "create_time": time, "update_time": time,
        "metadata": { "metadata_version": 1, "title": "", "labels": {} },
    });
    serde_json::from_value(view).expect("it is the stored form of a chat")
}
