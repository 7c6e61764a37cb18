//! What a decision is asked with: the request, and what it needs to know beside the chat.

use std::time::Duration;

use chatplane_domain::{
    Covered, Fence, FileId, HistoryEnds, MessageId, OpenCall, QueuedMessageId, RequestId, Role, Usage, UserId,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Error, FileView, Snapshot,
    jobs::JobId,
    retention::is_left_alone,
    rows::{CallRow, open_call},
    transact::read_error,
};

/// What is asked of the database beside the chat.
///
/// What commands rarely need takes a round trip of its own, with which the decision still
/// is made from one version: `history_ends`, `target`, `covered`, `fork`,
/// and `files`, or where there may be files that what is taken away refers to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// The client's request, should it be repeatable.
    pub request: Option<Request>,
    /// Who will be shown the chat; nobody, when a worker writes.
    pub viewer: Option<UserId>,
    /// Files that the message refers to which the write adds.
    pub files: Vec<FileId>,
    /// Hand out the turn's input with a lease, if it has at most this many bytes.
    pub turn_bytes_max: Option<i64>,
    /// Count what runs, for a write that may give a lease under a cap.
    pub count_running: bool,
    /// The input is for the holder of a lease, and not for a write that may give one.
    pub for_holder: bool,
    /// The entry of the queue that the caller will be shown, when it is not a new one.
    pub queued: Option<QueuedMessageId>,
    /// Where the history ends, for `CompactChat` and `ClearContext`.
    pub history_ends: bool,
    /// The message that `EditMessage` is to replace.
    pub target: Option<MessageId>,
    /// The last message that a summary covers, and the version of the history that it was
    /// made from.
    pub covered: Option<(MessageId, i64)>,
    /// The last message that `ForkChat` is to copy.
    pub fork: Option<MessageId>,
    /// Model calls that the write accounts for.
    pub model_calls: Vec<ModelCall>,
    /// The job that writes a new chat's title.
    pub title_job: Option<JobId>,
    /// Archive the chat only if nobody has pinned it, and nothing has happened since then in it and
    /// its children.
    pub left_alone_since: Option<DateTime<Utc>>,
    /// Files that were uploaded or unlinked within this time are kept when their chat is deleted.
    pub files_kept: Duration,
}

/// A request that has the effect of one when it is repeated.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Who asks.
    pub actor: Uuid,
    /// The client's id of the request.
    pub id: RequestId,
    /// The method.
    pub method: &'static str,
    /// SHA-256 of the request's body.
    pub body_sha256: [u8; 32],
}

/// A model call that was paid for.
#[derive(Clone, Debug)]
pub(crate) struct ModelCall {
    /// Fence of the lease under which the model was called.
    pub fence: Fence,
    /// Counts the lease's model calls from 1.
    pub number: i64,
    /// The model.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
}

impl ModelCall {
    /// Fence, number and tokens, in the order of their columns.
    pub(super) fn numbers(&self) -> [i64; 7] {
        let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
            self.usage;
        let tokens = [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens];
        let mut numbers = [self.fence.0, self.number, 0, 0, 0, 0, 0];
        numbers[2..].copy_from_slice(&tokens);
        numbers
    }

    /// The model's name as a column can hold it: it is what a provider says.
    pub(super) fn storable_model(&self) -> String {
        self.model.replace('\0', "\u{fffd}")
    }
}

/// An entry of the queue as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownEntry {
    /// The beginning of its text.
    pub preview_text: String,
    /// When it was queued.
    pub create_time: DateTime<Utc>,
}

/// A live message that is to be replaced. Rows of boundaries are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Target {
    /// Who speaks in it.
    pub role: Role,
    /// Who wrote it; a user's message only.
    pub created_by: Option<UserId>,
    /// The last message covered by the newest live boundary that covers nothing from it on.
    pub boundary_below: Option<MessageId>,
    /// The last answer of a model below it.
    pub answer_below: Option<MessageId>,
}

