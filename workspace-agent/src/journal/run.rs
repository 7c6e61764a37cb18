//! A running tool, and what it has written so far.
//!
//! The tool must never wait for who reads along: while no stream is open there is nobody. So the beginning of
//! its output is kept, up to a size, and each reader takes from its own position; what comes after that size
//! is dropped, so that what a reader gets is always a beginning without a gap. It is a preview: the result
//! holds all that the model reads.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::tools::{Arguments, Call, Ended, OutputSink, Tool};

/// A result on the wire, by the contract.
pub(super) const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// Output that is kept of a run, as much as the control plane keeps of it: 256 MiB when as many run as may and
/// each writes so much. (The tools stop before.)
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A piece of output on the wire, by the contract.
const PIECE_BYTES_MAX: usize = 256 * 1024;

/// One run of a tool.
#[derive(Debug)]
pub(crate) struct Run {
    cancel: CancellationToken,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    output: Vec<u8>,
    ended: Option<Ended>,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Output from the reader's position on.
    Output(Bytes),
    /// Always the last.
    Ended(Ended),
}

impl Run {
    /// A run that has not begun; `cancel` asks it to stop.
    pub(crate) fn new(cancel: CancellationToken) -> Self {
        Self { cancel, progress: watch::Sender::default() }
    }

    /// Asks it to stop. It decides itself how.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Runs the tool to its end, and keeps what it writes. The end is not told yet.
    pub(crate) async fn perform(&self, tool: &dyn Tool, arguments: Arguments) -> Ended {
        let (output, mut written) = OutputSink::new();
        let call = Call { arguments, output, cancel: self.cancel.clone() };
        let run = AssertUnwindSafe(async { tool.run(call).await }).catch_unwind();
        tokio::pin!(run);
        let ended = loop {
            tokio::select! {
                Some(data) = written.recv() => self.keep(&data),
                ended = &mut run => break ended,
            }
        };
        while let Ok(data) = written.try_recv() {
            self.keep(&data);
        }
        ended.map(cut).unwrap_or_else(|_| {
            tracing::error!(tool = tool.definition().name, "a tool panicked");
            Ended::failed("The tool failed by a defect of its own.")
        })
    }

    fn keep(&self, data: &[u8]) {
        self.progress.send_if_modified(|progress| {
            let room = OUTPUT_BYTES_MAX - progress.output.len();
            progress.output.extend_from_slice(&data[..data.len().min(room)]);
            room > 0
        });
    }

    /// Tells the end to whoever reads.
    pub(crate) fn end(&self, ended: Ended) {
        self.progress.send_modify(|progress| progress.ended = Some(ended));
    }

    /// Waits for what comes after the first `position` bytes of output. May be dropped and asked again.
    pub(crate) async fn next(&self, position: usize) -> Next {
        let mut progress = self.progress.subscribe();
        let moved = |progress: &Progress| progress.output.len() > position || progress.ended.is_some();
        let progress = progress.wait_for(moved).await.expect("the sender is here");
        let rest = progress.output.get(position..).unwrap_or_default();
        match &progress.ended {
            Some(ended) if rest.is_empty() => Next::Ended(ended.clone()),
            Some(_) | None => Next::Output(Bytes::copy_from_slice(&rest[..rest.len().min(PIECE_BYTES_MAX)])),
        }
    }
}

/// Tools keep to limits of their own; this is the net under them.
fn cut(mut ended: Ended) -> Ended {
    const NOTICE: &str = "\n(the result was cut here: it is larger than 1 MiB)";
    let output = &mut ended.output;
    if output.len() > RESULT_BYTES_MAX {
        output.truncate(output.floor_char_boundary(RESULT_BYTES_MAX - NOTICE.len()));
        output.push_str(NOTICE);
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run::new(CancellationToken::new())
    }

    #[test]
    fn a_result_that_is_too_large_is_cut_at_a_character() {
        let text = cut(Ended::ok("茶".repeat(1_000_000))).output;

        assert!(text.len() <= RESULT_BYTES_MAX);
        assert!(
            text.starts_with("茶")
                && text.ends_with("茶\n(the result was cut here: it is larger than 1 MiB)")
        );
        assert_eq!(cut(Ended::ok("short")), Ended::ok("short"));
    }

    #[tokio::test]
    async fn every_reader_gets_the_output_from_its_own_position_and_then_the_end() {
        let run = run();
        run.keep(b"one ");
        assert_eq!(run.next(0).await, Next::Output("one ".into()));

        run.keep(b"two");
        run.end(Ended::ok("done"));

        assert_eq!(run.next(0).await, Next::Output("one two".into()));
        assert_eq!(run.next(4).await, Next::Output("two".into()));
        assert_eq!(run.next(7).await, Next::Ended(Ended::ok("done")));
    }

    #[tokio::test]
    async fn output_beyond_the_size_is_dropped_and_comes_in_pieces_of_the_contract() {
        let run = run();
        for _ in 0..3 {
            run.keep(&vec![b'x'; OUTPUT_BYTES_MAX - 1]);
        }
        run.end(Ended::ok("done"));

        let mut position = 0;
        while let Next::Output(piece) = run.next(position).await {
            assert!(piece.len() <= PIECE_BYTES_MAX);
            position += piece.len();
        }
        assert_eq!(position, OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_reader_that_has_come_further_than_the_output_waits_for_the_end() {
        let run = run();
        run.end(Ended::ok("done"));

        assert_eq!(run.next(9).await, Next::Ended(Ended::ok("done")));
    }
}
