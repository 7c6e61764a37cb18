//! Live streams: what model calls and tools write before their commit.
//!
//! Each stream is kept as it has grown, with a cursor of what the replica has. Sending
//! is slicing from the cursor on, so that many small appends become one when the replica
//! is slow, and a new replica gets what it lacks by setting the cursor back. What is kept
//! is bounded by the size of answers and by [`LIVE_STREAM_BYTES_MAX`]; writers never wait.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::types::{LivePartKind, LivePosition, StreamId};
use crate::{
    limits::{APPEND_BYTES_MAX, LIVE_STREAM_BYTES_MAX},
    session::LeaseKey,
};

/// How many closed streams of a lease are remembered, to be closed again on a replica
/// that missed it.
const CLOSED_MAX: usize = 64;

/// The live streams of all leases.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveStreams {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    changed: Notify,
}

/// A message for the replica.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LiveMessage {
    pub(crate) key: LeaseKey,
    pub(crate) stream: StreamId,
    pub(crate) piece: LivePiece,
}

/// What a [`LiveMessage`] says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LivePiece {
    Started { part: usize, kind: LivePartKind },
    Append { part: usize, offset: usize, data: Bytes },
    Closed { abandoned: bool },
}

#[derive(Debug, Default)]
struct Book {
    leases: BTreeMap<LeaseKey, Lease>,
    /// Streams that have something to send, each once.
    ready: VecDeque<(LeaseKey, StreamId)>,
}

#[derive(Debug, Default)]
struct Lease {
    streams: BTreeMap<StreamId, Stream>,
    base_version: i64,
    next_index: i64,
    ended: bool,
}

#[derive(Debug, Default)]
struct Stream {
    parts: Vec<Part>,
    bytes: usize,
    cursor: Cursor,
    stage: Stage,
    is_ready: bool,
}

#[derive(Debug)]
struct Part {
    kind: LivePartKind,
    data: Vec<u8>,
}

/// The place from which the replica has nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    part: usize,
    started: bool,
    offset: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Growing,
    /// The replica is to be told.
    Closing { abandoned: bool },
    /// The replica has been told.
    Closed { abandoned: bool },
}

impl LiveStreams {
    /// The streams of a lease; its work starts from this version.
    pub(crate) fn lease(&self, key: LeaseKey, base_version: i64) -> LeaseStreams {
        let lease = Lease { base_version, ..Lease::default() };
        self.book().leases.insert(key, lease);
        LeaseStreams { all: self.clone(), key }
    }

    /// Forgets a lost lease: nothing more is sent for it.
    pub(crate) fn forget(&self, key: LeaseKey) {
        self.book().leases.remove(&key);
    }

    /// A new replica has this of each lease: sends from there on.
    pub(crate) fn resume(&self, positions: &BTreeMap<LeaseKey, Vec<LivePosition>>) {
        self.book().resume(positions);
        self.shared.changed.notify_one();
    }

    /// The next message; `None` when the replica has everything.
    pub(crate) fn next_message(&self) -> Option<LiveMessage> {
        self.book().next_message()
    }

    /// Waits until there may be a message.
    pub(crate) async fn wait(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if !self.book().ready.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every change of the book is complete before it can panic.
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, key: LeaseKey, stream: StreamId, change: impl FnOnce(&mut Stream)) {
        self.book().change(key, stream, change);
        self.shared.changed.notify_one();
    }
}

/// The streams of one lease. Dropped, the lease has ended; what is closed is still told.
#[derive(Debug)]
pub(crate) struct LeaseStreams {
    all: LiveStreams,
    key: LeaseKey,
}

impl LeaseStreams {
    /// What starts from now on starts from this version.
    pub(crate) fn rebase(&self, version: i64) {
        if let Some(lease) = self.all.book().leases.get_mut(&self.key)
            && version > lease.base_version
        {
            lease.base_version = version;
            lease.next_index = 0;
        }
    }

    /// A way to open streams from elsewhere.
    pub(crate) fn opener(&self) -> StreamOpener {
        StreamOpener { all: self.all.clone(), key: self.key }
    }

    /// Begins a stream.
    pub(crate) fn open(&self) -> LiveStream {
        self.opener().open()
    }
}

impl Drop for LeaseStreams {
    fn drop(&mut self) {
        self.all.book().end(self.key);
    }
}

/// Opens streams of a lease.
#[derive(Clone, Debug)]
pub(crate) struct StreamOpener {
    all: LiveStreams,
    key: LeaseKey,
}

impl StreamOpener {
    /// Begins a stream under a name that was never used.
    pub(crate) fn open(&self) -> LiveStream {
        let mut book = self.all.book();
        let mut id = StreamId { base_version: 0, index: 0 };
        if let Some(lease) = book.leases.get_mut(&self.key) {
            id = StreamId { base_version: lease.base_version, index: lease.next_index };
            lease.next_index += 1;
            lease.streams.insert(id, Stream::default());
        }
        drop(book);
        LiveStream { all: self.all.clone(), key: self.key, id, closed: false }
    }
}

/// One stream. Dropped without [`LiveStream::commit`], it is given up.
#[derive(Debug)]
pub(crate) struct LiveStream {
    all: LiveStreams,
    key: LeaseKey,
    id: StreamId,
    closed: bool,
}

impl LiveStream {
    /// Begins a part; the one before is complete.
    pub(crate) fn start_part(&self, kind: LivePartKind) {
        let part = Part { kind, data: Vec::new() };
        self.all.change(self.key, self.id, |stream| stream.parts.push(part));
    }

