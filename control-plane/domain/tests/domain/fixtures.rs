//! Small values that the tests are written with.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, Body, BusyBehavior, CallId, CallKind, Chat, ChatError, ChatId,
    ClientTool, Command, CommitStep, Context, Covered, CreateChat, Decision, EditMessage, Effort, ErrorKind,
    ExpireCause, ExpireLease, Fence, FinishedCall, HistoryEnds, HolderCommand, HolderWrite, Inserted,
    Message, MessageId, NextStep, OrganizationId, Outcome, QueuedMessageId, Rejection, Role, SendMessage,
    SessionId, SubmittedResult, Summary, ToolCall, Usage, UserId, UserMessage, UserPart, WriteHeader,
    WriteOutcome, decide,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Small, so that random commands fill it.
pub(crate) const QUEUE_MAX: usize = 3;
/// How long the tests' chats wait for their clients.
pub(crate) const ACTION_TIMEOUT: Duration = Duration::from_secs(60);

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
        parts: vec![UserPart::Text(text.to_owned())],
        model: None,
        requested_model: None,
        effort: None,
        queued_message_id: None,
    }
}

/// A new chat without a prompt.
pub(crate) fn creation(text: &str) -> CreateChat {
    CreateChat {
        id: ChatId(Uuid::from_u128(1)),
        organization: OrganizationId(Uuid::from_u128(2)),
        owner: user(),
        model: "demo".to_owned(),
        effort: Effort::Unspecified,
        workspace: None,
        deployment_prompt: None,
        system_prompt: None,
        client_tools: Vec::new(),
        action_timeout: ACTION_TIMEOUT,
        message: user_message(text),
    }
}

pub(crate) fn client_tool(name: &str) -> ClientTool {
    ClientTool {
        name: name.to_owned(),
        description: format!("does {name}"),
        input_schema_json: "{}".to_owned(),
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
        boundary_below: None,
        answered_below: false,
        replacement: user_message("replacement"),
    })
}

/// The ends of a history, as a store finds them.
pub(crate) fn ends(last: i64, last_answer: Option<i64>) -> HistoryEnds {
    HistoryEnds { last: Some(MessageId(last)), last_answer: last_answer.map(MessageId) }
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
    HolderWrite::CommitStep(CommitStep { answer, next, journal: None, summary: None })
}

/// A step that brings a summary.
pub(crate) fn summarizing(summary: Summary, answer: Option<Answer>, next: NextStep) -> HolderWrite {
    HolderWrite::CommitStep(CommitStep { answer, next, journal: None, summary: Some(summary) })
}

/// A summary that covers what it was made from.
pub(crate) fn summary(covers_through: i64) -> Summary {
    Summary {
        covers_through: MessageId(covers_through),
        covered: Covered { live: true, changed_since: false },
        text: "it went well".to_owned(),
        model: "scribe".to_owned(),
        usage: Usage { input_tokens: 70, output_tokens: 3, ..Usage::default() },
        runtime_ms: 5,
        context_tokens: 720,
        context_percent: 72,
    }
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

/// The rows that are new, and none of the queue's.
pub(crate) fn new_rows(decision: &Decision) -> Vec<&Message> {
    let rows = inserted(decision).iter();
    rows.filter_map(|row| match row {
        Inserted::Queued { .. } => None,
        Inserted::New(message) => Some(message),
    })
    .collect()
}

/// The results that the control plane wrote, by call.
pub(crate) fn synthetic_results(decision: &Decision) -> Vec<(CallId, chatplane_domain::SyntheticReason)> {
    let rows = new_rows(decision).into_iter();
    rows.filter_map(|row| match &row.body {
        Body::Tool(result) => result.synthetic.map(|reason| (result.call, reason)),
        Body::System(_) | Body::User(_) | Body::Assistant(_) => None,
    })
    .collect()
}

/// The queue by id, and which of it is steering.
pub(crate) fn queue(chat: &Chat) -> Vec<(QueuedMessageId, bool)> {
    chat.queue.iter().map(|queued| (queued.id, queued.steering)).collect()
}
