//! Whatever transactions do, and wherever streams are cut, a client knows in the end what
//! the database has, was told of every kind of change, and of no version twice by a stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chatplane_domain::{ChatId, UserId};
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::database::{Database, Write, chat};
use crate::{
    store::FeedFrom,
    watch::{ChatChange, ChatsAction, ChatsCursor, ChatsEmitted, ChatsEvent, ChatsWatcher, Timing},
};

const USER: UserId = UserId(Uuid::max());
const NOW: Duration = Duration::ZERO;
const SEEDS: u64 = 150;
const STEPS: usize = 250;
const CHATS: usize = 9;
const WRITES: [Write; 9] = [
    Write::Delete,
    Write::Touch,
    Write::Archive,
    Write::State,
    Write::Summary,
    Write::Action,
    Write::Metadata,
    Write::Read,
    Write::Pin,
];

/// How a run is made.
#[derive(Clone, Copy, Debug)]
struct Run {
    page_max: usize,
    ahead_max: usize,
    has_cuts: bool,
}

/// A client, its stream, and the database.
struct World {
    run: Run,
    random: StdRng,
    database: Database,
    watcher: ChatsWatcher,
    read: Option<FeedFrom>,
    cursor: String,
    /// Version of each chat that the client was told last; how many commits it had.
    told: BTreeMap<ChatId, usize>,
    /// What this stream has told.
    in_stream: BTreeSet<(ChatId, usize)>,
    deleted: BTreeSet<ChatId>,
}

#[test]
fn a_stream_that_is_never_cut_tells_each_version_once_and_exactly_what_changed() {
    let run = Run { page_max: 1_000, ahead_max: 1_000, has_cuts: false };
    (0..SEEDS).for_each(|seed| World::new(run, seed).run());
}

#[test]
fn pages_and_cuts_lose_no_version_and_no_kind_of_change() {
    for page_max in [2, 3, 7] {
        let run = Run { page_max, ahead_max: 1_000, has_cuts: true };
        (0..SEEDS).for_each(|seed| World::new(run, seed).run());
    }
}

#[test]
fn a_pass_that_ends_early_loses_nothing_either() {
    let run = Run { page_max: 2, ahead_max: 1, has_cuts: true };
    (0..SEEDS).for_each(|seed| World::new(run, seed).run());
}