/// What is there to be copied up to a live message that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForkFacts {
    /// The last message that the newest of the copied boundaries covers.
    pub covers_through: Option<MessageId>,
    /// Calls whose answer is copied and whose result is not, in order.
    pub unanswered: Vec<OpenCall>,
    /// The last answer of a model that is copied.
    pub last_answer: Option<MessageId>,
}

/// Files around a write that adds or removes what refers to some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Those that were asked for, as far as they are the viewer's own.
    pub asked: Vec<FileView>,
    /// Those of the chat that are referred to by what such a write leaves, or copies.
    pub kept: Vec<FileId>,
}

#[derive(Debug, Deserialize)]
struct HistoryEndsRow {
    last: Option<i64>,
    last_answer: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct CoveredRow {
    live: bool,
    changed_since: bool,
}

#[derive(Debug, Deserialize)]
struct ForkRow {
    covers_through: Option<i64>,
    last_answer: Option<i64>,
    unanswered: Vec<CallRow>,
}

#[derive(Debug, Deserialize)]
struct FileFactsRow {
    asked: Vec<FileView>,
    kept: Option<Vec<FileId>>,
}

impl Ask {
    fn needs_facts(&self, snapshot: &Snapshot) -> bool {
        let asked =
            self.history_ends || self.target.is_some() || self.covered.is_some() || self.fork.is_some();
        asked || self.needs_files(snapshot)
    }

    /// What refers to files is added; or it is removed or copied where there may be some.
    fn needs_files(&self, snapshot: &Snapshot) -> bool {
        let takes_some = self.target.is_some() || self.queued.is_some() || self.fork.is_some();
        !self.files.is_empty() || (snapshot.has_files && takes_some)
    }
}

/// Reads what was asked for beside the chat. Answers false when the chat is not what was
/// read any more: its decision would lose its compare, and what it refused could be wrong.
pub(super) async fn read_facts(
    connection: &mut PgConnection,
    ask: &Ask,
    snapshot: &mut Snapshot,
) -> Result<bool, Error> {
    if let Some(since) = ask.left_alone_since {
        snapshot.left_alone = Some(is_left_alone(connection, snapshot.chat.id, since).await?);
    }
    if !ask.needs_facts(snapshot) {
        return Ok(true);
    }
    let row = sqlx::query_file!(
        "src/store/read_facts.sql",
        snapshot.chat.id.0,
        snapshot.chat.versions.snapshot,
        ask.history_ends,
        ask.target.map(|id| id.0),
        ask.covered.map(|(id, _)| id.0),
        ask.covered.map(|(_, history_version)| history_version),
        ask.fork.map(|id| id.0),
        ask.needs_files(snapshot),
        &ask.files.iter().map(|id| id.0).collect::<Vec<_>>(),
        ask.viewer.map(|id| id.0),
        ask.target.or(ask.fork.map(MessageId::next)).map(|id| id.0),
        ask.queued.map(|id| id.0),
    )
    .fetch_optional(connection)
    .await
    .map_err(read_error)?;
    let Some(row) = row else { return Ok(false) };
    snapshot.history_ends = row.history_ends.map(|Json(ends)| HistoryEnds {
        last: ends.last.map(MessageId),
        last_answer: ends.last_answer.map(MessageId),
    });
    snapshot.target = row.target.map(|target| target.0);
    snapshot.covered =
        row.covered.map(|Json(covered)| Covered { live: covered.live, changed_since: covered.changed_since });
    snapshot.fork = row.fork.map(|Json(fork)| ForkFacts {
        covers_through: fork.covers_through.map(MessageId),
        unanswered: fork.unanswered.into_iter().map(open_call).collect(),
        last_answer: fork.last_answer.map(MessageId),
    });
    snapshot.file_facts =
        row.files.map(|Json(files)| FileFacts { asked: files.asked, kept: files.kept.unwrap_or_default() });
    Ok(true)
}
