//! Watching all chats of a user: the shell around the watcher's core.
//!
//! It is a stream that is pulled, as that of one chat: nothing runs for a watcher but what
//! its client waits for, and at most one read of the database. A client that does not read
//! holds one page and one event here, and no connection.

use std::time::Duration;

use chatplane_domain::UserId;
use futures::{FutureExt as _, Stream, StreamExt, stream};
use tokio::time::{self, Instant};

use super::{App, Error, reading::Reading};
use crate::{
    authz::{self, Action, Actor, Resource},
    pubsub::Subscription,
    store::{self, FeedPage, FeedSnapshot},
    watch::{ChatsAction, ChatsEmitted, ChatsWatcher, GivenUp, Malformed, Timing},
};

/// Owners that one statement of the poll looks at: each is some lookups in an index.
const POLL_OWNERS_MAX: usize = 10_000;

type Read = Result<FeedPage, store::Error>;

/// One watcher and what it listens to.
struct Shell {
    app: App,
    user: UserId,
    watcher: ChatsWatcher,
    start: Instant,
    hints: Subscription<UserId>,
    read: Reading<Read>,
    has_begun: bool,
}

impl App {
    /// Streams what happens to all chats of the caller, from a cursor on, or from now.
    ///
    /// # Errors
    ///
    /// `FieldInvalid`, `CursorExpired`.
    pub(crate) async fn watch_chats(
        &self,
        actor: &Actor,
        cursor: Option<&str>,
    ) -> Result<impl Stream<Item = Result<ChatsEmitted, Error>> + Send + use<>, Error> {
        authz::may(actor, Action::ReadChat, Resource::Deployment).map_err(Error::chat_denied)?;
        let user = actor.user()?;
        let timing = Timing { progress_interval: self.inner.limits.progress_interval, ..Timing::default() };
        let watcher = match cursor {
            None => ChatsWatcher::start(user, timing, Duration::ZERO),
            Some(cursor) => {
                ChatsWatcher::resume(user, cursor, timing, Duration::ZERO).map_err(|Malformed| {
                    let description = "it is the cursor of an event of WatchChats, or the watch_cursor of \
                                       ListChats, unchanged";
                    Error::invalid("cursor", description)
                })?
            }
        };
        let mut shell = Shell {
            app: self.clone(),
            user,
            watcher,
            start: Instant::now(),
            // Before the first look, or a change in between would go unseen.
            hints: self.inner.hub.subscribe_owner(user),
            read: Reading::default(),
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

    /// The net for lost hints: looks at all watched owners together, until shutdown.
    pub(crate) async fn poll_watched_owners(&self) {
        let mut seen = None;
        loop {
            let poll = async {
                time::sleep(self.inner.limits.watch_poll_interval).await;
                self.poll_watched_owners_once(seen.as_ref()).await
            };
            let found = tokio::select! {
                () = self.inner.shutdown.cancelled() => return,
                found = poll => found,
            };
            seen = found.or(seen);
        }
    }

    /// Hints at the owners with news since the last poll; answers what this one has seen.
    async fn poll_watched_owners_once(&self, seen: Option<&FeedSnapshot>) -> Option<FeedSnapshot> {
        // Where nobody watches, whoever comes looks for themselves; what is older is news to nobody.
        let mut first = None;
        for owners in self.inner.hub.watched_owners().chunks(POLL_OWNERS_MAX) {
            match self.inner.store.owners_with_news(owners, seen).await {
                Ok((snapshot, owners)) => {
                    owners.into_iter().for_each(|owner| self.inner.hub.hint_owner(owner));
                    // Those of the first statement were not looked at any later.
                    first.get_or_insert(snapshot);
                }
                Err(error) => {
                    // Each watcher's own read says more when it fails.
                    tracing::warn!(%error, "the watched owners could not be polled");
                    return None;
                }
            }
        }
        first
    }
}

impl Shell {
    /// The next event.
    async fn next(&mut self) -> Result<ChatsEmitted, Error> {
        loop {
            if self.app.inner.shutdown.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            self.take_what_is_ready()?;
            match self.watcher.poll(self.start.elapsed()) {
                ChatsAction::Emit(emitted) => {
                    self.has_begun = true;
                    return Ok(emitted);
                }
                ChatsAction::Read(from) => {
                    let (store, user) = (self.app.inner.store.clone(), self.user);
                    self.read.begin(async move { store.feed(user, &from).await });
                }
                ChatsAction::Wait(until) => self.wait(self.start + until).await?,
                ChatsAction::CursorExpired => return Err(Error::CursorExpired),
            }
        }
    }

    /// Events may flow without a pause; a read and hints get their turn all the same.
    fn take_what_is_ready(&mut self) -> Result<(), Error> {
        if self.hints.changed().now_or_never().is_some() {
            self.watcher.on_hint();
        }
        match self.read.answer_now() {
            Some(read) => self.take_read(read),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, until: Instant) -> Result<(), Error> {
        tokio::select! {
            read = self.read.answer() => self.take_read(read)?,
            () = self.hints.changed() => self.watcher.on_hint(),
            () = time::sleep_until(until) => {}
            () = self.app.inner.shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// A database that is away for a moment is waited for once the client has begun to read.
    fn take_read(&mut self, read: Read) -> Result<(), Error> {
        match read {
            Ok(page) => self.watcher.on_page(page),
            Err(error @ store::Error::Unavailable(_)) if self.has_begun => {
                tracing::debug!(user = %self.user, %error, "a watcher of all chats could not read");
                let given_up = self.watcher.on_read_failed(self.start.elapsed());
                given_up.map_err(|GivenUp| Error::from(error))?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
