//! Work that may take long, beside the threads on which everything else waits: a thread that
//! encodes a chat of many megabytes renews no session meanwhile.

use std::panic;

use tokio::task::spawn_blocking;

/// Work over fewer bytes is done at once: to encode so many takes a fraction of a millisecond
/// in a release build and some milliseconds in any other, and to hand it over takes some
/// microseconds of every turn.
const BYTES_MIN: usize = 256 * 1024;

/// What this work over so many bytes comes to.
pub(crate) async fn computed<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes < BYTES_MIN {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(cause) => panic::resume_unwind(cause),
            // The process ends, and whoever waits is about to be dropped.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_what_is_large_leaves_the_thread() {
        let here = thread::current().id();
        let runs_on = || thread::current().id();

        assert_eq!(computed(BYTES_MIN - 1, runs_on).await, here);
        assert_ne!(computed(BYTES_MIN, runs_on).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "a defect")]
    async fn a_panic_is_no_silence() {
        computed(BYTES_MIN, || panic!("a defect")).await;
    }
}
