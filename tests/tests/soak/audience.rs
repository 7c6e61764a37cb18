//! Watchers that stay, are cut and go on with their cursor, or forget everything.

use std::{cell::RefCell, fmt, mem, rc::Rc};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, DEADLINE, eventually,
    fold::{Fold, Pictures},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tonic::{Code, Status};

use crate::{records::Tally, storm::reason};

/// Counted when a watch that goes on with a cursor has told something.
pub(crate) const RESUMED: &str = "a watch went on with its cursor";

/// Cursors of a chat at which its watchers are compared: they are not far from each other,
/// and each picture is a whole history.
const PICTURES_MAX: usize = 16;

/// A chat that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    chat: String,
    pictures: Rc<RefCell<Pictures>>,
    /// The snapshot with which the chat has come to rest.
    rest: watch::Sender<Option<i64>>,
    watchers: JoinSet<Fold>,
}

/// How a watcher behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// It stays.
    Steady,
    /// It leaves after a few events, and goes on with its cursor.
    Cut,
    /// As `Cut`, and sometimes it begins anew.
    Forgetful,
}

/// One watcher of a chat.
struct Watcher {
    client: Client,
    chat: String,
    pictures: Rc<RefCell<Pictures>>,
    rest: watch::Receiver<Option<i64>>,
    manner: Manner,
    random: StdRng,
    seed: u64,
    tally: Rc<Tally>,
    fold: Fold,
}

impl Watched {
    pub(crate) fn new(chat: &str) -> Self {
        Self {
            chat: chat.to_owned(),
            pictures: Rc::new(RefCell::new(Pictures::last(PICTURES_MAX))),
            rest: watch::Sender::new(None),
            watchers: JoinSet::new(),
        }
    }

    pub(crate) fn chat(&self) -> &str {
        &self.chat
    }

    pub(crate) fn add(&mut self, client: Client, seed: u64, tally: &Rc<Tally>) {
        let mut random = StdRng::seed_from_u64(seed);
        let manners = [Manner::Steady, Manner::Cut, Manner::Cut, Manner::Forgetful];
        let manner = manners[random.random_range(0..manners.len())];
        let watcher = Watcher {
            client,
            chat: self.chat.clone(),
            pictures: Rc::clone(&self.pictures),
            rest: self.rest.subscribe(),
            manner,
            random,
            seed,
            tally: Rc::clone(tally),
            fold: Fold::default(),
        };
        self.watchers.spawn_local(watcher.watch());
    }

    /// At rest, every watcher knows what the chat is.
    pub(crate) async fn compare(
        self,
        chat: &proto::Chat,
        messages: &[proto::Message],
        queue: &[proto::QueuedMessage],
    ) {
        self.rest.send_replace(Some(chat.snapshot_version));
        let watchers = timeout(DEADLINE, self.watchers.join_all());
        let folds = watchers.await.unwrap_or_else(|_| panic!("the watchers of {} get there", self.chat));
        for fold in folds {
            fold.matches(chat, messages, queue).unwrap_or_else(|wrong| panic!("chat {}: {wrong}", self.chat));
        }
    }
}

impl Watcher {
    async fn watch(mut self) -> Fold {
        loop {
            let mut goes_on = !self.fold.cursor.is_empty();
            let mut stream = self.open().await;
            let events = match self.manner {
                Manner::Steady => usize::MAX,
                Manner::Cut | Manner::Forgetful => self.random.random_range(0..60),
            };
            for _ in 0..events {
                if self.is_done() {
                    return self.fold;
                }
                let event = tokio::select! {
                    event = stream.message() => event,
                    Ok(()) = self.rest.changed() => continue,
                };
                let Some(event) = self.told(event) else { break };
                self.take(&event);
                if mem::take(&mut goes_on) {
                    self.tally.count(RESUMED);
                }
            }
            drop(stream);
            match self.manner {
                Manner::Forgetful if self.random.random_ratio(1, 8) => self.fold = Fold::default(),
                _ if self.fold.cursor.is_empty() => {}
                _ => self.fold.reconnected(),
            }
        }
    }

    async fn open(&mut self) -> tonic::Streaming<proto::WatchChatResponse> {
        let request = proto::WatchChatRequest {
            chat_id: self.chat.clone(),
            cursor: self.fold.cursor.clone(),
            history_limit: [None, Some(-1), Some(3), Some(0)][self.random.random_range(0..4)],
        };
        let opened = eventually("the chat can be watched", async || {
            match self.client.chats.watch_chat(request.clone()).await {
                Err(status) if status.code() == Code::Unavailable => None,
                opened => Some(opened),
            }
        });
        match opened.await {
            Ok(stream) => stream.into_inner(),
            Err(status) => panic!("{self} is not let in for {:?}: {status:?}", reason(&status)),
        }
    }

    /// The next event; none when the control plane says that it cannot go on just now. A watch
    /// ends for no other reason.
    fn told(
        &self,
        event: Result<Option<proto::WatchChatResponse>, Status>,
    ) -> Option<proto::WatchChatResponse> {
        match event {
            Ok(Some(event)) => Some(event),
            Ok(None) => panic!("{self}: the watch ends, and nobody says why"),
            Err(status) if status.code() == Code::Unavailable => {
                self.tally.count(&format!("a watch ended: {}", status.message()));
                None
            }
            Err(status) => panic!("{self}: the watch ends for {:?}: {status:?}", reason(&status)),
        }
    }

    fn take(&mut self, event: &proto::WatchChatResponse) {
        let folded = self.fold.apply(event).and_then(|()| self.pictures.borrow_mut().compare(&self.fold));
        folded.unwrap_or_else(|wrong| panic!("{self}: {wrong}"));
    }

    /// It knows the chat at rest, and has heard all that comes with that.
    fn is_done(&self) -> bool {
        let rest = *self.rest.borrow();
        let known = self.fold.durable.state.map(|state| state.snapshot_version);
        rest.is_some() && known >= rest && !self.fold.has_stale_previews()
    }
}

impl fmt::Display for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "watcher {:?} of chat {} with seed {}", self.manner, self.chat, self.seed)
    }
}
