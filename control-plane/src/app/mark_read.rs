//! How far a user has read a chat.
//!
//! It moves by `MarkRead`, and with a watch: when its first picture is complete, and when it
//! ends. A watch ends where nobody waits for anything, its client being gone; so it leaves a
//! note of what it has shown, and two tasks write down what is noted. When the replica leaves
//! they end with the last note.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chatplane_domain::{ChatId, UserId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{App, Error, chain};
use crate::{
    authz::Actor,
    store::{ChatView, ReadTo},
};

/// Notes that are written down at once: the database's other connections are for the turns,
/// also while thousands of clients come back after a restart.
pub(super) const WRITERS: usize = 2;
/// Notes that wait, some 100 bytes each. Two writers have done as many in some ten seconds.
const NOTES_MAX: usize = 10_000;

/// How far a chat was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkRead {
    /// The chat.
    pub chat: ChatId,
    /// How far.
    pub to: ReadTo,
}

/// Who has read which chat.
type Reading = (ChatId, UserId);

/// What watches have shown and is to be written down: of each chat and user the highest
/// version. Beyond [`NOTES_MAX`] of them a note is not taken: the chat stays unread, until it
/// is watched again.
#[derive(Debug, Default)]
pub(crate) struct ReadNotes {
    notes: Mutex<Notes>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    versions: HashMap<Reading, i64>,
    /// The oldest first.
    order: VecDeque<Reading>,
    /// Since there was room.
    refused: usize,
}

impl ReadNotes {
    fn add(&self, reading: Reading, version: i64) {
        if self.lock().add(reading, version) {
            self.news.notify_one();
        }
    }

    /// The oldest note, once there is one; none when there is none left after `stop`.
    async fn next(&self, stop: &CancellationToken) -> Option<(Reading, i64)> {
        loop {
            // Before the look, or a note in between would be slept through.
            let news = self.news.notified();
            if let Some(note) = self.lock().take() {
                return Some(note);
            }
            tokio::select! {
                () = news => {}
                () = stop.cancelled() => return self.lock().take(),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Nothing panics between the two halves of a note.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Answers whether there is one more.
    fn add(&mut self, reading: Reading, version: i64) -> bool {
        if let Some(noted) = self.versions.get_mut(&reading) {
            *noted = version.max(*noted);
            return false;
        }
        if self.order.len() >= NOTES_MAX {
            if self.refused == 0 {
                tracing::warn!(
                    notes = NOTES_MAX,
                    "watches end faster than is written how far they have read"
                );
            }
            self.refused += 1;
            return false;
        }
        self.versions.insert(reading, version);
        self.order.push_back(reading);
        true
    }

    fn take(&mut self) -> Option<(Reading, i64)> {
        let reading = self.order.pop_front()?;
        if self.refused > 0 && self.order.is_empty() {
            tracing::warn!(chats = self.refused, "chats stay unread that were watched");
            self.refused = 0;
        }
        let version = self.versions.remove(&reading).expect("each in order has its version");
        Some((reading, version))
    }
}

impl App {
    /// Moves the caller's read cursor, never back.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn mark_read(&self, actor: &Actor, mark: MarkRead) -> Result<ChatView, Error> {
        let chat = self.get_chat(actor, mark.chat).await?;
        let viewer = actor.user()?;
        if self.inner.store.mark_read(mark.chat, viewer, mark.to).await? {
            self.inner.hub.owner_changed(viewer);
            return self.get_chat(actor, mark.chat).await;
        }
        Ok(chat)
    }

    /// Writes down how far watches have read, until `stop` and the last of them.
    pub(super) async fn write_read_notes(self, stop: CancellationToken) {
        while let Some(((chat, viewer), version)) = self.inner.read_notes.next(&stop).await {
            match self.inner.store.mark_read(chat, viewer, ReadTo::Version(version)).await {
                Ok(true) => self.inner.hub.owner_changed(viewer),
                Ok(false) => {}
                // The chat stays unread, which the next watch mends.
                Err(error) => {
                    tracing::warn!(%chat, cause = %chain(&error), "how far a watch has read could not be stored");
                }
            }
        }
    }
}

/// The user who watches a chat, and what of it they were shown.
pub(super) struct Reader {
    app: App,
    chat: ChatId,
    viewer: UserId,
    /// What they were shown last: all of the chat at a version.
    shown: Option<i64>,
    /// What was noted.
    noted: Option<i64>,
}

impl Reader {
    /// The reader of a watch that is about to begin.
    pub(super) fn new(app: &App, chat: ChatId, viewer: UserId) -> Self {
        Self { app: app.clone(), chat, viewer, shown: None, noted: None }
    }

    /// All of the chat at this version has been sent.
    pub(super) fn was_shown(&mut self, version: i64) {
        let is_first = self.shown.is_none();
        self.shown = Some(version);
        if is_first {
            self.note();
        }
    }

    fn note(&mut self) {
        let Some(version) = self.shown.filter(|_| self.shown != self.noted) else { return };
        self.noted = self.shown;
        self.app.inner.read_notes.add((self.chat, self.viewer), version);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.note();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn reading(number: usize) -> Reading {
        (ChatId(Uuid::from_u128(number as u128)), UserId(Uuid::nil()))
    }

    /// All that is left once the replica leaves.
    async fn left(notes: &ReadNotes) -> Vec<(Reading, i64)> {
        let stop = CancellationToken::new();
        stop.cancel();
        let mut left = Vec::new();
        while let Some(note) = notes.next(&stop).await {
            left.push(note);
        }
        left
    }

    #[tokio::test]
    async fn many_watches_of_a_chat_leave_one_note_of_the_highest_version() {
        let notes = ReadNotes::default();

        for version in [3, 7, 5] {
            notes.add(reading(1), version);
            notes.add(reading(2), -version);
        }

        assert_eq!(left(&notes).await, [(reading(1), 7), (reading(2), -3)]);
    }

    #[tokio::test]
    async fn who_waits_for_a_note_gets_it_and_the_same_chat_may_be_noted_again() {
        let notes = ReadNotes::default();
        let stop = CancellationToken::new();

        let (first, ()) = tokio::join!(notes.next(&stop), async { notes.add(reading(1), 4) });
        notes.add(reading(1), 2);

        assert_eq!(first, Some((reading(1), 4)));
        assert_eq!(left(&notes).await, [(reading(1), 2)]);
    }

    #[tokio::test]
    async fn notes_are_bounded_and_a_chat_that_is_noted_goes_on() {
        let notes = ReadNotes::default();

        (0..NOTES_MAX + 5).for_each(|number| notes.add(reading(number), 1));
        notes.add(reading(0), 9);
        let left = left(&notes).await;
        notes.add(reading(NOTES_MAX + 1), 1);

        assert_eq!(left.len(), NOTES_MAX);
        assert_eq!(left[0], (reading(0), 9));
        assert_eq!(notes.lock().take(), Some((reading(NOTES_MAX + 1), 1)), "there is room again");
    }
}
