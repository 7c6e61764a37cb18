//! Plays a script: actions in, bytes out.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::journal::{Entry, PartKind};
use super::{Action, Request};

/// The script broke the connection.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the script broke the connection")
    }
}

impl std::error::Error for Cut {}

/// Bytes to send, and what the journal has to say about them.
struct Piece {
    bytes: Bytes,
    note: Note,
}

enum Note {
    Nothing,
    Part(PartKind),
    Sent(String),
    Played,
}

/// Plays one script for one call.
pub(super) struct Player {
    actions: VecDeque<Action>,
    pieces: VecDeque<Piece>,
    entry: Entry,
    number: usize,
    model: String,
    has_begun: bool,
    /// Blocks so far; the last one may be open.
    blocks: usize,
    is_open: bool,
    is_text: bool,
    input_tokens: u64,
    output_tokens: u64,
    delta_bytes: usize,
    piece_bytes: usize,
    pace: Duration,
}

impl Player {
    pub(super) fn new(actions: Vec<Action>, entry: Entry, request: &Request) -> Self {
        Self {
            actions: actions.into(),
            pieces: VecDeque::new(),
            entry,
            number: request.number,
            model: request.body["model"].as_str().unwrap_or_default().to_owned(),
            has_begun: false,
            blocks: 0,
            is_open: false,
            is_text: false,
            input_tokens: 10,
            output_tokens: 5,
            delta_bytes: usize::MAX,
            piece_bytes: usize::MAX,
            pace: Duration::ZERO,
        }
    }

    /// Plays what stands before the status line, and says which it is: a status with
    /// its headers and body, or `None` for a stream.
    pub(super) async fn head(&mut self) -> Option<(u16, Vec<(String, String)>, String)> {
        loop {
            match self.actions.front() {
                Some(Action::Wait(gate)) => {
                    gate.clone().pass().await;
                    self.actions.pop_front();
                }
                Some(Action::Hang) => std::future::pending().await,
                Some(Action::Status { .. }) => break,
                _ => return None,
            }
        }
        let Some(Action::Status { code, headers, body }) = self.actions.pop_front() else {
            return None;
        };
        self.entry.played();
        Some((code, headers, body))
    }

