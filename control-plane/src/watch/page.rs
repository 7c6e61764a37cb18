//! One page of a sync, turned into durable events one at a time.

use std::{iter::Peekable, vec};

use chatplane_domain::MessageId;

use super::{
    cursor::{Cursor, settings_digest},
    event::{DurableEvent, StateView},
    previews::Picture,
};
use crate::store::{ChatView, MessageChange, QueueChange, RowPosition, SyncPage};

/// A page that is being sent.
#[derive(Debug)]
pub(super) struct Draining {
    chat: ChatView,
    picture: Picture,
    messages: Peekable<vec::IntoIter<MessageChange>>,
    queue: Peekable<vec::IntoIter<QueueChange>>,
    queue_begun: bool,
    more: bool,
    stage: Stage,
}

/// What of a page comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Rows,
    Previews,
    Queue,
    Retry,
    Error,
    Metadata,
    State,
    Complete,
}

/// What a page gives next.
#[derive(Debug)]
pub(super) enum Step {
    /// An event; the cursor stands after it.
    Event(DurableEvent),
    /// The rows are sent: previews without a commit are to be taken back before the
    /// picture is complete. Given again until [`Draining::previews_done`].
    Previews,
    /// The page is sent; another one follows.
    More,
    /// The picture is complete.
    Complete(Picture),
}

impl Draining {
    pub(super) fn new(page: SyncPage) -> Self {
        let picture = Picture {
            snapshot: page.chat.versions.snapshot,
            history: page.chat.versions.history,
            lease: page.chat.fence.filter(|_| page.chat.leased),
            open_calls: page.open_calls,
        };
        Self {
            chat: page.chat,
            picture,
            messages: page.messages.into_iter().peekable(),
            queue: page.queue.into_iter().peekable(),
            queue_begun: false,
            more: page.more,
            stage: Stage::Rows,
        }
    }

    /// The picture that will be complete with this page.
    pub(super) fn picture(&self) -> &Picture {
        &self.picture
    }

    /// No more previews are to be taken back.
    pub(super) fn previews_done(&mut self) {
        self.stage = Stage::Queue;
    }

    /// The next step. `reset_from` is where the last reset cut the client's history, if
    /// it was sent no message since.
    pub(super) fn next(&mut self, cursor: &mut Cursor, reset_from: &mut Option<MessageId>) -> Step {
        loop {
            let (event, then) = match self.stage {
                Stage::Rows if self.more => (self.row(cursor, reset_from), Stage::Queue),
                Stage::Rows => (self.row(cursor, reset_from), Stage::Previews),
                Stage::Previews => return Step::Previews,
                Stage::Queue => match self.queue_change(cursor) {
                    None if self.more => return Step::More,
                    event => (event, Stage::Retry),
                },
                Stage::Retry => (self.retry(cursor), Stage::Error),
                Stage::Error => (self.error(cursor), Stage::Metadata),
                Stage::Metadata => (self.metadata(cursor), Stage::State),
                Stage::State => (self.state(cursor), Stage::Complete),
                Stage::Complete => return Step::Complete(self.picture.clone()),
            };
            match event {
                Some(event) => return Step::Event(event),
                None => self.stage = then,
            }
        }
    }

    /// Rows that were deleted together are one reset; a reset that would remove nothing
    /// is not sent.
    fn row(&mut self, cursor: &mut Cursor, reset_from: &mut Option<MessageId>) -> Option<DurableEvent> {
        let mut from: Option<MessageId> = None;
        loop {
            let due = from.filter(|from| reset_from.is_none_or(|cut| *from < cut));
            let deleted = matches!(self.messages.peek(), Some(MessageChange::Deleted { .. }));
            if let Some(from) = due
                && !deleted
            {
                *reset_from = Some(from);
                return Some(DurableEvent::HistoryReset(from));
            }
            match self.messages.next()? {
                MessageChange::Live(message) => {
                    let (revision, id) = (message.revision, message.id);
                    cursor.position.row = RowPosition { revision, id };
                    *reset_from = None;
                    return Some(DurableEvent::Message(Box::new(message)));
                }
                MessageChange::Deleted { id, revision } => {
                    cursor.position.row = RowPosition { revision, id };
                    from = Some(from.map_or(id, |from| from.min(id)));
                }
            }
        }
    }

    fn queue_change(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let version = self.chat.versions.queue;
        let change = self.queue.next();
        let last = !self.more && self.queue.peek().is_none();
        if change.is_some() && !self.queue_begun {
            self.queue_begun = true;
            cursor.begin_queue_reading(version);
        }
        let (event, revision, id) = match change {
            Some(QueueChange::Upserted { entry, revision }) => {
                let id = entry.id;
                (Some(DurableEvent::QueuedUpserted(entry)), revision, id)
            }
            Some(QueueChange::Removed { id, revision }) => (Some(DurableEvent::QueuedRemoved(id)), revision, id),
            None if last => {
                cursor.complete_queue(version);
                return None;
            }
            None => return None,
        };
        if last {
            cursor.complete_queue(version);
        } else {
            cursor.reach_queue_entry(revision, id);
        }
        event
    }

    fn retry(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let retry = self.chat.retry.take();
        let known = &mut cursor.position.retry;
        news(known, self.chat.versions.retry, retry).map(DurableEvent::Retry)
    }

    fn error(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let error = self.chat.last_error.clone();
        let known = &mut cursor.position.error;
        news(known, self.chat.versions.error, error).map(DurableEvent::Error)
    }

    fn metadata(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let position = &mut cursor.position;
        let version = self.chat.metadata.metadata_version;
        let settings = settings_digest(&self.chat);
        let known = position.settings > 0 && cursor.settings == settings;
        if known && position.metadata >= version {
            return None;
        }
        position.metadata = version;
        position.settings = self.chat.versions.snapshot;
        cursor.settings = settings;
        Some(DurableEvent::ChatUpdated(Box::new(self.chat.clone())))
    }

    fn state(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let known = &mut cursor.position.snapshot;
        if *known >= self.chat.versions.snapshot {
            return None;
        }
        *known = self.chat.versions.snapshot;
        Some(DurableEvent::State(StateView::of(&self.chat)))
    }
}

/// A value that is newer than the version the client knows. That there is none is no
/// news to a client that never had one.
fn news<T>(known: &mut i64, version: i64, value: Option<T>) -> Option<Option<T>> {
    let had_none = *known == 0;
    let is_newer = *known < version;
    *known = version.max(*known);
    (is_newer && !(had_none && value.is_none())).then_some(value)
}
