//! The live streams that workers write.

use super::{World, message::Up, turn::Turn};
use crate::{
    bug::Bug,
    relay::{PartHeader, PartKind, PartOffset, StreamHeader, StreamId, StreamKind},
};

/// Closed streams that are remembered, to be closed again on a replica that missed it.
const CLOSED_MAX: usize = 16;

/// A live stream that the worker writes.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(super) kind: StreamKind,
    pub(super) bytes: Vec<u8>,
}

impl Live {
    pub(super) fn header(&self) -> PartHeader {
        let kind = match self.kind {
            StreamKind::Call(_) => PartKind::ToolOutput,
            StreamKind::Answer | StreamKind::Summary => PartKind::Text,
        };
        PartHeader { kind, tool_name: String::new() }
    }
}

impl World {
    pub(super) fn open_live(&mut self, no: usize, turn: &mut Turn, kind: StreamKind) -> StreamId {
        let id = StreamId { base_version: turn.base, index: turn.next_index };
        if self.bug != Some(Bug::StreamNameUsedAgain) {
            turn.next_index += 1;
        }
        let live = Live { kind, bytes: Vec::new() };
        let header = live.header();
        turn.live.insert(id, live);
        self.said.insert((turn.key.chat, id), Vec::new());
        if self.workers[no].is_open {
            let stream = StreamHeader { id, fence: turn.key.fence, kind };
            self.worker_says(no, Up::Part { lease: turn.key, stream, part: 0, header });
        }
        id
    }

    pub(super) fn grow(&mut self, no: usize, turn: &mut Turn, id: StreamId) {
        let word = format!("{} ", self.random.below(1000));
        let Some(live) = turn.live.get_mut(&id) else { return };
        let at = PartOffset { part: 0, offset: live.bytes.len() };
        live.bytes.extend_from_slice(word.as_bytes());
        self.said.entry((turn.key.chat, id)).or_default().extend_from_slice(word.as_bytes());
        if self.workers[no].is_open {
            self.worker_says(no, Up::Append { lease: turn.key, stream: id, at, data: word.into_bytes() });
        }
    }

    pub(super) fn close_live(&mut self, no: usize, turn: &mut Turn, ids: &[StreamId]) {
        for id in ids {
            if turn.live.remove(id).is_none() {
                continue;
            }
            turn.closed.push(*id);
            if turn.closed.len() > CLOSED_MAX {
                turn.closed.remove(0);
            }
            if self.workers[no].is_open {
                self.worker_says(no, Up::Closed { lease: turn.key, stream: *id });
            }
        }
    }
}
