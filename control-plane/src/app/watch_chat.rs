//! Watching a chat: the shell around the watcher's core.
//!
//! It is a stream that is pulled: nothing runs for a watcher but what its client waits
//! for, and at most one read of the database. A client that does not read holds one page
//! and one event here, and no connection.

use std::{collections::HashMap, mem, time::Duration};

use chatplane_domain::{ChatId, UserId};
use futures::{FutureExt as _, Stream, StreamExt, stream};
use tokio::time::{self, Instant};

use super::{App, Error, mark_read::Reader, reading::Reading};
use crate::{
    authz::Actor,
    peers::{Seen, Watching},
    pubsub::Subscription,
    relay::Watched,
    store::{self, SyncPage, WatchedVersions},
    watch::{Action, Emitted, End, Event, GivenUp, LiveEvent, Malformed, Timing, Watcher},
};

/// Chats whose versions are read by one statement of the poll.
const POLL_CHATS_MAX: usize = 10_000;

/// A chat to watch.
pub(crate) struct WatchChat {
    /// The chat.
    pub(crate) chat: ChatId,
    /// Where to begin.
    pub(crate) from: WatchFrom,
}

/// Where a watch begins.
pub(crate) enum WatchFrom {
    /// With the present.
    Start {
        /// How many of the last messages are sent; none for all.
        history_limit: Option<u32>,
    },
    /// After the event with this cursor.
    Cursor(String),
}

type Read = Result<Option<SyncPage>, store::Error>;

/// One watcher and what it listens to.
struct Shell {
    app: App,
    chat: ChatId,
    viewer: UserId,
    watcher: Watcher,
    reader: Reader,
    /// Version of the chat that the last page completes, until all of the page was sent.
    completing: Option<i64>,
    start: Instant,
    hints: Subscription,
    live: Watched,
    /// Has the live parts come here that are written at another replica.
    followed: Watching,
    sync: Reading<Read>,
    has_begun: bool,
}

impl App {
    /// Streams a chat: what it is, then everything that happens to it.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `FieldInvalid`, `CursorExpired`, `LimitExceeded`.
    pub(crate) async fn watch_chat(
        &self,
        actor: &Actor,
        watch: WatchChat,
    ) -> Result<impl Stream<Item = Result<Emitted, Error>> + Send + use<>, Error> {
        self.get_chat(actor, watch.chat).await?;
        let viewer = actor.user()?;
        let timing = Timing { progress_interval: self.inner.limits.progress_interval, ..Timing::default() };
        let watcher = match watch.from {
            WatchFrom::Start { history_limit } => {
                Watcher::start(watch.chat, history_limit, timing, Duration::ZERO)
            }
            WatchFrom::Cursor(cursor) => Watcher::resume(watch.chat, &cursor, timing, Duration::ZERO)
                .map_err(|Malformed| Error::invalid("cursor", "it is the cursor of an event of this chat"))?,
        };
        let live =
            self.inner.relay.watch(watch.chat).map_err(|_| {
                Error::LimitExceeded("this replica watches as many chats as it can".to_owned())
            })?;
        let mut shell = Shell {
            app: self.clone(),
            chat: watch.chat,
            viewer,
            watcher,
            reader: Reader::new(self, watch.chat, viewer),
            completing: None,
            start: Instant::now(),
            // Before the first look, or a change in between would go unseen.
            hints: self.inner.hub.subscribe(watch.chat),
            live,
            followed: self.inner.peers.watch(watch.chat),
            sync: Reading::default(),
            has_begun: false,
        };
        // What is wrong with the request is said before the stream begins.
        let first = shell.next().await?;
        let rest = stream::try_unfold(shell, |mut shell| async move {
            let emitted = shell.next().await?;
            Ok(Some((emitted, shell)))
        });
        Ok(stream::iter([Ok(first)]).chain(rest))
    }

