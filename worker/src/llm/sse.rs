//! An incremental decoder of server-sent events: bytes in, events out.
//!
//! Follows the event stream format of the HTML standard. Bytes may be cut
//! anywhere, inside a character or between CR and LF: a line is decoded only
//! when it is whole. Ids and reconnection times are ignored, since a model call
//! is never resumed.

use bytes::{Buf, Bytes};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; empty when it has none.
    pub(super) name: String,
    /// Its data lines, joined by line feeds.
    pub(super) data: String,
}

/// An event grew past the decoder's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {bytes_max} bytes")]
pub(super) struct EventTooLarge {
    bytes_max: usize,
}

/// Decodes one stream.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Bound of all that is kept of an unfinished event.
    bytes_max: usize,
    /// The line that is being read, without its end.
    line: Vec<u8>,
    name: String,
    /// Data lines so far, a line feed after each.
    data: String,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_carriage_return: bool,
    /// No line has ended yet, so a byte order mark may stand in front.
    at_first_line: bool,
}

impl Decoder {
    /// A decoder that keeps at most `bytes_max` of an unfinished event.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            after_carriage_return: false,
            at_first_line: true,
        }
    }

    /// Takes bytes from the front of `bytes` up to the end of the next event.
    /// `None` means that all bytes are taken and more are needed.
    pub(super) fn next_event(&mut self, bytes: &mut Bytes) -> Result<Option<Event>, EventTooLarge> {
        loop {
            if self.after_carriage_return && !bytes.is_empty() {
                self.after_carriage_return = false;
                if bytes[0] == b'\n' {
                    bytes.advance(1);
                }
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.grow_line(bytes)?;
                bytes.clear();
                return Ok(None);
            };
            self.grow_line(&bytes[..end])?;
            self.after_carriage_return = bytes[end] == b'\r';
            bytes.advance(end + 1);
            if let Some(event) = self.end_line() {
                return Ok(Some(event));
            }
        }
    }

    fn grow_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        let kept = self.line.len() + self.name.len() + self.data.len();
        if kept + bytes.len() > self.bytes_max {
            return Err(EventTooLarge { bytes_max: self.bytes_max });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Interprets the finished line. An empty one ends the event.
    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let bytes = match self.at_first_line {
            true => bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes),
            false => &bytes,
        };
        self.at_first_line = false;
        if bytes.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(bytes);
        // A comment has an empty field name and falls through like any unknown field.
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        Some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(BYTES_MAX);
        let mut events = Vec::new();
        for piece in pieces {
            let mut bytes = Bytes::copy_from_slice(piece);
            while let Some(event) = decoder.next_event(&mut bytes).unwrap() {
                events.push(event);
            }
            assert!(bytes.is_empty(), "all bytes are taken");
        }
        events
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn every_line_end_comment_and_field_of_the_standard_is_understood() {
        for (stream, expected) in [
            ("data: a\n\n", vec![event("", "a")]),
            ("data: a\r\rdata: b\r\n\r\n", vec![event("", "a"), event("", "b")]),
            ("\u{feff}data: a\n\n", vec![event("", "a")]),
            ("data: \u{feff}a\n\n", vec![event("", "\u{feff}a")]),
            (": comment\n\nevent: x\ndata:a\ndata:  b\n\n", vec![event("x", "a\n b")]),
            ("event: lost\n\ndata: a\n\n", vec![event("", "a")]),
            ("data\n\n", vec![event("", "")]),
            ("data\ndata\n\n", vec![event("", "\n")]),
            ("id: 1\nretry: 5\nother\ndata: a:b\n\n", vec![event("", "a:b")]),
            ("data: never finished\n", vec![]),
        ] {
            assert_eq!(decode(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        assert_eq!(decode(&[b"data: \xFFa\n\n"]), vec![event("", "\u{fffd}a")]);
    }

    #[test]
    fn an_event_past_the_bound_is_a_typed_error_however_it_is_written() {
        for stream in ["data: 123456789", "data: 1\ndata: 2\ndata: 3\n", ": a long comment"] {
            let mut decoder = Decoder::new(10);
            let outcome = decoder.next_event(&mut Bytes::from(stream));
            assert_eq!(outcome, Err(EventTooLarge { bytes_max: 10 }), "{stream:?}");
        }
    }

    /// What the standard says, for streams that are held as a whole.
    fn reference(stream: &str) -> Vec<Event> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<&str> = stream.split('\n').collect();
        lines.pop(); // what stands after the last line end is no line
        let mut events = Vec::new();
        for block in lines.split_inclusive(|line| line.is_empty()) {
            if !block.last().is_some_and(|line| line.is_empty()) {
                continue;
            }
            let values = |name: &'static str| {
                block.iter().filter_map(move |line| {
                    let (field, value) = line.split_once(':').unwrap_or((line, ""));
                    (field == name).then(|| value.strip_prefix(' ').unwrap_or(value))
                })
            };
            let data: Vec<&str> = values("data").collect();
            if !data.is_empty() {
                events.push(event(values("event").next_back().unwrap_or_default(), &data.join("\n")));
            }
        }
        events
    }

    fn stream() -> impl Strategy<Value = String> {
        let text = "[a-z :\u{e9}\u{1f600}\u{feff}]{0,6}";
        let line = (prop::sample::select(vec!["data:", "data: ", "event: ", ":", "", "id", "x:"]), text)
            .prop_map(|(field, text)| format!("{field}{text}"));
        let line = prop_oneof![4 => line, 2 => Just(String::new())];
        let line_end = prop::sample::select(vec!["\n", "\r", "\r\n"]);
        let bom = prop::bool::ANY.prop_map(|bom| if bom { "\u{feff}" } else { "" });
        (bom, prop::collection::vec((line, line_end), 0..12))
            .prop_map(|(bom, lines)| lines.iter().fold(bom.to_owned(), |all, (line, end)| all + line + end))
    }

    proptest! {
        #[test]
        fn splitting_a_stream_anywhere_changes_nothing(stream in stream()) {
            let bytes = stream.as_bytes();
            let expected = reference(&stream);
            prop_assert_eq!(&decode(&[bytes]), &expected);
            for cut in 0..=bytes.len() {
                prop_assert_eq!(&decode(&[&bytes[..cut], &bytes[cut..]]), &expected, "cut at {}", cut);
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&decode(&single), &expected);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic_or_keep_more_than_its_bound(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let mut decoder = Decoder::new(64);
            for piece in pieces {
                let mut bytes = Bytes::from(piece);
                while let Ok(Some(_)) = decoder.next_event(&mut bytes) {}
                prop_assert!(decoder.line.len() + decoder.name.len() <= 64);
            }
        }
    }
}
