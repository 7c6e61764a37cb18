//! What a client makes of a watch, and what must hold of every stream of events: the reducer of the end-to-end
//! tests again, over the core's own events.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use chatplane_domain::{Body, ChatError, ChatId, MessageId, QueuedMessageId, Retry, State};

use crate::{
    relay::{PartKind, StreamId, StreamKind},
    store::{ActionRequired, ChatView, MessageView, QueuedView},
    watch::{DurableEvent, Emitted, Event, LiveEvent, StateView},
};

/// Why a stream of events is wrong.
pub(crate) type Violation = String;

/// A live stream as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preview {
    pub(crate) kind: StreamKind,
    pub(crate) parts: Vec<(PartKind, Vec<u8>)>,
}

/// What only the database tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Durable {
    pub(crate) first: Option<MessageId>,
    pub(crate) messages: BTreeMap<MessageId, Rc<MessageView>>,
    pub(crate) queue: BTreeMap<QueuedMessageId, QueuedView>,
    pub(crate) retry: Option<Retry>,
    pub(crate) error: Option<ChatError>,
    pub(crate) action: Option<ActionRequired>,
    pub(crate) state: Option<StateView>,
    pub(crate) model: Option<String>,
}

/// What a client knows of a chat. It outlives its streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    pub(crate) durable: Durable,
    pub(crate) previews: BTreeMap<StreamId, Preview>,
    pub(crate) cursor: String,
    seen: BTreeMap<(MessageId, i64), ()>,
    has_stale_previews: bool,
}

/// Folds of several watchers at the same cursor.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    known: HashMap<(ChatId, String, Option<MessageId>), Durable>,
}

impl Pictures {
    /// Equal cursors give equal folds.
    pub(crate) fn compare(&mut self, chat: ChatId, fold: &Fold) -> Result<(), Violation> {
        let key = (chat, fold.cursor.clone(), fold.durable.first);
        let known = self.known.entry(key).or_insert_with(|| fold.durable.clone());
        if *known == fold.durable {
            return Ok(());
        }
        Err(format!("equal cursors, and folds differ:\n{known:#?}\n{:#?}", fold.durable))
    }
}

impl Fold {
    /// A new stream begins with the cursor of the last event.
    pub(crate) fn reconnected(&mut self) {
        self.has_stale_previews = true;
    }

    /// Takes an event.
    pub(crate) fn apply(&mut self, emitted: Emitted) -> Result<(), Violation> {
        let is_durable = matches!(emitted.event, Event::Durable(_));
        if is_durable && emitted.cursor == self.cursor {
            return Err(format!("the cursor does not move: {:?}", emitted.event));
        }
        if !is_durable && emitted.cursor != self.cursor && !self.cursor.is_empty() {
            return Err(format!("the cursor moves with a live event: {:?}", emitted.event));
        }
        self.cursor = emitted.cursor;
        match emitted.event {
            Event::Durable(event) => self.durable_event(event),
            Event::Live(event) => self.live_event(event),
        }
    }

    fn durable_event(&mut self, event: DurableEvent) -> Result<(), Violation> {
        match event {
            DurableEvent::Message(message) => return self.message(*message),
            DurableEvent::HistoryReset(from) => {
                self.durable.messages.split_off(&from);
                self.seen.split_off(&(from, 0));
            }
            DurableEvent::QueuedUpserted(queued) => {
                self.durable.queue.insert(queued.id, queued);
            }
            DurableEvent::QueuedRemoved(id) => {
                self.durable.queue.remove(&id);
            }
            DurableEvent::Retry(retry) => self.durable.retry = retry,
            DurableEvent::Error(error) => self.durable.error = error,
            DurableEvent::ActionRequired(required) => self.durable.action = Some(required),
            DurableEvent::ChatUpdated(chat) => self.durable.model = Some(chat.model),
            DurableEvent::State(state) => return self.state(state),
        }
        Ok(())
    }

