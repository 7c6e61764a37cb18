//! How far a user has read a chat.
//!
//! It moves by `MarkRead`, and with a watch: when its first picture is complete, and when it
//! ends. A watch ends where nobody waits for anything, its client being gone; so that is done
//! in a task, which the replica waits for before it leaves.

use std::sync::Arc;

use chatplane_domain::{ChatId, UserId};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::task::TaskTracker;

use super::{App, Error, chain};
use crate::{
    authz::Actor,
    store::{ChatView, ReadTo},
};

/// Watches whose reading is written down at once: the database's other connections are
/// for the turns, also while thousands of clients come back after a restart.
const WATCHES_MARKED_MAX: usize = 2;

/// How far a chat was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkRead {
    /// The chat.
    pub chat: ChatId,
    /// How far.
    pub to: ReadTo,
}

/// The tasks that write down how far watches have come.
#[derive(Clone, Debug)]
pub(crate) struct ReadTasks {
    pub(super) tasks: TaskTracker,
    turns: Arc<Semaphore>,
}

impl Default for ReadTasks {
    fn default() -> Self {
        Self { tasks: TaskTracker::new(), turns: Arc::new(Semaphore::new(WATCHES_MARKED_MAX)) }
    }
}

impl App {
    /// Moves the caller's read cursor, never back.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`.
    pub(crate) async fn mark_read(&self, actor: &Actor, mark: MarkRead) -> Result<ChatView, Error> {
        let chat = self.get_chat(actor, mark.chat).await?;
        let viewer = actor.user()?;
        if self.inner.store.mark_read(mark.chat, viewer, mark.to).await? {
            self.inner.hub.owner_changed(viewer);
            return self.get_chat(actor, mark.chat).await;
        }
        Ok(chat)
    }
}

/// The user who watches a chat, and what of it they were shown.
pub(super) struct Reader {
    app: App,
    chat: ChatId,
    viewer: UserId,
    /// What they were shown last: all of the chat at a version.
    shown: Option<i64>,
    /// What was written down, or is about to be.
    marked: Option<i64>,
    /// Where tasks run: whoever drops a watch may be no task.
    runtime: Handle,
}

impl Reader {
    /// The reader of a watch that is about to begin.
    pub(super) fn new(app: &App, chat: ChatId, viewer: UserId) -> Self {
        Self { app: app.clone(), chat, viewer, shown: None, marked: None, runtime: Handle::current() }
    }

    /// All of the chat at this version has been sent.
    pub(super) fn was_shown(&mut self, version: i64) {
        let is_first = self.shown.is_none();
        self.shown = Some(version);
        if is_first {
            self.mark();
        }
    }

    fn mark(&mut self) {
        let Some(version) = self.shown.filter(|_| self.shown != self.marked) else { return };
        self.marked = self.shown;
        let (app, chat, viewer) = (self.app.clone(), self.chat, self.viewer);
        let turns = Arc::clone(&self.app.inner.reading.turns);
        let mark = async move {
            let _turn = turns.acquire().await.expect("it is never closed");
            match app.inner.store.mark_read(chat, viewer, ReadTo::Version(version)).await {
                Ok(true) => app.inner.hub.owner_changed(viewer),
                Ok(false) => {}
                // The chat stays unread, which the next watch mends.
                Err(error) => {
                    tracing::warn!(%chat, cause = %chain(&error), "how far a watch has read could not be stored");
                }
            }
        };
        self.app.inner.reading.tasks.spawn_on(mark, &self.runtime);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.mark();
    }
}
