//! Watchers of one chat under random commits, edits, boundaries, suspensions, interrupts,
//! crashes and cuts: the core, its encoding and the reducer of the tests together, over a
//! simulated database and relay. A sync is asked for, read and answered at three
//! different moments.

#[path = "../../../../tests/src/fold.rs"]
#[allow(dead_code, unreachable_pub)] // Shared with the end-to-end tests, which use all of it.
mod fold;

mod database;
mod worker;

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{
    Body, BusyBehavior, CallKind, ChatId, Command, ConfigureChat, EditMessage, EditQueuedMessage,
    ExpireCause, ExpireLease, Role, SendMessage, SessionId, SubmittedResult, UserPart,
};
use proptest::prelude::*;
use uuid::Uuid;

use self::{
    database::{Database, user_message},
    fold::{Fold, Pictures, Preview, PreviewPart},
    worker::Worker,
};
use super::{convert, response};
use crate::{
    relay::{LiveStreams, StreamId, StreamKind, char_boundary},
    store::{SyncFrom, SyncPage},
    watch::{Action, Event, Timing, Watcher},
};

const CHAT: ChatId = ChatId(Uuid::from_u128(0x5afe));

/// One thing that happens; what the numbers choose depends on what there is.
#[derive(Clone, Copy, Debug)]
struct Op {
    kind: u8,
    a: usize,
    b: usize,
}

/// Everything that happens in a run.
struct World {
    database: Database,
    live: LiveStreams,
    worker: Option<Worker>,
    /// Everything that workers ever wrote, by stream.
    said: BTreeMap<StreamId, Vec<Vec<u8>>>,
    /// Streams that a worker will close some time.
    closing: Vec<(chatplane_domain::Fence, StreamId)>,
    clients: Vec<Client>,
    pictures: Pictures,
    now: Duration,
    ids: u128,
}

/// A client with its watcher on some replica.
struct Client {
    watcher: Watcher,
    fold: Fold,
    sync: Sync,
}

enum Sync {
    None,
    Asked(SyncFrom),
    Read(Box<SyncPage>),
}

fn fresh(limit: usize, now: Duration) -> Client {
    let history_limit = [None, Some(50), Some(2), Some(0)][limit % 4];
    Client {
        watcher: Watcher::start(CHAT, history_limit, Timing::default(), now),
        fold: Fold::default(),
        sync: Sync::None,
    }
}

