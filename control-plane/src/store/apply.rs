//! The writing statement: a decision's rows as one document per table.

mod erase;
mod locked;
mod message;
mod new_chat;

use chatplane_domain::{
    CallId, Change, Chat, Decision, Execution, FileId, Inserted, Message, OpenCall, Queued, texts,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use self::message::MessageColumns;
pub(crate) use self::new_chat::{create, fork};
use super::{
    Ask, Buckets, Links, QueuedView, Reply, Snapshot, content,
    reply::last_answer,
    rows::{CallRow, text_of},
};

/// A queued message shows this much of its text.
const PREVIEW_CHARS_MAX: usize = 200;

/// Everything that one write stores.
pub(crate) struct Write<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) decision: &'a Decision,
    pub(crate) ask: &'a Ask,
    pub(crate) reply: &'a Reply,
    pub(crate) buckets: &'a Buckets,
}

impl Write<'_> {
    /// What is stored with texts so that the owner finds them.
    fn document<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Option<String> {
        self.buckets.document(self.decision.chat.owner, texts)
    }

    fn links(&self) -> Links {
        Links::of(self.snapshot, self.ask, self.decision.change.as_ref())
    }

    /// Files that the write links.
    fn linked(&self) -> Vec<Uuid> {
        ids(&self.links().linked)
    }

    /// The newest answer, and whether it is another than before.
    fn last_answer(&self) -> (Option<i64>, bool) {
        let last = last_answer(self.snapshot, self.decision.change.as_ref());
        (last.map(|id| id.0), last != self.snapshot.last_answer)
    }
}

/// Applies a decision where the chat still is what was read. Answers whether it was.
pub(crate) async fn update(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    match &write.decision.change {
        Some(change) if change.erased => erase::erase(connection, write).await,
        Some(change) if change.delete_from.is_some() => locked::edit(connection, write, change).await,
        Some(change) => match (write.ask.left_alone_since, message::only(change, write.ask)) {
            (Some(since), _) => locked::archive_left_alone(connection, write, change, since).await,
            (None, Some(message)) => message::update(connection, write, message).await,
            (None, None) => update_chat(connection, write, change).await,
        },
        None => store_request(connection, write).await,
    }
}

async fn update_chat(
    connection: &mut PgConnection,
    write: &Write<'_>,
    change: &Change,
) -> Result<bool, sqlx::Error> {
    let chat = &write.decision.chat;
    let before = &write.snapshot.chat;
    let columns = Columns::of(before, write.decision);
    let (last_answer, answer_changes) = write.last_answer();
    let links = write.links();
    let applied = sqlx::query_file_scalar!(
        "src/store/apply_update.sql",
        chat.id.0,
        before.versions.snapshot,
        chat.settings.workspace.map(|workspace| workspace.0),
        chat.settings.model,
        text_of(chat.settings.effort),
        columns.client_tools,
        columns.client_tool_definitions,
        columns.action_timeout_ms,
        chat.system_prompt.map(|id| id.0),
        chat.state().as_str(),
        chat.archived(),
        count(chat.queue.len()),
        count(chat.open_calls.len()),
        chat.versions.snapshot,
        chat.versions.history,
        chat.versions.queue,
        chat.versions.retry,
        chat.versions.error,
        count(chat.attempt as usize),
        chat.retry.as_ref().map(|retry| storable(json!(retry))),
        chat.last_error().map(|error| storable(json!(error))),
        columns.fence,
        columns.session,
        chat.live_lease().is_some(),
        columns.last_write,
        columns.runnable_since,
        columns.interrupt_time,
        columns.action_deadline,
        chat.next_message_id.0,
        chat.answered,
        chat.covers_through.map(|id| id.0),
        chat.compact_requested,
        columns.last_turn_summary,
        write.snapshot.now,
        chat.history_bytes,
        view_changes_from(before, chat, change),
        change.delete_from.map(|id| id.0),
        change.delete_one.map(|id| id.0),
        messages(write, change),
        entered(change),
        &removed(change),
        queue_changed(write, change),
        queue_inserted(write, change),
        settled(change),
        opened(change),
        requests(write),
        usage(write.ask),
        last_answer,
        answer_changes,
        &ids(&links.linked),
        &ids(&links.unlinked),
    )
    .fetch_one(connection)
    .await?;
    Ok(applied == 1)
}

