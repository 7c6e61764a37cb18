//! When the model server was asked, and when it wrote what.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use crate::{
    error::{Error, Result},
    wait::in_time,
};

/// A call: which of those with the same mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    mark: u64,
    index: usize,
}

impl Call {
    pub(crate) fn is_first(self) -> bool {
        self.index == 0
    }
}

/// What happened, by mark. Calls without one are not kept.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    calls: Mutex<HashMap<u64, Vec<Entry>>>,
    /// Marks whose chunks the benchmark has seen.
    seen: watch::Sender<HashSet<u64>>,
    changed: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Entry {
    received: Instant,
    /// When each chunk was handed to the connection.
    written: Vec<Instant>,
    /// When its client had closed the connection before the answer's end.
    left: Option<Instant>,
}

impl Journal {
    pub(super) fn received(&self, mark: u64, at: Instant) -> Call {
        let mut calls = self.lock();
        let calls = calls.entry(mark).or_default();
        calls.push(Entry { received: at, written: Vec::new(), left: None });
        let call = Call { mark, index: calls.len() - 1 };
        self.changed.send_replace(());
        call
    }

    pub(super) fn wrote(&self, call: Call, chunks: Range<u32>, at: Instant) {
        let mut calls = self.lock();
        if let Some(entry) = calls.get_mut(&call.mark).and_then(|calls| calls.get_mut(call.index)) {
            entry.written.extend(chunks.map(|_| at));
        }
        self.changed.send_replace(());
    }

    /// The client has closed the connection in the middle of the answer.
    pub(super) fn left(&self, call: Call, at: Instant) {
        if let Some(entry) = self.lock().get_mut(&call.mark).and_then(|calls| calls.get_mut(call.index)) {
            entry.left = Some(at);
        }
        self.changed.send_replace(());
    }

    /// All chunks of the call with this mark have come to where they were to come: it may end.
    pub(crate) fn saw(&self, mark: u64) {
        self.seen.send_modify(|seen| {
            seen.insert(mark);
        });
    }

    /// Waits for that. A client that leaves drops the wait.
    pub(super) async fn wait_until_seen(&self, call: Call) {
        // The sender is in this very journal.
        let _ = self.seen.subscribe().wait_for(|seen| seen.contains(&call.mark)).await;
    }

    /// When each chunk of the one call with this mark was written.
    pub(crate) fn written(&self, mark: u64) -> Result<Vec<Instant>> {
        Ok(self.only_call(mark)?.written)
    }

    /// The model's own time: from the whole request to the first chunk.
    pub(crate) fn own_time(&self, mark: u64) -> Result<std::time::Duration> {
        let entry = self.only_call(mark)?;
        let first = entry.written.first().ok_or_else(|| Error::wrong("the model server wrote nothing"))?;
        Ok(first.duration_since(entry.received))
    }

    fn only_call(&self, mark: u64) -> Result<Entry> {
        match self.lock().get(&mark).map(Vec::as_slice) {
            Some([entry]) => Ok(entry.clone()),
            Some(calls) => {
                Err(Error::wrong(format!("the model was called {} times for one turn", calls.len())))
            }
            None => Err(Error::wrong("the model was not called for a turn")),
        }
    }

    /// Waits until so many calls with this mark have come, and answers when the last did.
    pub(crate) async fn wait_for_call(&self, mark: u64, count: usize) -> Result<Instant> {
        let received = |calls: &[Entry]| calls.get(count - 1).map(|entry| entry.received);
        in_time("a call of the model", self.wait_for(mark, received)).await
    }

    /// Waits until the first call with this mark has been answered with so many chunks.
    pub(crate) async fn wait_for_chunks(&self, mark: u64, count: u32) -> Result<()> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let are_written =
            |calls: &[Entry]| calls.first().filter(|entry| entry.written.len() >= count).map(|_| ());
        in_time("an answer of the model", self.wait_for(mark, are_written)).await
    }

    /// Waits until the client of the first call with this mark has left before its end, and
    /// answers when that was seen.
    pub(crate) async fn wait_until_left(&self, mark: u64) -> Result<Instant> {
        let left = |calls: &[Entry]| calls.first().and_then(|entry| entry.left);
        in_time("the end of a model call's connection", self.wait_for(mark, left)).await
    }

    async fn wait_for<T>(&self, mark: u64, find: impl Fn(&[Entry]) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = self.lock().get(&mark).and_then(|calls| find(calls)) {
                return found;
            }
            // The sender is in this very journal.
            let _ = changed.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Entry>>> {
        // Nothing panics while it holds the map.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_call_waits_until_the_chunks_of_its_own_mark_have_been_seen() {
        let journal = Journal::default();
        let call = journal.received(7, Instant::now());

        journal.saw(8);
        assert_eq!(journal.wait_until_seen(call).now_or_never(), None);

        journal.saw(7);
        assert_eq!(journal.wait_until_seen(call).now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_told_with_the_time_of_that() {
        let journal = Journal::default();
        let call = journal.received(7, Instant::now());
        assert!(journal.wait_until_left(7).now_or_never().is_none());

        let at = Instant::now();
        journal.left(call, at);

        assert_eq!(journal.wait_until_left(7).await.unwrap(), at);
    }
}
