//! What may happen, and what must hold.

use std::collections::BTreeSet;

use chatplane_domain::{
    Chat, Command, Decision, Disposition, ExpireCause, ExpireLease, Fence, HolderCommand, Outcome, Rejection,
    WriteHeader, decide,
};
use stateright::{Model, Property};

use crate::{
    chat::{context, holder_write, new_chat},
    settling::settles,
    state::{
        Answer, Applied, Attempt, Hold, Message, Operation, Row, Seen, State, Step, Worker, Write, session_id,
    },
};

pub(crate) const DOUBLE_COMMIT: &str = "no step is committed twice";
pub(crate) const LOST_COMMIT: &str = "what a holder was told is applied, is";
pub(crate) const STALE_COMMIT: &str = "only the later fence commits";
pub(crate) const STUCK: &str = "a turn comes to its end once nothing fails";

pub(crate) const SENSIBLE: &str = "no honest write is refused as senseless";
/// What holds in every state.
pub(crate) const ALWAYS: [&str; 5] = [DOUBLE_COMMIT, LOST_COMMIT, STALE_COMMIT, SENSIBLE, STUCK];

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bug {
    None,
    /// A holder's fence and session are not looked at.
    FenceNotCompared,
    /// Whether the history is known is looked at before a repeat is answered.
    StalenessBeforeReplay,
    /// A write does not compare the version that it was decided from.
    VersionNotCompared,
    /// A repeat is taken for the next write.
    WriteNumberNotCompared,
    /// Nobody ends the leases of closed sessions.
    NoExpiry,
}

/// One chat with one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leases {
    pub(crate) faults: u8,
    pub(crate) bug: Bug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A replica reads for a claim, an expiry, or a write that has arrived.
    Begin(usize, Operation),
    /// It decides and writes; where the row has changed it reads again.
    Commit(usize),
    /// A renewal finds a lease that its worker may not have.
    Redeliver,
    /// A message arrives at its worker.
    Receive(Message),
    /// A holder sends its next write.
    Send(usize, Step),
    /// It has had no answer.
    Repeat(usize),
    /// It reads the turn.
    Read(usize),
    /// It hears that its session is closed, and opens another.
    Reopen(usize),
    // Faults.
    Lose(Message),
    ReplicaDies(usize),
    WorkerDies(usize),
    Close(u8),
}

