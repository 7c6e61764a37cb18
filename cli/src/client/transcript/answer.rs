//! The answer that is being printed, and the live stream that it comes from.

use std::{collections::BTreeMap, mem};

use chatplane_proto::chat::v1::StreamId;

use super::Output;
use crate::client::words;

/// The model's answer as it is being written.
pub(super) struct LiveStream {
    pub(super) base: i64,
    index: i64,
    pub(super) parts: BTreeMap<i32, LivePart>,
    /// True when what follows cannot be printed, because something is missing before it.
    pub(super) is_cut: bool,
}

pub(super) struct LivePart {
    pub(super) is_text: bool,
    pub(super) bytes: i64,
}

impl LiveStream {
    pub(super) fn new(id: &StreamId) -> Self {
        Self { base: id.base_version, index: id.index, parts: BTreeMap::new(), is_cut: false }
    }

    pub(super) fn position(&self) -> (i64, i64) {
        (self.base, self.index)
    }

    pub(super) fn is(&self, id: &StreamId) -> bool {
        self.position() == (id.base_version, id.index)
    }
}

/// The text of the answer that is being printed: of one message, over all attempts at it.
#[derive(Default)]
pub(super) struct Answer {
    printed: Vec<u8>,
    /// How much of `printed` the present source has confirmed.
    matched: usize,
}

impl Answer {
    /// From here on the text arrives from its start.
    pub(super) fn restart(&mut self) {
        self.matched = 0;
    }

    /// The text goes on.
    pub(super) fn append(&mut self, data: &[u8]) -> Vec<Output> {
        let known = &self.printed[self.matched..];
        let same = known.len().min(data.len());
        if known[..same] != data[..same] {
            let mut text = mem::take(&mut self.printed);
            text.truncate(self.matched);
            text.extend_from_slice(data);
            return self.print_again(text);
        }
        self.matched += same;
        let new = &data[same..];
        if new.is_empty() {
            return Vec::new();
        }
        let mut outputs = Vec::new();
        if self.printed.is_empty() {
            // Another message may have been printed before.
            outputs.push(Output::NewLine);
        }
        self.printed.extend_from_slice(new);
        self.matched = self.printed.len();
        outputs.push(Output::Answer(new.to_vec()));
        outputs
    }

    /// The text is complete, and this is all of it.
    pub(super) fn settle(&mut self, whole: &[u8]) -> Vec<Output> {
        self.restart();
        let mut outputs = self.append(whole);
        if self.matched < self.printed.len() {
            // More was printed than was kept.
            outputs = self.print_again(whole.to_vec());
        }
        *self = Self::default();
        outputs
    }

    fn print_again(&mut self, text: Vec<u8>) -> Vec<Output> {
        self.matched = text.len();
        self.printed.clone_from(&text);
        vec![Output::NewLine, Output::Note(words::ANSWER_BEGINS_AGAIN.to_owned()), Output::Answer(text)]
    }
}