    /// The net for lost hints: looks at all watched chats together, until shutdown.
    pub(crate) async fn poll_watched(&self) {
        let mut known = HashMap::new();
        loop {
            let poll = async {
                time::sleep(self.inner.limits.watch_poll_interval).await;
                self.poll_watched_once(mem::take(&mut known)).await
            };
            known = tokio::select! {
                () = self.inner.shutdown.cancelled() => return,
                found = poll => found,
            };
        }
    }

    /// Hints at the chats whose versions are not those of the last poll.
    async fn poll_watched_once(
        &self,
        known: HashMap<ChatId, WatchedVersions>,
    ) -> HashMap<ChatId, WatchedVersions> {
        let mut found = HashMap::new();
        for chats in self.inner.hub.watched().chunks(POLL_CHATS_MAX) {
            match self.inner.store.versions(chats).await {
                Ok(versions) => found.extend(versions),
                Err(error) => {
                    // Each watcher's own sync says more when it fails.
                    tracing::warn!(%error, "the watched chats could not be polled");
                    return known;
                }
            }
        }
        for (chat, versions) in &found {
            if known.get(chat) != Some(versions) {
                self.inner.hub.hint_chat(*chat);
            }
        }
        found
    }
}

impl Shell {
    /// The next event.
    async fn next(&mut self) -> Result<Emitted, Error> {
        loop {
            if self.app.inner.shutdown.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            self.take_what_is_ready()?;
            let now = self.start.elapsed();
            let action = self.live.read(|live| self.watcher.poll(live, now));
            self.note_shown(&action);
            match action {
                Action::Emit(emitted) => {
                    self.has_begun = true;
                    return Ok(emitted);
                }
                Action::RunSync(from) => {
                    let (store, chat, viewer) = (self.app.inner.store.clone(), self.chat, self.viewer);
                    self.sync.begin(async move { store.sync(chat, viewer, from).await });
                }
                Action::Wait(until) => self.wait(self.start + until).await?,
                Action::End(End::CursorExpired) => return Err(Error::CursorExpired),
                Action::End(End::ChatNotFound) => return Err(Error::ChatNotFound),
            }
        }
    }

    /// What a page has is sent before anything else is done, but for previews that it voids.
    fn note_shown(&mut self, next: &Action) {
        let is_of_the_page = match next {
            Action::Emit(emitted) => {
                matches!(emitted.event, Event::Durable(_) | Event::Live(LiveEvent::PreviewReset(_)))
            }
            Action::RunSync(_) | Action::Wait(_) => false,
            Action::End(_) => true,
        };
        if !is_of_the_page && let Some(version) = self.completing.take() {
            self.reader.was_shown(version);
        }
    }

    /// Live events may flow without a pause; a sync and hints get their turn all the same.
    fn take_what_is_ready(&mut self) -> Result<(), Error> {
        if self.hints.changed().now_or_never().is_some() {
            self.watcher.on_hint();
        }
        match self.sync.answer_now() {
            Some(read) => self.take_read(read),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, until: Instant) -> Result<(), Error> {
        tokio::select! {
            read = self.sync.answer() => self.take_read(read)?,
            () = self.hints.changed() => self.watcher.on_hint(),
            () = self.live.changed() => {}
            () = time::sleep_until(until) => {}
            () = self.app.inner.shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// A database that is away for a moment is waited for once the client has begun to
    /// read: live events go on meanwhile.
    fn take_read(&mut self, read: Read) -> Result<(), Error> {
        match read {
            Ok(page) => {
                if let Some(page) = &page {
                    let seen = Seen { version: page.chat.versions.snapshot, at: page.live_at };
                    self.followed.seen(seen);
                }
                let complete = page.as_ref().filter(|page| !page.more);
                self.completing = complete.map(|page| page.chat.versions.snapshot);
                self.watcher.on_page(page);
            }
            Err(error @ store::Error::Unavailable(_)) if self.has_begun => {
                tracing::debug!(chat = %self.chat, %error, "a watcher could not sync");
                let given_up = self.watcher.on_sync_failed(self.start.elapsed());
                given_up.map_err(|GivenUp| Error::from(error))?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
