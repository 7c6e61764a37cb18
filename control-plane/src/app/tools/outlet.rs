//! Where the caller of a running tool gets its output and its end from.
//!
//! The agent's stream serves all calls of a workspace, so a caller that reads slowly must not hold it up.
//! Output is only a preview, since the result holds all that the model reads: what does not fit the buffer
//! is dropped, and everything after it too, so that a preview is always a prefix without a gap.
//!
//! Along one stream an agent sends a call's output once. Who asks for the call later is to see it from its start
//! too, so its beginning is kept while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::ToolEnd;

/// A piece of output on any wire.
pub(super) const OUTPUT_CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Output that waits for its caller: some pieces, times the calls of an agent.
const OUTPUT_BYTES_MAX: usize = 4 * OUTPUT_CHUNK_BYTES_MAX;
/// Output that is kept of a call while it runs, times the calls of an agent.
const BEGINNING_BYTES_MAX: usize = OUTPUT_CHUNK_BYTES_MAX;

/// Between the agent's stream, which writes, and the one caller, who reads.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    state: Mutex<State>,
    changed: Notify,
}

/// What a call has written since it was sent, or the beginning of it.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    output: BytesMut,
    cut: bool,
}

#[derive(Debug, Default)]
struct State {
    output: BytesMut,
    cut: bool,
    end: Option<End>,
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The tool has ended.
    Ended(ToolEnd),
    /// The agent has gone while the tool was running.
    Detached,
    /// A later holder of the chat asks for the call.
    TakenOver,
    /// The same holder asks for the call anew.
    Repeated,
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Output, as it was written.
    Output(Bytes),
    /// Always the last.
    End(End),
}

impl Beginning {
    /// The tool writes.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.cut |= self.output.len() + data.len() > BEGINNING_BYTES_MAX;
        if !self.cut {
            self.output.extend_from_slice(data);
        }
    }
}

impl Outlet {
    /// For a caller that comes when the call has written already.
    pub(super) fn after(beginning: &Beginning) -> Self {
        let state = State { output: beginning.output.clone(), cut: beginning.cut, end: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// The tool writes.
    pub(super) fn push(&self, data: &[u8]) {
        let mut state = self.lock();
        if state.output.len() + data.len() > OUTPUT_BYTES_MAX {
            state.cut = true;
        }
        if !state.cut && state.end.is_none() {
            state.output.extend_from_slice(data);
            self.changed.notify_one();
        }
    }

    /// Nothing more comes. The first end counts.
    pub(super) fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_one();
    }

    /// Waits for the next piece. May be dropped and asked again.
    pub(super) async fn next(&self) -> Piece {
        loop {
            if let Some(piece) = self.take() {
                return piece;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Piece> {
        let mut state = self.lock();
        if state.output.is_empty() {
            return state.end.take().map(Piece::End);
        }
        let bytes = state.output.len().min(OUTPUT_CHUNK_BYTES_MAX);
        Some(Piece::Output(state.output.split_to(bytes).freeze()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended() -> End {
        End::Ended(ToolEnd { output: "done".to_owned(), is_error: false })
    }

    #[tokio::test]
    async fn output_comes_in_pieces_of_the_contract_and_before_the_end() {
        let outlet = Outlet::default();
        let written = vec![b'x'; OUTPUT_CHUNK_BYTES_MAX + 1];

        outlet.push(&written[..7]);
        outlet.push(&written[7..]);
        outlet.end(ended());

        let sizes = [OUTPUT_CHUNK_BYTES_MAX, 1];
        for size in sizes {
            assert_eq!(outlet.next().await, Piece::Output(Bytes::from(vec![b'x'; size])));
        }
        assert_eq!(outlet.next().await, Piece::End(ended()));
    }

    #[tokio::test]
    async fn a_slow_caller_gets_a_prefix_without_a_gap_and_the_end() {
        let outlet = Outlet::default();
        outlet.push(&vec![b'a'; OUTPUT_BYTES_MAX - 1]);
        outlet.push(b"bb");
        let mut taken = 0;
        while taken < OUTPUT_BYTES_MAX - 1 {
            let Piece::Output(data) = outlet.next().await else { panic!("no end was given") };
            taken += data.len();
        }

        outlet.push(b"c");
        outlet.end(ended());

        assert_eq!(outlet.next().await, Piece::End(ended()));
    }

    #[tokio::test]
    async fn a_later_caller_gets_the_output_from_its_start_as_far_as_it_is_kept_and_no_gap() {
        let mut beginning = Beginning::default();
        beginning.push(b"one ");
        let early = Outlet::after(&beginning);
        beginning.push(&vec![b'x'; BEGINNING_BYTES_MAX]);
        let late = Outlet::after(&beginning);

        for outlet in [&early, &late] {
            outlet.push(b"two");
            outlet.end(ended());
        }

        assert_eq!(early.next().await, Piece::Output(Bytes::from_static(b"one two")));
        assert_eq!(early.next().await, Piece::End(ended()));
        assert_eq!(late.next().await, Piece::Output(Bytes::from_static(b"one ")));
        assert_eq!(late.next().await, Piece::End(ended()));
    }

    #[tokio::test]
    async fn the_first_end_counts() {
        let outlet = Outlet::default();

        outlet.end(End::Detached);
        outlet.end(ended());
        outlet.push(b"late");

        assert_eq!(outlet.next().await, Piece::End(End::Detached));
    }
}
