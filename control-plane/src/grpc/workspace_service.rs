//! `chatplane.workspace.v1.WorkspaceService`: the stream of a workspace agent, and the package's conversions.

use std::collections::{BTreeMap, HashSet};

use chatplane_domain::{CallId, ChatId, JournalId, MessageId};
use chatplane_proto::{
    chat::v1::{CallId as ProtoCallId, ToolDefinition as ProtoToolDefinition},
    workspace::v1::{
        self as proto, AttachRequest, AttachResponse, attach_request::Message as Incoming,
        attach_response::Message as Outgoing, workspace_service_server::WorkspaceService,
    },
};
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{chat_service::take, convert, status};
use crate::app::{
    App, CallKey, Disposition, Error, FieldViolation, FromAgent, RegisterAgent, Sending, ToAgent,
    ToolDefinition, ToolEnd, Verdict,
};

/// Tools of a workspace, as many as a prompt bears.
const TOOLS_MAX: usize = 64;
/// A tool with its description and schema.
const TOOL_BYTES_MAX: usize = 64 * 1024;
/// All tools together: they travel with the head of every turn, in one message.
const TOOLS_BYTES_MAX: usize = 1024 * 1024;
/// A tool's name; providers take no more.
const TOOL_NAME_BYTES_MAX: usize = 64;
/// Entries of a journal that one message lists.
const JOURNAL_ENTRIES_MAX: usize = 1000;
/// A version is a word or two.
const AGENT_VERSION_BYTES_MAX: usize = 256;

/// The handlers.
pub(crate) struct WorkspaceHandlers {
    app: App,
}

impl WorkspaceHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl WorkspaceService for WorkspaceHandlers {
    type AttachStream = BoxStream<'static, Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (actor, mut incoming) = take(request)?;
        let (attached, messages) = self.app.attach_workspace(&actor, introduction(&mut incoming)).await?;
        let serving = tokio::spawn(attached.serve(said(incoming)));
        Ok(Response::new(responses(messages, AbortOnDropHandle::new(serving))))
    }
}

/// What the agent is sent, until its stream is to end. Dropping it ends the task that serves the agent.
fn responses(
    messages: mpsc::Receiver<ToAgent>,
    serving: AbortOnDropHandle<Result<(), Error>>,
) -> BoxStream<'static, Result<AttachResponse, Status>> {
    stream::try_unfold((messages, Some(serving)), |(mut messages, mut serving)| async move {
        let message = next_message(&mut messages, &mut serving).await?;
        Ok(message.map(|message| (response(message), (messages, serving))))
    })
    .boxed()
}

async fn next_message(
    messages: &mut mpsc::Receiver<ToAgent>,
    serving: &mut Option<AbortOnDropHandle<Result<(), Error>>>,
) -> Result<Option<ToAgent>, Error> {
    if let Some(served) = serving {
        tokio::select! {
            // What waits for an agent that is put out is of no use to it.
            biased;
            // A panic is in the log; the agent registers anew.
            served = served => served.unwrap_or(Err(Error::SessionLost))?,
            Some(message) = messages.recv() => return Ok(Some(message)),
        }
        *serving = None;
    }
    // An agent that has said its last word still gets what was on its way.
    Ok(messages.recv().await)
}

/// The first message.
async fn introduction(incoming: &mut Streaming<AttachRequest>) -> Result<RegisterAgent, Error> {
    let first = incoming.message().await.ok().flatten();
    match first.and_then(|request| request.message) {
        Some(Incoming::Register(register)) => register_agent(register),
        Some(_) | None => Err(Error::invalid("register", "it must be the first message")),
    }
}

/// What the agent says after its introduction, until its side ends or breaks.
fn said(incoming: Streaming<AttachRequest>) -> impl Stream<Item = Result<FromAgent, Error>> + Send {
    let requests = stream::unfold(Some(incoming), |incoming| async move {
        let mut incoming = incoming?;
        match incoming.message().await {
            Ok(Some(request)) => Some((from_agent(request), Some(incoming))),
            Ok(None) => None,
            Err(broken) => {
                let error = status::undecodable(broken.code())?;
                tracing::warn!(cause = broken.message(), "a workspace agent sent what cannot be decoded");
                Some((Err(error), None))
            }
        }
    });
    requests.filter_map(|request| async move { request.transpose() })
}

// From agents.

fn register_agent(register: proto::Register) -> Result<RegisterAgent, Error> {
    let mut violations = Vec::new();
    check_text("agent_version", &register.agent_version, AGENT_VERSION_BYTES_MAX, &mut violations);
    check_tools(&register.tools, &mut violations);
    let journal = match register.journal_id.as_str() {
        "" => None,
        id => match convert::uuid("register.journal_id", id) {
            Ok(id) => Some(JournalId(id)),
            Err(_) => {
                violations.push(violation("journal_id", "it must be a UUID, or empty"));
                None
            }
        },
    };
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    Ok(RegisterAgent {
        agent_version: register.agent_version,
        tools: register.tools.into_iter().map(tool).collect(),
        journal,
    })
}

