//! A watcher with a database and a relay in the test's hands.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, Body, CallId, ChatId, Effort, Fence, MessageId, OrganizationId,
    QueuedMessageId, State, ToolResult, Usage, UserId, UserMessage, UserPart, Versions, Visibility,
};
use chrono::DateTime;
use uuid::Uuid;

use crate::{
    relay::{Budget, LiveStreams, PartHeader, PartKind, PartOffset, StreamHeader, StreamId, StreamKind},
    store::{
        ChatView, MessageChange, MessageView, MetadataView, QueueChange, QueuedView, RowPosition, SyncFrom,
        SyncPage,
    },
    watch::{Action, DurableEvent, Event, LiveEvent, Timing, Watcher},
};

pub(super) const CHAT: ChatId = ChatId(Uuid::from_u128(0xc4a7));

/// A watcher, its relay and what it did.
pub(super) struct Watch {
    pub(super) watcher: Watcher,
    pub(super) live: LiveStreams,
    pub(super) now: Duration,
    pub(super) cursor: String,
}

/// What a watcher does, in a few words.
#[derive(Debug, PartialEq)]
pub(super) enum Did {
    Told(&'static str),
    Message(i64),
    HistoryReset(i64),
    PreviewReset(Option<StreamId>),
    Started(StreamId, usize),
    Append(StreamId, usize, String),
    Truncated(StreamId),
    Asked(SyncFrom),
}

impl Watch {
    pub(super) fn start(history_limit: Option<u32>) -> Self {
        Self::new(Watcher::start(CHAT, history_limit, Timing::default(), Duration::ZERO))
    }

    pub(super) fn resume(cursor: &str) -> Self {
        let resumed = Watcher::resume(CHAT, cursor, Timing::default(), Duration::ZERO);
        Self::new(resumed.expect("the cursor was sent by a watcher"))
    }

    fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            live: LiveStreams::new(Arc::new(Budget::new(usize::MAX / 2))),
            now: Duration::from_secs(1),
            cursor: String::new(),
        }
    }

    /// A watcher that has been sent a page and has nothing left to say about it.
    pub(super) fn at(page: SyncPage) -> Self {
        let mut watch = Self::start(None);
        watch.run();
        watch.watcher.on_page(Some(page));
        watch.run();
        watch
    }

    /// Everything it does until it waits.
    pub(super) fn run(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        loop {
            match self.watcher.poll(&self.live, self.now) {
                Action::Emit(emitted) => {
                    self.cursor = emitted.cursor;
                    did.push(told(emitted.event));
                }
                Action::RunSync(from) => did.push(Did::Asked(from)),
                Action::Wait(_) => return did,
                Action::End(end) => panic!("the watch ends: {end:?}"),
            }
        }
    }

    /// A hint, the sync it asks for, and what comes of its page.
    pub(super) fn sync(&mut self, page: SyncPage) -> Vec<Did> {
        self.watcher.on_hint();
        assert!(matches!(self.run()[..], [.., Did::Asked(_)]), "a hint asks for a sync");
        self.watcher.on_page(Some(page));
        self.run()
    }

    pub(super) fn write(&mut self, header: StreamHeader, offset: usize, text: &str) {
        let kind = match header.kind {
            StreamKind::Answer => PartKind::Text,
            StreamKind::Call(_) => PartKind::ToolOutput,
            StreamKind::Summary => PartKind::Summary,
        };
        let part = PartHeader { kind, tool_name: String::new() };
        self.live.begin_part(header, 0, part).unwrap();
        let at = PartOffset { part: 0, offset };
        self.live.append(header.fence, header.id, at, text.as_bytes()).unwrap();
    }
}

fn told(event: Event) -> Did {
    match event {
        Event::Durable(event) => match event {
            DurableEvent::Message(message) => Did::Message(message.id.0),
            DurableEvent::HistoryReset(from) => Did::HistoryReset(from.0),
            DurableEvent::QueuedUpserted(_) => Did::Told("queued"),
            DurableEvent::QueuedRemoved(_) => Did::Told("unqueued"),
            DurableEvent::Retry(_) => Did::Told("retry"),
            DurableEvent::Error(_) => Did::Told("error"),
            DurableEvent::ActionRequired(_) => Did::Told("action"),
            DurableEvent::State(_) => Did::Told("state"),
            DurableEvent::ChatUpdated(_) => Did::Told("chat"),
        },
        Event::Live(event) => match event {
            LiveEvent::PreviewReset(stream) => Did::PreviewReset(stream),
            LiveEvent::PartStarted { stream, part, .. } => Did::Started(stream, part),
            LiveEvent::PartAppend { stream, part, data, .. } => {
                Did::Append(stream, part, String::from_utf8(data.to_vec()).expect("tests write text"))
            }
            LiveEvent::PreviewTruncated(stream) => Did::Truncated(stream),
            LiveEvent::Progress => Did::Told("progress"),
        },
    }
}

