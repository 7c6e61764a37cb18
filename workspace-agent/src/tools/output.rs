//! Where a running tool writes: a preview, while the model reads the result alone.

use bytes::Bytes;
use futures::future;
use tokio::sync::mpsc;

/// A piece of output on the wire, by the contract.
const PIECE_BYTES_MAX: usize = 256 * 1024;

/// Pieces that wait for the stream.
const PIECES_MAX: usize = 4;

/// What one preview may have in all. The control plane keeps the first 4 MiB; saying here that there is more
/// tells those who watch, too.
const PREVIEW_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// The last words of a preview that has become that long.
const PREVIEW_ENDS: &[u8] = b"\n(the preview ends here; the result will show the end of the output)\n";

/// The way to whoever watches a call.
pub(crate) struct OutputSink {
    pieces: mpsc::Sender<Bytes>,
}

impl OutputSink {
    /// A sink and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, written) = mpsc::channel(PIECES_MAX);
        (Self { pieces }, written)
    }

    /// Writes, as fast as the reader reads. Without a reader the bytes are dropped.
    #[cfg(test)]
    pub(crate) async fn write(&self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE_BYTES_MAX));
            if self.pieces.send(piece).await.is_err() {
                return;
            }
        }
    }
}

/// Writes into a sink for somebody who must not wait: what nobody takes in time is left out, with a notice.
pub(crate) struct Preview {
    /// None once nobody reads any more.
    sink: Option<OutputSink>,
    /// One piece at most.
    waiting: Vec<u8>,
    /// Bytes left out after those that wait.
    left_out: u64,
    /// Bytes that were taken in all.
    taken: u64,
}

impl Preview {
    pub(crate) fn new(sink: OutputSink) -> Self {
        Self { sink: Some(sink), waiting: Vec::new(), left_out: 0, taken: 0 }
    }

    /// Takes bytes. It never waits.
    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.sink.is_none() || self.taken > PREVIEW_BYTES_MAX {
            return;
        }
        // Nothing may follow a gap before the notice of it.
        let room = if self.left_out > 0 { 0 } else { PIECE_BYTES_MAX - self.waiting.len() };
        let fits = data.len().min(room);
        self.waiting.extend_from_slice(&data[..fits]);
        self.left_out += (data.len() - fits) as u64;
        self.taken += fits as u64;
    }

    /// Sends what waits as soon as the sink takes it. While nothing waits it never ends. Dropping it loses
    /// nothing.
    pub(crate) async fn send(&mut self) {
        let Some(sink) = self.sink.as_ref().filter(|_| !self.waiting.is_empty()) else {
            return future::pending().await;
        };
        // Taken only when there is a place for them, so that nothing is lost when this wait is dropped.
        let is_sent = match sink.pieces.reserve().await {
            Ok(place) => {
                place.send(Bytes::from(std::mem::take(&mut self.waiting)));
                true
            }
            Err(_) => false,
        };
        if is_sent {
            self.say_what_is_missing();
        } else {
            self.sink = None;
            self.waiting = Vec::new();
        }
    }

    fn say_what_is_missing(&mut self) {
        if self.left_out > 0 {
            let notice = format!("\n(… {} bytes are left out of this preview …)\n", self.left_out);
            self.left_out = 0;
            self.push(notice.as_bytes());
        }
        if self.taken > PREVIEW_BYTES_MAX && self.taken != u64::MAX {
            self.waiting.extend_from_slice(PREVIEW_ENDS);
            self.taken = u64::MAX;
        }
    }

    /// Sends the rest.
    pub(crate) async fn finish(mut self) {
        while self.sink.is_some() && !self.waiting.is_empty() {
            self.send().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// What has been written until now.
    fn read(written: &mut mpsc::Receiver<Bytes>) -> String {
        let mut text = Vec::new();
        while let Ok(piece) = written.try_recv() {
            assert!(piece.len() <= PIECE_BYTES_MAX);
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_pushed_is_sent_in_order() {
        let (sink, mut written) = OutputSink::new();
        let mut preview = Preview::new(sink);

        preview.push(b"one ");
        preview.push(b"two");
        preview.finish().now_or_never().unwrap();

        assert_eq!(read(&mut written), "one two");
    }

    #[test]
    fn sending_nothing_waits() {
        let (sink, _written) = OutputSink::new();

        assert_eq!(Preview::new(sink).send().now_or_never(), None);
    }

    #[test]
    fn a_reader_that_is_too_slow_misses_the_middle_and_is_told() {
        let (sink, mut written) = OutputSink::new();
        let mut preview = Preview::new(sink);
        preview.push(b"first ");
        while preview.send().now_or_never().is_some() {
            preview.push(b"x");
        }

        preview.push(&vec![b'y'; 2 * PIECE_BYTES_MAX]);
        preview.push(b"lost");
        assert!(preview.waiting.len() <= PIECE_BYTES_MAX);
        let mut text = read(&mut written);
        preview.send().now_or_never().unwrap();
        preview.push(b"last");
        preview.finish().now_or_never().unwrap();
        text.push_str(&read(&mut written));

        let missing = PIECE_BYTES_MAX + "xlost".len();
        let end = format!("y\n(… {missing} bytes are left out of this preview …)\nlast");
        assert!(text.starts_with("first x") && text.ends_with(&end), "{} bytes", text.len());
    }

    #[test]
    fn a_preview_ends_with_a_notice_when_it_is_too_long() {
        let (sink, mut written) = OutputSink::new();
        let mut preview = Preview::new(sink);
        let mut text = String::new();

        for _ in 0..100 {
            preview.push(&vec![b'x'; 100_000]);
            let _ = preview.send().now_or_never();
            text.push_str(&read(&mut written));
        }
        preview.finish().now_or_never().unwrap();
        text.push_str(&read(&mut written));

        assert!(text.len() < 4 * 1024 * 1024, "{}", text.len());
        assert!(text.ends_with("x\n(the preview ends here; the result will show the end of the output)\n"));
    }

    #[test]
    fn without_a_reader_nothing_is_kept() {
        let (sink, written) = OutputSink::new();
        drop(written);
        let mut preview = Preview::new(sink);

        preview.push(b"lost");
        preview.send().now_or_never().unwrap();
        preview.push(b"lost");

        assert!(preview.waiting.is_empty());
        preview.finish().now_or_never().unwrap();
    }
}