impl World {
    fn new(run: Run, seed: u64) -> Self {
        let mut world = Self {
            run,
            random: StdRng::seed_from_u64(seed),
            database: Database::new(run.page_max),
            watcher: ChatsWatcher::start(USER, Timing::default(), NOW).with_ahead_max(run.ahead_max),
            read: None,
            cursor: String::new(),
            told: BTreeMap::new(),
            in_stream: BTreeSet::new(),
            deleted: BTreeSet::new(),
        };
        // What was there before is nothing that happens.
        for number in 0..CHATS / 2 {
            world.database.apply(chat(number), Write::Create);
            world.told.insert(chat(number), 1);
        }
        while world.cursor.is_empty() {
            world.watch();
        }
        world
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.random_range(0..12) {
                0 => drop(self.database.begin()),
                1..=4 => self.write(),
                5 | 6 => self.end_one(),
                7 if self.run.has_cuts && self.random.random_ratio(1, 3) => self.cut(),
                _ => self.watch(),
            }
        }
        for xid in self.database.running() {
            self.database.commit(xid);
        }
        self.watcher.on_hint();
        while self.watch_once() {}
        for (chat, row) in &self.database.chats {
            if row.is_deleted {
                assert!(self.deleted.contains(chat), "its deletion was told");
            } else {
                assert_eq!(self.told.get(chat), Some(&row.commits.len()), "{chat:?} is known as it is");
            }
        }
    }

    fn write(&mut self) {
        let running = self.database.running();
        if running.is_empty() {
            return;
        }
        let xid = running[self.random.random_range(0..running.len())];
        let chat = chat(self.random.random_range(0..CHATS));
        let write = WRITES[self.random.random_range(0..WRITES.len())];
        if write == Write::Delete && self.random.random_ratio(9, 10) {
            return;
        }
        if !self.database.write(xid, chat, Write::Create) {
            self.database.write(xid, chat, write);
        }
    }

    fn end_one(&mut self) {
        let running = self.database.running();
        if running.is_empty() {
            return;
        }
        let xid = running[self.random.random_range(0..running.len())];
        if self.random.random_ratio(1, 8) {
            self.database.abort(xid);
            return;
        }
        self.database.commit(xid);
        // A hint may be lost; the next one, or the poll, tells of both.
        if self.random.random_ratio(4, 5) {
            self.watcher.on_hint();
        }
    }

    fn cut(&mut self) {
        let resumed = ChatsWatcher::resume(USER, &self.cursor, Timing::default(), NOW);
        self.watcher = resumed.expect("it is a cursor").with_ahead_max(self.run.ahead_max);
        self.read = None;
        self.in_stream.clear();
    }

    fn watch(&mut self) {
        self.watch_once();
    }

    /// Answers whether there may be more at once.
    fn watch_once(&mut self) -> bool {
        if let Some(from) = &self.read
            && self.random.random_bool(0.5)
        {
            let page = self.database.feed(from);
            self.watcher.on_page(page);
            self.read = None;
            return true;
        }
        match self.watcher.poll(NOW) {
            ChatsAction::Emit(emitted) => self.take(emitted),
            ChatsAction::Read(from) => {
                assert_eq!(self.read, None, "one read at a time");
                self.read = Some(from);
            }
            ChatsAction::Wait(_) => return self.read.is_some(),
            ChatsAction::CursorExpired => panic!("the cursor is of this database"),
        }
        true
    }

    fn take(&mut self, emitted: ChatsEmitted) {
        let place = |cursor: &str| ChatsCursor::decode(USER, cursor).ok();
        assert!(place(&emitted.cursor) >= place(&self.cursor), "cursors never fall");
        self.cursor = emitted.cursor;
        match emitted.event {
            ChatsEvent::Progress => {}
            ChatsEvent::Deleted(chat) => {
                assert!(self.deleted.insert(chat) || self.run.has_cuts, "it is deleted once");
            }
            ChatsEvent::Changed { chat, changes } => {
                let version = usize::try_from(chat.versions.snapshot).expect("it is small");
                let is_once = self.in_stream.insert((chat.chat_id, version));
                assert!(is_once || self.run.ahead_max == 1, "a stream tells a version once");
                self.compare((chat.chat_id, chat.archived), version, &changes);
            }
        }
    }

    fn compare(&mut self, (chat, archived): (ChatId, bool), version: usize, changes: &[ChatChange]) {
        let row = &self.database.chats[&chat];
        let before = self.told.insert(chat, version).unwrap_or(0);
        assert!(version > before || self.run.has_cuts, "a chat never goes back");
        assert!(!changes.is_empty());
        let due = kinds(&row.commits[before.min(version)..version], before == 0, archived);
        if self.run.has_cuts {
            let missing: Vec<_> = due.iter().filter(|kind| !changes.contains(kind)).collect();
            assert!(
                missing.is_empty() || due == [ChatChange::Other],
                "{missing:?} of {due:?} in {changes:?}"
            );
        } else {
            assert_eq!(changes, due);
        }
    }
}

/// What these commits of a chat changed.
fn kinds(commits: &[Vec<Write>], is_new: bool, archived: bool) -> Vec<ChatChange> {
    let kind = |write: Write| match write {
        Write::Create => Some(ChatChange::Created),
        Write::Archive if archived => Some(ChatChange::Archived),
        Write::Archive => Some(ChatChange::Unarchived),
        Write::State => Some(ChatChange::State),
        Write::Summary => Some(ChatChange::Summary),
        Write::Action => Some(ChatChange::ActionRequired),
        Write::Metadata => Some(ChatChange::Metadata),
        Write::Read => Some(ChatChange::ReadState),
        Write::Pin => Some(ChatChange::Pin),
        Write::Touch | Write::Delete => None,
    };
    // What the creation wrote with the rest is no change of a new chat.
    let changing = commits.iter().skip(usize::from(is_new)).flatten();
    let mut kinds: BTreeSet<ChatChange> = changing.filter_map(|write| kind(*write)).collect();
    if is_new {
        kinds.insert(ChatChange::Created);
    }
    if kinds.is_empty() { vec![ChatChange::Other] } else { kinds.into_iter().collect() }
}