/// A page of a chat at this snapshot, leased under this fence, without changes of rows.
pub(super) fn page(snapshot: i64, history: i64, fence: Option<i64>) -> SyncPage {
    let time = DateTime::UNIX_EPOCH;
    SyncPage {
        chat: ChatView {
            chat_id: CHAT,
            organization_id: OrganizationId(Uuid::nil()),
            owner_id: UserId(Uuid::nil()),
            workspace_id: None,
            state: if fence.is_some() { State::Running } else { State::Waiting },
            archived: false,
            model: "model".to_owned(),
            effort: Effort::default(),
            queue_length: 0,
            last_error: None,
            retry: None,
            versions: Versions { snapshot, history, ..Versions::default() },
            fence: fence.map(Fence),
            leased: fence.is_some(),
            create_time: time,
            update_time: time,
            client_tool_names: Vec::new(),
            action_timeout: Duration::from_secs(300),
            action_required: None,
            last_turn_summary: String::new(),
            compact_requested: false,
            metadata: MetadataView { metadata_version: 1, title: String::new(), labels: BTreeMap::new() },
            pin_order: None,
            read_message_id: None,
            has_unread: false,
            files: Vec::new(),
            parent_chat_id: None,
            archive_time: None,
        },
        open_calls: Vec::new(),
        live_at: None,
        messages: Vec::new(),
        start: RowPosition::START,
        queue: Vec::new(),
        more: false,
    }
}

pub(super) fn user(id: i64, revision: i64) -> MessageChange {
    let message = UserMessage {
        created_by: UserId(Uuid::nil()),
        parts: vec![UserPart::Text("hello".to_owned())],
        model: None,
        effort: None,
        queued_message_id: None,
        requested_model: None,
    };
    live(id, revision, Body::User(message))
}

pub(super) fn answer(id: i64, revision: i64) -> MessageChange {
    let content = AnswerContent::Text("an answer".to_owned());
    let answer = Answer {
        parts: vec![AnswerPart { content, provider_state: Vec::new() }],
        model: "model".to_owned(),
        usage: Usage::default(),
        runtime_ms: 0,
        interrupted: false,
    };
    live(id, revision, Body::Assistant(answer))
}

pub(super) fn result(id: i64, revision: i64, call: CallId) -> MessageChange {
    let result = ToolResult {
        call,
        tool_name: "execute".to_owned(),
        output: String::new(),
        is_error: false,
        synthetic: None,
        runtime_ms: 0,
    };
    live(id, revision, Body::Tool(result))
}

fn live(id: i64, revision: i64, body: Body) -> MessageChange {
    MessageChange::Live(MessageView {
        id: MessageId(id),
        visibility: Visibility::Both,
        body,
        revision,
        content_bytes: 0,
        create_time: DateTime::UNIX_EPOCH,
        covers_through: None,
    })
}

/// The visible row of a boundary.
pub(super) fn boundary(id: i64, revision: i64) -> MessageChange {
    let MessageChange::Live(view) = answer(id, revision) else { unreachable!("an answer is live") };
    MessageChange::Live(MessageView { covers_through: Some(MessageId(1)), ..view })
}

pub(super) fn deleted(id: i64, revision: i64) -> MessageChange {
    MessageChange::Deleted { id: MessageId(id), revision }
}

pub(super) fn queued(id: u128, revision: i64) -> QueueChange {
    let entry = QueuedView {
        id: QueuedMessageId(Uuid::from_u128(id)),
        position: 1,
        steering: false,
        preview_text: String::new(),
        created_by: UserId(Uuid::nil()),
        model: None,
        effort: None,
        create_time: DateTime::UNIX_EPOCH,
        parts: Vec::new(),
    };
    QueueChange::Upserted { entry, revision }
}

pub(super) fn call(index: i32) -> CallId {
    CallId { message: MessageId(2), index }
}

pub(super) fn stream(base_version: i64, index: i64, fence: i64, kind: StreamKind) -> StreamHeader {
    StreamHeader { id: StreamId { base_version, index }, fence: Fence(fence), kind }
}
