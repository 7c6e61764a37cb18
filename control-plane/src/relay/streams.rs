//! The live streams of one chat, as far as this replica has them.
//!
//! A stream is an append-only list of parts, of which only the last grows. What is
//! kept is a prefix: whoever reads it, from whatever offset, reads the same bytes,
//! so that merging, joining late and resuming are all slicing.

use std::{collections::BTreeMap, sync::Arc};

use chatplane_domain::{CallId, Fence};

use super::budget::Budget;

/// What is kept of a live stream: twice the largest answer, so that only tools that
/// write without end are cut.
pub(crate) const STREAM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is kept of a chat's live streams together: an answer beside a few busy tools.
pub(crate) const CHAT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many live streams a chat may have: the calls of an answer, which has at most
/// 100 parts, and as many again for what is given up and not yet closed.
pub(crate) const CHAT_STREAMS_MAX: usize = 200;
/// How many parts are kept of a live stream: twice as many as an answer may have.
pub(crate) const STREAM_PARTS_MAX: usize = 200;
/// What is kept of a tool's name. Workers send no longer ones; a model may make one up.
pub(crate) const TOOL_NAME_BYTES_MAX: usize = 256;

/// Names a live stream of a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId {
    /// The `snapshot_version` its work started from.
    pub(crate) base_version: i64,
    /// Counts up under one base and is never used twice.
    pub(crate) index: i64,
}

/// What writes a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// A model's answer.
    Answer,
    /// A running tool.
    Call(CallId),
    /// A summary of the history, beside the answer.
    Summary,
}

/// A live stream's name and origin; never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamHeader {
    /// Its name.
    pub(crate) id: StreamId,
    /// The lease under which its work runs.
    pub(crate) fence: Fence,
    /// What writes it.
    pub(crate) kind: StreamKind,
}

/// What a live part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Words of the model.
    Text,
    /// The model's thinking.
    Reasoning,
    /// Arguments of a tool call.
    ToolCall,
    /// What a tool writes: raw bytes.
    ToolOutput,
    /// Words of a summary.
    Summary,
}

impl PartKind {
    /// Whether it may be cut at character boundaries only.
    #[must_use]
    pub(crate) fn is_text(self) -> bool {
        match self {
            Self::Text | Self::Reasoning | Self::ToolCall | Self::Summary => true,
            Self::ToolOutput => false,
        }
    }
}

/// What a live part is; never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartHeader {
    /// Its kind.
    pub(crate) kind: PartKind,
    /// Name of the tool, on tool calls and tool output.
    pub(crate) tool_name: String,
}

/// A place in a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartOffset {
    /// The part, from 0.
    pub(crate) part: usize,
    /// Bytes of that part.
    pub(crate) offset: usize,
}

/// How far a live stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LivePosition {
    /// The stream.
    pub(crate) stream: StreamId,
    /// Its end.
    pub(crate) end: PartOffset,
}

/// Why a piece of a live stream is not taken. Losing a preview loses no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A later lease has written already.
    #[error("its lease has ended")]
    StaleFence,
    /// The stream was never begun here, or is closed.
    #[error("there is no such live stream")]
    UnknownStream,
    /// Something is missing before the piece.
    #[error("something is missing before it")]
    Gap,
    /// The stream was begun with another header.
    #[error("the live stream was begun with another header")]
    OtherHeader,
    /// The chat, or this replica, has as many as it may have.
    #[error("there are too many live streams")]
    TooMany,
    /// A session of this replica writes the chat's streams itself.
    #[error("the chat's live streams are not followed")]
    NotFollowed,
}

/// A live part, as far as it is kept.
#[derive(Debug)]
pub(crate) struct LivePart {
    header: PartHeader,
    bytes: Vec<u8>,
}

impl LivePart {
    /// What it is.
    #[must_use]
    pub(crate) fn header(&self) -> &PartHeader {
        &self.header
    }

