//! Users who send, queue, steer, interrupt, edit and hand in results, on any replica, and who
//! repeat each call under its request id until it is answered.
//!
//! A user who is refused after a try that nobody answered does not know whether that try comes
//! through later: a line that was held up may deliver it yet. Then it may have been done.

mod calls;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::Client;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::sleep;
use uuid::Uuid;

pub(crate) use self::calls::ANSWERED;
use self::calls::{Answer, Operation};
use crate::{CLIENT_TOOL, notes::Notes, records::Records};

/// Between two things that a user does: people read.
const PAUSE_MS: std::ops::Range<u64> = 50..600;
/// A chat whose client is too slow goes on without; most clients are not.
const ACTION_TIMEOUT_MS: i64 = 20_000;

/// What all users share.
pub(crate) struct Crowd {
    pub(crate) notes: Arc<Notes>,
    pub(crate) records: Records,
    chats: RefCell<Vec<String>>,
    is_over: Cell<bool>,
}

/// One of the users' hands: they all are one user to the control plane.
pub(crate) struct User {
    crowd: Rc<Crowd>,
    /// One at each replica.
    clients: Vec<Client>,
    random: StdRng,
}

impl Crowd {
    pub(crate) fn new(notes: &Arc<Notes>) -> Self {
        Self {
            notes: Arc::clone(notes),
            records: Records::default(),
            chats: RefCell::default(),
            is_over: Cell::new(false),
        }
    }

    pub(crate) fn chats(&self) -> Vec<String> {
        self.chats.borrow().clone()
    }

    /// Everybody ends what they are at.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }
}

impl User {
    pub(crate) fn new(crowd: &Rc<Crowd>, clients: Vec<Client>, seed: u64) -> Self {
        Self { crowd: Rc::clone(crowd), clients, random: StdRng::seed_from_u64(seed) }
    }

    /// Does one thing after the other until it is over.
    pub(crate) async fn use_chats(mut self) {
        while !self.crowd.is_over.get() {
            let chat = {
                let chats = self.crowd.chats.borrow();
                chats.choose(&mut self.random).expect("there are chats").clone()
            };
            match self.random.random_range(0..100) {
                0..55 => self.send(&chat).await,
                55..65 => self.interrupt(&chat).await,
                65..75 => self.edit(&chat).await,
                _ => self.submit(&chat).await,
            }
            sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
        }
    }

    /// Begins a chat in a workspace; every third has a tool of the client, too.
    pub(crate) async fn create(&mut self, number: usize, workspace: &str) -> Option<String> {
        let (words, part) = said("begin");
        let tool = proto::ToolDefinition {
            name: CLIENT_TOOL.to_owned(),
            description: "Asks the user.".to_owned(),
            input_schema_json: r#"{"type": "object"}"#.to_owned(),
        };
        let request = proto::CreateChatRequest {
            request_id: request_id(),
            parts: vec![part],
            workspace_id: workspace.to_owned(),
            client_tools: if number.is_multiple_of(3) { vec![tool] } else { Vec::new() },
            action_timeout_ms: ACTION_TIMEOUT_MS,
            ..Default::default()
        };
        let created = self
            .ask(Operation::CreateChat, &request.request_id, async |client| {
                client.chats.create_chat(request.clone()).await
            })
            .await;
        let Answer::Accepted(created) = created else { return None };
        let chat = created.chat?.chat_id;
        self.crowd.records.entered(&chat, words);
        self.crowd.chats.borrow_mut().push(chat.clone());
        Some(chat)
    }

    async fn send(&mut self, chat: &str) {
        use proto::BusyBehavior::{Interrupt, Queue, Steer};
        let (words, part) = said("send");
        let busy = [Queue, Queue, Steer, Steer, Interrupt].choose(&mut self.random).expect("there are some");
        let request = proto::SendMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id(),
            parts: vec![part],
            busy_behavior: (*busy).into(),
            ..Default::default()
        };
        let sent = self
            .ask(Operation::SendMessage, &request.request_id, async |client| {
                client.chats.send_message(request.clone()).await
            })
            .await;
        let records = &self.crowd.records;
        match sent {
            Answer::Accepted(proto::SendMessageResponse {
                chat: Some(after),
                queued_message: Some(queued),
                ..
            }) => {
                records.queued(&queued.queued_message_id, after.snapshot_version, words);
            }
            Answer::Accepted(_) => records.entered(chat, words),
            Answer::MayBeDone => records.may_be_said(chat, words),
            Answer::Refused => {}
        }
    }

    async fn edit(&mut self, chat: &str) {
        let request =
            proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 12, ..Default::default() };
        let listed = self.read(async |client| client.chats.list_messages(request.clone()).await).await;
        let Some(listed) = listed else { return };
        let of_users: Vec<i64> = listed
            .messages
            .iter()
            .filter(|message| message.role() == proto::Role::User)
            .map(|message| message.message_id)
            .collect();
        let Some(target) = of_users.choose(&mut self.random) else { return };
        let (words, part) = said("edit");
        let request = proto::EditMessageRequest {
            chat_id: chat.to_owned(),
            request_id: request_id(),
            message_id: *target,
            parts: vec![part],
            ..Default::default()
        };
        let edited = self
            .ask(Operation::EditMessage, &request.request_id, async |client| {
                client.chats.edit_message(request.clone()).await
            })
            .await;
        let records = &self.crowd.records;
        match edited {
            Answer::Accepted(edited) => {
                records.edited(chat, edited.chat.map_or(0, |chat| chat.snapshot_version));
                records.entered(chat, words);
            }
            Answer::MayBeDone => {
                records.may_be_edited(chat);
                records.may_be_said(chat, words);
            }
            Answer::Refused => {}
        }
    }

    async fn interrupt(&mut self, chat: &str) {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), request_id: request_id() };
        self.ask(Operation::InterruptChat, &request.request_id, async |client| {
            client.chats.interrupt_chat(request.clone()).await
        })
        .await;
    }

    /// Hands in what a suspended chat waits for, or some of it.
    pub(crate) async fn submit(&mut self, chat: &str) {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        let read = self.read(async |client| client.chats.get_chat(request.clone()).await).await;
        let required = read.and_then(|read| read.chat).and_then(|chat| chat.action_required);
        let Some(required) = required else { return };
        let most = if self.random.random_bool(0.2) { 1 } else { required.calls.len() };
        let results = required.calls.iter().take(most).map(|pending| proto::SubmittedResult {
            call: pending.call,
            output: "the user says so".to_owned(),
            is_error: self.random.random_bool(0.2),
        });
        let results = results.collect();
        let request =
            proto::SubmitToolResultsRequest { chat_id: chat.to_owned(), request_id: request_id(), results };
        self.ask(Operation::SubmitToolResults, &request.request_id, async |client| {
            client.chats.submit_tool_results(request.clone()).await
        })
        .await;
    }
}

/// Words that are found again, for nobody else says them.
fn said(what: &str) -> (String, proto::Part) {
    let words = format!("{what} {}", Uuid::new_v4());
    (words.clone(), chatplane_tests::text(&words))
}

fn request_id() -> String {
    Uuid::now_v7().to_string()
}