impl Model for Leases {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let worker = |session| Worker { session, hold: None, ended: Fence(0) };
        vec![State {
            row: Row(new_chat()),
            sessions: vec![true, true],
            replicas: [None, None],
            workers: [worker(0), worker(1)],
            network: BTreeSet::new(),
            ledger: Vec::new(),
            told: BTreeSet::new(),
            faults: self.faults,
            seen: Seen::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.progress(state, actions);
        if state.may_fail() {
            faults(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(replica, operation) => {
                if let Operation::Write(write) = operation {
                    state.network.remove(&Message::Write(write));
                }
                state.replicas[replica] = Some(Attempt { operation, read: state.row.clone() });
            }
            Action::Commit(replica) => self.commit(&mut state, replica),
            Action::Redeliver => redeliver(&mut state),
            Action::Receive(message) => receive(&mut state, message),
            Action::Send(worker, step) => send(&mut state, worker, step),
            Action::Repeat(worker) => {
                let pending = state.workers[worker].hold.and_then(|hold| hold.pending)?;
                state.faults -= u8::from(is_under_way(&state, pending));
                state.network.insert(Message::Write(pending));
            }
            Action::Read(worker) => read(&mut state, worker),
            Action::Reopen(worker) => reopen(&mut state, worker),
            Action::Lose(message) => {
                state.faults -= 1;
                state.network.remove(&message);
            }
            Action::ReplicaDies(replica) => {
                state.faults -= 1;
                state.replicas[replica] = None;
            }
            Action::WorkerDies(worker) => {
                state.faults -= 1;
                reopen(&mut state, worker);
            }
            Action::Close(session) => {
                // That of a worker which is gone is closed in any case.
                state.faults -= u8::from(state.worker_of(session).is_some());
                state.sessions[usize::from(session)] = false;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DOUBLE_COMMIT, |_, state| steps_are_those_of_the_turn(state)),
            Property::always(LOST_COMMIT, |_, state| all_that_was_told_is_applied(state)),
            Property::always(STALE_COMMIT, |_, state| only_the_later_fence_commits(state)),
            Property::always(SENSIBLE, |_, state| is_sensible(state)),
            Property::always(STUCK, settles),
            Property::sometimes("a turn ends after a takeover", |_, state| ended_after_takeover(state)),
            Property::sometimes("a write is repeated and answered as before", |_, state| has_replayed(state)),
        ]
    }
}

fn steps_are_those_of_the_turn(state: &State) -> bool {
    let turn = [Step::Call, Step::Result, Step::Finish];
    let steps = state.ledger.iter().map(|applied| applied.step);
    steps.filter(|step| *step != Step::Release).eq(turn.into_iter().take(usize::from(state.done())))
}

/// Each step is one row, behind the user's.
fn all_that_was_told_is_applied(state: &State) -> bool {
    let rows = state.row.0.next_message_id.0 - 1;
    rows == i64::from(state.done()) + 1 && state.told.iter().all(|told| state.ledger.contains(told))
}

fn only_the_later_fence_commits(state: &State) -> bool {
    let place = |applied: &Applied| (applied.fence, applied.write_no);
    let is_ordered = state.ledger.windows(2).all(|pair| place(&pair[0]) < place(&pair[1]));
    is_ordered && !state.seen.stale_commit
}

fn is_sensible(state: &State) -> bool {
    !state.seen.refused
}

fn ended_after_takeover(state: &State) -> bool {
    let fences: BTreeSet<Fence> = state.ledger.iter().map(|applied| applied.fence).collect();
    state.row.is_at_rest() && fences.len() > 1
}

fn has_replayed(state: &State) -> bool {
    state.seen.replayed
}

impl Leases {
    /// Everything that happens without a fault.
    pub(crate) fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(
            state
                .network
                .iter()
                .filter(|message| !matches!(message, Message::Write(_)))
                .map(|message| Action::Receive(*message)),
        );
        for (no, worker) in state.workers.iter().enumerate() {
            worker_progress(state, no, worker, actions);
        }
        let busy = state.replicas.iter().enumerate().filter(|(_, attempt)| attempt.is_some());
        actions.extend(busy.map(|(no, _)| Action::Commit(no)));
        // Replicas that do nothing are alike.
        if let Some(idle) = state.replicas.iter().position(Option::is_none) {
            self.begin(state, idle, actions);
        }
        for (session, is_open) in (0..).zip(&state.sessions) {
            if *is_open && state.worker_of(session).is_none() {
                actions.push(Action::Close(session));
            }
        }
        let unheard = state.row.lease().is_some_and(|(session, fence)| {
            state.sessions[usize::from(session)]
                && state
                    .worker_of(session)
                    .is_some_and(|worker| state.workers[worker].hold.is_none_or(|hold| hold.fence != fence))
        });
        let message = lease_message(state).filter(|message| unheard && !state.network.contains(message));
        actions.extend(message.map(|_| Action::Redeliver));
    }

    fn begin(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let writes = state.network.iter().filter_map(|message| match message {
            Message::Write(write) => Some(Action::Begin(replica, Operation::Write(*write))),
            Message::Lease { .. } | Message::Reply { .. } => None,
        });
        actions.extend(writes);
        if state.row.is_runnable() {
            let open = state.workers.iter().filter(|worker| state.sessions[usize::from(worker.session)]);
            actions.extend(open.map(|worker| Action::Begin(replica, Operation::Lease(worker.session))));
        }
        if let Some((session, fence)) = state.row.lease()
            && !state.sessions[usize::from(session)]
            && self.bug != Bug::NoExpiry
        {
            actions.push(Action::Begin(replica, Operation::Expire(fence)));
        }
    }

    /// Decides from what was read, and writes where that is still so.
    fn commit(&self, state: &mut State, replica: usize) {
        let attempt = state.replicas[replica].take().expect("the action is offered where there is one");
        let decided = self.decide(&attempt);
        let is_lost = state.row != attempt.read && self.bug != Bug::VersionNotCompared;
        match decided {
            Ok(decision) if decision.change.is_some() => {
                if is_lost {
                    let read = state.row.clone();
                    state.replicas[replica] = Some(Attempt { read, ..attempt });
                    return;
                }
                apply(state, &attempt, &decision);
            }
            Ok(decision) => {
                state.seen.replayed = true;
                reply(state, &attempt, written(&decision.outcome));
            }
            Err(Rejection::LeaseLost) => reply(state, &attempt, Answer::LeaseLost),
            Err(Rejection::Superseded) => reply(state, &attempt, Answer::Superseded),
            // For a claim or an expiry there is nothing left to do.
            Err(_) => reply(state, &attempt, Answer::Refused),
        }
    }

    fn decide(&self, attempt: &Attempt) -> Result<Decision, Rejection> {
        let Attempt { operation, read: Row(chat) } = attempt;
        let command = match operation {
            Operation::Lease(session) => Command::Lease(session_id(*session)),
            Operation::Expire(fence) => {
                Command::ExpireLease(ExpireLease { fence: *fence, cause: ExpireCause::SessionEnded })
            }
            Operation::Write(write) => self.holder_command(chat, write)?,
        };
        decide(chat, command, context())
    }

    fn holder_command(&self, chat: &Chat, write: &Write) -> Result<Command, Rejection> {
        let mut header = WriteHeader {
            session: session_id(write.session),
            fence: write.what.fence,
            write_no: write.what.write_no,
            history_version: write.history,
        };
        let lease = chat.last_lease.as_ref();
        match self.bug {
            Bug::FenceNotCompared => {
                if let Some(lease) = lease {
                    (header.session, header.fence) = (lease.session, lease.fence);
                    header.write_no = lease.last_write.map_or(1, |last| last.write_no + 1);
                    header.history_version = chat.versions.history;
                }
            }
            Bug::WriteNumberNotCompared => {
                let last = lease.and_then(|lease| lease.last_write);
                header.write_no = last.map_or(1, |last| last.write_no + 1);
                header.history_version = chat.versions.history;
            }
            Bug::StalenessBeforeReplay if header.history_version != chat.versions.history => {
                return Err(Rejection::Superseded);
            }
            Bug::None | Bug::StalenessBeforeReplay | Bug::VersionNotCompared | Bug::NoExpiry => {}
        }
        let write = holder_write(chat, write.what.step);
        Ok(Command::Holder(HolderCommand { header, write }))
    }
}

fn worker_progress(state: &State, no: usize, worker: &Worker, actions: &mut Vec<Action>) {
    if !state.sessions[usize::from(worker.session)] && worker.hold.is_none_or(|hold| hold.pending.is_none()) {
        actions.push(Action::Reopen(no));
    }
    let Some(hold) = worker.hold else { return };
    match hold.pending {
        _ if hold.must_read => actions.push(Action::Read(no)),
        Some(write) => actions.extend((!is_under_way(state, write)).then_some(Action::Repeat(no))),
        None => {
            let next = [Step::Call, Step::Result, Step::Finish].get(usize::from(hold.done));
            actions.extend(next.map(|step| Action::Send(no, *step)));
        }
    }
}

/// Whether an answer to it may still come.
fn is_under_way(state: &State, write: Write) -> bool {
    let in_network = state.network.iter().any(|message| match message {
        Message::Write(other) | Message::Reply { to: other, .. } => *other == write,
        Message::Lease { .. } => false,
    });
    let at = |attempt: &Attempt| attempt.operation == Operation::Write(write);
    in_network || state.replicas.iter().flatten().any(at)
}

fn faults(state: &State, actions: &mut Vec<Action>) {
    actions.extend(state.network.iter().map(|message| Action::Lose(*message)));
    for (no, attempt) in state.replicas.iter().enumerate() {
        if attempt.is_some() {
            actions.push(Action::ReplicaDies(no));
        }
    }
    for (no, worker) in state.workers.iter().enumerate() {
        if let Some(hold) = worker.hold {
            actions.push(Action::WorkerDies(no));
            match hold.pending {
                // It has lost patience.
                Some(write) if is_under_way(state, write) => actions.push(Action::Repeat(no)),
                None if !hold.must_read => actions.push(Action::Send(no, Step::Release)),
                Some(_) | None => {}
            }
        }
        // One without a lease makes no difference.
        let has_lease = state.row.lease().is_some_and(|(session, _)| session == worker.session);
        if state.sessions[usize::from(worker.session)] && has_lease {
            actions.push(Action::Close(worker.session));
        }
    }
}

fn apply(state: &mut State, attempt: &Attempt, decision: &Decision) {
    if let Operation::Write(write) = attempt.operation {
        let lease = state.row.0.last_lease.as_ref();
        state.seen.stale_commit |= lease.is_none_or(|lease| lease.fence != write.what.fence);
        state.ledger.push(write.what);
    }
    state.row = Row(decision.chat.clone());
    match attempt.operation {
        Operation::Lease(_) => redeliver(state),
        Operation::Expire(_) => {}
        Operation::Write(_) => reply(state, attempt, written(&decision.outcome)),
    }
}

fn written(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Written(outcome) | Outcome::Replayed(outcome) => Answer::Written {
            history: outcome.history_version,
            is_released: outcome.disposition == Disposition::Released,
        },
        Outcome::Client { .. } | Outcome::Applied => panic!("a holder is told what came of its write"),
    }
}

