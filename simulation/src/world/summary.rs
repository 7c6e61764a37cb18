//! Summaries: made beside a turn, handed in with the answer of a step, of what was known when they were made.

use std::collections::BTreeSet;

use chatplane_domain::{Body, Covered, HolderWrite, MessageId, Role, Summary, Usage};

use super::{message::HolderCall, turn::Turn};
use crate::{
    bug::Bug,
    database::{Known, Table},
    store::MessageView,
};

/// A summary that waits for an answer to be handed in with.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    through: MessageId,
    /// The version of the history that it was made from.
    pub(super) since: i64,
    /// The rows that it was made from.
    pub(super) of: Vec<MessageId>,
}

impl Ready {
    /// Covers all whole steps that the holder knows of; none where there is no such step.
    pub(super) fn of(turn: &Turn) -> Option<Self> {
        let mut open = BTreeSet::new();
        let mut through = None;
        for (id, known) in &turn.known {
            match known {
                Known::System | Known::Words | Known::Summary => continue,
                Known::Answer(kinds) => open.extend((0_i32..).zip(kinds).map(|(index, _)| (*id, index))),
                Known::Result(call) => drop(open.remove(&(call.message, call.index))),
            }
            if open.is_empty() {
                through = Some(*id);
            }
        }
        let through = through?;
        let is_covered = |(id, known): &(&MessageId, &Known)| match known {
            Known::System => false,
            Known::Summary => true,
            Known::Words | Known::Answer(_) | Known::Result(_) => **id <= through,
        };
        let of = turn.known.iter().filter(is_covered).map(|(id, _)| *id).collect();
        Some(Self { through, since: turn.versions.history, of })
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            covers_through: self.through,
            // The replica fills it in from what it reads.
            covered: Covered { live: false, changed_since: false },
            text: "in short".to_owned(),
            model: "demo".to_owned(),
            usage: Usage::default(),
            runtime_ms: 1,
            context_tokens: 1,
            context_percent: 1,
        }
    }
}

/// Fills in what only the database knows: what has become of the rows that a summary covers.
pub(super) fn complete(bug: Option<Bug>, call: &HolderCall, table: &Table) -> HolderWrite {
    let mut write = call.write.clone();
    if let HolderWrite::CommitStep(step) = &mut write
        && let (Some(summary), Some(since)) = (&mut step.summary, call.summary_since)
    {
        summary.covered = covered(bug, table, summary.covers_through, since);
    }
    write
}

fn covered(bug: Option<Bug>, table: &Table, through: MessageId, since: i64) -> Covered {
    if bug == Some(Bug::SummaryOfChangedRows) {
        return Covered { live: true, changed_since: false };
    }
    let is_said = |view: &&MessageView| view.covers_through.is_none() && view.body.role() != Role::System;
    let is_whole = |next: &MessageView| !matches!(next.body, Body::Tool(_));
    let mut behind = table.live().filter(is_said).filter(|view| view.id > through);
    Covered {
        live: table.live().filter(is_said).any(|view| view.id == through)
            && behind.next().is_none_or(is_whole),
        changed_since: table.rows.range(..=through).any(|(_, row)| row.view.revision > since),
    }
}
