//! How many files a chat may refer to, and whose.

use chatplane_domain::{Decision, FileId, UserId};

use super::{App, Error};
use crate::store::{Ask, FileView, Links, Snapshot};

impl App {
    /// The files of a new chat's message. A message is refused before anybody's file is.
    ///
    /// # Errors
    ///
    /// `FileNotFound`, `LimitExceeded`.
    pub(super) async fn linkable(&self, owner: UserId, files: &[FileId]) -> Result<Vec<FileView>, Error> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.inner.store.files(owner, files).await?;
        if found.len() < files.len() {
            return Err(Error::FileNotFound);
        }
        self.check_count(found.len())?;
        Ok(found)
    }

    /// Refuses a message whose files are not there any more, or that the chat has no room for.
    ///
    /// # Errors
    ///
    /// `FileNotFound`, `LimitExceeded`.
    pub(super) fn check_links(
        &self,
        snapshot: &Snapshot,
        ask: &Ask,
        decision: &Decision,
    ) -> Result<(), Error> {
        if ask.files.is_empty() {
            return Ok(());
        }
        if snapshot.file_facts.as_ref().is_none_or(|facts| facts.asked.len() < ask.files.len()) {
            return Err(Error::FileNotFound);
        }
        let links = Links::of(snapshot, ask, decision.change.as_ref());
        // A chat may have more, since the limit was lowered or as a copy; it gets none beside.
        if links.linked.is_empty() { Ok(()) } else { self.check_count(links.files.len()) }
    }

    fn check_count(&self, count: usize) -> Result<(), Error> {
        let most = self.inner.limits.files_per_chat_max;
        if count <= most {
            return Ok(());
        }
        Err(Error::LimitExceeded(format!(
            "a chat refers to at most {most} files (files_per_chat_max); start another chat, or delete queued \
             messages that refer to some"
        )))
    }
}
