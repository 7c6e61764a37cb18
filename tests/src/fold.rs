//! What a client makes of a watch: a pure reducer over the events of `WatchChat`, and
//! what must hold of every stream of them.
//!
//! A [`Fold`] outlives its stream: cut the stream anywhere, go on with its cursor, and
//! feed it what comes. [`Pictures`] compares folds of several watchers of one chat.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{
    ActionRequired, CallId, Chat, ChatError, ChatState, Message, PartAppend, PartKind, PartStarted,
    QueuedMessage, RetryState, Role, StateChanged, StreamId, Visibility, WatchChatResponse, part,
    watch_chat_response::Event,
};

/// An append has at most this many bytes.
const APPEND_BYTES_MAX: usize = 256 * 1024;

/// Why a stream of events is wrong, for the reader of a failed test.
pub type Violation = String;

/// What a client knows of a chat.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// What only the database tells.
    pub durable: Durable,
    /// Live streams by `(base_version, index)`.
    pub previews: BTreeMap<(i64, i64), Preview>,
    /// Cursor of the last event.
    pub cursor: String,
    /// How many events were folded.
    pub events: usize,
    seen_revisions: BTreeSet<(i64, i64)>,
    /// The previews are those of an earlier stream.
    has_stale_previews: bool,
    /// What a suspended chat waits for was told since the last state.
    action_told: bool,
}

/// What only the database tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// The first row ever got: of what lies before it a client knows nothing.
    pub first_message_id: Option<i64>,
    /// The history by message id.
    pub messages: BTreeMap<i64, Message>,
    /// The queue by queued message id.
    pub queue: BTreeMap<String, QueuedMessage>,
    /// The retry in progress.
    pub retry: Option<RetryState>,
    /// The error.
    pub error: Option<ChatError>,
    /// What a suspended chat waits for.
    pub action_required: Option<ActionRequired>,
    /// The execution.
    pub state: Option<StateChanged>,
    /// Metadata and settings: the fields of the chat that no other event tells.
    pub chat: Option<Chat>,
}

/// A live stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// The running call, on tool output.
    pub call: Option<CallId>,
    /// Its parts, in order.
    pub parts: Vec<PreviewPart>,
    /// Whether nothing more will come before the commit.
    pub truncated: bool,
}

impl Preview {
    /// Whether it is of an answer: not of a call, and not of a summary.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.call.is_none() && !self.is_summary()
    }

    /// Whether it is of a summary, which is made beside the answers.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        self.parts.first().is_some_and(|part| part.kind == PartKind::Summary)
    }
}

/// A live part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreviewPart {
    /// What it is.
    pub kind: PartKind,
    /// Name of the tool.
    pub tool_name: String,
    /// Its bytes so far.
    pub bytes: Vec<u8>,
}

impl Fold {
    /// A new stream begins with the cursor of the last event.
    pub fn reconnected(&mut self) {
        self.has_stale_previews = true;
    }

    /// Whether the previews are still those of an earlier stream: the reset that follows a
    /// reconnect comes behind the first complete picture.
    #[must_use]
    pub fn has_stale_previews(&self) -> bool {
        self.has_stale_previews
    }

    /// Takes an event.
    ///
    /// # Errors
    ///
    /// What is wrong with it, given those before.
    pub fn apply(&mut self, response: &WatchChatResponse) -> Result<(), Violation> {
        let event = response.event.as_ref().ok_or("an event says nothing")?;
        self.check_cursor(&response.cursor, event)?;
        self.cursor.clone_from(&response.cursor);
        self.events += 1;
        match event {
            Event::Message(message) => self.message(message)?,
            Event::HistoryReset(reset) => {
                let from = reset.from_message_id;
                self.durable.messages.split_off(&from);
                self.seen_revisions.split_off(&(from, 0));
            }
            Event::QueuedMessageUpserted(queued) => {
                let id = queued.queued_message_id.clone();
                self.durable.queue.insert(id, queued.clone());
            }
            Event::QueuedMessageRemoved(removed) => {
                self.durable.queue.remove(&removed.queued_message_id);
            }
            Event::Retry(retry) => self.durable.retry.clone_from(&retry.retry),
            Event::Error(error) => self.durable.error.clone_from(&error.error),
            Event::ChatUpdated(updated) => {
                self.durable.chat = Some(metadata(updated.chat.as_ref().ok_or("an update has no chat")?));
            }
            Event::ActionRequired(required) => self.action_required(required)?,
            Event::State(state) => self.state(*state)?,
            Event::PreviewReset(reset) => self.preview_reset(reset.stream)?,
            Event::PartStarted(started) => self.part_started(started)?,
            Event::PartAppend(append) => self.part_append(append)?,
            Event::PreviewTruncated(truncated) => {
                let preview = self.preview(truncated.stream)?;
                if preview.truncated {
                    return Err("a stream is cut twice".to_owned());
                }
                preview.truncated = true;
            }
            Event::Progress(_) => {}
        }
        Ok(())
    }

