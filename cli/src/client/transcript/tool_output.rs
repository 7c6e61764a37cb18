//! What running tools write, as it is shown: the first lines of each call, each cut to the width of a line.
//!
//! A stream that is sent again after a reconnect, or begun again for the same call, shows nothing twice: what
//! counts is how many bytes of the call have been seen.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1::{CallId, PartAppend, PartStarted, StreamId};

use crate::client::words;

/// Lines shown of one call. The model gets to see more, and the chat's history holds it.
const LINES_SHOWN: usize = 10;
/// A line that has grown to this is shown as it is, so that none is kept without bound.
const LINE_BYTES_MAX: usize = 4 * 1024;

type CallKey = (i64, i32);

/// The output of all calls that run.
#[derive(Default)]
pub(super) struct ToolOutput {
    streams: BTreeMap<(i64, i64), (i32, CallKey)>,
    calls: BTreeMap<CallKey, Shown>,
}

#[derive(Default)]
struct Shown {
    bytes_seen: i64,
    lines: usize,
    line: Vec<u8>,
}

impl ToolOutput {
    pub(super) fn started(&mut self, header: &PartStarted) {
        if let (Some(stream), Some(call)) = (&header.stream, &header.call) {
            self.streams.insert(stream_key(stream), (header.part, call_key(call)));
            self.calls.entry(call_key(call)).or_default();
        }
    }

    /// The lines to show of an append.
    pub(super) fn append(&mut self, append: &PartAppend) -> Vec<String> {
        let stream = append.stream.as_ref().and_then(|stream| self.streams.get(&stream_key(stream)));
        let Some((_, call)) = stream.filter(|(part, _)| *part == append.part) else {
            return Vec::new();
        };
        self.calls.get_mut(call).map_or_else(Vec::new, |shown| shown.take(append.offset, &append.data))
    }

    /// The call has ended: its unfinished line, and it is forgotten.
    pub(super) fn ended(&mut self, call_message_id: i64, call_index: i32) -> Option<String> {
        let key = (call_message_id, call_index);
        self.streams.retain(|_, (_, call)| *call != key);
        let mut shown = self.calls.remove(&key)?;
        if shown.line.is_empty() { None } else { shown.end_line() }
    }

    /// Nothing runs any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Shown {
    fn take(&mut self, offset: i64, data: &[u8]) -> Vec<String> {
        // Below what was seen it is a repeat; above, something was cut out, and the lines go on after it.
        let known = usize::try_from(self.bytes_seen.saturating_sub(offset)).unwrap_or(0);
        let Some(new) = data.get(known..) else {
            return Vec::new();
        };
        self.bytes_seen =
            self.bytes_seen.max(offset.saturating_add(i64::try_from(data.len()).unwrap_or(i64::MAX)));
        if self.lines > LINES_SHOWN {
            return Vec::new();
        }
        let mut shown = Vec::new();
        for piece in new.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                shown.extend(self.end_line());
            }
        }
        shown
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        match self.lines {
            ..=LINES_SHOWN => Some(words::tool_output_line(&String::from_utf8_lossy(&line))),
            lines if lines == LINES_SHOWN + 1 => Some(words::MORE_TOOL_OUTPUT.to_owned()),
            _ => None,
        }
    }
}

fn stream_key(stream: &StreamId) -> (i64, i64) {
    (stream.base_version, stream.index)
}

fn call_key(call: &CallId) -> CallKey {
    (call.message_id, call.call_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(index: i64) -> StreamId {
        StreamId { base_version: 7, index }
    }

    fn started(index: i64, call_index: i32) -> PartStarted {
        let call = Some(CallId { message_id: 3, call_index });
        PartStarted { stream: Some(stream(index)), call, ..Default::default() }
    }

    fn append(index: i64, offset: i64, text: &str) -> PartAppend {
        PartAppend { stream: Some(stream(index)), part: 0, offset, data: text.as_bytes().to_vec().into() }
    }

    #[test]
    fn lines_are_shown_as_they_end_and_the_last_one_with_the_call() {
        let mut output = ToolOutput::default();
        output.started(&started(0, 0));

        assert_eq!(output.append(&append(0, 0, "one\ntw")), ["  │ one"]);
        assert_eq!(output.append(&append(0, 6, "o\n\u{1b}[31mthr")), ["  │ two"]);
        assert_eq!(output.append(&append(0, 16, "ee")), Vec::<String>::new());
        assert_eq!(output.ended(3, 0).as_deref(), Some("  │ three"));
        assert_eq!(output.ended(3, 0), None);
    }

    #[test]
    fn a_stream_sent_again_shows_nothing_twice_and_calls_do_not_mix() {
        let mut output = ToolOutput::default();
        output.started(&started(0, 0));
        output.started(&started(1, 1));

        assert_eq!(output.append(&append(0, 0, "a\nb\n")).len(), 2);
        assert_eq!(output.append(&append(1, 0, "x\n")), ["  │ x"]);
        output.started(&started(2, 0));
        assert_eq!(output.append(&append(2, 0, "a\n")), Vec::<String>::new());
        assert_eq!(output.append(&append(2, 2, "b\nc\n")), ["  │ c"]);
    }

    #[test]
    fn a_tool_that_writes_much_is_cut_short_with_a_word_about_it() {
        let mut output = ToolOutput::default();
        output.started(&started(0, 0));

        let shown = output.append(&append(0, 0, &"line\n".repeat(1000)));
        let later = output.append(&append(0, 5000, "more\n"));

        assert_eq!(shown.len(), LINES_SHOWN + 1);
        assert_eq!(shown.last().map(String::as_str), Some(words::MORE_TOOL_OUTPUT));
        assert_eq!(later, Vec::<String>::new());
    }

    #[test]
    fn a_line_without_an_end_is_kept_within_its_bound() {
        let mut output = ToolOutput::default();
        output.started(&started(0, 0));

        output.append(&append(0, 0, &"x".repeat(100_000)));

        assert_eq!(output.calls[&(3, 0)].line.len(), LINE_BYTES_MAX);
    }
}
