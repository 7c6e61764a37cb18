//! The rules of the journal, pure: no disk, no clock, no task. `R` is whatever stands for a running tool.
//!
//! A call's entry is open from the moment it is asked for to the moment its end is on disk, and settled from
//! then on, either with an answer or with none. It never opens again. It leaves when the control plane has
//! said twice, some time apart, that the chat has a result: a duplicate of a sending that was still on its
//! way when it was said first must find the entry, or the tool would run again.
//!
//! Verdicts are of one workspace, the one that the agent serves, and the directory may have been served for
//! another before, of the same control plane or not. An entry belongs to the workspace that it was run for: it
//! answers whoever asks for it, but it is listed to no other, and no other's verdicts take it away. So that
//! such entries do not fill the journal for ever, they leave when they are old.
//!
//! A refusal has no entry, for nothing ran. It is remembered all the same, in memory: an end names only the
//! call, so it may be taken for the answer to a later sending that is already on its way, and then the call
//! must not run, or the model is told that it did not while it does.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use uuid::Uuid;

use super::{
    answer::{Answer, Refusal},
    call::{CallKey, Input},
    run::RESULT_BYTES_MAX,
};

/// What a call takes on disk at most: its result, and some lines.
pub(super) const ENTRY_BYTES_MAX: u64 = RESULT_BYTES_MAX as u64 + 1024;

/// Sizes and times of the journal. Tests shorten them.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Calls in it. A call leaves some minute after its chat has the result, so this is what may start in
    /// such a time; the index takes some 200 bytes of memory each.
    pub(crate) entries_max: usize,
    /// Bytes on disk, what running calls may come to need included.
    pub(crate) bytes_max: u64,
    /// A call leaves so long after it was first said to be committed. It is longer than any sending is on its
    /// way, for a stream that is silent for 10 s is dead, and a little less than the time between two listings,
    /// so that the second one is in time.
    pub(crate) committed_for: Duration,
    /// An entry of another workspace than the one that is served leaves when it is so old. No chat waits as
    /// long for a result.
    pub(crate) foreign_for: Duration,
    /// Refusals that are remembered, some 50 bytes each.
    pub(crate) refusals_max: usize,
}

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known<R> {
    /// It runs.
    Running(R),
    /// It has ended, and its answer is on disk.
    Recorded,
    /// This is all there is to say.
    Told(Answer),
}

/// What is to become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The chat waits for the result.
    Keep,
    /// Nobody wants the result.
    Cancel,
    /// The chat has a result.
    Committed,
}

/// What a verdict asks of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Consequence<R> {
    Nothing,
    Stop(R),
    /// Take it off the disk, then say `removed`.
    Remove,
}

/// What the disk says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: CallKey,
    /// For which workspace it was run, with what; none when it cannot be read any more.
    pub(super) readable: Option<(Uuid, Input)>,
    pub(super) has_answer: bool,
    pub(super) bytes: u64,
    /// When it last was.
    pub(super) written: SystemTime,
}

struct Entry<R> {
    /// None when the disk does not tell any more: then it is everybody's, and so nobody's.
    workspace: Option<Uuid>,
    input: Option<Input>,
    state: State<R>,
}

enum State<R> {
    Open(R),
    Settled(Settled),
}

struct Settled {
    has_answer: bool,
    bytes: u64,
    retention: Retention,
    /// When it was written, if that was before this start.
    written: Option<SystemTime>,
}

enum Retention {
    Kept,
    CommittedSince(Instant),
    /// Being taken off the disk. It is still here, so that nothing is written beneath the removal.
    Leaving,
}

/// Which calls there are.
pub(super) struct Ledger<R> {
    limits: Limits,
    /// The workspace that is served; nil until one is.
    workspace: Uuid,
    entries: HashMap<CallKey, Entry<R>>,
    open: usize,
    /// On disk, by settled calls.
    bytes: u64,
    /// The oldest first.
    refusals: VecDeque<(CallKey, Refusal)>,
}