    /// What is kept of it.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A live stream, as far as it is kept.
#[derive(Debug)]
pub(crate) struct LiveStream {
    header: StreamHeader,
    parts: Vec<LivePart>,
    /// What has arrived, kept or not.
    end: PartOffset,
    bytes_kept: usize,
    truncated: bool,
    budget: Arc<Budget>,
}

impl LiveStream {
    /// Its name and origin.
    #[must_use]
    pub(crate) fn header(&self) -> &StreamHeader {
        &self.header
    }

    /// The parts that are kept, in order. Only the last grows.
    #[must_use]
    pub(crate) fn parts(&self) -> &[LivePart] {
        &self.parts
    }

    /// Whether it has outgrown what is kept; `parts` then grow no more.
    #[must_use]
    pub(crate) fn truncated(&self) -> bool {
        self.truncated
    }

    fn begin_part(&mut self, header: PartHeader) {
        self.truncated |= self.parts.len() == STREAM_PARTS_MAX;
        if !self.truncated {
            let bytes = Vec::new();
            self.parts.push(LivePart { header, bytes });
        }
    }

    /// Keeps what fits and answers how many bytes that is. `room` is the chat's.
    fn keep(&mut self, data: &[u8], room: usize) -> usize {
        let Some(part) = self.parts.last_mut().filter(|_| !self.truncated) else {
            return 0;
        };
        let fits = data.len().min(room).min(STREAM_BYTES_MAX - self.bytes_kept);
        let granted = self.budget.take(fits);
        let kept = if granted == data.len() {
            granted
        } else if part.header.kind.is_text() {
            char_boundary(data, granted)
        } else {
            granted
        };
        self.budget.give(granted - kept);
        part.bytes.extend_from_slice(&data[..kept]);
        self.bytes_kept += kept;
        self.truncated = kept < data.len();
        kept
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.budget.give(self.bytes_kept);
    }
}

/// The live streams of one chat.
#[derive(Debug)]
pub(crate) struct LiveStreams {
    /// The highest fence that has written.
    fence: Fence,
    /// The highest fence whose lease has ended here, or has gone to another replica.
    ended: Fence,
    streams: BTreeMap<StreamId, LiveStream>,
    bytes_kept: usize,
    budget: Arc<Budget>,
}

impl LiveStreams {
    /// None yet.
    #[must_use]
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { fence: Fence(0), ended: Fence(0), streams: BTreeMap::new(), bytes_kept: 0, budget }
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// One of them.
    #[must_use]
    pub(crate) fn get(&self, id: StreamId) -> Option<&LiveStream> {
        self.streams.get(&id)
    }

    /// All of them by id.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &LiveStream> {
        self.streams.values()
    }

