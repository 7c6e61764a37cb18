//! What the server was asked and what it sent.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Request;

/// One call, from its request to the end of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What was asked.
    pub request: Request,
    /// What was sent: one entry a block, in order. Written down before the bytes go
    /// out, so that nobody has seen what is not here.
    pub parts: Vec<Part>,
    /// How it ended; `None` while it goes on.
    pub end: Option<End>,
}

impl Call {
    /// All text that was sent, thinking and arguments aside.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter(|part| part.kind == PartKind::Text);
        texts.map(|part| part.sent.as_str()).collect()
    }
}

/// A block of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// What was sent of it.
    pub sent: String,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Words.
    Text,
    /// Thinking; `sent` is empty when it is redacted.
    Reasoning,
    /// A tool call; `sent` are its arguments.
    ToolCall {
        /// Name of the tool.
        tool_name: String,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The script was played to its end.
    Played,
    /// The client left before.
    ClientLeft,
}

/// The journal of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    calls: Arc<Mutex<Vec<Call>>>,
    is_lean: bool,
}

impl Journal {
    /// One that does not keep what was asked.
    pub(super) fn lean() -> Self {
        Self { is_lean: true, ..Self::default() }
    }

    pub(super) fn part(&self, call: usize, block: usize) -> Option<Part> {
        self.lock().get(call)?.parts.get(block).cloned()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// Opens a call's entry, and numbers its request.
    pub(super) fn open(&self, mut request: Request) -> (Entry, Request) {
        let mut calls = self.lock();
        request.number = calls.len();
        let kept = if self.is_lean {
            let Request { number, target, .. } = &request;
            Request { number: *number, target: target.clone(), ..Request::default() }
        } else {
            request.clone()
        };
        calls.push(Call { request: kept, parts: Vec::new(), end: None });
        let entry = Entry { journal: self.clone(), number: request.number };
        (entry, request)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().expect("nothing panics while it holds the journal")
    }
}

/// The entry of one call. Dropped before it ends: the client has left.
#[derive(Debug)]
pub(super) struct Entry {
    journal: Journal,
    number: usize,
}

impl Entry {
    pub(super) fn part_started(&self, kind: PartKind) {
        self.change(|call| {
            call.parts.push(Part { kind, sent: String::new() });
        });
    }

    pub(super) fn sent(&self, text: &str) {
        self.change(|call| {
            if let Some(part) = call.parts.last_mut() {
                part.sent.push_str(text);
            }
        });
    }

    pub(super) fn played(&self) {
        self.change(|call| call.end = Some(End::Played));
    }

    fn change(&self, change: impl FnOnce(&mut Call)) {
        change(&mut self.journal.lock()[self.number]);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.change(|call| {
            call.end.get_or_insert(End::ClientLeft);
        });
    }
}
