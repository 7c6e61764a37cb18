//! The sweep of what nothing refers to any more.

use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, dispatch::Failure},
    store::Erased,
};

/// Files that are looked at together at most.
const FILES_MAX: usize = 20;
/// Bytes that they have, if each is as large as it may be: 1 GB takes 2 s to delete.
const FILE_BYTES_MAX: usize = 200 * 1024 * 1024;
/// Chats of which something is left that are looked for together.
const CHATS_MAX: i64 = 50;

impl App {
    /// Deletes files that no chat is linked to, which adds to `files`, and erases what is left of
    /// deleted chats.
    pub(super) async fn sweep_leftovers(
        &self,
        files: &mut u64,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let store = &self.inner.store;
        for chat in self.in_time(store.erasing_chats(CHATS_MAX)).await? {
            let mut after = 0;
            while let Erased::Through(last) = self.in_time(store.erase_some(chat, after)).await? {
                if stop.is_cancelled() {
                    return Ok(());
                }
                after = last;
            }
        }
        let kept = self.inner.limits.unlinked_file_kept;
        let files_max = (FILE_BYTES_MAX / self.inner.limits.file_bytes_max.max(1)).clamp(1, FILES_MAX);
        let limit = i64::try_from(files_max).unwrap_or(1);
        while !stop.is_cancelled() {
            let swept = self.in_time(store.sweep_files(kept, limit)).await?;
            *files += swept.deleted;
            if swept.seen < files_max {
                break;
            }
        }
        Ok(())
    }
}
