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
//! Sessions of this replica write by [`Relay::begin_part`], [`Relay::append`] and
//! [`Relay::close`]; what is streamed elsewhere is *followed*, and comes in by
//! [`Relay::write_followed`]. A repeated piece changes nothing, so a chat may go from one
//! to the other and back under one lease. The caller has checked that the writer holds
//! the lease it names.

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
    /// The lease whose streams are followed at another replica; no session of it, or of a later
    /// one, has spoken here since.
    followed: Option<Fence>,
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
        let begun = entry.write_here(stream.fence, |streams| streams.begin_part(stream, part, header));
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
        entry.write_here(fence, |streams| streams.append(fence, stream, at, data))
    }

    /// A stream is over: committed, or given up.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn close(&self, chat: ChatId, fence: Fence, stream: StreamId) -> Result<(), Refusal> {
        self.shrink(chat, |state| {
            state.is_here(fence);
            state.streams.close(fence, stream)
        })
        .unwrap_or(Err(Refusal::UnknownStream))
    }

    /// A lease has ended for a session of this replica, however it did: what is left of
    /// its streams goes. Where they are followed by now, the session has only moved.
    pub(crate) fn end_lease(&self, chat: ChatId, fence: Fence) {
        self.shrink(chat, |state| {
            if state.followed != Some(fence) {
                state.streams.end_lease(fence);
            }
        });
    }

    /// How far the streams of a lease have come, for a holder that resumes here. It goes on
    /// from there, so what was followed is this replica's own from now on.
    #[must_use]
    pub(crate) fn resume(&self, chat: ChatId, fence: Fence) -> Vec<LivePosition> {
        let resume = |state: &mut State| {
            state.is_here(fence);
            state.streams.revive(fence);
            state.streams.positions(fence)
        };
        self.find(chat).map(|entry| resume(&mut lock(&entry.state))).unwrap_or_default()
    }

    /// Begins to follow a chat's live streams, and answers how far those of the lease are here.
    #[must_use]
    pub(crate) fn follow(&self, chat: ChatId, fence: Fence) -> Vec<LivePosition> {
        let follow = |state: &mut State| {
            state.followed = Some(fence);
            state.streams.positions(fence)
        };
        self.find(chat).map(|entry| follow(&mut lock(&entry.state))).unwrap_or_default()
    }

    /// Writes what was heard of a chat that is followed.
    ///
    /// # Errors
    ///
    /// `NotFollowed`, or see [`Refusal`].
    pub(crate) fn write_followed(
        &self,
        chat: ChatId,
        write: impl FnOnce(&mut LiveStreams) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let follower = |state: &mut State| {
            if state.followed.is_some() { write(&mut state.streams) } else { Err(Refusal::NotFollowed) }
        };
        self.shrink(chat, follower).unwrap_or(Err(Refusal::NotFollowed))
    }

    /// What was followed is this replica's own from now on: its session has come here.
    pub(crate) fn adopt(&self, chat: ChatId) {
        if let Some(entry) = self.find(chat) {
            lock(&entry.state).followed = None;
        }
    }

    /// Follows a chat no more. What is here of leases up to this one goes, unless a session of
    /// this replica has gone on with it.
    pub(crate) fn unfollow(&self, chat: ChatId, fence: Fence) {
        self.shrink(chat, |state| {
            if state.followed.take().is_some() {
                state.streams.end_lease(fence);
            }
        });
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
                state: Mutex::new(State {
                    streams: LiveStreams::new(Arc::clone(&self.budget)),
                    watchers: 0,
                    followed: None,
                }),
                changed: watch::Sender::new(()),
            })
        });
        Ok(Arc::clone(entry))
    }

    /// For writes after which nothing may be left of the chat.
    fn shrink<R>(&self, chat: ChatId, act: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut chats = lock(&self.chats);
        let entry = chats.get(&chat).cloned()?;
        let done = entry.write(act);
        forget_if_idle(&mut chats, chat, &entry);
        Some(done)
    }
}

impl Entry {
    fn write<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let done = act(&mut lock(&self.state));
        self.changed.send_replace(());
        done
    }

    /// A session of this replica writes.
    fn write_here<R>(&self, fence: Fence, act: impl FnOnce(&mut LiveStreams) -> R) -> R {
        self.write(|state| {
            state.is_here(fence);
            act(&mut state.streams)
        })
    }
}

impl State {
    /// A session of this replica speaks for this lease. One that was before the lease that is
    /// followed has nothing to say about it: another worker has taken the chat.
    fn is_here(&mut self, fence: Fence) {
        if self.followed.is_some_and(|followed| fence >= followed) {
            self.followed = None;
        }
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
