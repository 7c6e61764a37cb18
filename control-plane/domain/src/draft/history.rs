//! Moves of the history: rows that enter it, and rows that leave it.

use serde::Serialize;

use super::Draft;
use crate::{
    Answer, AnswerContent, AnswerPart, Body, CHAT_SUMMARIZED, CONTEXT_CLEARED, CallId, CallKind, Effort,
    Inserted, Message, MessageId, Summary, ToolCall, ToolResult, Usage, UserMessage, UserPart, Visibility,
};

/// What the result of a cleared context says, to users.
const CLEARED: &str = "The model does not see the messages above any more.";

/// The arguments of the call that shows a summary to users, in the order in which they
/// are written.
#[derive(Serialize)]
struct Summarized {
    source: &'static str,
    percent: i32,
    tokens: i64,
}

impl Draft<'_> {
    /// Every change of the history starts the count of tries anew.
    pub(crate) fn touch_history(&mut self) {
        self.chat.versions.history = self.chat.versions.snapshot;
        self.chat.attempt = 0;
        self.chat.retry = None;
    }

    pub(super) fn next_id(&mut self) -> MessageId {
        let id = self.chat.next_message_id;
        self.chat.next_message_id = id.next();
        self.touch_history();
        id
    }

    pub(crate) fn insert(&mut self, visibility: Visibility, body: Body) -> MessageId {
        self.insert_row(visibility, None, body)
    }

    fn insert_row(
        &mut self,
        visibility: Visibility,
        covers_through: Option<MessageId>,
        body: Body,
    ) -> MessageId {
        let id = self.next_id();
        // The model's part of the history alone is handed out with a turn.
        if visibility != Visibility::User {
            let bytes = i64::try_from(body.content_bytes()).expect("content is bounded far below 2^63");
            self.chat.history_bytes += bytes;
        }
        self.change.inserted.push(Inserted::New(Message { id, visibility, covers_through, body }));
        id
    }

    /// Inserts a message that has never waited. It wants an answer: a summary that was
    /// asked for is forgotten.
    pub(crate) fn insert_user(&mut self, message: UserMessage) {
        self.chat.compact_requested = false;
        self.use_settings_of(message.model.as_ref(), message.effort);
        let id = self.insert(Visibility::Both, Body::User(message));
        self.entered.push(id);
    }

    /// The chat's model is that of its last message.
    pub(super) fn use_settings_of(&mut self, model: Option<&String>, effort: Option<Effort>) {
        if let Some(model) = model {
            self.chat.settings.model.clone_from(model);
        }
        if let Some(effort) = effort {
            self.chat.settings.effort = effort;
        }
    }

    /// Deletes a message and all after it. `boundary_below` is the newest boundary that
    /// covers nothing of that, and stays.
    pub(crate) fn delete_from(&mut self, id: MessageId, boundary_below: Option<MessageId>) {
        self.touch_history();
        self.change.delete_from = Some(id);
        self.chat.covers_through = boundary_below;
    }

    pub(crate) fn delete_one(&mut self, id: MessageId) {
        self.touch_history();
        self.change.delete_one = Some(id);
    }

    // Boundaries.

    /// Inserts what takes the place of the messages up to `covers_through`: the summary
    /// for the model, and a call with its result that show it to users.
    ///
    /// The summary is a user's message and no system one, because providers refuse a
    /// prompt without a user message.
    pub(crate) fn insert_summary(&mut self, summary: Summary) {
        let Summary { covers_through, text, model, usage, runtime_ms, .. } = summary;
        let source = if self.before.compact_requested { "manual" } else { "automatic" };
        let arguments =
            Summarized { source, percent: summary.context_percent, tokens: summary.context_tokens };
        let words = UserMessage {
            created_by: self.chat.owner,
            parts: vec![UserPart::Text(text.clone())],
            model: None,
            requested_model: None,
            effort: None,
            queued_message_id: None,
        };
        let call = ToolCall {
            tool_name: CHAT_SUMMARIZED.to_owned(),
            arguments_json: serde_json::to_string(&arguments).expect("words and numbers are JSON"),
            kind: CallKind::Worker,
        };
        let shown = Answer { parts: Vec::new(), model, usage, runtime_ms, interrupted: false };
        self.insert_row(Visibility::Model, Some(covers_through), Body::User(words));
        self.show_boundary(covers_through, shown, call, text);
        self.boundary += 3;
        self.chat.compact_requested = false;
    }

    /// Inserts a boundary without a summary: the model sees nothing up to
    /// `covers_through`.
    pub(crate) fn insert_clear_context(&mut self, covers_through: MessageId) {
        let call = ToolCall {
            tool_name: CONTEXT_CLEARED.to_owned(),
            arguments_json: "{}".to_owned(),
            kind: CallKind::Worker,
        };
        let shown = Answer {
            parts: Vec::new(),
            model: self.chat.settings.model.clone(),
            usage: Usage::default(),
            runtime_ms: 0,
            interrupted: false,
        };
        self.show_boundary(covers_through, shown, call, CLEARED.to_owned());
        self.boundary += 2;
    }

    /// Users see a boundary as a call with its result. Nobody runs the call, and the model
    /// never sees it: it is none of the chat's calls.
    fn show_boundary(&mut self, covers_through: MessageId, answer: Answer, call: ToolCall, output: String) {
        let tool_name = call.tool_name.clone();
        let part = AnswerPart { content: AnswerContent::ToolCall(call), provider_state: Vec::new() };
        let answer = Answer { parts: vec![part], ..answer };
        let message = self.insert_row(Visibility::User, Some(covers_through), Body::Assistant(answer));
        let result = ToolResult {
            call: CallId { message, index: 0 },
            tool_name,
            output,
            is_error: false,
            synthetic: None,
            runtime_ms: 0,
        };
        self.insert_row(Visibility::User, Some(covers_through), Body::Tool(result));
        self.chat.covers_through = Some(covers_through);
    }
}