fn check_tools(tools: &[ProtoToolDefinition], violations: &mut Vec<FieldViolation>) {
    if tools.len() > TOOLS_MAX {
        violations.push(violation("tools", format!("at most {TOOLS_MAX} tools")));
        return;
    }
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let field = format!("tools[{index}]");
        if !is_tool_name(&tool.name) {
            violations.push(violation(&format!("{field}.name"), "it must be [a-zA-Z0-9_-]{1,64}"));
        }
        if !names.insert(tool.name.as_str()) {
            violations.push(violation(&format!("{field}.name"), "another tool has the same name"));
        }
        if bytes(tool) > TOOL_BYTES_MAX {
            violations.push(violation(&field, format!("at most {TOOL_BYTES_MAX} bytes in all")));
        }
        check_text(&format!("{field}.description"), &tool.description, TOOL_BYTES_MAX, violations);
        if !is_json_object(&tool.input_schema_json) {
            violations.push(violation(&format!("{field}.input_schema_json"), "it must be a JSON object"));
        }
    }
    if tools.iter().map(bytes).sum::<usize>() > TOOLS_BYTES_MAX {
        violations.push(violation("tools", format!("at most {TOOLS_BYTES_MAX} bytes in all")));
    }
}

fn bytes(tool: &ProtoToolDefinition) -> usize {
    tool.name.len() + tool.description.len() + tool.input_schema_json.len()
}

fn is_tool_name(name: &str) -> bool {
    (1..=TOOL_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A NUL character is refused by the parser, as JSON has none but as an escape.
fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text).is_ok()
}

/// The database's JSON takes no NUL.
fn check_text(field: &str, text: &str, bytes_max: usize, violations: &mut Vec<FieldViolation>) {
    if text.len() > bytes_max {
        violations.push(violation(field, format!("at most {bytes_max} bytes")));
    }
    if text.contains('\0') {
        violations.push(violation(field, "it must not contain NUL characters"));
    }
}

fn violation(field: &str, description: impl Into<String>) -> FieldViolation {
    FieldViolation { field: format!("register.{field}"), description: description.into() }
}

fn tool(tool: ProtoToolDefinition) -> ToolDefinition {
    let ProtoToolDefinition { name, description, input_schema_json } = tool;
    ToolDefinition { name, description, input_schema_json }
}

/// None for what concerns nobody: a message of a newer contract, or a call whose id cannot be one.
fn from_agent(request: AttachRequest) -> Result<Option<FromAgent>, Error> {
    Ok(match request.message {
        Some(Incoming::Register(_)) => {
            return Err(Error::invalid("register", "it must be the first message"));
        }
        Some(Incoming::Pong(_)) => Some(FromAgent::Pong),
        Some(Incoming::ToolOutput(output)) => {
            key(output.call_id).map(|key| FromAgent::Output { key, data: output.data })
        }
        Some(Incoming::ToolEnded(proto::ToolEnded { call_id, output, is_error })) => {
            key(call_id).map(|key| FromAgent::Ended { key, end: ToolEnd { output, is_error } })
        }
        Some(Incoming::JournalEntries(entries)) => Some(journal_entries(entries)?),
        None => None,
    })
}

/// An entry whose id cannot be one gets no verdict, and so is kept: an agent that writes such ids is at fault,
/// and nothing that it may have run is to be forgotten for it.
fn journal_entries(entries: proto::JournalEntries) -> Result<FromAgent, Error> {
    if entries.call_ids.len() > JOURNAL_ENTRIES_MAX {
        let description = format!("at most {JOURNAL_ENTRIES_MAX} calls; list the others in further messages");
        return Err(Error::invalid("journal_entries.call_ids", description));
    }
    let keys = entries.call_ids.into_iter().filter_map(|id| key(Some(id)));
    Ok(FromAgent::JournalEntries(keys.collect()))
}

fn key(id: Option<proto::ToolCallId>) -> Option<CallKey> {
    let proto::ToolCallId { chat_id, call } = id?;
    let ProtoCallId { message_id, call_index } = call?;
    Some(CallKey {
        chat: ChatId(Uuid::try_parse(&chat_id).ok()?),
        call: CallId { message: MessageId(message_id), index: call_index },
    })
}

// To agents.

fn response(message: ToAgent) -> AttachResponse {
    let message = match message {
        ToAgent::Registered(workspace) => {
            Outgoing::Registered(proto::Registered { workspace_id: workspace.to_string() })
        }
        ToAgent::Ping(ping_no) => Outgoing::Ping(proto::Ping { ping_no }),
        ToAgent::CallTool(sending) => Outgoing::CallTool(call_tool(sending)),
        ToAgent::CancelTool(key) => Outgoing::CancelTool(proto::CancelTool { call_id: Some(call_id(key)) }),
        ToAgent::JournalVerdicts(verdicts) => {
            let verdicts = verdicts.into_iter().map(journal_verdict).collect();
            Outgoing::JournalVerdicts(proto::JournalVerdicts { verdicts })
        }
    };
    AttachResponse { message: Some(message) }
}

fn call_tool(sending: Sending) -> proto::CallTool {
    let Sending { key, fence, journal, tool_name, arguments_json } = sending;
    proto::CallTool {
        call_id: Some(call_id(key)),
        fence: fence.0,
        journal_id: journal.map_or_else(String::new, |journal| journal.to_string()),
        tool_name,
        arguments_json,
    }
}

fn journal_verdict(verdict: Verdict) -> proto::JournalVerdict {
    let disposition = match verdict.disposition {
        Disposition::Keep => proto::JournalDisposition::Keep,
        Disposition::Cancel => proto::JournalDisposition::Cancel,
        Disposition::Committed => proto::JournalDisposition::Committed,
    };
    proto::JournalVerdict { call_id: Some(call_id(verdict.key)), disposition: disposition.into() }
}

fn call_id(key: CallKey) -> proto::ToolCallId {
    let CallKey { chat, call } = key;
    proto::ToolCallId {
        chat_id: chat.to_string(),
        call: Some(ProtoCallId { message_id: call.message.0, call_index: call.index }),
    }
}

#[cfg(test)]
mod tests;
