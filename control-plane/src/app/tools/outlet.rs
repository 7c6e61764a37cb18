//! Where the caller of a running tool gets its output and its end from.
//!
//! The agent's stream serves all calls of a workspace, so a caller that reads slowly must not hold it up.
//! Output is only a preview, since the result holds all that the model reads: what does not fit the buffer
//! is dropped, and everything after it too, so that a preview is always a prefix without a gap.
//!
//! Along one stream an agent sends a call's output once. Who asks for the call later is to see it from its start
//! too, so its beginning is kept while it runs. After a beginning that is complete the output goes on live. Once
//! the call has written more than is kept, a later caller's preview ends with the beginning, and what comes next
//! is the result.

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
pub(super) struct Beginning(Prefix);

#[derive(Debug, Default)]
struct State {
    output: Prefix,
    end: Option<End>,
}

/// Output without a gap. Once something did not fit, nothing joins on any more.
#[derive(Clone, Debug, Default)]
struct Prefix {
    bytes: BytesMut,
    cut: bool,
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

impl Prefix {
    /// Takes as much as fits.
    fn push(&mut self, data: &[u8], bytes_max: usize) {
        if self.cut {
            return;
        }
        let room = bytes_max.saturating_sub(self.bytes.len());
        self.cut = data.len() > room;
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
    }
}

impl Beginning {
    /// The tool writes.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.0.push(data, BEGINNING_BYTES_MAX);
    }
}

impl Outlet {
    /// For a caller that comes when the call has written already.
    ///
    /// Where the beginning was cut, this caller's preview is over with it, though the tool writes on: what is
    /// written now belongs behind what was dropped, and would be shown in the wrong place.
    pub(super) fn after(beginning: &Beginning) -> Self {
        let state = State { output: beginning.0.clone(), end: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// The tool writes.
    pub(super) fn push(&self, data: &[u8]) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.output.push(data, OUTPUT_BYTES_MAX);
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
        let output = &mut state.output.bytes;
        if output.is_empty() {
            return state.end.take().map(Piece::End);
        }
        let bytes = output.len().min(OUTPUT_CHUNK_BYTES_MAX);
        Some(Piece::Output(output.split_to(bytes).freeze()))
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
        outlet.push(b"bc");
        let mut taken = Vec::new();
        while taken.len() < OUTPUT_BYTES_MAX {
            let Piece::Output(data) = outlet.next().await else { panic!("no end was given") };
            taken.extend_from_slice(&data);
        }

        outlet.push(b"d");
        outlet.end(ended());

        assert!(taken.ends_with(b"ab"), "what fits of a piece is kept");
        assert_eq!(outlet.next().await, Piece::End(ended()));
    }

    #[tokio::test]
    async fn a_later_caller_gets_the_output_from_its_start_and_then_live_while_nothing_was_dropped() {
        let mut beginning = Beginning::default();
        let kept = vec![b'x'; BEGINNING_BYTES_MAX];
        beginning.push(&kept[1..]);
        beginning.push(&kept[..1]);
        let outlet = Outlet::after(&beginning);

        outlet.push(b"live");
        outlet.end(ended());

        assert_eq!(outlet.next().await, Piece::Output(Bytes::from(kept)));
        assert_eq!(outlet.next().await, Piece::Output(Bytes::from_static(b"live")));
        assert_eq!(outlet.next().await, Piece::End(ended()));
    }

    #[tokio::test]
    async fn a_later_caller_of_a_call_that_wrote_too_much_gets_all_that_is_kept_and_the_end() {
        let mut beginning = Beginning::default();
        beginning.push(b"one ");
        beginning.push(&vec![b'x'; BEGINNING_BYTES_MAX]);
        beginning.push(b"dropped");
        let outlet = Outlet::after(&beginning);

        outlet.push(b"live");
        outlet.end(ended());

        let mut kept = b"one ".to_vec();
        kept.resize(BEGINNING_BYTES_MAX, b'x');
        assert_eq!(outlet.next().await, Piece::Output(Bytes::from(kept)));
        assert_eq!(outlet.next().await, Piece::End(ended()));
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
