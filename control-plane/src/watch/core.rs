//! One watcher of a chat, as a pure core: what it learns in, what it does out.
//!
//! # Theory of operation
//!
//! A watcher merges two sources. *Durable* events come from the database alone: a sync
//! reads, in one snapshot, what is newer than the cursor, and is sent in an order in
//! which the cursor only grows. *Live* events come from the relay: the watcher keeps how
//! far it has read each stream, and slices.
//!
//! What joins the two is the picture: the chat as of the last complete sync. It decides
//! which streams are alive. Everything else only asks for another sync: a hint, a poll,
//! a stream that began after the picture, a stream that was closed. So nothing that
//! is lost, late or doubled between replicas can show a wrong picture, only an old one.
//!
//! - While the pages of a sync are sent, no live event is: a preview never stands beside
//!   the message that has replaced it. A summary's preview alone is not replaced by rows:
//!   it is made beside the steps and ends with a reset.
//! - An edit removes messages from one id on, and spares boundaries above it that cover
//!   less. It touches those, so they come again with its revision: a reset that takes
//!   them with it loses nothing, and what a client has to do stays one comparison.
//! - A preview that is over is replaced by its message or, where no message came, taken
//!   back by exactly one reset. A closed stream alone does not say which it was; a sync
//!   that began after it was seen closed does.
//! - At most one sync runs, and whatever is learnt meanwhile asks for one more, however
//!   often it is learnt. Live events go on meanwhile.
//! - It is pulled: one event at a time leaves when the client can take it, so a watcher
//!   holds one page and one event, whatever the client's pace.
//!
//! Time is an argument, a duration since any fixed point.

use std::time::Duration;

use chatplane_domain::{ChatId, MessageId};

use super::{
    cursor::{Cursor, Malformed},
    event::{DurableEvent, Emitted, Event, LiveEvent},
    page::{Draining, Step},
    previews::{Picture, Previews},
};
use crate::{
    relay::LiveStreams,
    store::{SyncFrom, SyncPage},
};

/// How long a watcher waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// An idle watcher says so this often: proxies cut silent streams.
    pub(crate) progress_interval: Duration,
    /// After a failed sync, doubling up to `sync_delay_max`.
    pub(crate) sync_delay_min: Duration,
    /// The longest wait between failing syncs.
    pub(crate) sync_delay_max: Duration,
    /// After this long without a sync that works the client is told to come back later.
    pub(crate) sync_failure_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            progress_interval: Duration::from_secs(15),
            sync_delay_min: Duration::from_millis(250),
            sync_delay_max: Duration::from_secs(5),
            sync_failure_max: Duration::from_secs(60),
        }
    }
}

/// What a watcher does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send an event, then ask again.
    Emit(Emitted),
    /// Begin a sync, then ask again.
    RunSync(SyncFrom),
    /// Ask again when something is learnt, or at this time.
    Wait(Duration),
    /// End the stream.
    End(End),
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The cursor has seen what the database has not.
    CursorExpired,
    /// The chat is gone.
    ChatNotFound,
}

/// The database has not answered for so long that the client had better come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp;

/// One watcher of a chat.
#[derive(Debug)]
pub(crate) struct Watcher {
    timing: Timing,
    cursor: Cursor,
    /// The cursor after the last durable event; every event carries it.
    cursor_text: String,
    begin: Begin,
    page: Option<Draining>,
    picture: Option<Picture>,
    previews: Previews,
    sync: Sync,
    /// A reset of the history that is due and not sent yet.
    reset: Option<MessageId>,
    emit_time: Duration,
    end: Option<End>,
}

/// How a watcher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// With the present, not read yet.
    Start { history_limit: Option<u32> },
    /// With a cursor; the client may hold previews of an earlier stream.
    Resume,
    /// It has begun: the client holds what it was sent here.
    Begun,
}

#[derive(Debug, Default)]
struct Sync {
    is_wanted: bool,
    is_running: bool,
    /// The last page was not the last one of its sync.
    is_partial: bool,
    not_before: Duration,
    delay: Duration,
    failing_since: Option<Duration>,
}

impl Watcher {
    /// A watcher that begins with the present.
    pub(crate) fn start(chat: ChatId, history_limit: Option<u32>, timing: Timing, now: Duration) -> Self {
        let cursor = Cursor::start(chat);
        Self::new(cursor, cursor.encode(), Begin::Start { history_limit }, timing, now)
    }

    /// A watcher that goes on after a cursor.
    ///
    /// # Errors
    ///
    /// `Malformed`.
    pub(crate) fn resume(
        chat: ChatId,
        cursor: &str,
        timing: Timing,
        now: Duration,
    ) -> Result<Self, Malformed> {
        let read = Cursor::decode(chat, cursor)?;
        // The client's own text, which an earlier release may have written otherwise: it
        // stays what it is until something durable is sent.
        Ok(Self::new(read, cursor.to_owned(), Begin::Resume, timing, now))
    }

