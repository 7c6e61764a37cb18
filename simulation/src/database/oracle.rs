//! What must hold at each write, as only somebody can see who sees everything.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_domain::{
    Body, CallId, Change, ChatId, Effect, Execution, Fence, Inserted, MessageId, Outcome, RequestId, State,
};

use super::{Database, ModelCall, Row, Table, Write};
use crate::store::MessageView;

/// What a holder's write says, as far as two writes differ by it; with the rows that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// A mark that no other write has.
    pub(crate) mark: u64,
    /// The rows that an answer was made from; none where nothing was made from rows.
    pub(crate) made_from: Option<Vec<MessageId>>,
    /// The rows that its summary was made from.
    pub(crate) summary_of: Option<Vec<MessageId>>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// What must not have happened.
    pub(crate) violations: Vec<String>,
    /// The versions at which each chat was stopped.
    pub(crate) stops: BTreeMap<ChatId, Vec<i64>>,
    /// The writes that were applied, by lease and number.
    pub(crate) applied: BTreeMap<(ChatId, Fence, i64), u64>,
    /// What has happened, and how often: a run in which nothing happens proves nothing.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    /// The model calls whose workers have lived since, with the workers: what each cost must be told.
    pub(crate) owed: BTreeMap<ModelCall, usize>,
    /// How many writes each request has made.
    pub(crate) effects: BTreeMap<RequestId, u32>,
}

impl Database {
    pub(crate) fn violate(&mut self, what: impl FnOnce() -> String) {
        let at = self.now;
        self.oracle.violations.push(format!("at {at:?}: {}", what()));
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.oracle.seen.entry(what).or_default() += 1;
    }

    /// Before a write that passes its compare is applied.
    pub(super) fn check_write(&mut self, write: &Write) {
        let id = write.decision.chat.id;
        let Some(change) = &write.decision.change else { return };
        let after = &write.decision.chat;
        let Some(table) = self.tables.get(&id) else { return };
        let before = &table.chat;
        let (old, new) = (before.versions, after.versions);
        let mut wrong = Vec::new();
        if new.snapshot != old.snapshot + 1 {
            wrong.push(format!("{id:?}: version {} follows {}", new.snapshot, old.snapshot));
        }
        let ordered = [(old.history, new.history), (old.queue, new.queue), (old.retry, new.retry)];
        if ordered.iter().any(|(old, new)| new < old || *new > after.versions.snapshot) {
            wrong.push(format!("{id:?}: a version falls: {old:?} to {new:?}"));
        }
        let fence = |chat: &chatplane_domain::Chat| chat.last_lease.as_ref().map(|lease| lease.fence);
        if fence(after) < fence(before) {
            wrong.push(format!("{id:?}: the fence falls"));
        }
        let is_stop = write.decision.effects.iter().any(|effect| matches!(effect, Effect::Interrupt(..)));
        let made = write.made.as_ref().filter(|_| matches!(write.decision.outcome, Outcome::Written(_)));
        if let Some(made) = made {
            let lease = before.last_lease.as_ref();
            if lease
                .is_none_or(|lease| (lease.fence, lease.session) != (made.header.fence, made.header.session))
            {
                wrong.push(format!("{id:?}: a stale holder commits: {:?}", made.header));
            }
            let seen: Vec<MessageId> = table.prompt().map(|view| view.id).collect();
            if made.content.made_from.as_ref().is_some_and(|from| *from != seen) {
                let from = &made.content.made_from;
                wrong.push(format!("{id:?}: an answer made from {from:?} is committed to {seen:?}"));
            }
            if let (Some(of), Some(through)) = (&made.content.summary_of, boundary_of(change))
                && *of != table.summarized(through)
            {
                wrong.push(format!("{id:?}: a summary of {of:?} takes the place of others"));
            }
            let place = (id, made.header.fence, made.header.write_no);
            if self.oracle.applied.insert(place, made.content.mark).is_some() {
                wrong.push(format!("{place:?} is applied twice"));
            }
        }
        if change.erased {
            wrong.push(format!("{id:?} is erased"));
        }
        for effect in &write.decision.effects {
            match effect {
                Effect::Deliver(_) => self.saw("a lease"),
                Effect::Interrupt(..) => self.saw("a stop"),
                Effect::Reload(..) => self.saw("a change under a holder"),
                Effect::Lost(..) => self.saw("a lease that is taken away"),
                Effect::Runnable | Effect::CancelCalls(_) => {}
            }
        }
        if is_stop {
            self.oracle.stops.entry(id).or_default().push(new.snapshot);
        }
        for wrong in wrong {
            self.violate(|| wrong);
        }
    }