    /// Compares with what the other RPCs say, at rest: GetChat, the messages of
    /// ListMessages in any order, and the queue.
    ///
    /// # Errors
    ///
    /// What differs.
    pub fn matches(
        &self,
        chat: &Chat,
        messages: &[Message],
        queue: &[QueuedMessage],
    ) -> Result<(), Violation> {
        let durable = &self.durable;
        let first = durable.first_message_id.unwrap_or(i64::MAX);
        let messages = messages.iter().map(|message| (message.message_id, message.clone()));
        let messages: BTreeMap<i64, Message> = messages.filter(|(id, _)| *id >= first).collect();
        same("messages", &durable.messages, &messages)?;
        let queue = queue.iter().map(|queued| (queued.queued_message_id.clone(), queued.clone()));
        same("queue", &durable.queue, &queue.collect())?;
        same("retry", &durable.retry, &chat.retry)?;
        same("error", &durable.error, &chat.last_error)?;
        same("action required", &durable.action_required, &chat.action_required)?;
        same("chat", &durable.chat, &Some(metadata(chat)))?;
        let state = StateChanged {
            state: chat.state,
            archived: chat.archived,
            snapshot_version: chat.snapshot_version,
            history_version: chat.history_version,
            queue_length: chat.queue_length,
        };
        same("state", &durable.state, &Some(state))?;
        let has_worker = matches!(chat.state(), ChatState::Running | ChatState::Interrupting);
        if !has_worker && !self.previews.is_empty() {
            return Err(format!("previews of a chat at rest: {:?}", self.previews));
        }
        Ok(())
    }

    /// Cursors never fall, and those of durable events grow.
    fn check_cursor(&self, cursor: &str, event: &Event) -> Result<(), Violation> {
        let bytes = |text: &str| {
            let decoded = URL_SAFE_NO_PAD.decode(text);
            decoded.map_err(|_| format!("a cursor that no client could put into a URL: {text:?}"))
        };
        let (before, now) = (bytes(&self.cursor)?, bytes(cursor)?);
        if now.is_empty() {
            return Err("an event without a cursor".to_owned());
        }
        if is_durable(event) && now <= before {
            return Err(format!("the cursor of a durable event does not grow: {event:?}"));
        }
        if !is_durable(event) && now != before && !before.is_empty() {
            return Err(format!("the cursor moves with a live event: {event:?}"));
        }
        Ok(())
    }

    /// A message replaces its preview.
    fn message(&mut self, message: &Message) -> Result<(), Violation> {
        let (id, revision) = (message.message_id, message.revision);
        if !self.seen_revisions.insert((id, revision)) {
            return Err(format!("message {id} comes twice with revision {revision}"));
        }
        if message.visibility() == Visibility::Model {
            return Err(format!("message {id} is for the model alone"));
        }
        match message.role() {
            Role::System => return Err("a system message is shown".to_owned()),
            // A boundary's rows are no answer: they replace nothing.
            Role::Assistant if message.covers_through == 0 => {
                self.previews.retain(|(base, _), preview| !preview.is_answer() || *base >= revision);
            }
            Role::Tool => self.previews.retain(|_, preview| {
                let call = preview.call.map(|call| (call.message_id, call.call_index));
                call.is_none_or(|call| results(message).all(|result| result != call))
            }),
            Role::Assistant | Role::User | Role::Unspecified => {}
        }
        let first = self.durable.first_message_id.get_or_insert(id);
        *first = id.min(*first);
        self.durable.messages.insert(id, message.clone());
        Ok(())
    }

    /// It stands just before the state.
    fn action_required(&mut self, required: &ActionRequired) -> Result<(), Violation> {
        if required.calls.is_empty() || required.deadline.is_none() {
            return Err(format!("nothing is required: {required:?}"));
        }
        self.durable.action_required = Some(required.clone());
        self.action_told = true;
        Ok(())
    }

