//! Users who do whatever comes to their mind with their chats.

mod library;
mod turns;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// Chats that a user begins or copies: so few that much happens to each.
const CHATS_MAX: usize = 30;
/// Between two things that a user does: people read.
const PAUSE_MS_MAX: u64 = 25;

/// What one user has, whatever hand does it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    chats: Mutex<Vec<String>>,
    files: Mutex<Vec<proto::File>>,
    tally: Mutex<BTreeMap<String, usize>>,
}

/// One of the hands of a user, with clients of every replica.
pub(crate) struct Hand {
    clients: Vec<Client>,
    desk: Arc<Desk>,
    random: StdRng,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn count(&self, what: &str) {
        *locked(&self.tally).entry(what.to_owned()).or_default() += 1;
    }

    /// How often what was done, and refused for which reason.
    pub(crate) fn counted(&self) -> BTreeMap<String, usize> {
        locked(&self.tally).clone()
    }
}

impl Hand {
    pub(crate) fn new(clients: Vec<Client>, desk: Arc<Desk>, seed: u64) -> Self {
        Self { clients, desk, random: StdRng::seed_from_u64(seed) }
    }

    /// Does one thing after the other until the time has come.
    pub(crate) async fn use_chats(mut self, end: Instant) {
        while Instant::now() < end {
            self.act().await;
            sleep(Duration::from_millis(self.random.random_range(0..PAUSE_MS_MAX))).await;
        }
    }

    async fn act(&mut self) {
        let Some(chat) = self.any_chat() else {
            self.create().await;
            return;
        };
        let chat = chat.as_str();
        let what = match self.random.random_range(0..100) {
            0..5 => "create",
            5..25 => "send",
            25..28 => "interrupt",
            28..32 => "edit",
            32..35 => "fork",
            35..43 => "archive",
            43..48 => "unarchive",
            48..55 => "title",
            55..62 => "labels",
            62..72 => "pin",
            72..79 => "mark read",
            79..82 => "glance",
            82..86 => "submit",
            86..88 => "regenerate the title",
            88..91 => "configure",
            91..93 => "upload",
            93..95 => "clear",
            95..97 => "compact",
            _ => "list",
        };
        self.desk.count(what);
        match what {
            "create" => self.create().await,
            "send" => self.send(chat).await,
            "interrupt" => self.interrupt(chat).await,
            "edit" => self.edit(chat).await,
            "fork" => self.fork(chat).await,
            "archive" => self.archive(chat).await,
            "unarchive" => self.unarchive(chat).await,
            "title" => self.title(chat).await,
            "labels" => self.labels(chat).await,
            "pin" => self.pin(chat).await,
            "mark read" => self.mark_read(chat).await,
            "glance" => self.glance(chat).await,
            "submit" => self.submit(chat).await,
            "regenerate the title" => self.regenerate_title(chat).await,
            "configure" => self.configure(chat).await,
            "upload" => self.upload().await,
            "clear" => self.clear(chat).await,
            "compact" => self.compact(chat).await,
            _ => self.list().await,
        }
    }

    /// Any of the user's chats.
    fn any_chat(&mut self) -> Option<String> {
        locked(&self.desk.chats).choose(&mut self.random).cloned()
    }

    fn has_room(&self) -> bool {
        locked(&self.desk.chats).len() < CHATS_MAX
    }

    fn client(&mut self) -> &mut Client {
        let at = self.random.random_range(0..self.clients.len());
        &mut self.clients[at]
    }

    /// What was answered; none when it was refused for a reason that it may have.
    fn taken<T>(&self, chat: &str, replied: Result<Response<T>, Status>) -> Option<T> {
        let status = match replied {
            Ok(response) => return Some(response.into_inner()),
            Err(status) => status,
        };
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let may_be = [
            (Code::FailedPrecondition, "STATE_FORBIDS"),
            (Code::ResourceExhausted, "QUEUE_FULL"),
            (Code::ResourceExhausted, "LIMIT_EXCEEDED"),
            (Code::NotFound, "MESSAGE_NOT_FOUND"),
            // Retention deletes chats that were archived.
            (Code::NotFound, "CHAT_NOT_FOUND"),
            (Code::NotFound, "FILE_NOT_FOUND"),
            // Of two who name the version that they have seen, one comes too late.
            (Code::Aborted, "VERSION_MISMATCH"),
            // A call that was settled meanwhile.
            (Code::InvalidArgument, "FIELD_INVALID"),
            // Everybody wrote to the same chat.
            (Code::Unavailable, "UNAVAILABLE"),
        ];
        assert!(may_be.contains(&(status.code(), reason.as_str())), "nobody may be told this: {status:?}");
        self.desk.count(&reason);
        if reason == "CHAT_NOT_FOUND" {
            locked(&self.desk.chats).retain(|known| known != chat);
        }
        if reason == "FILE_NOT_FOUND" {
            // It went with the last chat that had it.
            locked(&self.desk.files).clear();
        }
        None
    }
}