/// A decision that changes nothing stores the request id alone, where the chat is
/// still what was read.
async fn store_request(connection: &mut PgConnection, write: &Write<'_>) -> Result<bool, sqlx::Error> {
    let Some(request) = &write.ask.request else {
        return Ok(true);
    };
    let stored = sqlx::query!(
        "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
         select $1, $2, $3, $4, c.chat_id, $5 \
         from chats c \
         where c.chat_id = $6 \
         and c.snapshot_version = $7",
        request.actor,
        request.id.0,
        request.method,
        &request.body_sha256[..],
        storable(json!(write.reply)),
        write.snapshot.chat.id.0,
        write.snapshot.chat.versions.snapshot,
    )
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// JSONB cannot hold U+0000. Texts of users, models and tools are escaped; in errors and
/// names the replacement character will do.
pub(super) fn storable(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(values) => values.into_iter().map(storable).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, storable(value))).collect(),
        other => other,
    }
}

/// Columns that are not fields of a chat as they are.
struct Columns {
    /// None: as they are.
    client_tools: Option<Value>,
    client_tool_definitions: Option<Value>,
    action_timeout_ms: i64,
    last_turn_summary: String,
    fence: i64,
    session: Option<Uuid>,
    last_write: Option<Value>,
    runnable_since: Option<DateTime<Utc>>,
    interrupt_time: Option<DateTime<Utc>>,
    action_deadline: Option<DateTime<Utc>>,
}

impl Columns {
    fn of(before: &Chat, decision: &Decision) -> Self {
        let mut columns = Self::of_new(decision);
        let definitions = decision.change.as_ref().and_then(|change| change.client_tools.as_ref());
        if before.settings.client_tools == decision.chat.settings.client_tools {
            columns.client_tools = None;
        }
        if definitions.is_none() {
            columns.client_tool_definitions = None;
        }
        columns
    }

    fn of_new(decision: &Decision) -> Self {
        let chat = &decision.chat;
        let definitions = decision.change.as_ref().and_then(|change| change.client_tools.as_deref());
        let lease = chat.last_lease.as_ref();
        let mut columns = Self {
            client_tools: Some(storable(json!(chat.settings.client_tools))),
            client_tool_definitions: Some(storable(json!(definitions.unwrap_or_default()))),
            action_timeout_ms: i64::try_from(chat.settings.action_timeout.as_millis()).unwrap_or(i64::MAX),
            last_turn_summary: content::escape(&chat.last_turn_summary),
            fence: lease.map_or(0, |lease| lease.fence.0),
            session: lease.map(|lease| lease.session.0),
            last_write: lease.and_then(|lease| lease.last_write.as_ref()).map(|write| json!(write)),
            runnable_since: None,
            interrupt_time: None,
            action_deadline: None,
        };
        match chat.execution {
            Execution::Runnable { since } => columns.runnable_since = Some(since),
            Execution::Interrupting { since } => columns.interrupt_time = Some(since),
            Execution::Suspended { deadline } => columns.action_deadline = Some(deadline),
            Execution::Waiting { .. } | Execution::Error { .. } | Execution::Leased => {}
        }
        columns
    }
}

