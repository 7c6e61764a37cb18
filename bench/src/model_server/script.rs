//! What the model server answers, and how fast.

use std::{fmt::Write as _, ops::Range, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::chunks::chunk;

/// Where the benchmark marks a message, so that its call is known again.
const MARK: &str = "bench-mark-";
const MARK_DIGITS: usize = 12;

/// What every call is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// The first chunk is written this long after the request has come.
    pub(crate) first_chunk_after: Duration,
    /// And each other this long after the one before.
    pub(crate) chunk_every: Duration,
    pub(crate) end: End,
    pub(crate) chunks: u32,
    pub(crate) chunk_bytes: usize,
    pub(crate) hold: Hold,
}

/// What is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Everything is.
    Nothing,
    /// The first call with each mark hangs until its client leaves.
    FirstCalls,
}

/// When an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk.
    WithLastChunk,
    /// Once the benchmark says that it has seen the chunks, since the committed message
    /// takes the place of a preview that comes late. Calls without a mark do not wait.
    WhenSeen,
}

/// When a piece is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// This long after the request.
    After(Duration),
    /// Once the chunks before it have been seen.
    Seen,
}

/// Bytes that are written together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) due: Due,
    pub(super) bytes: Bytes,
    /// Numbers of the chunks in it.
    pub(super) chunks: Range<u32>,
}

impl Script {
    /// Answers whole and at once.
    pub(crate) fn at_once(chunks: u32, chunk_bytes: usize) -> Self {
        Self {
            first_chunk_after: Duration::ZERO,
            chunk_every: Duration::ZERO,
            end: End::WithLastChunk,
            chunks,
            chunk_bytes,
            hold: Hold::Nothing,
        }
    }

    /// The answer in pieces, by time: what is due together is written together.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        push(&mut pieces, Due::After(Duration::ZERO), &head(), 0..0);
        let mut at = self.first_chunk_after;
        for number in 0..self.chunks {
            if number > 0 {
                at += self.chunk_every;
            }
            let delta = json!({"type": "text_delta", "text": chunk(number, self.chunk_bytes)});
            let event = event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}));
            push(&mut pieces, Due::After(at), &event, number..number + 1);
        }
        let end = match self.end {
            End::WithLastChunk => Due::After(at),
            End::WhenSeen => Due::Seen,
        };
        push(&mut pieces, end, &tail(self.chunks), self.chunks..self.chunks);
        pieces
    }
}

fn push(pieces: &mut Vec<Piece>, due: Due, text: &str, chunks: Range<u32>) {
    match pieces.last_mut() {
        Some(last) if last.due == due => {
            last.bytes = [&last.bytes, text.as_bytes()].concat().into();
            last.chunks.end = chunks.end;
        }
        _ => pieces.push(Piece { due, bytes: Bytes::copy_from_slice(text.as_bytes()), chunks }),
    }
}

fn head() -> String {
    let message = json!({
        "id": "msg_bench", "type": "message", "role": "assistant", "model": "bench", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1},
    });
    let block = json!({"type": "text", "text": ""});
    event(&json!({"type": "message_start", "message": message}))
        + &event(&json!({"type": "content_block_start", "index": 0, "content_block": block}))
}

fn tail(tokens: u32) -> String {
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    event(&json!({"type": "content_block_stop", "index": 0}))
        + &event(&json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}}))
        + &event(&json!({"type": "message_stop"}))
}

fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    let mut text = String::new();
    write!(text, "event: {name}\ndata: {data}\n\n").expect("writing to a String cannot fail");
    text
}

/// The words of a message whose call shall be known again.
pub(crate) fn mark(number: u64) -> String {
    format!("{MARK}{number:0MARK_DIGITS$} How does the garden grow?")
}

/// The last mark of a request, which is that of its newest message.
pub(super) fn find_mark(body: &[u8]) -> Option<u64> {
    let start = body.windows(MARK.len()).rposition(|window| window == MARK.as_bytes())? + MARK.len();
    str::from_utf8(body.get(start..start + MARK_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_the_newest_message_is_found() {
        let body = format!("{{\"a\":\"{}\",\"b\":\"{}\",\"c\":1}}", mark(3), mark(17));

        assert_eq!(find_mark(body.as_bytes()), Some(17));
        assert_eq!(find_mark(b"{}"), None);
        assert_eq!(find_mark(b"bench-mark-12"), None);
    }

    #[test]
    fn an_answer_at_once_is_one_piece() {
        let pieces = Script::at_once(3, 16).pieces();

        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].chunks, 0..3);
        let text = str::from_utf8(&pieces[0].bytes).unwrap();
        assert_eq!(text.matches("event: content_block_delta\n").count(), 3);
        assert!(text.starts_with("event: message_start\ndata: {") && text.ends_with("}\n\n"));
    }

    #[test]
    fn a_paced_answer_has_a_piece_a_chunk_and_ends_when_they_are_seen() {
        let script = Script {
            first_chunk_after: Duration::from_millis(20),
            chunk_every: Duration::from_millis(5),
            end: End::WhenSeen,
            ..Script::at_once(3, 16)
        };

        let pieces = script.pieces();

        let due: Vec<Due> = pieces.iter().map(|piece| piece.due).collect();
        let after = |milliseconds| Due::After(Duration::from_millis(milliseconds));
        assert_eq!(due, [after(0), after(20), after(25), after(30), Due::Seen]);
        let chunks: Vec<Range<u32>> = pieces.iter().map(|piece| piece.chunks.clone()).collect();
        assert_eq!(chunks, [0..0, 0..1, 1..2, 2..3, 3..3]);
    }
}
