//! Users who do whatever comes to their mind, to whatever chat.

mod messages;
mod queue;
mod settings;

use std::{cell::RefCell, fmt::Debug, rc::Rc, time::Duration};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::records::{Records, Tally};

/// Chats that users make by copying others.
const FORKS_MAX: usize = 100;
/// Chats that most things happen to, so that they happen at the same time.
const HOT_CHATS: usize = 24;
/// Between two things that a user does: people read.
const PAUSE_MS_MAX: u64 = 20;

/// What all users share.
#[derive(Debug)]
pub(crate) struct Storm {
    chats: RefCell<Vec<String>>,
    workspace: String,
    pub(crate) records: Records,
    pub(crate) tally: Tally,
}

/// One of the users' hands: they all are one user to the control plane.
pub(crate) struct User {
    client: Client,
    storm: Rc<Storm>,
    random: StdRng,
}

impl Storm {
    pub(crate) fn new(workspace: &str) -> Self {
        Self {
            chats: RefCell::default(),
            workspace: workspace.to_owned(),
            records: Records::default(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn chats(&self) -> Vec<String> {
        self.chats.borrow().clone()
    }

    fn add(&self, chat: &str) {
        self.chats.borrow_mut().push(chat.to_owned());
    }
}

impl User {
    pub(crate) fn new(client: Client, storm: Rc<Storm>, seed: u64) -> Self {
        Self { client, storm, random: StdRng::seed_from_u64(seed) }
    }

    /// Does one thing after the other until the time has come.
    pub(crate) async fn use_chats(mut self, end: Instant) {
        while Instant::now() < end {
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
        let what = match self.random.random_range(0..100) {
            0..32 => "send",
            32..42 => "edit",
            42..48 => "interrupt",
            48..52 => "fork",
            52..57 => "compact",
            57..61 => "clear",
            61..76 => "change the queue",
            76..82 => "configure",
            82..96 => "submit",
            _ => "archive",
        };
        self.storm.tally.count(what);
        match what {
            "send" => self.send(chat).await,
            "edit" => self.edit(chat).await,
            "interrupt" => self.interrupt(chat).await,
            "fork" => self.fork(chat).await,
            "compact" => self.compact(chat).await,
            "clear" => self.clear(chat).await,
            "change the queue" => self.change_queue(chat).await,
            "configure" => self.configure(chat).await,
            "submit" => self.submit(chat).await,
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
    /// the same answer. None when the call was refused with a reason that it may have.
    async fn ask<T: Debug>(
        &mut self,
        request_id: &str,
        chat_of: impl Fn(&T) -> Option<&proto::Chat>,
        mut call: impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) -> Option<T> {
        let repeats = !request_id.is_empty() && self.random.random_ratio(1, 4);
        let replied = call(&mut self.client).await;
        let first = self.taken(replied)?;
        if !request_id.is_empty() {
            self.storm.records.accepted(request_id);
        }
        if repeats {
            let again = call(&mut self.client).await.expect("what was accepted once is accepted again");
            let again = again.into_inner();
            assert_eq!(chat_of(&first), chat_of(&again), "a repeat is answered as the first was");
        }
        Some(first)
    }

    fn taken<T>(&self, replied: Result<Response<T>, Status>) -> Option<T> {
        let status = match replied {
            Ok(response) => return Some(response.into_inner()),
            Err(status) => status,
        };
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let may_be = [
            (Code::FailedPrecondition, "STATE_FORBIDS"),
            (Code::ResourceExhausted, "QUEUE_FULL"),
            (Code::NotFound, "MESSAGE_NOT_FOUND"),
            (Code::NotFound, "QUEUED_MESSAGE_NOT_FOUND"),
            (Code::InvalidArgument, "FIELD_INVALID"),
            // Everybody wrote to the same chat.
            (Code::Unavailable, "UNAVAILABLE"),
        ];
        assert!(may_be.contains(&(status.code(), reason.as_str())), "nobody may be told this: {status:?}");
        self.storm.tally.count(&reason);
        None
    }
}