    /// Invariant 4: what was committed says for ever what it said, and what is deleted stays so.
    pub(super) fn check_kept(&mut self, before: &Table) {
        let id = before.chat.id;
        let Some(after) = self.tables.get(&id) else { return };
        let is_kept = |(id, old): &(&MessageId, &Row)| {
            after.rows.get(id).is_some_and(|new| {
                let (said, says) = (&old.view, &new.view);
                (&said.body, said.visibility) == (&says.body, says.visibility) && new.deleted >= old.deleted
            })
        };
        let changed = before.rows.iter().find(|row| !is_kept(row)).map(|(message, _)| *message);
        if let Some(message) = changed {
            self.violate(|| format!("{id:?}: {message:?} has changed after its commit"));
        }
    }

    /// After each write: what the rows must be.
    pub(super) fn check_written(&mut self, id: ChatId) {
        let Some(table) = self.tables.get(&id) else { return };
        let chat = &table.chat;
        let mut wrong = Vec::new();
        // Both what is kept and what the model sees of it; a summary stands before the rest.
        let open = open_calls(table.live(), &mut wrong);
        if open_calls(table.prompt(), &mut wrong) != open {
            wrong.push("the model does not see the open calls");
        }
        if table.live().filter_map(|view| view.covers_through).max() != chat.covers_through {
            wrong.push("the newest boundary is not the chat's");
        }
        if !open.iter().eq(chat.open_calls.iter().map(|call| &call.id)) {
            wrong.push("the open calls are not those without results");
        }
        let is_leased = chat.live_lease().is_some();
        match chat.state() {
            State::Waiting if !chat.queue.is_empty() => wrong.push("it waits with a queue"),
            State::Interrupting if !is_leased => wrong.push("it is interrupting without a lease"),
            State::Suspended if chat.open_calls.is_empty() => wrong.push("it is suspended for nothing"),
            _ => {}
        }
        if chat.archived() && (is_leased || matches!(chat.execution, Execution::Runnable { .. })) {
            wrong.push("it is archived and runs");
        }
        let mut queued: Vec<_> = table.waiting().map(|row| (row.queued.position, row.queued.id)).collect();
        queued.sort_unstable();
        if !queued.iter().map(|(_, id)| *id).eq(chat.queue.iter().map(|queued| queued.id)) {
            wrong.push("the stored queue is not the chat's");
        }
        for wrong in wrong {
            self.violate(|| format!("{id:?}: {wrong}"));
        }
    }
}

/// Invariant 1; answers the calls that have no result yet. Rows of boundaries are no part of it.
fn open_calls<'a>(
    rows: impl Iterator<Item = &'a MessageView>,
    wrong: &mut Vec<&'static str>,
) -> BTreeSet<CallId> {
    let mut open = BTreeSet::new();
    for view in rows.filter(|view| view.covers_through.is_none()) {
        match &view.body {
            Body::System(_) => {}
            Body::User(_) if open.is_empty() => {}
            Body::Assistant(answer) if open.is_empty() => {
                let calls = (0_i32..).zip(answer.calls());
                open.extend(calls.map(|(index, _)| CallId { message: view.id, index }));
            }
            Body::User(_) | Body::Assistant(_) => wrong.push("a call has no result"),
            Body::Tool(result) => {
                if !open.remove(&result.call) {
                    wrong.push("a result has no open call");
                }
            }
        }
    }
    open
}

/// What a summary that is stored covers.
fn boundary_of(change: &Change) -> Option<MessageId> {
    change.inserted.iter().find_map(|inserted| match inserted {
        Inserted::New(message) => message.covers_through,
        Inserted::Queued { .. } => None,
    })
}
