//! What must hold once everything has come to rest.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{Body, Execution, QueuedMessageId, texts};

use super::{
    World,
    client::{Promise, queued_id, text_of},
    message::Ask,
    replica::Task,
};
use crate::database::{Fate, ModelCall, Row, Table, queued_view};

/// Nothing takes longer once nothing fails: the longest is a chat that kills its workers, 25 times.
const REST_MAX: Duration = Duration::from_secs(240);
/// A watcher that got no hint finds out by the poll, and comes back after its own pause.
const WATCHERS_REST: Duration = Duration::from_secs(14);

impl World {
    /// Runs on until every chat is at rest and every watcher knows it. What was sent before everything was mended
    /// may still arrive, and begin a turn.
    pub(crate) fn come_to_rest(&mut self) {
        let end = self.now + REST_MAX;
        let (mut rests_since, mut versions) = (self.now, 0);
        while self.now < end && self.now - rests_since < WATCHERS_REST {
            self.run_until(self.now + Duration::from_secs(1));
            if !self.database.oracle.violations.is_empty() {
                return;
            }
            let before = std::mem::replace(&mut versions, self.versions());
            let rests = self.clients_rest() && self.chats_rest() && self.owed().next().is_none();
            if before != versions || self.is_syncing() || !rests {
                rests_since = self.now;
            }
        }
        self.check_at_rest();
    }

    /// Moves with every write.
    fn versions(&self) -> i64 {
        self.database.tables.values().map(|table| table.chat.versions.snapshot).sum()
    }

    /// An answer that a partition held up before everything was mended comes when that would have ended, or its use of
    /// the connection does; only then does its watcher look again, after a pause.
    fn is_syncing(&self) -> bool {
        let tasks = self.replicas.iter().flat_map(|replica| replica.tasks.values());
        tasks.into_iter().any(|task| matches!(task, Task::Syncing(_)))
    }

    /// What living workers have not told yet: a report that was held up with its worker comes after a pause.
    fn owed(&self) -> impl Iterator<Item = &ModelCall> {
        self.database.oracle.owed.keys().filter(|call| !self.database.model_calls.contains_key(call))
    }

    fn clients_rest(&self) -> bool {
        self.clients.iter().all(super::client::Client::is_idle)
    }

    fn chats_rest(&self) -> bool {
        self.database.tables.values().all(|table| is_at_rest(table))
    }

    fn check_at_rest(&mut self) {
        let mut wrong = Vec::new();
        for (id, table) in &self.database.tables {
            if !is_at_rest(table) {
                wrong.push(format!("{id:?} does not come to rest: {:?}", table.chat));
            }
            let entered = table.rows.values().filter_map(queued_of);
            let mut times: BTreeMap<QueuedMessageId, u32> = BTreeMap::new();
            entered.for_each(|id| *times.entry(id).or_default() += 1);
            for (queued, row) in &table.queue {
                let times = times.get(queued).copied().unwrap_or_default();
                if times != u32::from(row.fate == Fate::Entered) {
                    wrong.push(format!("{queued:?} is {:?} and entered {times} times", row.fate));
                }
            }
        }
        let effects = self.database.oracle.effects.iter().filter(|(_, times)| **times > 1);
        wrong.extend(effects.map(|(request, times)| format!("{request:?} had its effect {times} times")));
        let paid = self.database.model_calls.iter().filter(|(_, times)| **times > 1);
        wrong.extend(paid.map(|(call, times)| format!("{call:?} was paid for {times} times")));
        wrong.extend(self.owed().map(|call| format!("{call:?} was never paid for, and its worker lives")));
        for promise in self.clients.iter().flat_map(|client| &client.promises) {
            wrong.extend(self.is_kept(promise).err());
        }
        for (no, viewer) in self.viewers.iter().enumerate() {
            let Some(table) = viewer.chat.and_then(|chat| self.database.tables.get(&chat)) else { continue };
            let shown = table.shown().cloned();
            let matched = viewer.fold.matches(&table.view(), shown, table.waiting().map(queued_view));
            wrong.extend(matched.err().map(|violation| format!("watcher {no}: {violation}")));
        }
        for wrong in wrong {
            self.database.violate(|| wrong);
        }
    }

    /// Invariant 7: what was answered with success is in the database, once.
    fn is_kept(&self, promise: &Promise) -> Result<(), String> {
        let Promise { request, chat, outcome } = promise;
        let stored = self.database.requests.get(&request.id);
        if stored.is_none_or(|stored| stored.outcome != *outcome || stored.chat != *chat) {
            return Err(format!("{request:?} was answered {outcome:?}, and stored is {stored:?}"));
        }
        let table = self.database.tables.get(chat).ok_or_else(|| format!("{chat:?} is gone"))?;
        let sends = matches!(request.ask, Ask::Create | Ask::Send(_) | Ask::Edit(_));
        let (text, queued) = (text_of(request.id), queued_id(request.id));
        let says = |row: &&Row| match &row.view.body {
            Body::User(message) => {
                message.queued_message_id == Some(queued) || texts(&message.parts).any(|words| words == text)
            }
            Body::System(_) | Body::Assistant(_) | Body::Tool(_) => false,
        };
        let entered = table.rows.values().filter(says).count();
        let left = table.queue.get(&queued).is_some_and(|row| row.fate != Fate::Entered);
        if sends && entered + usize::from(left) != 1 {
            return Err(format!("{request:?} was accepted, and entered {entered} times"));
        }
        Ok(())
    }
}

fn is_at_rest(table: &Table) -> bool {
    match table.chat.execution {
        Execution::Waiting { .. } | Execution::Error { .. } => true,
        Execution::Runnable { .. }
        | Execution::Leased
        | Execution::Interrupting { .. }
        | Execution::Suspended { .. } => false,
    }
}

fn queued_of(row: &Row) -> Option<QueuedMessageId> {
    match &row.view.body {
        Body::User(message) => message.queued_message_id,
        Body::System(_) | Body::Assistant(_) | Body::Tool(_) => None,
    }
}