impl World {
    fn new() -> Self {
        Self {
            database: Database::new(CHAT),
            live: worker::relay(),
            worker: None,
            said: BTreeMap::new(),
            closing: Vec::new(),
            clients: (0..3).map(|limit| fresh(limit, Duration::ZERO)).collect(),
            pictures: Pictures::default(),
            now: Duration::ZERO,
            ids: 100,
        }
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        // Random parts differ, so that queue entries do not come in order of their ids.
        Uuid::from_u128(self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    fn step(&mut self, op: Op) -> Result<(), String> {
        let Op { kind, a, b } = op;
        match kind {
            0..=2 => self.send(a, b),
            3 => drop(self.database.transact(Command::InterruptChat)),
            4..=5 => self.edit(a),
            6 => self.change_queue(a, b),
            7 => self.configure(a, b),
            8..=12 => self.lease(),
            13..=28 => self.worker_writes_live(a, b),
            29..=34 => self.worker_commits(a, b),
            35 => self.worker_dies(a),
            36..=38 => self.close_stream(a),
            39..=59 => drop(self.poll(a % 3, 1 + b % 9)?),
            60..=89 => self.sync(a % 3, b),
            90..=91 => self.cut(a % 3, b),
            92..=97 => self.clients.iter_mut().for_each(|client| client.watcher.on_hint()),
            98 if b % 4 == 0 => self.replica_dies(),
            98 => self.settle(a % 3)?,
            99 => self.now += Duration::from_secs(4),
            100..=102 => self.settle_calls(a, b),
            103..=104 => self.forget_history(a),
            _ => self.end_summary(),
        }
        Ok(())
    }

    // Clients.

    fn send(&mut self, a: usize, b: usize) {
        let busy =
            [BusyBehavior::Queue, BusyBehavior::Queue, BusyBehavior::Steer, BusyBehavior::Interrupt][a % 4];
        let model = b.is_multiple_of(5).then_some("another");
        let id = chatplane_domain::QueuedMessageId(self.id());
        let message = user_message(&format!("text {}", self.ids), model);
        // Refused when the queue is full or the chat is archived.
        let _ = self.database.transact(Command::SendMessage(SendMessage { id, message, busy }));
    }

    fn edit(&mut self, a: usize) {
        let users: Vec<_> = self
            .database
            .messages()
            .filter(|row| matches!(row.body, Body::User(_)))
            .map(|row| row.id)
            .collect();
        let target = users[a % users.len()];
        let edit = EditMessage {
            target,
            target_role: Some(Role::User),
            boundary_below: self.database.boundary_below(target),
            answered_below: self.database.answered_below(target),
            replacement: user_message("edited", None),
        };
        let _ = self.database.transact(Command::EditMessage(edit));
    }

    fn change_queue(&mut self, a: usize, b: usize) {
        let queue = &self.database.chat.queue;
        let Some(queued) = queue.get(a % queue.len().max(1)) else {
            return;
        };
        let id = queued.id;
        let parts = vec![UserPart::Text(format!("edited {b}"))];
        let command = match b % 4 {
            0 => Command::DeleteQueuedMessage(id),
            1 => Command::MoveQueuedMessage { id, index: a % 3 },
            2 => Command::EditQueuedMessage(EditQueuedMessage { id, parts }),
            _ => Command::PromoteQueuedMessage(id),
        };
        let _ = self.database.transact(command);
    }

    fn configure(&mut self, a: usize, b: usize) {
        let model = Some(format!("model {}", b % 3));
        let command = match a % 4 {
            0 => Command::ArchiveChat,
            1 => Command::UnarchiveChat,
            2 => Command::ConfigureChat(ConfigureChat { model, ..ConfigureChat::default() }),
            _ => {
                self.database.metadata.metadata_version += 1;
                self.database.metadata.title = format!("title {b}");
                return;
            }
        };
        let _ = self.database.transact(command);
    }

    /// The client hands in a result, or the calls time out.
    fn settle_calls(&mut self, a: usize, b: usize) {
        let open: Vec<_> = self.database.chat.open_calls.iter().collect();
        let of_client: Vec<_> = open.iter().filter(|call| call.kind == CallKind::Client).collect();
        let Some(call) = of_client.get(a % of_client.len().max(1)) else {
            return;
        };
        let result = SubmittedResult { call: call.id, output: "done".to_owned(), is_error: false };
        // Refused unless the chat is suspended.
        let _ = if b.is_multiple_of(6) {
            self.database.transact_late(Command::ExpireCalls)
        } else {
            self.database.transact(Command::SubmitToolResults(vec![result]))
        };
    }

    /// Boundaries that are not a running turn's.
    fn forget_history(&mut self, a: usize) {
        let ends = self.database.history_ends();
        let command =
            if a.is_multiple_of(2) { Command::CompactChat(ends) } else { Command::ClearContext(ends) };
        let _ = self.database.transact(command);
    }

    // Workers.

    fn lease(&mut self) {
        let session = SessionId(self.id());
        if self.database.transact(Command::Lease(session)).is_ok()
            && self.database.chat.live_lease().is_some()
        {
            self.worker = Some(Worker::new(session, &self.database.chat));
        }
    }

    fn worker_writes_live(&mut self, a: usize, b: usize) {
        if let Some(worker) = &mut self.worker {
            worker.write_live(&self.database.chat, (a, b), &mut self.live, &mut self.said);
        }
    }

    fn worker_commits(&mut self, a: usize, b: usize) {
        if let Some(worker) = &mut self.worker {
            let goes_on = worker.commit((a, b), &mut self.database, &mut self.closing);
            if !goes_on {
                self.worker = None;
            }
        }
    }

    /// A summary that is not needed any more, or that failed.
    fn end_summary(&mut self) {
        let ended = self.worker.as_mut().and_then(Worker::give_up_summary);
        self.closing.extend(ended);
    }

    /// Its streams stay where they are until somebody notices.
    fn worker_dies(&mut self, a: usize) {
        self.worker = None;
        let Some(lease) = self.database.chat.live_lease().cloned() else {
            return;
        };
        let expire = ExpireLease { fence: lease.fence, cause: ExpireCause::SessionEnded };
        self.database
            .transact(Command::ExpireLease(expire))
            .expect("a lease whose session has ended can be expired");
        if a.is_multiple_of(2) {
            self.live.end_lease(lease.fence);
        }
    }

    fn close_stream(&mut self, a: usize) {
        if !self.closing.is_empty() {
            let (fence, stream) = self.closing.remove(a % self.closing.len());
            // Refused when a later lease has written or the replica has died since.
            let _ = self.live.close(fence, stream);
        }
    }

    // Watchers.

    /// Takes up to so many steps. Answers whether there was nothing more to do.
    fn poll(&mut self, client: usize, most: usize) -> Result<bool, String> {
        let client = &mut self.clients[client];
        let mut waits = false;
        for _ in 0..most {
            match client.watcher.poll(&self.live, self.now) {
                Action::Emit(emitted) => {
                    let is_durable = matches!(emitted.event, Event::Durable(_));
                    client.fold.apply(&response(emitted))?;
                    if is_durable {
                        self.pictures.compare(&client.fold)?;
                    }
                }
                Action::RunSync(from) => client.sync = Sync::Asked(from),
                Action::Wait(until) if until > self.now => {
                    waits = true;
                    break;
                }
                Action::Wait(_) => return Err("it waits for what has been".to_owned()),
                Action::End(end) => return Err(format!("the watch ends: {end:?}")),
            }
        }
        gapless(&client.fold, &self.said)?;
        Ok(waits)
    }

    fn sync(&mut self, client: usize, b: usize) {
        let client = &mut self.clients[client];
        client.sync = match std::mem::replace(&mut client.sync, Sync::None) {
            Sync::None => Sync::None,
            Sync::Asked(_) if b.is_multiple_of(16) => {
                let failed = client.watcher.on_sync_failed(self.now);
                failed.expect("the database comes back soon enough");
                self.now += Duration::from_secs(5);
                Sync::None
            }
            Sync::Asked(from) => Sync::Read(Box::new(self.database.sync(from))),
            Sync::Read(page) => {
                client.watcher.on_page(Some(*page));
                Sync::None
            }
        };
    }

    /// The client goes on with its cursor, or begins anew.
    fn cut(&mut self, index: usize, b: usize) {
        let client = &mut self.clients[index];
        if b.is_multiple_of(5) || client.fold.cursor.is_empty() {
            *client = fresh(b, self.now);
            return;
        }
        client.sync = Sync::None;
        client.watcher = Watcher::resume(CHAT, &client.fold.cursor, Timing::default(), self.now)
            .expect("a cursor that was sent can be used");
        client.fold.reconnected();
    }

    /// Its watchers and the worker come back to another one, which has no streams yet.
    fn replica_dies(&mut self) {
        self.live = worker::relay();
        for index in 0..self.clients.len() {
            self.cut(index, 1);
        }
        if let Some(worker) = &self.worker {
            worker.resend(&mut self.live, &self.said);
        }
    }

    /// When everything has arrived, a fold equals the database and shows the streams that
    /// are alive.
    fn settle(&mut self, index: usize) -> Result<(), String> {
        while !self.closing.is_empty() {
            self.close_stream(0);
        }
        self.clients[index].watcher.on_hint();
        // A watcher may wait to repeat a sync that failed, and then nothing is asked.
        self.now += Duration::from_secs(5);
        while !(self.poll(index, 1)? && matches!(self.clients[index].sync, Sync::None)) {
            self.sync(index, 1);
        }
        let fold = &self.clients[index].fold;
        let messages: Vec<_> = self.database.messages().cloned().map(convert::message).collect();
        let queue: Vec<_> = self.database.queue().map(convert::queued).collect();
        fold.matches(&convert::chat(self.database.view()), &messages, &queue)?;
        let previews = self.previews();
        if fold.previews == previews {
            return Ok(());
        }
        Err(format!("shown: {:#?}\nalive: {previews:#?}", fold.previews))
    }

    /// What shall be shown of the live streams.
    fn previews(&self) -> BTreeMap<(i64, i64), Preview> {
        let chat = &self.database.chat;
        let lease = chat.live_lease().map(|lease| lease.fence);
        let is_alive = |kind: StreamKind, base: i64| match kind {
            StreamKind::Answer => base >= chat.versions.history,
            StreamKind::Call(call) => chat.open_calls.iter().any(|open| open.id == call),
            StreamKind::Summary => true,
        };
        let alive = self.live.iter().filter(|stream| {
            let header = stream.header();
            Some(header.fence) == lease && is_alive(header.kind, header.id.base_version)
        });
        let mut shown = BTreeMap::new();
        for stream in alive {
            let id = stream.header().id;
            let call = match stream.header().kind {
                StreamKind::Call(call) => Some(convert::call_id(call)),
                StreamKind::Answer | StreamKind::Summary => None,
            };
            if stream.header().kind == StreamKind::Answer {
                shown.retain(|_, earlier: &mut Preview| !earlier.is_answer());
            }
            let parts = stream.parts().iter().map(|part| {
                let header = part.header();
                let whole = char_boundary(part.bytes(), usize::MAX);
                let end = if header.kind.is_text() { whole } else { part.bytes().len() };
                PreviewPart {
                    kind: convert::part_kind(header.kind),
                    tool_name: header.tool_name.clone(),
                    bytes: part.bytes()[..end].to_vec(),
                }
            });
            let preview = Preview { call, parts: parts.collect(), truncated: stream.truncated() };
            shown.insert((id.base_version, id.index), preview);
        }
        shown
    }
}

/// What is shown is the beginning of what was said.
fn gapless(fold: &Fold, said: &BTreeMap<StreamId, Vec<Vec<u8>>>) -> Result<(), String> {
    for ((base_version, index), preview) in &fold.previews {
        let id = StreamId { base_version: *base_version, index: *index };
        for (part, said) in preview.parts.iter().zip(&said[&id]) {
            if !said.starts_with(&part.bytes) {
                return Err(format!("{id:?} shows {:?}, said was {said:?}", part.bytes));
            }
        }
    }
    Ok(())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = (0_u8..106, 0_usize..1000, 0_usize..1000).prop_map(|(kind, a, b)| Op { kind, a, b });
    proptest::collection::vec(op, 1..300)
}

/// A few seconds, or a minute where nobody waits.
fn cases() -> u32 {
    if std::env::var_os("CI").is_some() { 20_000 } else { 3_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn every_watcher_sees_the_same_chat_whatever_happens(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            let done = world.step(op);
            prop_assert!(done.is_ok(), "{:?}: {}", op, done.unwrap_err());
        }
        for client in 0..3 {
            let settled = world.settle(client);
            prop_assert!(settled.is_ok(), "{}", settled.unwrap_err());
        }
    }
}