/// The first row that may be seen by the model before a write and not after, or the other
/// way round; none when the write only adds rows.
fn view_changes_from(before: &Chat, after: &Chat, change: &Change) -> Option<i64> {
    let covered = |chat: &Chat| chat.covers_through.map_or(0, |id| id.0);
    let boundary_changes = before.covers_through != after.covers_through;
    let uncovered = boundary_changes.then(|| covered(before).min(covered(after)) + 1);
    let deleted = [change.delete_from, change.delete_one].map(|id| id.map(|id| id.0));
    deleted.into_iter().chain([uncovered]).flatten().min()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn ids(files: &[FileId]) -> Vec<Uuid> {
    files.iter().map(|id| id.0).collect()
}

fn messages(write: &Write<'_>, change: &Change) -> Value {
    new_messages(change).map(|message| json!(MessageColumns::of(write, message))).collect()
}

fn new_messages(change: &Change) -> impl Iterator<Item = &Message> {
    change.inserted.iter().filter_map(|inserted| match inserted {
        Inserted::New(message) => Some(message),
        Inserted::Queued { .. } => None,
    })
}

fn entered(change: &Change) -> Value {
    change
        .inserted
        .iter()
        .filter_map(|inserted| match inserted {
            Inserted::New(_) => None,
            Inserted::Queued { queued, message, fallback_model, steering } => Some(json!({
                "queued_message_id": queued,
                "message_id": message,
                "fallback_model": fallback_model,
                "steering": steering,
            })),
        })
        .collect()
}

/// Queue rows that entered the history or were deleted.
fn removed(change: &Change) -> Vec<Uuid> {
    let entered = change.inserted.iter().filter_map(|inserted| match inserted {
        Inserted::New(_) => None,
        Inserted::Queued { queued, .. } => Some(queued.0),
    });
    entered.chain(change.queue_deleted.iter().map(|id| id.0)).collect()
}

fn queue_changed(write: &Write<'_>, change: &Change) -> Value {
    let before = &write.snapshot.chat.queue;
    queue_rows(write, change, |queued| before.iter().any(|known| known.id == queued.id))
}

fn queue_inserted(write: &Write<'_>, change: &Change) -> Value {
    let before = &write.snapshot.chat.queue;
    queue_rows(write, change, |queued| !before.iter().any(|known| known.id == queued.id))
}

fn queue_rows(write: &Write<'_>, change: &Change, belongs: impl Fn(&Queued) -> bool) -> Value {
    let rows = change.queue_upserted.iter().filter(|queued| belongs(queued)).map(|queued| {
        let mut row = json!({
            "queued_message_id": queued.id,
            "position": queued.position,
            "steering": queued.steering,
            "created_by": queued.created_by,
            "model": queued.model,
            "effort": queued.effort,
            "content_bytes": queued.content_bytes,
        });
        if let Some(content) = change.queue_content.as_ref().filter(|content| content.id == queued.id) {
            let (version, encoded) = content::encode_parts(&content.parts);
            row["content_version"] = json!(version);
            row["content"] = encoded;
            // Its texts are not at hand when it enters the history.
            row["search"] = json!(write.document(texts(&content.parts)));
            row["preview_text"] = json!(content::preview(&content.parts, PREVIEW_CHARS_MAX));
        }
        row
    });
    rows.collect()
}

/// A queue entry as it is shown right after its write, without its content. What the write does
/// not know of an entry that was there is known when it was asked for.
pub(crate) fn queued_view(queued: &Queued, change: Option<&Change>, snapshot: &Snapshot) -> QueuedView {
    let content = change.and_then(|change| change.queue_content.as_ref());
    let content = content.filter(|content| content.id == queued.id);
    let shown = snapshot.queued.as_ref();
    let preview_text = match content {
        Some(content) => content::preview(&content.parts, PREVIEW_CHARS_MAX),
        None => shown.map(|shown| shown.preview_text.clone()).unwrap_or_default(),
    };
    QueuedView {
        id: queued.id,
        position: queued.position,
        steering: queued.steering,
        preview_text,
        created_by: queued.created_by,
        model: queued.model.clone(),
        effort: queued.effort,
        create_time: shown.map_or(snapshot.now, |shown| shown.create_time),
        parts: Vec::new(),
    }
}

fn settled(change: &Change) -> Value {
    change
        .calls_closed
        .iter()
        .map(|call| json!({"message_id": call.message, "call_index": call.index}))
        .collect()
}

/// A call that is opened and closed by the same write is settled at once: no other
/// part of the statement sees its row.
fn opened(change: &Change) -> Value {
    change.calls_opened.iter().map(|call| call_row(call, change.calls_closed.contains(&call.id))).collect()
}

fn call_row(call: &OpenCall, settled: bool) -> Value {
    let CallId { message, index } = call.id;
    let row = CallRow {
        message_id: message.0,
        call_index: index,
        tool_name: content::escape(&call.tool_name),
        kind: call.kind,
        workspace_id: call.workspace.map(|workspace| workspace.0),
        journal_id: call.journal.map(|journal| journal.0),
    };
    let mut row = json!(row);
    row["settled"] = json!(settled);
    row
}

#[derive(Serialize)]
struct RequestRow<'a> {
    actor_id: Uuid,
    request_id: Uuid,
    method: &'static str,
    body_sha256: String,
    reply: &'a Reply,
}

fn requests(write: &Write<'_>) -> Value {
    let rows: Vec<RequestRow<'_>> = write
        .ask
        .request
        .iter()
        .map(|request| RequestRow {
            actor_id: request.actor,
            request_id: request.id.0,
            method: request.method,
            body_sha256: hex(&request.body_sha256),
            reply: write.reply,
        })
        .collect();
    storable(json!(rows))
}

fn usage(ask: &Ask) -> Value {
    ask.model_calls
        .iter()
        .map(|call| {
            let mut row = json!(call.usage);
            row["fence"] = json!(call.fence);
            row["model_call"] = json!(call.number);
            row["model"] = json!(call.storable_model());
            row
        })
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
