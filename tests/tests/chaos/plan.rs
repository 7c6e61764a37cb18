//! Which faults come when: a pure function of the seed.
//!
//! Kinds are dealt from a shuffled deck, so that a short run has nearly every kind and a long
//! one has each as often. Nothing that is faulty already gets a second fault, and every fault
//! is over when the plan is: whatever happens later is recovery. Now and then one fault comes
//! alone, so that it is seen how long its recovery takes by itself.

use std::{collections::BTreeMap, fmt, time::Duration};

use chatplane_tests::tcp_proxy::Mode;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom as _};

use crate::{AGENTS, REPLICAS, WORKERS};

/// The first fault finds everybody at work.
const FIRST_AT: Duration = Duration::from_millis(500);
/// Between two faults. Several are under way at a time; some recover undisturbed.
const GAP_MS: std::ops::Range<u64> = 200..1_400;
/// A process that was asked to leave has this long; its own deadline is shorter.
pub(crate) const LEAVE_TIME_MAX: Duration = Duration::from_secs(10);
/// So many decks come with each fault that comes alone.
const DECKS_BETWEEN_LONELY: usize = 3;
/// Before and after a fault that comes alone.
const QUIET: Duration = Duration::from_secs(4);
/// So often another target is drawn for a kind whose targets are all faulty.
const DRAWS_MAX: usize = 8;

/// A process that can be faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Process {
    Replica(usize),
    Worker(usize),
    Agent(usize),
}