fn reply(state: &mut State, attempt: &Attempt, answer: Answer) {
    if let Operation::Write(to) = attempt.operation {
        state.network.insert(Message::Reply { to, answer });
    }
}

fn lease_message(state: &State) -> Option<Message> {
    let (session, fence) = state.row.lease()?;
    Some(Message::Lease { session, fence, history: state.row.0.versions.history, done: state.done() })
}

fn redeliver(state: &mut State) {
    let message = lease_message(state);
    state.network.extend(message);
}

fn receive(state: &mut State, message: Message) {
    state.network.remove(&message);
    match message {
        Message::Lease { session, fence, history, done } => {
            let Some(worker) = state.worker_of(session).map(|no| &mut state.workers[no]) else { return };
            let is_old = fence <= worker.ended || worker.hold.is_some_and(|hold| fence <= hold.fence);
            if !is_old {
                let hold = Hold { fence, write_no: 0, history, done, pending: None, must_read: false };
                worker.hold = Some(hold);
            }
        }
        Message::Reply { to, answer } => answered(state, to, answer),
        Message::Write(_) => panic!("a write goes to a replica"),
    }
}

fn answered(state: &mut State, to: Write, answer: Answer) {
    let Some(worker) = state.worker_of(to.session).map(|no| &mut state.workers[no]) else { return };
    let Some(hold) = worker.hold.as_mut().filter(|hold| hold.pending == Some(to)) else { return };
    hold.pending = None;
    match answer {
        Answer::Written { history, is_released } => {
            state.told.insert(to.what);
            hold.write_no = to.what.write_no;
            hold.history = history;
            hold.done += u8::from(to.what.step != Step::Release);
            if is_released {
                worker.ended = hold.fence;
                worker.hold = None;
            }
        }
        Answer::LeaseLost => {
            worker.ended = hold.fence;
            worker.hold = None;
        }
        Answer::Superseded => hold.must_read = true,
        Answer::Refused => state.seen.refused = true,
    }
}

fn send(state: &mut State, no: usize, step: Step) {
    state.faults -= u8::from(step == Step::Release);
    let session = state.workers[no].session;
    let hold = state.workers[no].hold.as_mut().expect("the action is offered to a holder");
    let what = Applied { fence: hold.fence, write_no: hold.write_no + 1, step };
    let write = Write { session, history: hold.history, what };
    hold.pending = Some(write);
    state.network.insert(Message::Write(write));
}

/// `GetTurn`: what the row says, where the lease is still the reader's.
fn read(state: &mut State, no: usize) {
    let (done, history, lease) = (state.done(), state.row.0.versions.history, state.row.lease());
    let worker = &mut state.workers[no];
    let hold = worker.hold.as_mut().expect("the action is offered to a holder");
    if lease == Some((worker.session, hold.fence)) {
        (hold.must_read, hold.done, hold.history) = (false, done, history);
    } else {
        worker.ended = hold.fence;
        worker.hold = None;
    }
}

/// The process is new, or its session was closed: it knows of no lease.
fn reopen(state: &mut State, no: usize) {
    let session = u8::try_from(state.sessions.len()).expect("sessions of a run are few");
    state.sessions.push(true);
    state.workers[no] = Worker { session, hold: None, ended: Fence(0) };
}
