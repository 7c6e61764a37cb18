//! Watchers that are cut, or cut themselves off, and go on with their cursor on any replica.

pub(crate) mod lists;
mod live;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client,
    fold::{Fold, Pictures},
    model_server::ModelServer,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    notes::Notes,
    told::{Told, told},
};

/// A watcher whose stream broke is told again.
pub(crate) const BROKEN: &str = "watcher's stream broke: it is told again";
/// A watcher that left is told again on another replica.
pub(crate) const MOVED: &str = "watcher moved with its cursor: it is told again";

/// Cursors of a chat at which its watchers are compared; each picture is a whole history.
const PICTURES_MAX: usize = 16;
/// So many of the last events are shown of a stream in which something was wrong.
const RECENT_MAX: usize = 24;
/// Between two tries to watch.
const PAUSE_MS: std::ops::Range<u64> = 10..100;

/// A chat that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) chat: String,
    pictures: Arc<Mutex<Pictures>>,
    /// The snapshot with which the chat has come to rest.
    rest: watch::Sender<Option<i64>>,
    watchers: JoinSet<Fold>,
}

/// What watchers share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) notes: Arc<Notes>,
    pub(crate) model: Arc<ModelServer>,
}

/// One watcher of a chat.
struct Watcher {
    /// One at each replica.
    clients: Vec<Client>,
    chat: String,
    pictures: Arc<Mutex<Pictures>>,
    rest: watch::Receiver<Option<i64>>,
    surroundings: Surroundings,
    random: StdRng,
    /// Whether it leaves now and then.
    is_restless: bool,
    fold: Fold,
    recent: VecDeque<String>,
    /// When it was told nothing any more, and why.
    cut: Option<(Instant, &'static str)>,
}

impl Watched {
    pub(crate) fn new(chat: &str) -> Self {
        Self {
            chat: chat.to_owned(),
            pictures: Arc::new(Mutex::new(Pictures::last(PICTURES_MAX))),
            rest: watch::Sender::new(None),
            watchers: JoinSet::new(),
        }
    }

    pub(crate) fn add(&mut self, clients: Vec<Client>, seed: u64, surroundings: &Surroundings) {
        let mut random = StdRng::seed_from_u64(seed);
        let watcher = Watcher {
            clients,
            chat: self.chat.clone(),
            pictures: Arc::clone(&self.pictures),
            rest: self.rest.subscribe(),
            surroundings: surroundings.clone(),
            is_restless: random.random_ratio(2, 3),
            random,
            fold: Fold::default(),
            recent: VecDeque::new(),
            cut: None,
        };
        self.watchers.spawn(watcher.watch());
    }

    /// At rest, every watcher knows what the chat is, at the latest at the deadline.
    pub(crate) async fn compare(
        mut self,
        chat: &proto::Chat,
        messages: &[proto::Message],
        queue: &[proto::QueuedMessage],
        deadline: Instant,
    ) -> Vec<String> {
        self.rest.send_replace(Some(chat.snapshot_version));
        let mut found = Vec::new();
        while !self.watchers.is_empty() {
            match timeout_at(deadline, self.watchers.join_next()).await {
                Ok(Some(Ok(fold))) => {
                    if let Err(wrong) = fold.matches(chat, messages, queue) {
                        found.push(format!("watch: at rest a watcher of {} differs: {wrong}", self.chat));
                    }
                }
                Ok(Some(Err(error))) => {
                    found.push(format!("watch: a watcher of {} ended: {error}", self.chat));
                }
                Ok(None) => break,
                Err(_) => {
                    let rest = chat.snapshot_version;
                    found
                        .push(format!("watch: a watcher of {} was never told of snapshot {rest}", self.chat));
                    break;
                }
            }
        }
        found
    }
}

impl Watcher {
    async fn watch(mut self) -> Fold {
        loop {
            let Some(mut stream) = self.open().await else {
                if self.is_done() {
                    return self.fold;
                }
                sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
                continue;
            };
            let events = if self.is_restless { self.random.random_range(1..80) } else { usize::MAX };
            let mut why = MOVED;
            for _ in 0..events {
                if self.is_done() {
                    return self.fold;
                }
                let event = tokio::select! {
                    event = stream.message() => event,
                    Ok(()) = self.rest.changed() => continue,
                };
                let Some(event) = self.heard(event) else {
                    why = BROKEN;
                    break;
                };
                self.take(&event);
            }
            self.cut.get_or_insert((Instant::now(), why));
            if !self.fold.cursor.is_empty() {
                self.fold.reconnected();
            }
        }
    }

    async fn open(&mut self) -> Option<tonic::Streaming<proto::WatchChatResponse>> {
        let replica = self.random.random_range(0..self.clients.len());
        let request = proto::WatchChatRequest {
            chat_id: self.chat.clone(),
            cursor: self.fold.cursor.clone(),
            history_limit: [None, Some(-1), Some(3), Some(0)][self.random.random_range(0..4)],
        };
        let opened = self.clients[replica].chats.watch_chat(request).await;
        match opened {
            Ok(stream) => Some(stream.into_inner()),
            Err(status) => {
                self.judge(&status);
                None
            }
        }
    }

    /// The next event; none when the stream has ended.
    fn heard(
        &mut self,
        event: Result<Option<proto::WatchChatResponse>, tonic::Status>,
    ) -> Option<proto::WatchChatResponse> {
        match event {
            Ok(event) => event,
            Err(status) => {
                self.judge(&status);
                None
            }
        }
    }

    /// A watch ends because the control plane cannot go on, and for no other reason.
    fn judge(&mut self, status: &tonic::Status) {
        let notes = &self.surroundings.notes;
        match told(status) {
            Told::TryAgain => return,
            Told::Refused(reason) => notes.found(format!("{self} is refused for {reason:?}: {status:?}")),
            Told::Wrong(wrong) => notes.found(format!("{self}: {wrong}")),
        }
        self.begin_anew();
    }

    fn take(&mut self, event: &proto::WatchChatResponse) {
        if let Some((at, why)) = self.cut.take()
            && !self.fold.cursor.is_empty()
        {
            self.surroundings.notes.recovered(why, at);
        }
        self.remember(event);
        let folded = self.fold.apply(event).and_then(|()| {
            let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
            pictures.compare(&self.fold)
        });
        let checked = folded.and_then(|()| live::check(&self.surroundings.model, &self.fold, event));
        if let Err(wrong) = checked {
            let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
            let recent = recent.join("\n    ");
            self.surroundings.notes.found(format!("watch: {self}: {wrong}\n    {recent}"));
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        self.fold = Fold::default();
    }

    fn remember(&mut self, event: &proto::WatchChatResponse) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let event: String = format!("{:?}", event.event).chars().take(300).collect();
        self.recent.push_back(event);
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
        write!(formatter, "watcher of chat {} after {} events", self.chat, self.fold.events)
    }
}
