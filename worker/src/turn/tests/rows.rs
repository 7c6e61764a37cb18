//! The rows of the chat.

use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::control_plane::State;

impl State {
    /// The history in short.
    pub(super) fn told(&self) -> Vec<String> {
        let parts = self.messages.iter().map(|turn_message| {
            let message = turn_message.message.as_ref().unwrap();
            let parts: Vec<String> = message.parts.iter().map(short).collect();
            format!("{}{}", if message.interrupted { "interrupted " } else { "" }, parts.join(" | "))
        });
        parts.collect()
    }

    pub(super) fn user(&mut self, text: &str) {
        let kind = chat::part::Kind::Text(chat::TextPart { text: text.to_owned() });
        self.store(chat::Role::User, vec![chat::Part { kind: Some(kind) }], Vec::new());
    }

    pub(super) fn store(
        &mut self,
        role: chat::Role,
        parts: Vec<chat::Part>,
        provider_states: Vec<bytes::Bytes>,
    ) -> &mut chat::Message {
        self.history = self.snapshot;
        self.attempt = 0;
        let message = chat::Message {
            message_id: self.take_id(),
            role: role.into(),
            visibility: chat::Visibility::Both.into(),
            parts,
            revision: self.snapshot,
            ..chat::Message::default()
        };
        self.messages.push(proto::TurnMessage { message: Some(message), provider_states });
        self.messages.last_mut().unwrap().message.as_mut().unwrap()
    }

    fn take_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn store_answer(&mut self, answer: proto::NewMessage, interrupted: bool) -> i64 {
        let message = self.store(chat::Role::Assistant, answer.parts, answer.provider_states);
        message.interrupted = interrupted;
        message.usage = answer.usage;
        message.model = answer.model;
        message.message_id
    }

    pub(super) fn store_results(&mut self, results: Vec<proto::ToolResult>) -> Vec<i64> {
        let part = |result: proto::ToolResult| {
            let call = result.call.unwrap();
            chat::part::Kind::ToolResult(chat::ToolResultPart {
                call_message_id: call.message_id,
                call_index: call.call_index,
                output: result.output,
                is_error: result.is_error,
                ..chat::ToolResultPart::default()
            })
        };
        let kinds = results.into_iter().map(part).collect::<Vec<_>>();
        let store =
            |kind| self.store(chat::Role::Tool, vec![chat::Part { kind: Some(kind) }], vec![]).message_id;
        kinds.into_iter().map(store).collect()
    }

    /// Stores the rows of a boundary, of which the model sees one, and returns their ids.
    pub(super) fn store_boundary(&mut self, summary: &proto::Summary) -> Vec<i64> {
        let kind = chat::part::Kind::Text(chat::TextPart { text: summary.text.clone() });
        let row = self.store(chat::Role::User, vec![chat::Part { kind: Some(kind) }], Vec::new());
        row.visibility = chat::Visibility::Model.into();
        row.covers_through = summary.covers_through;
        let first = row.message_id;
        // Everything is sent again to whoever does not know of it.
        self.deleted_from = Some((self.snapshot, 1));
        vec![first, self.take_id(), self.take_id()]
    }

    /// Whether the batch of a step is closed.
    pub(super) fn all_calls_have_results(&self) -> bool {
        let parts = || {
            let messages = self.messages.iter().map(|row| row.message.as_ref().unwrap());
            messages.flat_map(|message| message.parts.iter().map(|part| part.kind.as_ref().unwrap()))
        };
        let is_call = |kind: &&chat::part::Kind| matches!(kind, chat::part::Kind::ToolCall(_));
        let is_result = |kind: &&chat::part::Kind| matches!(kind, chat::part::Kind::ToolResult(_));
        parts().filter(is_call).count() == parts().filter(is_result).count()
    }

    /// The rows that the model sees.
    pub(super) fn prompt_rows(&self) -> Vec<proto::TurnMessage> {
        let rows = || self.messages.iter().map(|row| (row, row.message.as_ref().unwrap()));
        let covered = rows().map(|(_, message)| message.covers_through).max().unwrap_or_default();
        let is_visible = |message: &chat::Message| match message.covers_through {
            0 => message.message_id > covered,
            through => through == covered,
        };
        rows().filter(|(_, message)| is_visible(message)).map(|(row, _)| row.clone()).collect()
    }
}

fn short(part: &chat::Part) -> String {
    match part.kind.as_ref().unwrap() {
        chat::part::Kind::Text(part) => part.text.clone(),
        chat::part::Kind::Reasoning(part) => format!("thinks {}", part.text),
        chat::part::Kind::ToolCall(part) => {
            format!("call {} {}({})", part.call_index, part.tool_name, part.arguments_json)
        }
        chat::part::Kind::File(part) => format!("file {}", part.name),
        chat::part::Kind::FileReference(_) | chat::part::Kind::DiffComment(_) => "a place".to_owned(),
        chat::part::Kind::ToolResult(part) => {
            let mark = if part.is_error { "error" } else { "result" };
            format!("{mark} {} of {}: {}", part.call_index, part.call_message_id, part.output)
        }
    }
}