/// A line between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// From all clients to a replica.
    Clients(usize),
    /// From a worker to a replica.
    Worker(usize, usize),
    /// From a workspace agent to whichever replica.
    Agent(usize),
    /// From all other replicas to a replica.
    Peers(usize),
    /// From a replica to the database.
    Database(usize),
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`; started again at the end.
    Kill(Process),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Process),
    /// SIGTERM; started again when it has ended.
    Stop(Process),
    /// A line behaves so until the end.
    Sever(Line, Mode),
    /// A worker reaches nobody until the end.
    Isolate(usize, Mode),
    /// The administrator of the database ends every third session, beginning with one of these.
    EndBackends(i32),
    /// The database restarts, finishing what it does.
    RestartPostgres,
    /// The database breaks off, and starts again.
    StopPostgresImmediately,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// After the beginning.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// What is faulty for a while, and gets no other fault meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Process(Process),
    Line(Line),
    Database,
}

/// A card of the deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KillReplica,
    PauseReplica,
    StopReplica,
    KillWorker,
    PauseWorker,
    StopWorker,
    KillAgent,
    PauseAgent,
    SeverClients,
    SeverWorker,
    IsolateWorker,
    SeverAgent,
    SeverPeers,
    SeverDatabase,
    EndBackends,
    RestartPostgres,
    StopPostgresImmediately,
}

const DECK: [Kind; 17] = [
    Kind::KillReplica,
    Kind::PauseReplica,
    Kind::StopReplica,
    Kind::KillWorker,
    Kind::PauseWorker,
    Kind::StopWorker,
    Kind::KillAgent,
    Kind::PauseAgent,
    Kind::SeverClients,
    Kind::SeverWorker,
    Kind::IsolateWorker,
    Kind::SeverAgent,
    Kind::SeverPeers,
    Kind::SeverDatabase,
    Kind::EndBackends,
    Kind::RestartPostgres,
    Kind::StopPostgresImmediately,
];

/// The faults of a run, in the order of their times.
pub(crate) fn plan(seed: u64, duration: Duration) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut deck = Vec::new();
    let mut faulty_until: BTreeMap<Target, Duration> = BTreeMap::new();
    let mut planned = Vec::new();
    let mut at = FIRST_AT;
    let mut decks = 0;
    while at < duration {
        if deck.is_empty() {
            let quiet_at = faulty_until.values().copied().max().unwrap_or_default().max(at) + QUIET;
            let (fault, lasts) = lonely(&mut random);
            decks += 1;
            if decks % DECKS_BETWEEN_LONELY == 0 && quiet_at + lasts < duration {
                planned.push(Planned { at: quiet_at, lasts, fault });
                at = quiet_at + lasts + QUIET;
            }
            deck = DECK.to_vec();
            deck.shuffle(&mut random);
            continue;
        }
        let kind = deck.pop().expect("it was just filled");
        let is_free = |target: &Target| faulty_until.get(target).is_none_or(|until| *until < at);
        let drawn = (0..DRAWS_MAX)
            .map(|_| fault(kind, &mut random))
            .find(|(fault, _)| targets(*fault).iter().all(is_free));
        if let Some((fault, lasts)) = drawn {
            let lasts = lasts.min(duration.saturating_sub(at));
            let until = at + lasts + aftermath(fault);
            faulty_until.extend(targets(fault).into_iter().map(|target| (target, until)));
            planned.push(Planned { at, lasts, fault });
        }
        at += Duration::from_millis(random.random_range(GAP_MS));
    }
    planned
}

/// A fault that comes alone: one whose recovery has a budget.
fn lonely(random: &mut StdRng) -> (Fault, Duration) {
    let worker = Process::Worker(random.random_range(0..WORKERS));
    match random.random_range(0..3) {
        0 => (Fault::Kill(worker), Duration::from_secs(1)),
        // Longer than its chats may wait.
        1 => (Fault::Pause(worker), Duration::from_secs(11)),
        _ => (Fault::Kill(Process::Replica(random.random_range(0..REPLICAS))), Duration::from_secs(1)),
    }
}

/// A fault of that kind, and how long it lasts.
fn fault(kind: Kind, random: &mut StdRng) -> (Fault, Duration) {
    let replica = random.random_range(0..REPLICAS);
    let worker = random.random_range(0..WORKERS);
    let agent = random.random_range(0..AGENTS);
    let mode = mode(random);
    // A kill is over at once; how long nobody takes the place is another matter.
    let (fault, lasts_ms) = match kind {
        Kind::KillReplica => (Fault::Kill(Process::Replica(replica)), 0..1_500),
        Kind::KillWorker => (Fault::Kill(Process::Worker(worker)), 0..1_500),
        Kind::KillAgent => (Fault::Kill(Process::Agent(agent)), 0..1_500),
        // Beyond a session's time to live of 8 s, and below it.
        Kind::PauseReplica => (Fault::Pause(Process::Replica(replica)), 200..11_000),
        Kind::PauseWorker => (Fault::Pause(Process::Worker(worker)), 200..11_000),
        Kind::PauseAgent => (Fault::Pause(Process::Agent(agent)), 200..6_000),
        Kind::StopReplica => (Fault::Stop(Process::Replica(replica)), 0..500),
        Kind::StopWorker => (Fault::Stop(Process::Worker(worker)), 0..500),
        Kind::SeverClients => (Fault::Sever(Line::Clients(replica), mode), 100..6_000),
        Kind::SeverWorker => (Fault::Sever(Line::Worker(worker, replica), mode), 100..6_000),
        Kind::IsolateWorker => (Fault::Isolate(worker, mode), 200..11_000),
        Kind::SeverAgent => (Fault::Sever(Line::Agent(agent), mode), 100..6_000),
        Kind::SeverPeers => (Fault::Sever(Line::Peers(replica), mode), 100..6_000),
        Kind::SeverDatabase => (Fault::Sever(Line::Database(replica), mode), 100..11_000),
        Kind::EndBackends => (Fault::EndBackends(random.random_range(0..3)), 0..1),
        Kind::RestartPostgres => (Fault::RestartPostgres, 0..1),
        Kind::StopPostgresImmediately => (Fault::StopPostgresImmediately, 0..2_000),
    };
    (fault, Duration::from_millis(random.random_range(lasts_ms)))
}

fn mode(random: &mut StdRng) -> Mode {
    match random.random_range(0..4) {
        0 => Mode::Delay(Duration::from_millis(random.random_range(5..300))),
        1 => Mode::Hold,
        2 => Mode::Swallow,
        _ => Mode::Refuse,
    }
}

/// How long a fault may last beyond its time.
fn aftermath(fault: Fault) -> Duration {
    if matches!(fault, Fault::Stop(_)) { LEAVE_TIME_MAX } else { Duration::ZERO }
}

fn targets(fault: Fault) -> Vec<Target> {
    match fault {
        Fault::Kill(process) | Fault::Pause(process) | Fault::Stop(process) => vec![Target::Process(process)],
        Fault::Sever(line, _) => vec![Target::Line(line)],
        Fault::Isolate(worker, _) => {
            (0..REPLICAS).map(|replica| Target::Line(Line::Worker(worker, replica))).collect()
        }
        Fault::EndBackends(_) | Fault::RestartPostgres | Fault::StopPostgresImmediately => {
            vec![Target::Database]
        }
    }
}

impl Fault {
    /// What it is counted as.
    pub(crate) fn kind(self) -> String {
        match self {
            Self::Kill(process) => format!("{process} killed (-9)"),
            Self::Pause(process) => format!("{process} stopped (SIGSTOP), continued later"),
            Self::Stop(process) => format!("{process} asked to leave (SIGTERM)"),
            Self::Sever(line, mode) => format!("{line}: {}", name(mode)),
            Self::Isolate(_, mode) => format!("worker to every replica: {}", name(mode)),
            Self::EndBackends(_) => "database: sessions terminated".to_owned(),
            Self::RestartPostgres => "database: restarted (fast)".to_owned(),
            Self::StopPostgresImmediately => "database: restarted (immediate)".to_owned(),
        }
    }
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Pass => "works",
        Mode::Delay(_) => "slow",
        Mode::Hold => "held up",
        Mode::Swallow => "swallows",
        Mode::Refuse => "cut and refused",
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Replica(_) => "replica",
            Self::Worker(_) => "worker",
            Self::Agent(_) => "workspace agent",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clients(_) => "clients to a replica",
            Self::Worker(..) => "worker to a replica",
            Self::Agent(_) => "workspace agent to a replica",
            Self::Peers(_) => "replicas to a replica",
            Self::Database(_) => "replica to the database",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(120);

    #[test]
    fn the_seed_is_the_plan() {
        for seed in 0..50 {
            assert_eq!(plan(seed, DURATION), plan(seed, DURATION));
        }
        assert_ne!(plan(1, DURATION), plan(2, DURATION));
    }

    #[test]
    fn every_fault_is_over_when_the_plan_is_and_none_meets_another_on_its_target() {
        for seed in 0..200 {
            let mut until: BTreeMap<Target, Duration> = BTreeMap::new();
            for Planned { at, lasts, fault } in plan(seed, DURATION) {
                assert!(at + lasts <= DURATION);
                for target in targets(fault) {
                    assert!(until.insert(target, at + lasts).is_none_or(|before| before < at), "{fault:?}");
                }
            }
        }
    }

    #[test]
    fn a_run_in_ci_has_every_kind_of_fault_several_times() {
        for seed in 0..50 {
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            for planned in plan(seed, DURATION) {
                let kind = planned.fault.kind();
                let kind = kind.split(": ").next().unwrap_or_default().to_owned();
                *times.entry(kind).or_default() += 1;
            }
            assert!(times.len() >= 14 && times.values().all(|times| *times >= 2), "{times:?}");
        }
    }
}
