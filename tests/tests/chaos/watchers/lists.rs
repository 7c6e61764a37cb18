//! Watchers of all chats.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{self as proto, watch_chats_response::Event};
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    notes::Notes,
    told::{Told, told},
};

/// A watcher moves on after this long at most.
const STREAM_MS: std::ops::Range<u64> = 200..8_000;
/// Between two tries to watch.
const PAUSE_MS: std::ops::Range<u64> = 10..100;

/// What a watcher of all chats makes of what it is told.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// The last picture of each chat.
    chats: BTreeMap<String, proto::Chat>,
    cursor: String,
}

/// A picture that grows.
pub(crate) type Shared = Arc<Mutex<Picture>>;

struct Watcher {
    /// One at each replica.
    clients: Vec<Client>,
    random: StdRng,
    notes: Arc<Notes>,
    picture: Shared,
}

/// Begins to watch, before there is anything to see, until the tasks are aborted.
pub(crate) fn begin(tasks: &mut JoinSet<()>, clients: Vec<Client>, seed: u64, notes: &Arc<Notes>) -> Shared {
    let picture = Shared::default();
    let watcher = Watcher {
        clients,
        random: StdRng::seed_from_u64(seed),
        notes: Arc::clone(notes),
        picture: Arc::clone(&picture),
    };
    tasks.spawn(watcher.watch());
    picture
}

/// Whether the watcher has begun: it was given a cursor.
pub(crate) fn has_begun(picture: &Shared) -> bool {
    !locked(picture).cursor.is_empty()
}

/// What a watcher has to say of a chat that is so.
pub(crate) fn difference(picture: &Shared, chat: &proto::Chat) -> Option<String> {
    let picture = locked(picture);
    let told = picture.chats.get(&chat.chat_id);
    (told != Some(chat)).then(|| format!("told: {told:?}\nis: {chat:?}"))
}

impl Watcher {
    async fn watch(mut self) {
        loop {
            let time = Duration::from_millis(self.random.random_range(STREAM_MS));
            let replica = self.random.random_range(0..self.clients.len());
            // One that is cut for its time is as good as one that breaks.
            let ended = timeout(time, self.read(replica)).await;
            if let Ok(Err(status)) = ended {
                match told(&status) {
                    Told::TryAgain => {}
                    Told::Refused(reason) => {
                        self.notes
                            .found(format!("a watch of all chats is refused for {reason:?}: {status:?}"));
                        *locked(&self.picture) = Picture::default();
                    }
                    Told::Wrong(wrong) => self.notes.found(format!("a watch of all chats: {wrong}")),
                }
                sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
            }
        }
    }

    async fn read(&mut self, replica: usize) -> Result<(), tonic::Status> {
        let request = proto::WatchChatsRequest { cursor: locked(&self.picture).cursor.clone() };
        let mut stream = self.clients[replica].chats.watch_chats(request).await?.into_inner();
        while let Some(response) = stream.message().await? {
            if let Err(wrong) = locked(&self.picture).take(response) {
                self.notes.found(format!("a watch of all chats: {wrong}"));
            }
        }
        Ok(())
    }
}

impl Picture {
    fn take(&mut self, response: proto::WatchChatsResponse) -> Result<(), String> {
        if bytes(&response.cursor)? < bytes(&self.cursor)? {
            return Err(format!("a cursor falls: {} after {}", response.cursor, self.cursor));
        }
        self.cursor = response.cursor;
        match response.event.ok_or("an event says nothing")? {
            Event::ChatChanged(changed) => {
                let chat = changed.chat.ok_or("an event has no chat")?;
                let before = self.chats.get(&chat.chat_id).map_or(0, |before| before.snapshot_version);
                if chat.snapshot_version < before {
                    return Err(format!("chat {} falls back from snapshot {before}", chat.chat_id));
                }
                self.chats.insert(chat.chat_id.clone(), chat);
            }
            Event::ChatDeleted(deleted) => return Err(format!("chat {} was deleted", deleted.chat_id)),
            Event::Progress(_) => {}
        }
        Ok(())
    }
}

fn bytes(cursor: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| format!("a cursor that no URL takes: {cursor:?}"))
}

fn locked(picture: &Shared) -> MutexGuard<'_, Picture> {
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}