    /// The next bytes; `None` when the script has ended.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            if let Some(bytes) = self.next_piece() {
                if !self.pace.is_zero() {
                    tokio::time::sleep(self.pace).await;
                }
                return Some(Ok(bytes));
            }
            match self.actions.pop_front() {
                None => {
                    self.entry.played();
                    return None;
                }
                Some(Action::Wait(gate)) => {
                    flush().await;
                    gate.pass().await;
                }
                Some(Action::Hang) => std::future::pending().await,
                Some(Action::Cut) => {
                    flush().await;
                    self.entry.played();
                    return Some(Err(Cut));
                }
                Some(action) => self.play(action),
            }
        }
    }

    /// The journal comes first: nobody may see what it does not have.
    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.front_mut()?;
        match std::mem::replace(&mut piece.note, Note::Nothing) {
            Note::Nothing => {}
            Note::Part(kind) => self.entry.part_started(kind),
            Note::Sent(text) => self.entry.sent(&text),
            Note::Played => self.entry.played(),
        }
        let end = piece.bytes.len().min(self.piece_bytes.max(1));
        let bytes = piece.bytes.split_to(end);
        if piece.bytes.is_empty() {
            self.pieces.pop_front();
        }
        Some(bytes)
    }

    fn play(&mut self, action: Action) {
        match action {
            Action::Begin => self.begin(),
            Action::Text(text) => self.text(&text),
            Action::TextForever(text) => {
                self.text(&text);
                self.actions.push_front(Action::TextForever(text));
            }
            Action::Thinking { text, signature } => self.thinking(&text, &signature),
            Action::RedactedThinking { data } => {
                self.open(PartKind::Reasoning, &json!({"type": "redacted_thinking", "data": data}));
            }
            Action::ToolUse { id, name, arguments } => {
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.open(PartKind::ToolCall { tool_name: name }, &block);
                self.deltas(&arguments, |piece| json!({"type": "input_json_delta", "partial_json": piece}));
            }
            Action::Usage { input_tokens, output_tokens } => {
                (self.input_tokens, self.output_tokens) = (input_tokens, output_tokens);
            }
            Action::DeltaBytes(bytes) => self.delta_bytes = bytes.max(1),
            Action::PieceBytes(bytes) => self.piece_bytes = bytes,
            Action::Pace(pace) => self.pace = pace,
            Action::Event(data) => self.event(&data, Note::Nothing),
            Action::Bytes(bytes) => self.push(bytes.into(), Note::Nothing),
            Action::Stop(reason) => self.stop(&reason),
            Action::Status { .. } | Action::Wait(_) | Action::Hang | Action::Cut => {
                panic!("a status can only come first, and waits are played elsewhere: {action:?}")
            }
        }
    }

    fn begin(&mut self) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let message = json!({
            "id": format!("msg_{}", self.number), "type": "message", "role": "assistant",
            "model": self.model, "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": self.input_tokens, "output_tokens": 1},
        });
        self.event(&json!({"type": "message_start", "message": message}), Note::Nothing);
        self.event(&json!({"type": "ping"}), Note::Nothing);
    }

    fn text(&mut self, text: &str) {
        if !(self.is_open && self.is_text) {
            self.open(PartKind::Text, &json!({"type": "text", "text": ""}));
            self.is_text = true;
        }
        self.deltas(text, |piece| json!({"type": "text_delta", "text": piece}));
    }

    fn thinking(&mut self, text: &str, signature: &str) {
        let block = json!({"type": "thinking", "thinking": "", "signature": ""});
        self.open(PartKind::Reasoning, &block);
        self.deltas(text, |piece| json!({"type": "thinking_delta", "thinking": piece}));
        let delta = json!({"type": "signature_delta", "signature": signature});
        self.delta(&delta, Note::Nothing);
    }

    fn open(&mut self, kind: PartKind, block: &Value) {
        self.begin();
        self.close();
        self.is_open = true;
        self.is_text = false;
        let index = self.blocks;
        self.blocks += 1;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        self.event(&start, Note::Part(kind));
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.event(&json!({"type": "content_block_stop", "index": self.blocks - 1}), Note::Nothing);
        }
    }

    fn deltas(&mut self, text: &str, delta: impl Fn(&str) -> Value) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(delta_end(rest, self.delta_bytes));
            self.delta(&delta(piece), Note::Sent(piece.to_owned()));
            rest = after;
        }
    }

    fn delta(&mut self, delta: &Value, note: Note) {
        let index = self.blocks - 1;
        self.event(&json!({"type": "content_block_delta", "index": index, "delta": delta}), note);
    }

    fn stop(&mut self, reason: &str) {
        self.begin();
        self.close();
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        let usage = json!({"output_tokens": self.output_tokens});
        self.event(&json!({"type": "message_delta", "delta": delta, "usage": usage}), Note::Nothing);
        // Whoever gets this may hang up at once, which is no leaving before the end.
        self.event(&json!({"type": "message_stop"}), Note::Played);
    }

    fn event(&mut self, data: &Value, note: Note) {
        let name = data["type"].as_str().unwrap_or_default();
        self.push(format!("event: {name}\ndata: {data}\n\n").into(), note);
    }

    fn push(&mut self, bytes: Bytes, note: Note) {
        self.pieces.push_back(Piece { bytes, note });
    }
}

/// Lets the connection write what it was given: it does so when nothing more is ready.
async fn flush() {
    tokio::task::yield_now().await;
}

/// The largest end of at most `bytes_max` bytes that is at a character, but at least
/// one character.
fn delta_end(text: &str, bytes_max: usize) -> usize {
    let ends = text.char_indices().map(|(start, character)| start + character.len_utf8());
    let first = text.chars().next().map_or(0, char::len_utf8);
    ends.take_while(|&end| end <= bytes_max).last().unwrap_or(first)
}