    /// With a state the picture is complete.
    fn state(&mut self, state: StateChanged) -> Result<(), Violation> {
        let before = self.durable.state.map_or(0, |state| state.snapshot_version);
        if state.snapshot_version <= before {
            return Err(format!("after snapshot {before} comes {}", state.snapshot_version));
        }
        let queue_length = usize::try_from(state.queue_length).map_err(|error| error.to_string())?;
        if queue_length != self.durable.queue.len() {
            return Err(format!(
                "a complete picture has a queue of {queue_length}, told were {}",
                self.durable.queue.len()
            ));
        }
        let newest = self.durable.messages.values().map(|message| message.revision).max();
        if newest.is_some_and(|newest| newest > state.history_version) {
            return Err(format!("a message is newer than history {}", state.history_version));
        }
        let stale = |((base, _), preview): (&(i64, i64), &Preview)| {
            preview.is_answer() && *base < state.history_version
        };
        if !self.has_stale_previews && self.previews.iter().any(stale) {
            return Err(format!("a preview outlives history {}", state.history_version));
        }
        let was_told = std::mem::take(&mut self.action_told);
        if state.state() != ChatState::Suspended {
            self.durable.action_required = None;
        } else if !was_told {
            return Err("a chat is suspended, and what it waits for was not told".to_owned());
        }
        self.durable.state = Some(state);
        Ok(())
    }

    fn preview_reset(&mut self, stream: Option<StreamId>) -> Result<(), Violation> {
        match stream {
            None if !self.has_stale_previews => return Err("all previews are reset unasked".to_owned()),
            None => {
                self.previews.clear();
                self.has_stale_previews = false;
            }
            Some(stream) => {
                if self.previews.remove(&key(stream)).is_none() {
                    return Err(format!("{stream:?} is reset and was not shown"));
                }
            }
        }
        Ok(())
    }

    fn part_started(&mut self, started: &PartStarted) -> Result<(), Violation> {
        let stream = started.stream.ok_or("a part has no stream")?;
        let state = self.durable.state.ok_or("a preview comes before the first picture")?;
        if stream.base_version > state.snapshot_version {
            return Err(format!("{stream:?} begins after snapshot {}", state.snapshot_version));
        }
        let is_answer = started.call.is_none() && started.kind() != PartKind::Summary;
        if is_answer && stream.base_version < state.history_version {
            return Err(format!("{stream:?} is older than history {}", state.history_version));
        }
        if self.has_stale_previews {
            return Err(format!("{stream:?} begins before the reset that follows a reconnect"));
        }
        if (is_answer || started.call.is_some()) && self.is_replaced(stream, started.call.as_ref()) {
            return Err(format!("{stream:?} begins behind the message that replaces it"));
        }
        let preview = self.previews.entry(key(stream)).or_default();
        let place = usize::try_from(started.part).map_err(|error| error.to_string())?;
        if place != preview.parts.len() || preview.truncated {
            return Err(format!("part {place} begins behind {} others", preview.parts.len()));
        }
        if place > 0 && preview.is_summary() != (started.kind() == PartKind::Summary) {
            return Err(format!("{stream:?} is both of an answer and of a summary"));
        }
        preview.call = started.call;
        preview.parts.push(PreviewPart {
            kind: started.kind(),
            tool_name: started.tool_name.clone(),
            bytes: Vec::new(),
        });
        Ok(())
    }

    /// The bytes of a stream have no gap and come once.
    fn part_append(&mut self, append: &PartAppend) -> Result<(), Violation> {
        let preview = self.preview(append.stream)?;
        let place = usize::try_from(append.part).map_err(|error| error.to_string())?;
        if place + 1 != preview.parts.len() || preview.truncated {
            return Err(format!("part {place} grows among {}", preview.parts.len()));
        }
        let part = preview.parts.last_mut().ok_or("no part has begun")?;
        if usize::try_from(append.offset) != Ok(part.bytes.len()) {
            return Err(format!("an append at {} follows {} bytes", append.offset, part.bytes.len()));
        }
        if append.data.is_empty() || append.data.len() > APPEND_BYTES_MAX {
            return Err(format!("an append has {} bytes", append.data.len()));
        }
        if part.kind != PartKind::ToolOutput && std::str::from_utf8(&append.data).is_err() {
            return Err("a character is cut".to_owned());
        }
        part.bytes.extend_from_slice(&append.data);
        Ok(())
    }

    fn is_replaced(&self, stream: StreamId, call: Option<&CallId>) -> bool {
        self.durable.messages.values().any(|message| match call {
            None => {
                message.role() == Role::Assistant
                    && message.covers_through == 0
                    && message.revision > stream.base_version
            }
            Some(call) => results(message).any(|result| result == (call.message_id, call.call_index)),
        })
    }