impl<R: Clone> Ledger<R> {
    /// What a start finds on disk. Nothing runs yet, so a call without an end has lost it.
    pub(super) fn load(limits: Limits, found: Vec<Found>) -> Self {
        let bytes = found.iter().map(|found| found.bytes).sum();
        let entry = |Found { key, readable, has_answer, bytes, written }| {
            let settled = Settled { has_answer, bytes, retention: Retention::Kept, written: Some(written) };
            let (workspace, input) = readable.unzip();
            (key, Entry { workspace, input, state: State::Settled(settled) })
        };
        let entries = found.into_iter().map(entry).collect();
        Self { limits, workspace: Uuid::nil(), entries, open: 0, bytes, refusals: VecDeque::new() }
    }

    /// From now on it is this workspace that is served. Gives the calls that are to be taken off the disk,
    /// since they are old and of another.
    pub(super) fn serve(&mut self, workspace: Uuid, now: SystemTime) -> Vec<CallKey> {
        self.workspace = workspace;
        let mut leaving = Vec::new();
        for (key, entry) in &mut self.entries {
            let State::Settled(settled) = &mut entry.state else { continue };
            let age = settled.written.and_then(|written| now.duration_since(written).ok());
            let is_old = age.is_some_and(|age| age >= self.limits.foreign_for);
            let is_foreign = entry.workspace != Some(workspace);
            if is_foreign && is_old && !matches!(settled.retention, Retention::Leaving) {
                settled.retention = Retention::Leaving;
                leaving.push(*key);
            }
        }
        leaving
    }

    /// The workspace that is served.
    pub(super) fn workspace(&self) -> Uuid {
        self.workspace
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn open_len(&self) -> usize {
        self.open
    }

    /// Calls that have ended without an answer.
    pub(super) fn unknown(&self) -> usize {
        let is_unknown =
            |entry: &&Entry<R>| matches!(&entry.state, State::Settled(Settled { has_answer: false, .. }));
        self.entries.values().filter(is_unknown).count()
    }

    /// The calls of the workspace that is served.
    pub(super) fn keys(&self) -> Vec<CallKey> {
        let ours = |entry: &Entry<R>| entry.workspace == Some(self.workspace);
        self.entries.iter().filter(|(_, entry)| ours(entry)).map(|(key, _)| *key).collect()
    }

    pub(super) fn run(&self, key: CallKey) -> Option<R> {
        match &self.entries.get(&key)?.state {
            State::Open(run) => Some(run.clone()),
            State::Settled(_) => None,
        }
    }

    pub(super) fn known(&self, key: CallKey, input: &Input) -> Option<Known<R>> {
        let Some(entry) = self.entries.get(&key) else {
            let refused = self.refusals.iter().rev().find(|(refused, _)| *refused == key);
            return refused.map(|(_, refusal)| Known::Told(Answer::Refused(*refusal)));
        };
        if entry.input.as_ref().is_some_and(|known| known != input) {
            return Some(Known::Told(Answer::OtherInput));
        }
        Some(match &entry.state {
            State::Open(run) => Known::Running(run.clone()),
            State::Settled(
                Settled { retention: Retention::Leaving, .. } | Settled { has_answer: false, .. },
            ) => Known::Told(Answer::OutcomeUnknown),
            State::Settled(Settled { has_answer: true, .. }) => Known::Recorded,
        })
    }

    /// Opens an entry for a call of which nothing is known, if there is room.
    pub(super) fn begin(&mut self, key: CallKey, input: Input, run: R) -> Result<(), Answer> {
        debug_assert!(self.known(key, &input).is_none(), "it is asked first");
        let needed = self.bytes + (self.open as u64 + 1) * ENTRY_BYTES_MAX;
        if self.entries.len() >= self.limits.entries_max || needed > self.limits.bytes_max {
            return Err(self.refuse(key, Refusal::Full));
        }
        let workspace = Some(self.workspace);
        self.entries.insert(key, Entry { workspace, input: Some(input), state: State::Open(run) });
        self.open += 1;
        Ok(())
    }

    /// The call does not run. Whoever asks again is told the same.
    pub(super) fn refuse(&mut self, key: CallKey, refusal: Refusal) -> Answer {
        self.refusals.push_back((key, refusal));
        if self.refusals.len() > self.limits.refusals_max {
            self.refusals.pop_front();
        }
        Answer::Refused(refusal)
    }

    /// Its start is not on disk, and it did not run.
    pub(super) fn not_started(&mut self, key: CallKey) -> Answer {
        if self.entries.get(&key).is_some_and(|entry| matches!(entry.state, State::Open(_))) {
            self.entries.remove(&key);
            self.open -= 1;
        }
        self.refuse(key, Refusal::NotWritten)
    }

    /// Its end is on disk.
    pub(super) fn recorded(&mut self, key: CallKey, bytes: u64) {
        let settled = Settled { has_answer: true, bytes, retention: Retention::Kept, written: None };
        self.settle(key, settled);
    }

    /// It has ended, and its end is not on disk. Its start is: it counts with what it may have left there.
    pub(super) fn unrecorded(&mut self, key: CallKey) {
        let bytes = ENTRY_BYTES_MAX;
        self.settle(key, Settled { has_answer: false, bytes, retention: Retention::Kept, written: None });
    }

    fn settle(&mut self, key: CallKey, settled: Settled) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if matches!(entry.state, State::Open(_)) {
            self.open -= 1;
            self.bytes += settled.bytes;
            entry.state = State::Settled(settled);
        }
    }

