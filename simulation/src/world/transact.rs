//! A command on its way through the database: read, decide, compare and set, and again where that was lost.

use std::{rc::Rc, time::Duration};

use chatplane_domain::{
    ACTION_TIMEOUT_MIN, Chat, ChatId, Command, Context, CreateChat, Decision, Effort, ExpireCause,
    ExpireLease, HolderCommand, OrganizationId, Outcome, Rejection, create,
};
use uuid::Uuid;

use super::{
    World,
    client::{command_of, text_of},
    message::{Ask, CallError, Caller, ClientRequest, HolderCall, Reply, Statement},
    replica::Task,
    summary::complete,
};
use crate::{
    database::{Made, Overdue, Row, Table, Write, decide_with, fork_with, user, user_message},
    scheduler::Slot,
};

/// Small, so that it is full now and then.
const QUEUE_MAX: usize = 4;
/// As long as real clients have at least: what nobody settles times out within the run.
const ACTION_TIMEOUT: Duration = ACTION_TIMEOUT_MIN.saturating_mul(4);

/// A command on its way through the database.
#[derive(Clone, Debug)]
pub(crate) struct Transact {
    pub(super) chat: Option<ChatId>,
    pub(super) what: What,
    pub(super) slot: Option<Slot>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Client(Caller, ClientRequest),
    Holder(Caller, Box<HolderCall>),
    Lease,
    Expire(Overdue),
}

impl World {
    pub(super) fn transact(&mut self, no: usize, transact: Transact) {
        let request = match &transact.what {
            What::Client(_, request) => Some(request.id),
            What::Holder(..) | What::Lease | What::Expire(_) => None,
        };
        let statement = Statement::Read(transact.chat, request);
        self.begin(no, Task::Reading(transact), statement);
    }

    pub(super) fn decide(&mut self, no: usize, transact: Transact, table: Option<Rc<Table>>) {
        let context = Context {
            now: self.database.clock(),
            queue_max: QUEUE_MAX,
            lease_offer: transact
                .slot
                .map(|slot| slot.session)
                .filter(|_| !matches!(transact.what, What::Lease)),
        };
        let Some(table) = table else {
            let What::Client(_, request) = &transact.what else {
                return self.refused(no, &transact, CallError::LeaseLost);
            };
            let decision = create(creation(ChatId(self.uuid()), request), context);
            return self.write_decision(no, transact, None, (decision, Vec::new()));
        };
        if let What::Client(_, ClientRequest { ask: Ask::Fork(nth), .. }) = transact.what {
            let id = ChatId(self.uuid());
            return match fork_with(self.bug, &table, nth, id, Context { lease_offer: None, ..context }) {
                Some(copy) => self.write_decision(no, transact, None, copy),
                None => self.refused(no, &transact, CallError::Refused),
            };
        }
        let chat = table.chat.clone();
        let command = match &transact.what {
            What::Client(_, request) => command_of(request, &table),
            What::Holder(_, call) => Some(Command::Holder(HolderCommand {
                header: call.header,
                write: complete(self.bug, call, &table),
            })),
            What::Lease => transact.slot.map(|slot| Command::Lease(slot.session)),
            What::Expire(overdue) => Some(expiry(*overdue)),
        };
        let decided = command.ok_or(Rejection::MessageNotFound);
        match decided.and_then(|command| decide_with(self.bug, &chat, command, context)) {
            Ok(decision) => {
                self.write_decision(no, transact, Some(chat), (decision, Vec::new()));
            }
            Err(rejection) => {
                let error = match rejection {
                    Rejection::LeaseLost => CallError::LeaseLost,
                    Rejection::Superseded | Rejection::StateForbids { .. } => CallError::Stale,
                    _ => CallError::Refused,
                };
                self.refused(no, &transact, error);
            }
        }
    }

    pub(super) fn write_decision(
        &mut self,
        no: usize,
        transact: Transact,
        read: Option<Chat>,
        (decision, copies): (Decision, Vec<Row>),
    ) {
        let version = read.as_ref().map(|chat| chat.versions.snapshot);
        let before = read.unwrap_or_else(|| decision.chat.clone());
        let (request, made, model_call) = match &transact.what {
            What::Client(_, request) => (Some(request.id), None, None),
            What::Holder(_, call) => {
                let model_call = call.model_call.map(|model_call| (call.chat, call.header.fence, model_call));
                let made = Made { header: call.header, content: call.content.clone() };
                (None, Some(made), model_call)
            }
            What::Lease | What::Expire(_) => (None, None, None),
        };
        if decision.change.is_none() && request.is_none() {
            // A repeat writes nothing.
            return self.applied(no, &transact, &before, &decision);
        }
        let write = Write { read: version, copies, decision: decision.clone(), request, made, model_call };
        let task = Task::Writing(transact, Box::new(before), Box::new(decision));
        self.begin(no, task, Statement::Write(Box::new(write)));
    }

    pub(super) fn applied(&mut self, no: usize, transact: &Transact, before: &Chat, decision: &Decision) {
        if matches!(decision.outcome, Outcome::Replayed(_)) {
            self.database.saw("a write that is answered again");
        }
        if matches!(transact.what, What::Client(_, ClientRequest { ask: Ask::Fork(_), .. })) {
            self.database.saw("a copy");
        }
        self.after_commit(no, before, decision);
        self.withdraw(no, transact.slot);
        match &transact.what {
            What::Client(caller, _) => {
                let reply = Reply::Client(decision.chat.id, decision.outcome.clone());
                self.reply(no, *caller, Ok(reply));
            }
            What::Holder(caller, _) => match decision.outcome {
                Outcome::Written(outcome) | Outcome::Replayed(outcome) => {
                    self.reply(no, *caller, Ok(Reply::Written(outcome)));
                }
                Outcome::Client { .. } | Outcome::Applied => {}
            },
            What::Lease => {
                self.replicas[no].claims = false;
                self.claim(no);
            }
            What::Expire(_) => {}
        }
    }

    pub(super) fn refused(&mut self, no: usize, transact: &Transact, error: CallError) {
        self.withdraw(no, transact.slot);
        match &transact.what {
            What::Client(caller, _) | What::Holder(caller, _) => self.reply(no, *caller, Err(error)),
            What::Lease => self.replicas[no].claims = false,
            What::Expire(_) => {}
        }
    }

    pub(super) fn withdraw(&mut self, no: usize, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.replicas[no].roster.withdraw(slot);
        }
    }
}

fn expiry(overdue: Overdue) -> Command {
    match overdue {
        Overdue::Lease(_, fence) => {
            Command::ExpireLease(ExpireLease { fence, cause: ExpireCause::SessionEnded })
        }
        Overdue::Interruption(_, fence) => {
            Command::ExpireLease(ExpireLease { fence, cause: ExpireCause::InterruptionOverdue })
        }
        Overdue::Calls(_) => Command::ExpireCalls,
    }
}

fn creation(id: ChatId, request: &ClientRequest) -> CreateChat {
    CreateChat {
        id,
        organization: OrganizationId(Uuid::from_u128(1)),
        owner: user(),
        model: "demo".to_owned(),
        effort: Effort::Unspecified,
        workspace: None,
        deployment_prompt: Some("be brief".to_owned()),
        system_prompt: None,
        client_tools: Vec::new(),
        action_timeout: ACTION_TIMEOUT,
        message: user_message(&text_of(request.id)),
    }
}
