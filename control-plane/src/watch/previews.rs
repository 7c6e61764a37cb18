//! Which live streams a watcher is shown, and how far it has read them.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatplane_domain::{Body, CallId, Fence};

use super::event::LiveEvent;
use crate::{
    relay::{LiveStream, LiveStreams, PartKind, StreamHeader, StreamId, StreamKind, char_boundary},
    store::MessageView,
};

/// Bytes of one append: few enough that a durable event never waits long behind one.
const APPEND_BYTES_MAX: usize = 256 * 1024;

/// What decides which live streams are alive: a chat as of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) snapshot: i64,
    pub(super) history: i64,
    /// Fence of the lease, if the chat is leased.
    pub(super) lease: Option<Fence>,
    /// Calls without a result.
    pub(super) open_calls: Vec<CallId>,
}

/// What becomes of a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is shown.
    Alive,
    /// It began after this picture.
    Held,
    /// Its work is committed or void.
    Over,
}

impl Picture {
    fn fate(&self, stream: &StreamHeader) -> Fate {
        if stream.id.base_version > self.snapshot {
            return Fate::Held;
        }
        if self.lease != Some(stream.fence) {
            return Fate::Over;
        }
        let over = match stream.kind {
            StreamKind::Answer => stream.id.base_version < self.history,
            StreamKind::Call(call) => !self.open_calls.contains(&call),
            // It is made beside the steps, and lives until its worker closes it.
            StreamKind::Summary => false,
        };
        if over { Fate::Over } else { Fate::Alive }
    }
}

/// The live streams that a watcher was shown and that nothing has replaced yet.
#[derive(Debug, Default)]
pub(super) struct Previews {
    shown: BTreeMap<StreamId, Shown>,
    /// The highest base for which a sync was begun: one is enough, since what it
    /// names was committed before.
    base_asked: i64,
    /// Streams take turns, so that a busy one does not starve the others.
    last_served: StreamId,
}

#[derive(Debug)]
struct Shown {
    header: StreamHeader,
    parts_started: usize,
    /// Bytes sent of the last started part.
    offset: usize,
    truncation_told: bool,
    /// It was closed before the sync in progress began: that sync shows the commit, or
    /// there is none.
    closed: bool,
}

impl Previews {
    /// Whether the streams tell of something that the picture does not show yet: one
    /// that began after it, or one that was closed.
    pub(super) fn need_sync(&self, live: &LiveStreams, picture: &Picture) -> bool {
        let seen = picture.snapshot.max(self.base_asked);
        live.iter().any(|stream| stream.header().id.base_version > seen)
            || self.shown.iter().any(|(id, shown)| !shown.closed && live.get(*id).is_none())
    }

    /// A sync begins now: it will show whatever was committed by now.
    pub(super) fn sync_begins(&mut self, live: &LiveStreams) {
        let newest = live.iter().next_back().map(|stream| stream.header().id.base_version);
        self.base_asked = self.base_asked.max(newest.unwrap_or(0));
        for (id, shown) in &mut self.shown {
            shown.closed = live.get(*id).is_none();
        }
    }

    /// The client forgets what the message replaces, and so does this. The rows of a
    /// boundary replace nothing: they are no answer, and a summary's preview ends with a
    /// reset when its worker has closed it, which is later.
    pub(super) fn replaced_by(&mut self, message: &MessageView) {
        if message.covers_through.is_some() {
            return;
        }
        match &message.body {
            Body::Assistant(_) => self.shown.retain(|id, shown| {
                shown.header.kind != StreamKind::Answer || id.base_version >= message.revision
            }),
            Body::Tool(result) => {
                self.shown.retain(|_, shown| shown.header.kind != StreamKind::Call(result.call));
            }
            Body::System(_) | Body::User(_) => {}
        }
    }

    /// With a new picture whose rows are sent: a preview that nothing will replace.
    pub(super) fn next_void(&mut self, live: &LiveStreams, picture: &Picture) -> Option<StreamId> {
        let (id, _) = self.shown.iter().find(|(id, shown)| {
            picture.fate(&shown.header) == Fate::Over || (shown.closed && live.get(**id).is_none())
        })?;
        let id = *id;
        self.shown.remove(&id);
        Some(id)
    }

    /// The next thing to show.
    pub(super) fn next(&mut self, live: &LiveStreams, picture: &Picture) -> Option<LiveEvent> {
        let answer = live
            .iter()
            .rev()
            .map(LiveStream::header)
            .find(|stream| stream.kind == StreamKind::Answer && picture.fate(stream) == Fate::Alive)
            .map(|stream| stream.id);
        if let Some(answer) = answer
            && let Some(given_up) = self.take_older_answer(answer)
        {
            return Some(LiveEvent::PreviewReset(Some(given_up)));
        }
        for stream in live.iter_after(self.last_served) {
            let header = stream.header();
            let is_shown = picture.fate(header) == Fate::Alive
                && match header.kind {
                    StreamKind::Answer => Some(header.id) == answer,
                    StreamKind::Call(_) | StreamKind::Summary => true,
                };
            if is_shown && let Some(event) = self.advance(stream) {
                self.last_served = stream.header().id;
                return Some(event);
            }
        }
        None
    }

    /// A newer answer means that an older one was given up: had it been committed, the
    /// picture in which the newer is alive would show it.
    fn take_older_answer(&mut self, newest: StreamId) -> Option<StreamId> {
        let (id, _) =
            self.shown.range(..newest).find(|(_, shown)| shown.header.kind == StreamKind::Answer)?;
        let id = *id;
        self.shown.remove(&id);
        Some(id)
    }

    fn advance(&mut self, live: &LiveStream) -> Option<LiveEvent> {
        let header = *live.header();
        let shown = self.shown.entry(header.id).or_insert(Shown {
            header,
            parts_started: 0,
            offset: 0,
            truncation_told: false,
            closed: false,
        });
        if let Some(part) = shown.parts_started.checked_sub(1) {
            let live_part = live.parts().get(part)?;
            let news = live_part.bytes().get(shown.offset..)?;
            let slice = &news[..append_length(news, live_part.header().kind)];
            if !slice.is_empty() {
                let offset = shown.offset;
                shown.offset += slice.len();
                return Some(LiveEvent::PartAppend {
                    stream: header.id,
                    part,
                    offset,
                    data: Bytes::copy_from_slice(slice),
                });
            }
        }
        if let Some(next) = live.parts().get(shown.parts_started) {
            let part = shown.parts_started;
            shown.parts_started += 1;
            shown.offset = 0;
            return Some(LiveEvent::PartStarted {
                stream: header.id,
                kind: header.kind,
                part,
                header: next.header().clone(),
            });
        }
        if live.truncated() && !shown.truncation_told {
            shown.truncation_told = true;
            return Some(LiveEvent::PreviewTruncated(header.id));
        }
        None
    }
}

/// How much of what is new goes into one append. A character whose rest is missing is
/// held back, for good where the stream was cut.
fn append_length(news: &[u8], kind: PartKind) -> usize {
    if kind.is_text() { char_boundary(news, APPEND_BYTES_MAX) } else { news.len().min(APPEND_BYTES_MAX) }
}
