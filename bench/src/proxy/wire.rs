//! As much of PostgreSQL's protocol as it takes to count round trips.
//!
//! A message is a tag, a length that counts itself, and a body; the client's first has no
//! tag. A round trip begins with what a client sends while it waits for nothing, and ends
//! when the server has answered all that asked for an answer: each `Sync` and each simple
//! query with `ReadyForQuery`, a `Flush` with whatever comes. What is sent before that end
//! belongs to the same trip: pipelined statements share one.

/// Tags as on the wire.
pub(super) const PARSE: u8 = b'P';
pub(super) const BIND: u8 = b'B';
pub(super) const QUERY: u8 = b'Q';
pub(super) const SYNC: u8 = b'S';
const FLUSH: u8 = b'H';
const TERMINATE: u8 = b'X';
const READY_FOR_QUERY: u8 = b'Z';
const NOTIFICATION: u8 = b'A';
/// Stands for the client's first message.
const STARTUP: u8 = 0;

const LENGTH_BYTES: usize = 4;
/// What is kept of a body: enough to know a statement by its beginning.
const BODY_KEPT_BYTES: usize = 512;

/// Finds messages in bytes that come in pieces.
#[derive(Debug)]
pub(super) struct Splitter {
    /// The tag and length of a message and the beginning of its body, as far as they have come.
    kept: Vec<u8>,
    /// Whether the next message has no tag.
    is_startup: bool,
    /// What is left of a body whose message was said already.
    skipped: usize,
}

impl Splitter {
    pub(super) fn of_client() -> Self {
        Self { kept: Vec::new(), is_startup: true, skipped: 0 }
    }

    pub(super) fn of_server() -> Self {
        Self { is_startup: false, ..Self::of_client() }
    }

    /// Says the tag of every message, and how its body begins, as soon as that is known.
    pub(super) fn split(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes = &bytes[skipped..];
            let head_bytes = LENGTH_BYTES + usize::from(!self.is_startup);
            bytes = self.keep(bytes, head_bytes);
            if self.kept.len() < head_bytes {
                return;
            }
            let length = &self.kept[head_bytes - LENGTH_BYTES..head_bytes];
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let body_bytes = length.saturating_sub(LENGTH_BYTES);
            let kept_bytes = head_bytes + body_bytes.min(BODY_KEPT_BYTES);
            bytes = self.keep(bytes, kept_bytes);
            if self.kept.len() < kept_bytes {
                return;
            }
            let tag = if self.is_startup { STARTUP } else { self.kept[0] };
            found(tag, &self.kept[head_bytes..]);
            self.skipped = head_bytes + body_bytes - kept_bytes;
            self.is_startup = false;
            self.kept.clear();
        }
    }

    /// Keeps bytes until there are so many, and answers the others.
    fn keep<'a>(&mut self, bytes: &'a [u8], count: usize) -> &'a [u8] {
        let taken = count.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..taken]);
        &bytes[taken..]
    }
}

/// The round trips of one connection.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// The client waits for an answer, or will.
    is_open: bool,
    /// Answers that end with `ReadyForQuery` and have not come.
    awaited: u32,
    is_flushed: bool,
}

impl Trips {
    /// What a message of the client adds to the count.
    pub(super) fn asked(&mut self, tag: u8) -> u64 {
        if tag == TERMINATE {
            return 0;
        }
        match tag {
            SYNC | QUERY | STARTUP => self.awaited += 1,
            FLUSH => self.is_flushed = true,
            _ => {}
        }
        u64::from(!std::mem::replace(&mut self.is_open, true))
    }

    /// A message of the server.
    pub(super) fn answered(&mut self, tag: u8) {
        match tag {
            // It comes by itself and answers nothing.
            NOTIFICATION => return,
            READY_FOR_QUERY => self.awaited = self.awaited.saturating_sub(1),
            _ if self.is_flushed => {}
            _ => return,
        }
        if self.awaited == 0 {
            self.is_open = false;
            self.is_flushed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXECUTE: u8 = b'E';
    const BIND_COMPLETE: u8 = b'2';
    const DATA_ROW: u8 = b'D';

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let length = u32::try_from(body + LENGTH_BYTES).unwrap();
        [&[tag], length.to_be_bytes().as_slice(), &vec![b'S'; body]].concat()
    }

    fn trips(conversation: &[(char, u8)]) -> u64 {
        let mut trips = Trips::default();
        conversation
            .iter()
            .map(|(side, tag)| match side {
                '>' => trips.asked(*tag),
                _ => {
                    trips.answered(*tag);
                    0
                }
            })
            .sum()
    }

    #[test]
    fn messages_are_found_however_the_bytes_were_cut() {
        let startup = message(0, 20).split_off(1);
        let stream = [startup, message(PARSE, 3000), message(BIND, 0), message(SYNC, 0)].concat();

        for size in 1..40 {
            let mut splitter = Splitter::of_client();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                splitter.split(piece, |tag, body| found.push((tag, body.len())));
            }

            assert_eq!(found, [(STARTUP, 20), (PARSE, 512), (BIND, 0), (SYNC, 0)], "cut at {size}");
        }
    }

    #[test]
    fn the_server_begins_with_a_tag() {
        let mut found = Vec::new();

        Splitter::of_server().split(&message(READY_FOR_QUERY, 1), |tag, _| found.push(tag));

        assert_eq!(found, [READY_FOR_QUERY]);
    }

    #[test]
    fn a_prepared_statement_is_one_trip_and_its_preparation_another() {
        let prepare = [('>', PARSE), ('>', SYNC), ('<', b'1'), ('<', READY_FOR_QUERY)];
        let run = [
            ('>', BIND),
            ('>', EXECUTE),
            ('>', SYNC),
            ('<', BIND_COMPLETE),
            ('<', DATA_ROW),
            ('<', READY_FOR_QUERY),
        ];

        assert_eq!(trips(&prepare), 1);
        assert_eq!(trips(&run), 1);
        assert_eq!(trips(&[prepare.as_slice(), &run, &run].concat()), 3);
    }

    #[test]
    fn pipelined_statements_share_a_trip() {
        let pipelined =
            [('>', BIND), ('>', SYNC), ('>', BIND), ('>', SYNC), ('<', b'Z'), ('<', b'Z'), ('>', QUERY)];

        assert_eq!(trips(&pipelined), 2);
    }

    #[test]
    fn a_burst_that_comes_while_an_answer_is_awaited_is_no_trip_of_its_own() {
        assert_eq!(trips(&[('>', BIND), ('<', BIND_COMPLETE), ('>', EXECUTE), ('>', SYNC), ('<', b'Z')]), 1);
    }

    #[test]
    fn a_flush_ends_with_what_comes() {
        assert_eq!(trips(&[('>', BIND), ('>', FLUSH), ('<', BIND_COMPLETE), ('>', EXECUTE), ('>', SYNC)]), 2);
    }

    #[test]
    fn notifications_and_the_goodbye_are_no_trips() {
        let conversation =
            [('>', QUERY), ('<', NOTIFICATION), ('<', b'Z'), ('<', NOTIFICATION), ('>', TERMINATE)];

        assert_eq!(trips(&conversation), 1);
    }
}
