//! Small values that the tests are written with.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, BusyBehavior, CallId, CallKind, Chat, ChatError, Command, CommitStep,
    Context, Decision, EditMessage, ErrorKind, ExpireCause, ExpireLease, Fence, FinishedCall, HolderCommand,
    HolderWrite, Inserted, MessageId, NextStep, Outcome, QueuedMessageId, Rejection, Role, SendMessage,
    SessionId, SubmittedResult, ToolCall, Usage, UserId, UserMessage, WriteHeader, WriteOutcome, decide,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Small, so that random commands fill it.
pub(crate) const QUEUE_MAX: usize = 3;

pub(crate) fn session(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(0x5e55_0000 + number))
}

pub(crate) fn queued_id(number: u128) -> QueuedMessageId {
    QueuedMessageId(Uuid::from_u128(0x90e0_0000 + number))
}

pub(crate) fn user() -> UserId {
    UserId(Uuid::from_u128(7))
}

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

pub(crate) fn context() -> Context {
    Context { now: now(), queue_max: QUEUE_MAX, lease_offer: None }
}

pub(crate) fn later(seconds: i64) -> Context {
    Context { now: now() + TimeDelta::seconds(seconds), ..context() }
}

pub(crate) fn offering(session: SessionId) -> Context {
    Context { lease_offer: Some(session), ..context() }
}

pub(crate) fn user_message(text: &str) -> UserMessage {
    UserMessage {
        created_by: user(),
        texts: vec![text.to_owned()],
        model: None,
        effort: None,
        queued_message_id: None,
    }
}

pub(crate) fn send(number: u128, busy: BusyBehavior) -> Command {
    Command::SendMessage(SendMessage {
        id: queued_id(number),
        message: user_message(&format!("message {number}")),
        busy,
    })
}

pub(crate) fn edit(target: i64) -> Command {
    edit_of(target, Some(Role::User))
}

pub(crate) fn edit_of(target: i64, target_role: Option<Role>) -> Command {
    Command::EditMessage(EditMessage {
        target: MessageId(target),
        target_role,
        replacement: user_message("replacement"),
    })
}

pub(crate) fn chat_error(kind: ErrorKind) -> ChatError {
    ChatError {
        kind,
        message: "It did not work; try again.".to_owned(),
        detail: String::new(),
        provider: "demo".to_owned(),
        status_code: Some(529),
        retryable: true,
    }
}

pub(crate) fn answer(calls: &[CallKind]) -> Answer {
    let text = AnswerContent::Text("so far so good".to_owned());
    let calls = calls.iter().map(|kind| {
        AnswerContent::ToolCall(ToolCall {
            tool_name: "read_file".to_owned(),
            arguments_json: "{}".to_owned(),
            kind: *kind,
        })
    });
    let parts =
        std::iter::once(text).chain(calls).map(|content| AnswerPart { content, provider_state: vec![1, 2] });
    Answer {
        parts: parts.collect(),
        model: "demo".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    }
}

pub(crate) fn step(answer: Option<Answer>, next: NextStep) -> HolderWrite {
    HolderWrite::CommitStep(CommitStep { answer, next, journal: None })
}

pub(crate) fn suspend() -> NextStep {
    NextStep::Suspend(Duration::from_secs(60))
}

pub(crate) fn finished(call: CallId) -> FinishedCall {
    FinishedCall { call, output: "done".to_owned(), is_error: false, runtime_ms: 1 }
}

pub(crate) fn submitted(call: CallId) -> SubmittedResult {
    SubmittedResult { call, output: "done".to_owned(), is_error: false }
}

pub(crate) fn retry() -> HolderWrite {
    HolderWrite::RecordRetry { error: chat_error(ErrorKind::Overloaded), delay: Duration::from_secs(2) }
}

/// The header of the next write of the chat's last lease.
pub(crate) fn next_header(chat: &Chat) -> WriteHeader {
    let lease = chat.last_lease.as_ref().expect("the chat was leased once");
    WriteHeader {
        session: lease.session,
        fence: lease.fence,
        write_no: lease.last_write.map_or(0, |last| last.write_no) + 1,
        history_version: chat.versions.history,
    }
}

pub(crate) fn holder(header: WriteHeader, write: HolderWrite) -> Command {
    Command::Holder(HolderCommand { header, write })
}

/// The command with which the holder makes its next write.
pub(crate) fn write(chat: &Chat, write: HolderWrite) -> Command {
    holder(next_header(chat), write)
}

pub(crate) fn expire(fence: Fence, cause: ExpireCause) -> Command {
    Command::ExpireLease(ExpireLease { fence, cause })
}

/// Decides what must be accepted.
pub(crate) fn accepted(chat: &Chat, command: Command) -> Decision {
    decide(chat, command, context()).expect("the command is accepted")
}

/// Decides what must be refused.
pub(crate) fn refused(chat: &Chat, command: Command) -> Rejection {
    match decide(chat, command, context()) {
        Ok(decision) => panic!("a refusal was expected, not {:?}", decision.outcome),
        Err(rejection) => rejection,
    }
}

/// Whether the refusal names this field.
pub(crate) fn names_field(rejection: &Rejection, name: &str) -> bool {
    matches!(rejection, Rejection::FieldInvalid { field, .. } if *field == name)
}

pub(crate) fn written(decision: &Decision) -> WriteOutcome {
    match decision.outcome {
        Outcome::Written(outcome) => outcome,
        _ => panic!("a holder's write was expected, not {:?}", decision.outcome),
    }
}

pub(crate) fn inserted(decision: &Decision) -> &[Inserted] {
    decision.change.as_ref().map_or(&[], |change| &change.inserted)
}

/// The queued messages that entered the history, in order.
pub(crate) fn entered(decision: &Decision) -> Vec<QueuedMessageId> {
    let rows = inserted(decision).iter();
    rows.filter_map(|row| match row {
        Inserted::Queued { queued, .. } => Some(*queued),
        Inserted::New(_) => None,
    })
    .collect()
}

/// The queue by id, and which of it is steering.
pub(crate) fn queue(chat: &Chat) -> Vec<(QueuedMessageId, bool)> {
    chat.queue.iter().map(|queued| (queued.id, queued.steering)).collect()
}
