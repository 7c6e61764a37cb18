//! Users who do whatever comes to their mind, to whatever chat.

mod messages;
mod operation;
mod queue;
mod settings;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Debug,
    rc::Rc,
    time::Duration,
};

use chatplane_proto::chat::v1::{self as proto, ErrorReason};
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

pub(crate) use self::{messages::INTERRUPTED_WORK, operation::Operation};
use crate::{
    audience::Watched,
    records::{Records, Tally},
};

/// Chats that users make by copying others.
const FORKS_MAX: usize = 100;
/// Chats that most things happen to, so that they happen at the same time.
const HOT_CHATS: usize = 24;
/// Between two things that a user does: people read.
const PAUSE_MS_MAX: u64 = 20;

/// What all users share.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) seed: u64,
    chats: RefCell<Vec<String>>,
    /// Who watches, by chat.
    audience: RefCell<BTreeMap<String, Watched>>,
    workspace: String,
    is_over: Cell<bool>,
    pub(crate) records: Records,
    pub(crate) tally: Rc<Tally>,
}

/// One of the users' hands: they all are one user to the control plane.
pub(crate) struct User {
    client: Client,
    storm: Rc<Storm>,
    random: StdRng,
}

/// What a user knows of a call that has ended.
pub(super) enum Outcome<T> {
    /// It was done.
    Accepted(T),
    /// It was not done.
    Refused,
    /// It may have been done.
    Unknown,
}

impl<T> Outcome<T> {
    fn accepted(self) -> Option<T> {
        match self {
            Self::Accepted(reply) => Some(reply),
            Self::Refused | Self::Unknown => None,
        }
    }
}

impl Storm {
    pub(crate) fn new(seed: u64, workspace: &str) -> Self {
        Self {
            seed,
            chats: RefCell::default(),
            audience: RefCell::default(),
            workspace: workspace.to_owned(),
            is_over: Cell::new(false),
            records: Records::default(),
            tally: Rc::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Everybody ends what they are at.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }

    pub(crate) fn chats(&self) -> Vec<String> {
        self.chats.borrow().clone()
    }

    /// Adds a chat, with somebody who watches it from now on.
    fn add(&self, chat: &str, client: Client, seed: u64) {
        self.watch(chat, client, seed);
        self.chats.borrow_mut().push(chat.to_owned());
    }

    /// Adds somebody who watches a chat.
    pub(crate) fn watch(&self, chat: &str, client: Client, seed: u64) {
        let mut audience = self.audience.borrow_mut();
        let watched = audience.entry(chat.to_owned()).or_insert_with(|| Watched::new(chat));
        watched.add(client, seed, &self.tally);
    }

    /// A chat with all who watch it.
    pub(crate) fn watched(&self, chat: &str) -> Watched {
        self.audience.borrow_mut().remove(chat).expect("every chat is watched from its creation on")
    }
}

impl User {
    pub(crate) fn new(client: Client, storm: Rc<Storm>, seed: u64) -> Self {
        Self { client, storm, random: StdRng::seed_from_u64(seed) }
    }

    /// Does one thing after the other until the storm is over.
    pub(crate) async fn use_chats(mut self) {
        while !self.storm.is_over() {
            let chat = {
                let chats = self.storm.chats.borrow();
                let of = if self.random.random_bool(0.7) { HOT_CHATS } else { chats.len() };
                chats[self.random.random_range(0..of)].clone()
            };
            self.act(&chat).await;
            sleep(Duration::from_millis(self.random.random_range(0..PAUSE_MS_MAX))).await;
        }
    }

    async fn act(&mut self, chat: &str) {
        match self.random.random_range(0..100) {
            0..32 => self.send(chat).await,
            32..42 => self.edit(chat).await,
            42..48 => self.interrupt(chat).await,
            48..52 => self.fork(chat).await,
            52..57 => self.compact(chat).await,
            57..61 => self.clear(chat).await,
            61..76 => self.change_queue(chat).await,
            76..82 => self.configure(chat).await,
            82..96 => self.submit(chat).await,
            _ => self.archive(chat).await,
        }
    }

    fn words(&self, what: &str) -> (String, proto::Part) {
        // Unique, so that it is found again.
        let words = format!("{what} {}", Uuid::new_v4());
        (words.clone(), chatplane_tests::text(&words))
    }

    /// Half of all requests can be repeated.
    fn request_id(&mut self) -> String {
        if self.random.random_bool(0.5) { Uuid::now_v7().to_string() } else { String::new() }
    }

    /// Calls once, or twice with the same request id: then the second call has no effect, and
    /// the same answer.
    async fn ask<T: Debug + PartialEq>(
        &mut self,
        operation: Operation,
        request_id: &str,
        mut call: impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) -> Outcome<T> {
        let repeats = !request_id.is_empty() && self.random.random_ratio(1, 4);
        let first = match call(&mut self.client).await {
            Ok(response) => response.into_inner(),
            Err(status) => return self.not_accepted(operation, &status),
        };
        self.storm.tally.count(&format!("{operation:?}"));
        if !request_id.is_empty() {
            self.storm.records.accepted(request_id);
        }
        if repeats {
            self.repeat(operation, &first, call).await;
        }
        Outcome::Accepted(first)
    }

    async fn repeat<T: Debug + PartialEq>(
        &mut self,
        operation: Operation,
        first: &T,
        mut call: impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) {
        let seed = self.storm.seed;
        match call(&mut self.client).await {
            Ok(again) => {
                let again = again.into_inner();
                assert_eq!(&again, first, "a repeat of {operation:?} is answered as the first, seed {seed}");
            }
            Err(status) => {
                let told = reason(&status);
                assert_eq!(
                    told,
                    Some(ErrorReason::Unavailable),
                    "{operation:?} was accepted once, and is refused when repeated, seed {seed}: {status:?}"
                );
            }
        }
    }

    /// An operation is refused for its own reasons only.
    fn not_accepted<T>(&self, operation: Operation, status: &Status) -> Outcome<T> {
        let told = reason(status);
        let may_be = told.filter(|told| operation.may_be_refused_for().contains(told));
        let Some(may_be) = may_be else {
            panic!("{operation:?} may not be refused for {told:?}, seed {}: {status:?}", self.storm.seed)
        };
        self.storm.tally.count(&format!("{operation:?}: {}", may_be.as_str_name()));
        if may_be == ErrorReason::Unavailable { Outcome::Unknown } else { Outcome::Refused }
    }
}

/// The reason that a refusal carries.
pub(crate) fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}