    /// Grows the last part; text by whole characters.
    pub(crate) fn append(&self, data: &[u8]) {
        self.all.change(self.key, self.id, |stream| stream.append(data));
    }

    /// The work is stored: the stream has served.
    pub(crate) fn commit(mut self) {
        self.close(Stage::Closing { abandoned: false });
    }

    fn close(&mut self, stage: Stage) {
        if !mem::replace(&mut self.closed, true) {
            self.all.change(self.key, self.id, |stream| stream.stage = stage);
        }
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.close(Stage::Closing { abandoned: true });
    }
}

impl Book {
    fn change(&mut self, key: LeaseKey, id: StreamId, change: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.leases.get_mut(&key).and_then(|lease| lease.streams.get_mut(&id)) else {
            return;
        };
        change(stream);
        if !mem::replace(&mut stream.is_ready, true) {
            self.ready.push_back((key, id));
        }
    }

    fn end(&mut self, key: LeaseKey) {
        if let Some(lease) = self.leases.get_mut(&key) {
            lease.ended = true;
            self.tidy(key);
        }
    }

    fn resume(&mut self, positions: &BTreeMap<LeaseKey, Vec<LivePosition>>) {
        self.ready.clear();
        for (key, lease) in &mut self.leases {
            let held = positions.get(key).map(Vec::as_slice).unwrap_or_default();
            lease.streams.retain(|id, stream| {
                let position = held.iter().find(|position| position.stream == *id);
                stream.resume(position)
            });
            for (id, stream) in &mut lease.streams {
                stream.is_ready = true;
                self.ready.push_back((*key, *id));
            }
        }
        for key in self.leases.keys().copied().collect::<Vec<_>>() {
            self.tidy(key);
        }
    }

    fn next_message(&mut self) -> Option<LiveMessage> {
        while let Some((key, id)) = self.ready.pop_front() {
            let Some(stream) = self.leases.get_mut(&key).and_then(|lease| lease.streams.get_mut(&id)) else {
                continue;
            };
            let Some(piece) = stream.next_piece() else {
                stream.is_ready = false;
                self.tidy(key);
                continue;
            };
            // To the end of the line: streams take turns.
            self.ready.push_back((key, id));
            return Some(LiveMessage { key, stream: id, piece });
        }
        None
    }

    /// Drops what nobody needs any more: an ended lease once all its streams are closed,
    /// and the oldest of many closed streams.
    fn tidy(&mut self, key: LeaseKey) {
        let Some(lease) = self.leases.get_mut(&key) else {
            return;
        };
        let is_closed = |stream: &Stream| matches!(stream.stage, Stage::Closed { .. });
        let closed = lease.streams.values().filter(|stream| is_closed(stream)).count();
        if lease.ended && closed == lease.streams.len() {
            self.leases.remove(&key);
        } else if closed > CLOSED_MAX
            && let Some(oldest) =
                lease.streams.iter().find(|(_, stream)| is_closed(stream)).map(|(id, _)| *id)
        {
            lease.streams.remove(&oldest);
        }
    }
}

impl Stream {
    fn append(&mut self, data: &[u8]) {
        if self.bytes >= LIVE_STREAM_BYTES_MAX {
            return;
        }
        if let Some(part) = self.parts.last_mut() {
            part.data.extend_from_slice(data);
            self.bytes += data.len();
        }
    }

    /// Sets the cursor to what the replica has; false when there is nothing to tell it.
    fn resume(&mut self, position: Option<&LivePosition>) -> bool {
        self.cursor = Cursor::default();
        if let Some(position) = position {
            self.cursor = Cursor { part: position.part, started: true, offset: position.offset };
        }
        match self.stage {
            Stage::Growing => true,
            Stage::Closing { .. } => position.is_some(),
            Stage::Closed { abandoned } => {
                self.stage = Stage::Closing { abandoned };
                position.is_some()
            }
        }
    }

    fn next_piece(&mut self) -> Option<LivePiece> {
        match self.stage {
            Stage::Growing => self.next_part_piece(),
            // The commit shows the rest, or nobody ever will.
            Stage::Closing { abandoned } => {
                self.parts = Vec::new();
                self.stage = Stage::Closed { abandoned };
                self.cursor.knows_stream().then_some(LivePiece::Closed { abandoned })
            }
            Stage::Closed { .. } => None,
        }
    }

    fn next_part_piece(&mut self) -> Option<LivePiece> {
        loop {
            let Cursor { part: index, started, offset } = self.cursor;
            let part = self.parts.get(index)?;
            if !started {
                self.cursor.started = true;
                return Some(LivePiece::Started { part: index, kind: part.kind.clone() });
            }
            if offset < part.data.len() {
                let end = part.slice_end(offset);
                self.cursor.offset = end;
                let data = Bytes::copy_from_slice(&part.data[offset..end]);
                return Some(LivePiece::Append { part: index, offset, data });
            }
            if index + 1 >= self.parts.len() {
                return None;
            }
            self.cursor = Cursor { part: index + 1, ..Cursor::default() };
        }
    }
}

impl Cursor {
    /// Whether the replica has heard of the stream.
    fn knows_stream(self) -> bool {
        self.part > 0 || self.started
    }
}

impl Part {
    /// Where the append ends that begins at `offset`: text is cut between characters.
    fn slice_end(&self, offset: usize) -> usize {
        let mut end = self.data.len().min(offset + APPEND_BYTES_MAX);
        let is_text = !matches!(self.kind, LivePartKind::ToolOutput { .. });
        while is_text && end > offset && self.data.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
            end -= 1;
        }
        end
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
