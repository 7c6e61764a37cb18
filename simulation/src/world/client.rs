//! Somebody who sends requests, and repeats each under its id until there is an answer.

use std::time::Duration;

use chatplane_domain::{
    Body, BusyBehavior, CallKind, ChatId, Command, ConfigureChat, EditMessage, EditQueuedMessage,
    HistoryEnds, MessageId, Outcome, QueuedMessageId, RequestId, Role, SendMessage, SubmittedResult,
    UserPart,
};

use super::{
    World,
    message::{Ask, Call, CallError, ClientRequest, Node, Reply, Timer},
};
use crate::{
    database::{Table, user_message},
    store::MessageView,
};

/// Chats of a run: few, so that everybody meets.
const CHATS_MAX: usize = 3;
/// The same, with copies.
const COPIES_MAX: usize = 5;

/// A client with its one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Client {
    request: Option<ClientRequest>,
    /// The call that it waits for; what answers an earlier one is too late.
    call: Option<u64>,
    pub(super) promises: Vec<Promise>,
}

impl Client {
    /// Nothing of its is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.request.is_none()
    }
}

/// A request that was answered with success.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) request: ClientRequest,
    pub(crate) chat: ChatId,
    pub(crate) outcome: Outcome,
}

/// The words of a message, by the request that sends it.
pub(crate) fn text_of(request: RequestId) -> String {
    format!("words of {request}")
}

/// The id of a message that is queued, by the request that sends it.
pub(crate) fn queued_id(request: RequestId) -> QueuedMessageId {
    QueuedMessageId(request.0)
}

impl World {
    /// Repeats what has no answer, or asks for something new.
    pub(super) fn client_acts(&mut self, no: usize) {
        if self.clients[no].call.is_some() {
            return;
        }
        if self.clients[no].request.is_none() {
            if self.healed {
                return;
            }
            let request = self.next_request();
            self.clients[no].request = Some(request);
        }
        let Some(request) = self.clients[no].request else { return };
        let to = self.random.index(self.replicas.len());
        let call = self.call(Node::Client(no), to, Call::Client(request));
        self.clients[no].call = Some(call);
    }

    fn next_request(&mut self) -> ClientRequest {
        let id = RequestId(self.uuid());
        let chats: Vec<ChatId> = self.database.tables.keys().copied().collect();
        if chats.is_empty() || chats.len() < CHATS_MAX && self.random.happens(250) {
            return ClientRequest { id, chat: None, ask: Ask::Create };
        }
        let chat = Some(chats[self.random.index(chats.len())]);
        let nth = self.random.index(4);
        let ask = match self.random.below(100) {
            0..28 => Ask::Send(BusyBehavior::Queue),
            28..38 => Ask::Send(BusyBehavior::Steer),
            38..48 => Ask::Send(BusyBehavior::Interrupt),
            48..60 => Ask::Interrupt,
            60..68 => Ask::Edit(nth),
            68..71 => Ask::EditQueued(nth),
            71..74 => Ask::DeleteQueued(nth),
            74..77 => Ask::MoveQueued(nth, self.random.index(4)),
            77..80 => Ask::Promote(nth),
            80..88 => Ask::Submit,
            88..91 => Ask::Clear,
            91..93 => Ask::Configure(u8::try_from(nth).unwrap_or_default()),
            93..95 => Ask::Archive,
            95..98 => Ask::Unarchive,
            _ if chats.len() < COPIES_MAX => Ask::Fork(self.random.index(12)),
            _ => Ask::Unarchive,
        };
        ClientRequest { id, chat, ask }
    }

    pub(super) fn client_replied(&mut self, no: usize, call: u64, reply: Result<Box<Reply>, CallError>) {
        let client = &mut self.clients[no];
        if client.call != Some(call) {
            return;
        }
        client.call = None;
        let mut pause = Duration::from_millis(20);
        match reply.map(|reply| *reply) {
            Err(CallError::Unavailable) => pause = Duration::from_millis(100),
            Ok(Reply::Client(chat, outcome)) => {
                if let Some(request) = client.request.take() {
                    client.promises.push(Promise { request, chat, outcome });
                }
                pause = Duration::from_millis(900);
            }
            Ok(_) | Err(_) => client.request = None,
        }
        let after = self.random.between(Duration::from_millis(1), pause);
        self.timer(Node::Client(no), after, Timer::Act);
    }
}

/// What a request means for the chat as it was read; none where there is nothing of the kind.
pub(super) fn command_of(request: &ClientRequest, table: &Table) -> Option<Command> {
    let chat = &table.chat;
    let nth_queued = |nth: usize| chat.queue.get(nth % chat.queue.len().max(1)).map(|queued| queued.id);
    Some(match request.ask {
        Ask::Create | Ask::Fork(_) => return None,
        Ask::Send(busy) => Command::SendMessage(SendMessage {
            id: queued_id(request.id),
            message: user_message(&text_of(request.id)),
            busy,
        }),
        Ask::Edit(nth) => Command::EditMessage(edit(request, table, nth)?),
        Ask::EditQueued(nth) => Command::EditQueuedMessage(EditQueuedMessage {
            id: nth_queued(nth)?,
            parts: vec![UserPart::Text(text_of(request.id))],
        }),
        Ask::DeleteQueued(nth) => Command::DeleteQueuedMessage(nth_queued(nth)?),
        Ask::MoveQueued(nth, index) => Command::MoveQueuedMessage { id: nth_queued(nth)?, index },
        Ask::Promote(nth) => Command::PromoteQueuedMessage(nth_queued(nth)?),
        Ask::Interrupt => Command::InterruptChat,
        Ask::Submit => {
            let of_client = chat.open_calls.iter().filter(|call| call.kind == CallKind::Client);
            let result = |call: &chatplane_domain::OpenCall| SubmittedResult {
                call: call.id,
                output: "done".to_owned(),
                is_error: false,
            };
            Command::SubmitToolResults(of_client.map(result).take(1).collect())
        }
        Ask::Configure(model) => Command::ConfigureChat(ConfigureChat {
            model: Some(format!("model {model}")),
            ..ConfigureChat::default()
        }),
        Ask::Clear => Command::ClearContext(ends(table)),
        Ask::Archive => Command::ArchiveChat,
        Ask::Unarchive => Command::UnarchiveChat,
    })
}

fn edit(request: &ClientRequest, table: &Table, nth: usize) -> Option<EditMessage> {
    let said = || table.live().filter(|view| view.covers_through.is_none());
    let is_users = |view: &&MessageView| matches!(view.body, Body::User(_));
    let users: Vec<MessageId> = said().filter(is_users).map(|view| view.id).collect();
    let target = *users.get(nth % users.len().max(1))?;
    let mut below = said().filter(|view| view.id < target);
    let boundaries = table.live().filter_map(|view| view.covers_through);
    Some(EditMessage {
        target,
        target_role: Some(Role::User),
        boundary_below: boundaries.filter(|through| *through < target).max(),
        answered_below: below.any(|view| view.body.role() == Role::Assistant),
        replacement: user_message(&text_of(request.id)),
    })
}

/// The ends of what is not covered yet.
fn ends(table: &Table) -> HistoryEnds {
    let is_said = |view: &&MessageView| view.covers_through.is_none() && view.body.role() != Role::System;
    let mut ends = HistoryEnds { last: None, last_answer: None };
    for view in table.live().filter(is_said).filter(|view| Some(view.id) > table.chat.covers_through) {
        ends.last = Some(view.id);
        if view.body.role() == Role::Assistant {
            ends.last_answer = Some(view.id);
        }
    }
    ends
}
