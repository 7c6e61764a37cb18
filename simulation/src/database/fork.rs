//! A copy of a chat up to a message, as the store makes it: the rows are its own to copy, from what was read.

use std::collections::BTreeMap;

use chatplane_domain::{Body, CallId, ChatId, Context, Decision, ForkChat, MessageId, OpenCall, Role, fork};

use super::table::{Row, Table, counted};
use crate::{bug::Bug, store::MessageView};

/// Version of the first write of a chat.
const FIRST_VERSION: i64 = 1;

/// Decides the copy, and says which rows it begins with; none where the chat has no such message.
pub(crate) fn fork_with(
    bug: Option<Bug>,
    source: &Table,
    nth: usize,
    id: ChatId,
    context: Context,
) -> Option<(Decision, Vec<Row>)> {
    let is_said = |view: &&MessageView| view.body.role() != Role::System && view.covers_through.is_none();
    let said: Vec<MessageId> = source.live().filter(is_said).map(|view| view.id).collect();
    let target = *said.get(nth % said.len().max(1))?;
    let is_copied = |view: &MessageView| view.body.role() == Role::System || counted(view) <= target;
    let rows = source.rows.values().filter(|row| !row.deleted && is_copied(&row.view));
    let mut copies: Vec<Row> = rows.cloned().collect();
    copies.iter_mut().for_each(|row| row.view.revision = FIRST_VERSION);
    let unanswered = if bug == Some(Bug::ForkLeavesCalls) { Vec::new() } else { unanswered(&copies) };
    let copy = ForkChat {
        id,
        organization: source.chat.organization,
        owner: source.chat.owner,
        target,
        covers_through: copies.iter().filter_map(|row| row.view.covers_through).max(),
        unanswered,
        answered: copies.iter().any(|row| is_answer(&row.view)),
    };
    Some((fork(&source.chat, copy, context), copies))
}

fn is_answer(view: &MessageView) -> bool {
    view.body.role() == Role::Assistant && view.covers_through.is_none()
}

fn unanswered(rows: &[Row]) -> Vec<OpenCall> {
    let mut open = BTreeMap::new();
    for row in rows.iter().filter(|row| row.view.covers_through.is_none()) {
        match &row.view.body {
            Body::System(_) | Body::User(_) => {}
            Body::Assistant(answer) => {
                for (index, call) in (0_i32..).zip(answer.calls()) {
                    let id = CallId { message: row.view.id, index };
                    let tool_name = call.tool_name.clone();
                    open.insert(
                        id,
                        OpenCall { id, tool_name, kind: call.kind, workspace: None, journal: None },
                    );
                }
            }
            Body::Tool(result) => drop(open.remove(&result.call)),
        }
    }
    open.into_values().collect()
}
