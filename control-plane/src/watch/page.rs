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
    Action,
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

    /// The next step. `reset` is carried from page to page: where a reset will cut the
    /// client's history that is due and not sent yet.
    pub(super) fn next(&mut self, cursor: &mut Cursor, reset: &mut Option<MessageId>) -> Step {
        loop {
            let (event, then) = match self.stage {
                Stage::Rows if self.more => (self.row(cursor, reset), Stage::Queue),
                Stage::Rows => (self.row(cursor, reset), Stage::Previews),
                Stage::Previews => return Step::Previews,
                Stage::Queue => match self.queue_change(cursor) {
                    None if self.more => return Step::More,
                    event => (event, Stage::Retry),
                },
                Stage::Retry => (self.retry(cursor), Stage::Error),
                Stage::Error => (self.error(cursor), Stage::Metadata),
                Stage::Metadata => (self.metadata(cursor), Stage::Action),
                Stage::Action => (self.action(cursor), Stage::State),
                Stage::State => (self.state(cursor), Stage::Complete),
                Stage::Complete => return Step::Complete(self.picture.clone()),
            };
            match event {
                Some(event) => return Step::Event(event),
                None => self.stage = then,
            }
        }
    }

    /// Rows deleted one after another are one reset, which stands before the next live
    /// row: there, what is left of the history is certainly what is live. A reset halfway
    /// would leave rows that a later deletion of the same run removes.
    fn row(&mut self, cursor: &mut Cursor, reset: &mut Option<MessageId>) -> Option<DurableEvent> {
        while let Some(MessageChange::Deleted { id, revision }) =
            self.messages.next_if(|change| matches!(change, MessageChange::Deleted { .. }))
        {
            cursor.position.row = RowPosition { revision, id };
            *reset = Some(reset.map_or(id, |from| from.min(id)));
        }
        let run_may_go_on = self.more && self.messages.peek().is_none();
        if let Some(from) = reset.take_if(|_| !run_may_go_on) {
            return Some(DurableEvent::HistoryReset(from));
        }
        let Some(MessageChange::Live(message)) = self.messages.next() else {
            return None;
        };
        let (revision, id) = (message.revision, message.id);
        cursor.position.row = RowPosition { revision, id };
        Some(DurableEvent::Message(Box::new(message)))
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
            Some(QueueChange::Removed { id, revision }) => {
                (Some(DurableEvent::QueuedRemoved(id)), revision, id)
            }
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

    /// What a suspended chat waits for goes with each of its snapshots: a result that is
    /// handed in takes its call off the list and moves nothing else.
    fn action(&mut self, cursor: &mut Cursor) -> Option<DurableEvent> {
        let snapshot = self.chat.versions.snapshot;
        let known = &mut cursor.position.action;
        let required = self.chat.action_required.clone().filter(|_| *known < snapshot)?;
        *known = snapshot;
        Some(DurableEvent::ActionRequired(required))
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