    fn preview(&mut self, stream: Option<StreamId>) -> Result<&mut Preview, Violation> {
        let stream = stream.ok_or("a live event has no stream")?;
        let preview = self.previews.get_mut(&key(stream));
        preview.ok_or_else(|| format!("{stream:?} goes on and was not begun"))
    }
}

/// What the watchers of one chat knew at each cursor, or at the last cursors that came.
#[derive(Debug)]
pub struct Pictures {
    known: HashMap<String, Durable>,
    /// The cursors in the order in which they came.
    order: VecDeque<String>,
    most: usize,
}

impl Default for Pictures {
    fn default() -> Self {
        Self::last(usize::MAX)
    }
}

impl Pictures {
    /// Keeps so many: each is a whole history.
    #[must_use]
    pub fn last(most: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), most }
    }

    /// Equal cursors stand for equal folds, from the first row that both got.
    ///
    /// # Errors
    ///
    /// What differs from an earlier fold with the same cursor.
    pub fn compare(&mut self, fold: &Fold) -> Result<(), Violation> {
        let now = &fold.durable;
        let Some(before) = self.known.get(&fold.cursor) else {
            self.keep(fold);
            return Ok(());
        };
        let known_from = |durable: &Durable| durable.first_message_id.unwrap_or(i64::MAX);
        let both_from = known_from(now).max(known_from(before));
        let compared = |durable: &Durable| {
            let known = durable.messages.range(both_from..);
            Durable {
                first_message_id: None,
                messages: known.map(|(id, row)| (*id, row.clone())).collect(),
                ..durable.clone()
            }
        };
        same("folds at the same cursor", &compared(now), &compared(before))?;
        if known_from(now) < known_from(before) {
            self.known.insert(fold.cursor.clone(), now.clone());
        }
        Ok(())
    }

    fn keep(&mut self, fold: &Fold) {
        self.known.insert(fold.cursor.clone(), fold.durable.clone());
        self.order.push_back(fold.cursor.clone());
        if self.order.len() > self.most
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }
}

/// The calls that a message settles.
fn results(message: &Message) -> impl Iterator<Item = (i64, i32)> {
    message.parts.iter().filter_map(|part| match &part.kind {
        Some(part::Kind::ToolResult(result)) => Some((result.call_message_id, result.call_index)),
        _ => None,
    })
}

fn is_durable(event: &Event) -> bool {
    match event {
        Event::Message(_)
        | Event::QueuedMessageUpserted(_)
        | Event::QueuedMessageRemoved(_)
        | Event::Retry(_)
        | Event::Error(_)
        | Event::ActionRequired(_)
        | Event::State(_)
        | Event::ChatUpdated(_)
        | Event::HistoryReset(_) => true,
        Event::PreviewReset(_)
        | Event::PartStarted(_)
        | Event::PartAppend(_)
        | Event::PreviewTruncated(_)
        | Event::Progress(_) => false,
    }
}

/// The fields of a chat that no other event tells, and that do not change unseen.
fn metadata(chat: &Chat) -> Chat {
    Chat {
        chat_id: chat.chat_id.clone(),
        owner_id: chat.owner_id.clone(),
        organization_id: chat.organization_id.clone(),
        workspace_id: chat.workspace_id.clone(),
        title: chat.title.clone(),
        labels: chat.labels.clone(),
        model: chat.model.clone(),
        effort: chat.effort,
        client_tool_names: chat.client_tool_names.clone(),
        action_timeout_ms: chat.action_timeout_ms,
        last_turn_summary: chat.last_turn_summary.clone(),
        compact_requested: chat.compact_requested,
        create_time: chat.create_time,
        metadata_version: chat.metadata_version,
        ..Chat::default()
    }
}

fn key(stream: StreamId) -> (i64, i64) {
    (stream.base_version, stream.index)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: &T, is: &T) -> Result<(), Violation> {
    if told == is {
        return Ok(());
    }
    let (told, is) = (format!("{told:#?}"), format!("{is:#?}"));
    let only = |these: &str, others: &str| {
        let others: BTreeSet<&str> = others.lines().collect();
        let lines: Vec<&str> = these.lines().filter(|line| !others.contains(line)).collect();
        lines.join("\n")
    };
    Err(format!(
        "{what} differ.\nonly told:\n{}\nonly in fact:\n{}\ntold: {told}",
        only(&told, &is),
        only(&is, &told)
    ))
}
