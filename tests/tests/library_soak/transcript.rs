//! Watchers that are cut and come back, on any replica, and write down what they are told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{self as proto, ChatChange, watch_chats_response::Event};
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Events after which a stream is cut, at most.
const STREAM_EVENTS_MAX: u32 = 60;
/// A stream is cut after this long, too, however little happens.
const STREAM_TIME_MAX: Duration = Duration::from_millis(700);

/// What a watcher was told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Changed {
        chat: Box<proto::Chat>,
        changes: Vec<ChatChange>,
        /// Which of the watcher's streams told it.
        stream: usize,
    },
    Deleted(String),
}

/// Everything that a watcher was told, and what it makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub(crate) owner: Uuid,
    pub(crate) told: Vec<Told>,
    /// The last picture of each chat.
    pub(crate) chats: BTreeMap<String, proto::Chat>,
    /// Of each stream the transaction below which all was told according to its cursor.
    pub(crate) streams: Vec<i64>,
    faults: Vec<String>,
    cursor: String,
}

/// A transcript that is being written.
pub(crate) type Shared = Arc<Mutex<Transcript>>;

impl Told {
    pub(crate) fn chat_id(&self) -> &str {
        match self {
            Self::Changed { chat, .. } => &chat.chat_id,
            Self::Deleted(chat) => chat,
        }
    }
}

impl Transcript {
    fn take(&mut self, response: proto::WatchChatsResponse) {
        // What is in a cursor compares like what it stands for.
        if bytes(&response.cursor) < bytes(&self.cursor) || response.cursor.is_empty() {
            self.faults.push(format!("a cursor falls: {} after {}", response.cursor, self.cursor));
        }
        self.cursor = response.cursor;
        match response.event {
            Some(Event::ChatChanged(changed)) => {
                let changes: Vec<ChatChange> = changed.changes().collect();
                let Some(chat) = changed.chat else {
                    self.faults.push("an event has no chat".to_owned());
                    return;
                };
                self.chats.insert(chat.chat_id.clone(), chat.clone());
                self.told.push(Told::Changed { chat: Box::new(chat), changes, stream: self.streams.len() });
            }
            Some(Event::ChatDeleted(deleted)) => {
                self.chats.remove(&deleted.chat_id);
                self.told.push(Told::Deleted(deleted.chat_id));
            }
            Some(Event::Progress(_)) => {}
            None => self.faults.push("an event says nothing".to_owned()),
        }
    }

    /// What was wrong with the events themselves.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }
}

fn bytes(cursor: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default()
}

/// The number at a cursor's end; 0 without a cursor: nothing was there when a watcher began.
/// For a client it is opaque, but what a stream may name as changed depends on it.
fn told_below(cursor: &str) -> i64 {
    bytes(cursor).last_chunk().map_or(0, |number| i64::from_be_bytes(*number))
}

pub(crate) fn locked(shared: &Shared) -> MutexGuard<'_, Transcript> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to watch as a user, through any of the clients, until `stop`.
pub(crate) async fn begin(
    tasks: &mut JoinSet<()>,
    owner: Uuid,
    clients: Vec<Client>,
    seed: u64,
    stop: CancellationToken,
) -> Shared {
    let transcript = Transcript {
        owner,
        told: Vec::new(),
        chats: BTreeMap::new(),
        streams: Vec::new(),
        faults: Vec::new(),
        cursor: String::new(),
    };
    let shared = Arc::new(Mutex::new(transcript));
    let mut watcher = Watcher { clients, random: StdRng::seed_from_u64(seed), shared: Arc::clone(&shared) };
    // The present is known before anything happens.
    watcher.watch(1).await;
    tasks.spawn(async move {
        let watching = async {
            loop {
                let events = watcher.random.random_range(1..STREAM_EVENTS_MAX);
                watcher.watch(events).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = stop.cancelled() => {}
        }
    });
    shared
}

struct Watcher {
    clients: Vec<Client>,
    random: StdRng,
    shared: Shared,
}

impl Watcher {
    /// One stream, for so many events.
    async fn watch(&mut self, events: u32) {
        let at = self.random.random_range(0..self.clients.len());
        let request = {
            let mut transcript = locked(&self.shared);
            let told = told_below(&transcript.cursor);
            transcript.streams.push(told);
            proto::WatchChatsRequest { cursor: transcript.cursor.clone() }
        };
        let opened = self.clients[at].chats.watch_chats(request).await;
        let mut stream = opened.expect("the chats can be watched").into_inner();
        let reading = async {
            for _ in 0..events {
                match stream.message().await {
                    Ok(Some(response)) => locked(&self.shared).take(response),
                    ended => panic!("a stream ends unasked: {ended:?}"),
                }
            }
        };
        // A stream that is cut for its time is as good as one that is cut for its events.
        let _ = timeout(STREAM_TIME_MAX, reading).await;
    }
}
