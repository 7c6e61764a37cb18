//! What a store reads for a command, and what it hands out for a turn.

use chatplane_domain::{
    Body, CallId, Chat, ChatId, Covered, Decision, ForkChat, HistoryEnds, MessageId, OpenCall, Queued, Role,
    Visibility,
};
use uuid::Uuid;

use super::{Database, Fate, Row};

/// Takes the place of a model that is gone.
const DEFAULT_MODEL: &str = "default";

impl Database {
    /// The chat as a command reads it.
    pub(crate) fn read(&self) -> Chat {
        let mut chat = self.chat.clone();
        for queued in &mut chat.queue {
            queued.fallback_model = self.fallback(queued);
        }
        chat
    }

    pub(super) fn fallback(&self, queued: &Queued) -> Option<String> {
        let gone = queued.model.as_ref().is_some_and(|model| self.gone.contains(model));
        gone.then(|| DEFAULT_MODEL.to_owned())
    }

    /// The live rows, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = (MessageId, &Row)> {
        let rows = self.rows.iter().filter(|(_, row)| !row.deleted);
        rows.map(|(id, row)| (*id, row))
    }

    /// The live rows but those of boundaries, in order.
    pub(crate) fn history(&self) -> impl Iterator<Item = (MessageId, &Row)> {
        self.live().filter(|(_, row)| row.covers_through.is_none())
    }

    /// The history without system rows, in order.
    fn conversation(&self) -> impl Iterator<Item = (MessageId, &Row)> {
        self.history().filter(|(_, row)| row.body.role() != Role::System)
    }

    /// What the model sees, in order.
    pub(crate) fn prompt(&self) -> Vec<(MessageId, &Row)> {
        let through = self.newest_boundary();
        let system = self.history().filter(|(_, row)| row.body.role() == Role::System);
        let boundary = self.live().filter(|(_, row)| row.covers_through.is_some());
        let summary = boundary.filter(|(_, row)| row.covers_through == through);
        let rest = self.conversation().filter(|(id, _)| Some(*id) > through);
        let rows = system.chain(summary).chain(rest);
        rows.filter(|(_, row)| row.visibility != Visibility::User).collect()
    }

    /// Bytes of what the model sees.
    pub(crate) fn prompt_bytes(&self) -> i64 {
        let bytes = self.prompt().into_iter().map(|(_, row)| row.body.content_bytes());
        i64::try_from(bytes.sum::<usize>()).expect("test histories are small")
    }

    /// What the newest live boundary covers.
    pub(crate) fn newest_boundary(&self) -> Option<MessageId> {
        self.live().filter_map(|(_, row)| row.covers_through).max()
    }

    /// Role of the live row with this id, for an edit; a row of a boundary has none.
    pub(crate) fn role(&self, id: MessageId) -> Option<Role> {
        self.history().find(|(other, _)| *other == id).map(|(_, row)| row.body.role())
    }

    /// What the newest live boundary below this row covers, for an edit.
    pub(crate) fn boundary_below(&self, id: MessageId) -> Option<MessageId> {
        self.live().filter_map(|(_, row)| row.covers_through).filter(|through| *through < id).max()
    }

    /// Whether the live answer of a model is below this row, for an edit.
    pub(crate) fn answered_below(&self, id: MessageId) -> bool {
        self.conversation().any(|(other, row)| other < id && row.body.role() == Role::Assistant)
    }

    /// Where the history ends, for a boundary.
    pub(crate) fn ends(&self) -> HistoryEnds {
        let answers = self.conversation().filter(|(_, row)| row.body.role() == Role::Assistant);
        let last_answer = answers.last().map(|(id, _)| id);
        HistoryEnds { last: self.conversation().last().map(|(id, _)| id), last_answer }
    }

    /// What has become of the messages that a summary covers.
    pub(crate) fn covered(&self, through: MessageId, made_from: i64) -> Covered {
        let live = self.conversation().any(|(id, _)| id == through);
        let next = self.conversation().find(|(id, _)| *id > through);
        let goes_on = next.is_some_and(|(_, row)| row.body.role() == Role::Tool);
        let mut up_to = self.rows.range(..=through);
        let changed_since = up_to.any(|(_, row)| row.revision > made_from);
        Covered { live: live && !goes_on, changed_since }
    }

    /// The last message that an honest summary covers: the end of the last complete step,
    /// before messages that have no answer yet.
    pub(crate) fn coverable(&self) -> Option<MessageId> {
        let open = self.chat.open_calls.iter().map(|call| call.id.message).min();
        let ended = self.conversation().filter(|(id, row)| {
            let answers = matches!(row.body.role(), Role::Assistant | Role::Tool);
            answers && open.is_none_or(|open| *id < open)
        });
        ended.map(|(id, _)| id).last().filter(|id| Some(*id) > self.newest_boundary())
    }

    /// The last answer whose calls have results.
    pub(crate) fn last_calls(&self) -> Option<MessageId> {
        let results = self.conversation().filter_map(|(_, row)| match &row.body {
            Body::Tool(result) => Some(result.call.message),
            Body::System(_) | Body::User(_) | Body::Assistant(_) => None,
        });
        results.last()
    }

    /// What a fork copies, and what it finds there.
    pub(crate) fn fork_of(&self, target: MessageId) -> ForkChat {
        let copies = || self.live().filter(move |(id, row)| is_copied(*id, row, target));
        let mut unanswered: Vec<OpenCall> = Vec::new();
        for (id, row) in copies().filter(|(_, row)| row.covers_through.is_none()) {
            match &row.body {
                Body::Assistant(answer) => {
                    unanswered.extend((0..).zip(answer.calls()).map(|(index, call)| OpenCall {
                        id: CallId { message: id, index },
                        tool_name: call.tool_name.clone(),
                        kind: call.kind,
                        workspace: None,
                        journal: None,
                    }));
                }
                Body::Tool(result) => unanswered.retain(|call| call.id != result.call),
                Body::System(_) | Body::User(_) => {}
            }
        }
        ForkChat {
            id: ChatId(Uuid::from_u128(2)),
            organization: self.chat.organization,
            owner: self.chat.owner,
            target,
            covers_through: copies().filter_map(|(_, row)| row.covers_through).max(),
            unanswered,
            answered: copies()
                .any(|(_, row)| row.covers_through.is_none() && row.body.role() == Role::Assistant),
        }
    }

    /// The copy, as one statement writes it.
    pub(crate) fn forked(&self, target: MessageId, decision: &Decision) -> Self {
        let copies = self.live().filter(|(id, row)| is_copied(*id, row, target));
        let mut copy = Self {
            rows: copies.map(|(id, row)| (id, Row { revision: 1, ..row.clone() })).collect(),
            tools: self.tools.clone(),
            gone: self.gone.clone(),
            ..Self::empty(&decision.chat)
        };
        for (id, row) in &copy.rows {
            if let Body::User(message) = &row.body
                && let Some(queued) = message.queued_message_id
            {
                copy.contents.insert(queued, message.parts.clone());
                copy.fates.insert(queued, Fate::Entered(*id));
            }
        }
        copy.apply_rows(decision);
        copy.chat.history_bytes = copy.prompt_bytes();
        copy
    }
}

fn is_copied(id: MessageId, row: &Row, target: MessageId) -> bool {
    row.body.role() == Role::System || row.covers_through.unwrap_or(id) <= target
}
