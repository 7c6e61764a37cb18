//! What all live streams of a replica may keep together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A number of bytes that is handed out and given back.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// Takes as much of `wanted` as there is, and answers how much that was.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        let before = self
            .left
            .fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(wanted)))
            .expect("the update is never refused");
        before.min(wanted)
    }

    /// Gives bytes back.
    pub(crate) fn give(&self, bytes: usize) {
        self.left.fetch_add(bytes, Relaxed);
    }
}
