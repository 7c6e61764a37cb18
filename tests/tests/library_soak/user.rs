//! Users who do whatever comes to their mind with their chats.

mod library;
mod operation;
mod queue;
mod turns;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chatplane_proto::chat::v1::{self as proto, ErrorReason};
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

pub(crate) use self::operation::{Ask, Operation, Refusal};

/// Chats that a user begins or copies: so few that much happens to each.
const CHATS_MAX: usize = 30;
/// Between two things that a user does: people read.
const PAUSE_MS_MAX: u64 = 25;

/// What one user has, whatever hand does it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Where tools of the user's run; not everybody has one.
    workspace: Option<String>,
    chats: Mutex<Vec<String>>,
    files: Mutex<Vec<proto::File>>,
    tally: Mutex<BTreeMap<String, usize>>,
    gone: Mutex<Vec<(ErrorReason, Ask)>>,
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
    pub(crate) fn new(workspace: Option<String>) -> Self {
        Self { workspace, ..Self::default() }
    }

    fn count(&self, what: &str) {
        *locked(&self.tally).entry(what.to_owned()).or_default() += 1;
    }

    /// How often what was done, and refused for which reason.
    pub(crate) fn counted(&self) -> BTreeMap<String, usize> {
        locked(&self.tally).clone()
    }

    /// Calls that were told that something is not there.
    pub(crate) fn gone(&self) -> Vec<(ErrorReason, Ask)> {
        locked(&self.gone).clone()
    }
}

/// What a refusal is called in a tally; what was done is called like the operation.
pub(crate) fn refused(operation: Operation, reason: ErrorReason) -> String {
    format!("{operation:?}: {}", reason.as_str_name())
}

impl Hand {
    pub(crate) fn new(clients: Vec<Client>, desk: Arc<Desk>, seed: u64) -> Self {
        Self { clients, desk, random: StdRng::seed_from_u64(seed) }
    }

    /// Does one thing after the other until the day is over.
    pub(crate) async fn use_chats(mut self, over: CancellationToken) {
        while !over.is_cancelled() {
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
        match self.random.random_range(0..100) {
            0..5 => self.create().await,
            5..22 => self.send(chat).await,
            22..28 => self.change_queue(chat).await,
            28..31 => self.interrupt(chat).await,
            31..35 => self.edit(chat).await,
            35..38 => self.fork(chat).await,
            38..45 => self.archive(chat).await,
            45..50 => self.unarchive(chat).await,
            50..57 => self.title(chat).await,
            57..63 => self.labels(chat).await,
            63..72 => self.pin(chat).await,
            72..79 => self.mark_read(chat).await,
            79..82 => self.glance(chat).await,
            82..86 => self.submit(chat).await,
            86..88 => self.regenerate_title(chat).await,
            88..92 => self.configure(chat).await,
            92..94 => self.upload().await,
            94..96 => self.clear(chat).await,
            96..98 => self.compact(chat).await,
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
    fn taken<T>(&self, ask: Ask, replied: Result<Response<T>, Status>) -> Option<T> {
        match replied {
            Ok(response) => {
                self.desk.count(&format!("{:?}", ask.operation));
                Some(response.into_inner())
            }
            Err(status) => {
                self.refused(ask, &status);
                None
            }
        }
    }

    /// Nobody may be told what cannot have come to pass.
    fn refused(&self, ask: Ask, status: &Status) {
        let refusal = Refusal::read(status).filter(|refusal| ask.may_be_told(refusal));
        let Some(Refusal { reason, .. }) = refusal else {
            panic!("{ask:?} may not be told this: {status:?}");
        };
        self.desk.count(&refused(ask.operation, reason));
        match reason {
            ErrorReason::ChatNotFound => locked(&self.desk.chats).retain(|known| *known != ask.chat),
            ErrorReason::FileNotFound => locked(&self.desk.files).clear(),
            ErrorReason::MessageNotFound | ErrorReason::QueuedMessageNotFound => {}
            _ => return,
        }
        locked(&self.desk.gone).push((reason, ask));
    }
}
