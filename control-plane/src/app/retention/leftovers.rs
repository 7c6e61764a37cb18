//! The sweeps of what nothing refers to any more.

use chatplane_domain::ChatId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    app::{App, chain, dispatch::Failure},
    store::{ERASED_FILE_BYTES_MAX, Erased},
};

/// Files that are looked at together at most.
const FILES_MAX: i64 = 20;
/// Chats of which something is left that are looked for together.
const CHATS_MAX: i64 = 50;
/// Sessions that are forgotten together.
const SESSIONS_MAX: i64 = 500;

impl App {
    /// Erases what is left of deleted chats, of each once: one that cannot be erased does not
    /// keep the others.
    pub(super) async fn erase_leftovers(&self, stop: &CancellationToken) -> Result<(), Failure> {
        let store = &self.inner.store;
        let mut after = ChatId(Uuid::nil());
        loop {
            let chats = self.in_time(store.erasing_chats(after, CHATS_MAX)).await?;
            for &chat in &chats {
                if stop.is_cancelled() {
                    return Ok(());
                }
                if let Err(error) = self.erase_leftover(chat, stop).await {
                    let cause = chain(&error);
                    tracing::warn!(chat_id = %chat, %cause, "a deleted chat could not be erased; the next sweep tries");
                }
            }
            match chats.last() {
                Some(&last) if i64::try_from(chats.len()).is_ok_and(|found| found == CHATS_MAX) => {
                    after = last;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    async fn erase_leftover(&self, chat: ChatId, stop: &CancellationToken) -> Result<(), Failure> {
        let mut after = 0;
        while let Erased::Through(last) = self.in_time(self.inner.store.erase_some(chat, after)).await? {
            if stop.is_cancelled() {
                break;
            }
            after = last;
        }
        Ok(())
    }

    /// Deletes files that no chat is linked to, which adds to `files`.
    pub(super) async fn sweep_files(&self, files: &mut u64, stop: &CancellationToken) -> Result<(), Failure> {
        let kept = self.inner.limits.unlinked_file_kept;
        // A batch has few bytes even if each file is as large as it may be.
        let bytes_max = i64::try_from(self.inner.limits.file_bytes_max.max(1)).unwrap_or(i64::MAX);
        let files_max = (ERASED_FILE_BYTES_MAX / bytes_max).clamp(1, FILES_MAX);
        while !stop.is_cancelled() {
            let swept = self.in_time(self.inner.store.sweep_files(kept, files_max)).await?;
            *files += swept.deleted;
            if i64::try_from(swept.seen).is_ok_and(|seen| seen < files_max) {
                break;
            }
        }
        Ok(())
    }

    /// Forgets sessions of workers that were closed long ago, which adds to `sessions`.
    pub(super) async fn forget_sessions(
        &self,
        sessions: &mut u64,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let kept = self.inner.limits.closed_session_kept;
        while !stop.is_cancelled() {
            let forgotten = self.in_time(self.inner.store.forget_sessions(kept, SESSIONS_MAX)).await?;
            *sessions += forgotten;
            if i64::try_from(forgotten).is_ok_and(|forgotten| forgotten < SESSIONS_MAX) {
                break;
            }
        }
        Ok(())
    }
}
