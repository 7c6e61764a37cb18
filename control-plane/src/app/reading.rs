//! The read that a stream waits for.

use futures::{FutureExt, future};
use tokio_util::task::AbortOnDropHandle;

/// At most one read. It runs in a task of its own: a client that does not take its events, and
/// for whom the stream is not polled, must not hold a connection to the database.
#[derive(Debug)]
pub(super) struct Reading<T>(Option<AbortOnDropHandle<T>>);

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Reading<T> {
    pub(super) fn begin(&mut self, read: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(AbortOnDropHandle::new(tokio::spawn(read)));
    }

    /// What was read, once; it is waited for, for ever where nothing is read.
    pub(super) async fn answer(&mut self) -> T {
        let Some(reading) = &mut self.0 else { return future::pending().await };
        let ended = reading.await;
        self.0 = None;
        match ended {
            Ok(read) => read,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only dropping the handle cancels the task, and then nobody waits here.
                Err(_) => future::pending().await,
            },
        }
    }

    /// What was read, if that is done.
    pub(super) fn answer_now(&mut self) -> Option<T> {
        self.answer().now_or_never()
    }
}