    /// Its end is on disk no more, or makes no sense.
    pub(super) fn unreadable(&mut self, key: CallKey) {
        if let Some(Entry { state: State::Settled(settled), .. }) = self.entries.get_mut(&key) {
            settled.has_answer = false;
        }
    }

    /// What the control plane says of an entry.
    pub(super) fn apply(&mut self, key: CallKey, disposition: Disposition, now: Instant) -> Consequence<R> {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Consequence::Nothing;
        };
        if entry.workspace != Some(self.workspace) {
            return Consequence::Nothing;
        }
        let settled = match &mut entry.state {
            State::Settled(settled) => settled,
            State::Open(run) => {
                return match disposition {
                    Disposition::Keep => Consequence::Nothing,
                    Disposition::Cancel | Disposition::Committed => Consequence::Stop(run.clone()),
                };
            }
        };
        match (&settled.retention, disposition) {
            (Retention::Leaving, _) => {}
            (_, Disposition::Keep | Disposition::Cancel) => settled.retention = Retention::Kept,
            (Retention::Kept, Disposition::Committed) => settled.retention = Retention::CommittedSince(now),
            (Retention::CommittedSince(since), Disposition::Committed) => {
                if now.saturating_duration_since(*since) >= self.limits.committed_for {
                    settled.retention = Retention::Leaving;
                    return Consequence::Remove;
                }
            }
        }
        Consequence::Nothing
    }

    /// It is off the disk.
    pub(super) fn removed(&mut self, key: CallKey) {
        if let Some(settled) = self.leaving(key) {
            let bytes = settled.bytes;
            self.bytes -= bytes;
            self.entries.remove(&key);
        }
    }

    fn leaving(&mut self, key: CallKey) -> Option<&mut Settled> {
        match &mut self.entries.get_mut(&key)?.state {
            State::Settled(settled) if matches!(settled.retention, Retention::Leaving) => Some(settled),
            State::Settled(_) | State::Open(_) => None,
        }
    }

    /// It could not be taken off the disk; the next verdicts try again.
    pub(super) fn not_removed(&mut self, key: CallKey) {
        if let Some(settled) = self.leaving(key) {
            settled.retention = Retention::Kept;
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