    /// A message replaces its preview, and comes once.
    fn message(&mut self, message: MessageView) -> Result<(), Violation> {
        let (id, revision) = (message.id, message.revision);
        if self.seen.insert((id, revision), ()).is_some() {
            return Err(format!("{id:?} comes twice with revision {revision}"));
        }
        match &message.body {
            // A boundary's rows are no answer: they replace nothing.
            _ if message.covers_through.is_some() => {}
            Body::Assistant(_) => self
                .previews
                .retain(|stream, shown| shown.kind != StreamKind::Answer || stream.base_version >= revision),
            Body::Tool(result) => {
                self.previews.retain(|_, shown| shown.kind != StreamKind::Call(result.call));
            }
            Body::System(_) | Body::User(_) => {}
        }
        let first = self.durable.first.get_or_insert(id);
        *first = id.min(*first);
        self.durable.messages.insert(id, Rc::new(message));
        Ok(())
    }

    /// With a state the picture is complete.
    fn state(&mut self, state: StateView) -> Result<(), Violation> {
        let before = self.durable.state.map_or(0, |state| state.snapshot_version);
        if state.snapshot_version <= before {
            return Err(format!("after snapshot {before} comes {}", state.snapshot_version));
        }
        if state.queue_length != self.durable.queue.len() {
            let told = self.durable.queue.len();
            return Err(format!(
                "a complete picture has a queue of {}, told were {told}",
                state.queue_length
            ));
        }
        let is_stale = |(stream, shown): (&StreamId, &Preview)| {
            shown.kind == StreamKind::Answer && stream.base_version < state.history_version
        };
        if !self.has_stale_previews && self.previews.iter().any(is_stale) {
            return Err(format!("a preview outlives history {}", state.history_version));
        }
        if state.state != State::Suspended {
            self.durable.action = None;
        }
        self.durable.state = Some(state);
        Ok(())
    }

    fn live_event(&mut self, event: LiveEvent) -> Result<(), Violation> {
        match event {
            LiveEvent::PreviewReset(None) => {
                if !self.has_stale_previews {
                    return Err("all previews are reset unasked".to_owned());
                }
                self.has_stale_previews = false;
                self.previews.clear();
            }
            LiveEvent::PreviewReset(Some(stream)) => {
                if self.previews.remove(&stream).is_none() {
                    return Err(format!("{stream:?} is reset and was not shown"));
                }
            }
            LiveEvent::PartStarted { stream, kind, part, header } => {
                if self.has_stale_previews {
                    return Err(format!("{stream:?} begins before the reset that follows a reconnect"));
                }
                let preview = self.previews.entry(stream).or_insert(Preview { kind, parts: Vec::new() });
                if preview.parts.len() != part || preview.kind != kind {
                    return Err(format!("part {part} begins behind {} others", preview.parts.len()));
                }
                preview.parts.push((header.kind, Vec::new()));
            }
            LiveEvent::PartAppend { stream, part, offset, data } => {
                let preview = self.previews.get_mut(&stream).ok_or("an append to nothing")?;
                let is_last = part + 1 == preview.parts.len();
                let (_, bytes) = preview.parts.last_mut().filter(|_| is_last).ok_or("no part has begun")?;
                if bytes.len() != offset {
                    return Err(format!("an append at {offset} follows {} bytes", bytes.len()));
                }
                bytes.extend_from_slice(&data);
            }
            LiveEvent::PreviewTruncated(_) | LiveEvent::Progress => {}
        }
        Ok(())
    }

    /// At rest a fold is the chat, from the first row that it got.
    pub(crate) fn matches(
        &self,
        chat: &ChatView,
        shown: impl Iterator<Item = MessageView>,
        queue: impl Iterator<Item = QueuedView>,
    ) -> Result<(), Violation> {
        let first = self.durable.first;
        let is = Durable {
            first,
            messages: shown
                .filter(|view| first.is_some_and(|first| view.id >= first))
                .map(|view| (view.id, Rc::new(view)))
                .collect(),
            queue: queue.map(|view| (view.id, view)).collect(),
            retry: chat.retry.clone(),
            error: chat.last_error.clone(),
            action: chat.action_required.clone(),
            state: Some(StateView {
                state: chat.state,
                archived: chat.archived,
                snapshot_version: chat.versions.snapshot,
                history_version: chat.versions.history,
                queue_length: chat.queue_length,
            }),
            model: Some(chat.model.clone()),
        };
        if is != self.durable {
            return Err(format!("at rest the fold is\n{:#?}\nand the chat\n{is:#?}", self.durable));
        }
        if !self.previews.is_empty() {
            return Err(format!("previews of a chat at rest: {:?}", self.previews));
        }
        Ok(())
    }
}
