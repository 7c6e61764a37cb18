//! Live streams: what models and tools write before it is committed.
//!
//! A replica keeps the live streams of the chats that are leased to its sessions, once,
//! whatever the number of watchers. A watcher keeps only how far it has read, is told
//! that there is something new, and slices from its own offset: no append is queued for
//! anybody, so a slow watcher costs what a fast one costs.
//!
//! Nothing here is durable or needs to be: a worker keeps the streams of its running step
//! until they are committed, and sends what a replica does not have.
//!
//! Who writes is not asked. Sessions do; a peer replica's streams will enter by the same
//! [`Relay::begin_part`], [`Relay::append`] and [`Relay::close`], since a repeated piece
//! changes nothing. The caller has checked that the writer holds the lease it names.

mod budget;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chatplane_domain::{ChatId, Fence};
use tokio::sync::watch;

pub(crate) use budget::Budget;
#[cfg(test)]
pub(crate) use streams::STREAM_BYTES_MAX;
pub(crate) use streams::char_boundary;
pub(crate) use streams::{
    LivePosition, LiveStream, LiveStreams, PartHeader, PartKind, PartOffset, Refusal, StreamHeader, StreamId,
    StreamKind,
};

/// What a replica keeps of all live streams together: what is beyond is not previewed.
pub(crate) const REPLICA_BYTES_MAX: usize = 512 * 1024 * 1024;
/// How many chats may be watched on a replica or write to it, at about 1 KiB each.
pub(crate) const REPLICA_CHATS_MAX: usize = 100_000;

/// The live streams of a replica.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    chats: Arc<Mutex<Chats>>,
    budget: Arc<Budget>,
}

type Chats = HashMap<ChatId, Arc<Entry>>;

/// A chat that is watched or has live streams.
#[derive(Debug)]
struct Entry {
    state: Mutex<State>,
    /// Wakes the watchers; what changed they see by looking.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    streams: LiveStreams,
    watchers: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Self { chats: Arc::default(), budget: Arc::new(Budget::new(REPLICA_BYTES_MAX)) }
    }
}

impl Relay {
    /// Watches a chat's live streams.
    ///
    /// # Errors
    ///
    /// `TooMany`.
    pub(crate) fn watch(&self, chat: ChatId) -> Result<Watched, Refusal> {
        let mut chats = lock(&self.chats);
        let entry = self.entry(&mut chats, chat)?;
        lock(&entry.state).watchers += 1;
        Ok(Watched { chats: Arc::clone(&self.chats), chat, changed: entry.changed.subscribe(), entry })
    }

    /// A part begins. A repeat changes nothing.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn begin_part(
        &self,
        chat: ChatId,
        stream: StreamHeader,
        part: usize,
        header: PartHeader,
    ) -> Result<(), Refusal> {
        // Under the lock of all chats, or the entry could be forgotten before it is written to.
        let mut chats = lock(&self.chats);
        let entry = self.entry(&mut chats, chat)?;
        let begun = entry.write(|streams| streams.begin_part(stream, part, header));
        forget_if_idle(&mut chats, chat, &entry);
        begun
    }

    /// A part grows. What is there already is not taken again.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn append(
        &self,
        chat: ChatId,
        fence: Fence,
        stream: StreamId,
        at: PartOffset,
        data: &[u8],
    ) -> Result<(), Refusal> {
        let entry = self.find(chat).ok_or(Refusal::UnknownStream)?;
        entry.write(|streams| streams.append(fence, stream, at, data))
    }

    /// A stream is over: committed, or given up.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn close(&self, chat: ChatId, fence: Fence, stream: StreamId) -> Result<(), Refusal> {
        self.shrink(chat, |streams| streams.close(fence, stream)).unwrap_or(Err(Refusal::UnknownStream))
    }

    /// A lease has ended, however it did: what is left of its streams goes.
    pub(crate) fn end_lease(&self, chat: ChatId, fence: Fence) {
        self.shrink(chat, |streams| streams.end_lease(fence));
    }

    /// How far the streams of a lease have come, for a holder that resumes.
    #[must_use]
    pub(crate) fn positions(&self, chat: ChatId, fence: Fence) -> Vec<LivePosition> {
        self.find(chat).map(|entry| lock(&entry.state).streams.positions(fence)).unwrap_or_default()
    }

    fn find(&self, chat: ChatId) -> Option<Arc<Entry>> {
        lock(&self.chats).get(&chat).cloned()
    }

    fn entry(&self, chats: &mut Chats, chat: ChatId) -> Result<Arc<Entry>, Refusal> {
        if !chats.contains_key(&chat) && chats.len() >= REPLICA_CHATS_MAX {
            return Err(Refusal::TooMany);
        }
        let entry = chats.entry(chat).or_insert_with(|| {
            Arc::new(Entry {
                state: Mutex::new(State { streams: LiveStreams::new(Arc::clone(&self.budget)), watchers: 0 }),
                changed: watch::Sender::new(()),
            })
        });
        Ok(Arc::clone(entry))
    }

    fn shrink<R>(&self, chat: ChatId, act: impl FnOnce(&mut LiveStreams) -> R) -> Option<R> {
        let mut chats = lock(&self.chats);
        let entry = chats.get(&chat).cloned()?;
        let done = entry.write(act);
        forget_if_idle(&mut chats, chat, &entry);
        Some(done)
    }
}

impl Entry {
    fn write<R>(&self, act: impl FnOnce(&mut LiveStreams) -> R) -> R {
        let done = act(&mut lock(&self.state).streams);
        self.changed.send_replace(());
        done
    }
}

/// Forgets a chat that nobody watches and that has no stream. With the lock of all chats
/// held, nobody can begin to watch or to write in between.
fn forget_if_idle(chats: &mut Chats, chat: ChatId, entry: &Entry) {
    let state = lock(&entry.state);
    if state.watchers == 0 && state.streams.is_empty() {
        chats.remove(&chat);
    }
}

/// One watcher's view of a chat's live streams.
#[derive(Debug)]
pub(crate) struct Watched {
    chats: Arc<Mutex<Chats>>,
    chat: ChatId,
    entry: Arc<Entry>,
    changed: watch::Receiver<()>,
}

impl Watched {
    /// Looks at the streams. The look is short: writers wait for it.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&LiveStreams) -> R) -> R {
        look(&lock(&self.entry.state).streams)
    }

    /// Returns when something has changed since it last returned.
    pub(crate) async fn changed(&mut self) {
        self.changed.changed().await.expect("the sender lives in the entry, which is held here");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut chats = lock(&self.chats);
        lock(&self.entry.state).watchers -= 1;
        forget_if_idle(&mut chats, self.chat, &self.entry);
    }
}

/// What is locked here is whole after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