    /// All of them by id, beginning behind this one and ending with it.
    pub(crate) fn iter_after(&self, id: StreamId) -> impl Iterator<Item = &LiveStream> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let behind = self.streams.range((Excluded(id), Unbounded));
        let before = self.streams.range((Unbounded, Included(id)));
        behind.chain(before).map(|(_, stream)| stream)
    }

    /// A part begins. A repeat changes nothing.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; nothing of the piece is kept then.
    pub(crate) fn begin_part(
        &mut self,
        stream: StreamHeader,
        part: usize,
        mut header: PartHeader,
    ) -> Result<(), Refusal> {
        self.admit(stream.fence)?;
        let name_end = char_boundary(header.tool_name.as_bytes(), TOOL_NAME_BYTES_MAX);
        header.tool_name.truncate(name_end);
        if let Some(live) = self.streams.get_mut(&stream.id) {
            if live.header != stream {
                return Err(Refusal::OtherHeader);
            }
            if part > live.end.part + 1 {
                return Err(Refusal::Gap);
            }
            if part == live.end.part + 1 {
                live.end = PartOffset { part, offset: 0 };
                live.begin_part(header);
            }
            return Ok(());
        }
        if part > 0 {
            return Err(Refusal::Gap);
        }
        if self.streams.len() == CHAT_STREAMS_MAX {
            return Err(Refusal::TooMany);
        }
        let mut live = LiveStream {
            header: stream,
            parts: Vec::new(),
            end: PartOffset { part: 0, offset: 0 },
            bytes_kept: 0,
            truncated: false,
            budget: Arc::clone(&self.budget),
        };
        live.begin_part(header);
        self.streams.insert(stream.id, live);
        Ok(())
    }

    /// A part grows. What is there already is not taken again.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; nothing of the piece is kept then.
    pub(crate) fn append(
        &mut self,
        fence: Fence,
        id: StreamId,
        at: PartOffset,
        data: &[u8],
    ) -> Result<(), Refusal> {
        self.admit(fence)?;
        let live = self
            .streams
            .get_mut(&id)
            .filter(|live| live.header.fence == fence)
            .ok_or(Refusal::UnknownStream)?;
        if at.part < live.end.part {
            return Ok(());
        }
        if at > live.end {
            return Err(Refusal::Gap);
        }
        let fresh = data.get(live.end.offset - at.offset..).unwrap_or_default();
        live.end.offset += fresh.len();
        self.bytes_kept += live.keep(fresh, CHAT_BYTES_MAX - self.bytes_kept);
        Ok(())
    }

    /// A stream is over: committed, or given up. Its watchers find out which it was by
    /// a sync, so that there is no memory of what was closed.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn close(&mut self, fence: Fence, id: StreamId) -> Result<(), Refusal> {
        self.admit(fence)?;
        if self.streams.get(&id).is_none_or(|live| live.header.fence != fence) {
            return Err(Refusal::UnknownStream);
        }
        self.retain(|live| live.header.id != id);
        Ok(())
    }

    /// A stream has outgrown what another replica keeps of it: it ends here, too.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub(crate) fn truncate(&mut self, fence: Fence, id: StreamId) -> Result<(), Refusal> {
        self.admit(fence)?;
        let live = self.streams.get_mut(&id).filter(|live| live.header.fence == fence);
        live.ok_or(Refusal::UnknownStream)?.truncated = true;
        Ok(())
    }

    /// Whether nothing of this lease is to be expected here any more.
    #[must_use]
    pub(crate) fn is_over(&self, fence: Fence) -> bool {
        self.fence > fence || self.ended >= fence
    }

    /// A lease has ended: nothing of it or of an earlier one is alive.
    pub(crate) fn end_lease(&mut self, fence: Fence) {
        self.ended = self.ended.max(fence);
        self.retain(|live| live.header.fence > fence);
    }

    /// How far the streams of a lease have come, for a holder that resumes.
    #[must_use]
    pub(crate) fn positions(&self, fence: Fence) -> Vec<LivePosition> {
        let of_lease = self.streams.values().filter(|live| live.header.fence == fence);
        of_lease.map(|live| LivePosition { stream: live.header.id, end: live.end }).collect()
    }

    /// The lease is here, or here again.
    pub(crate) fn revive(&mut self, fence: Fence) {
        self.ended = self.ended.min(Fence(fence.0 - 1));
    }

    /// A higher fence voids every stream of a lower one.
    fn admit(&mut self, fence: Fence) -> Result<(), Refusal> {
        if fence < self.fence {
            return Err(Refusal::StaleFence);
        }
        self.revive(fence);
        if fence > self.fence {
            self.fence = fence;
            self.retain(|live| live.header.fence == fence);
        }
        Ok(())
    }

    fn retain(&mut self, keep: impl Fn(&LiveStream) -> bool) {
        self.streams.retain(|_, live| keep(live));
        self.bytes_kept = self.streams.values().map(|live| live.bytes_kept).sum();
    }
}

/// The largest length up to `max` that cuts no character. Bytes that are no UTF-8 are
/// cut anywhere.
pub(crate) fn char_boundary(bytes: &[u8], max: usize) -> usize {
    let end = max.min(bytes.len());
    let head = &bytes[..end];
    // A character has at most 4 bytes, so its first byte is among the last 4.
    let tail = &head[end.saturating_sub(4)..];
    let Some(back) = tail.iter().rev().position(|byte| byte & 0b1100_0000 != 0b1000_0000) else {
        return end;
    };
    let first = end - 1 - back;
    let length = match bytes[first] {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        _ => 1,
    };
    if first + length > end { first } else { end }
}