    fn new(cursor: Cursor, cursor_text: String, begin: Begin, timing: Timing, now: Duration) -> Self {
        Self {
            timing,
            cursor,
            cursor_text,
            begin,
            page: None,
            picture: None,
            previews: Previews::default(),
            sync: Sync { is_wanted: true, ..Sync::default() },
            reset: None,
            emit_time: now,
            end: None,
        }
    }

    /// The chat may have changed.
    pub(crate) fn on_hint(&mut self) {
        self.sync.is_wanted = true;
    }

    /// The sync has read a page; none when there is no such chat.
    pub(crate) fn on_page(&mut self, page: Option<SyncPage>) {
        self.sync.is_running = false;
        self.sync.failing_since = None;
        self.sync.delay = Duration::ZERO;
        let Some(page) = page else {
            self.end = Some(End::ChatNotFound);
            return;
        };
        if let Begin::Start { .. } = self.begin {
            self.begin = Begin::Begun;
            self.cursor.begun = page.chat.versions.snapshot;
            self.cursor.position.row = page.start;
        }
        if self.cursor.is_ahead_of(&page.chat) {
            self.end = Some(End::CursorExpired);
            return;
        }
        self.sync.is_partial = page.more;
        self.page = Some(Draining::new(page));
    }

    /// The sync has failed; it is run again after a while.
    ///
    /// # Errors
    ///
    /// `GivenUp`.
    pub(crate) fn on_sync_failed(&mut self, now: Duration) -> Result<(), GivenUp> {
        self.sync.is_running = false;
        self.sync.is_wanted = true;
        self.sync.delay = (self.sync.delay * 2).clamp(self.timing.sync_delay_min, self.timing.sync_delay_max);
        self.sync.not_before = now + self.sync.delay;
        let since = *self.sync.failing_since.get_or_insert(now);
        if now.saturating_sub(since) < self.timing.sync_failure_max { Ok(()) } else { Err(GivenUp) }
    }

    /// What to do next.
    pub(crate) fn poll(&mut self, live: &LiveStreams, now: Duration) -> Action {
        if let Some(end) = self.end {
            return Action::End(end);
        }
        if let Some(event) = self.next_of_page(live) {
            return self.emit(event, now);
        }
        if let Some(from) = self.next_sync(live, now) {
            return Action::RunSync(from);
        }
        if let Some(event) = self.next_live(live) {
            return self.emit(Event::Live(event), now);
        }
        let progress_time = self.emit_time + self.timing.progress_interval;
        if progress_time <= now {
            return self.emit(Event::Live(LiveEvent::Progress), now);
        }
        let sync_time = (self.sync.is_wanted && !self.sync.is_running).then_some(self.sync.not_before);
        Action::Wait(sync_time.map_or(progress_time, |time| time.min(progress_time)))
    }

    fn emit(&mut self, event: Event, now: Duration) -> Action {
        self.emit_time = now;
        let cursor = self.cursor_text.clone();
        Action::Emit(Emitted { cursor, event })
    }

    fn next_of_page(&mut self, live: &LiveStreams) -> Option<Event> {
        let page = self.page.as_mut()?;
        loop {
            match page.next(&mut self.cursor, &mut self.reset) {
                Step::Event(event) => {
                    if let DurableEvent::Message(message) = &event {
                        self.previews.replaced_by(message);
                    }
                    self.cursor_text = self.cursor.encode();
                    return Some(Event::Durable(event));
                }
                Step::Previews => {
                    if let Some(stream) = self.previews.next_void(live, page.picture()) {
                        return Some(Event::Live(LiveEvent::PreviewReset(Some(stream))));
                    }
                    page.previews_done();
                }
                Step::More => {
                    self.page = None;
                    return None;
                }
                Step::Complete(picture) => {
                    self.page = None;
                    self.picture = Some(picture);
                    return None;
                }
            }
        }
    }

    fn next_sync(&mut self, live: &LiveStreams, now: Duration) -> Option<SyncFrom> {
        if self.sync.is_running || now < self.sync.not_before {
            return None;
        }
        let previews_ask = |picture| self.previews.need_sync(live, picture);
        if !self.sync.is_wanted && !self.sync.is_partial && !self.picture.as_ref().is_some_and(previews_ask) {
            return None;
        }
        self.sync.is_running = true;
        self.sync.is_wanted = false;
        self.previews.sync_begins(live);
        if let Begin::Start { history_limit } = self.begin {
            return Some(SyncFrom::Start { history_limit });
        }
        Some(SyncFrom::After {
            row: self.cursor.position.row,
            queue: self.cursor.position.queue,
            removed_after: self.cursor.removed_after(),
        })
    }

    fn next_live(&mut self, live: &LiveStreams) -> Option<LiveEvent> {
        let picture = self.picture.as_ref().filter(|_| !self.sync.is_partial)?;
        if self.begin == Begin::Resume {
            self.begin = Begin::Begun;
            return Some(LiveEvent::PreviewReset(None));
        }
        self.previews.next(live, picture)
    }
}
