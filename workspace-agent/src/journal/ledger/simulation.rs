//! Any order of events, with a crash between any two of them: no call's tool starts twice, and no answer
//! contradicts another.
//!
//! The world around the ledger is a model: a disk that holds what was written, tasks that are at some point of
//! a run's life, and a control plane that asks for no call any more some time after it is committed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const CALLS: i32 = 3;
const COMMITTED_FOR_S: u64 = 30;

#[derive(Clone, Debug)]
enum Event {
    /// Somebody asks for the call, seldom with another input.
    Asked {
        call: i32,
        other_input: bool,
    },
    /// What the task of the call is at goes well.
    Step {
        call: i32,
    },
    /// What it is at fails; for a write, whether the file is there all the same.
    Failure {
        call: i32,
        is_there: bool,
    },
    /// The answer cannot be read.
    Unreadable {
        call: i32,
    },
    Verdict {
        call: i32,
        disposition: Disposition,
    },
    /// A removal that is under way ends.
    RemovalEnds {
        call: i32,
        is_gone: bool,
    },
    TimePasses {
        seconds: u64,
    },
    /// The process dies, and the next one starts; each bit says whether a write under way has happened.
    Crash {
        happened: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let call = 0..CALLS;
    let disposition =
        prop_oneof![Just(Disposition::Keep), Just(Disposition::Cancel), Just(Disposition::Committed)];
    prop_oneof![
        6 => (call.clone(), proptest::bool::weighted(0.1))
            .prop_map(|(call, other_input)| Event::Asked { call, other_input }),
        8 => call.clone().prop_map(|call| Event::Step { call }),
        1 => (call.clone(), any::<bool>()).prop_map(|(call, is_there)| Event::Failure { call, is_there }),
        1 => call.clone().prop_map(|call| Event::Unreadable { call }),
        4 => (call.clone(), disposition)
            .prop_map(|(call, disposition)| Event::Verdict { call, disposition }),
        3 => (call, proptest::bool::weighted(0.8))
            .prop_map(|(call, is_gone)| Event::RemovalEnds { call, is_gone }),
        2 => (0..2 * COMMITTED_FOR_S).prop_map(|seconds| Event::TimePasses { seconds }),
        1 => any::<u8>().prop_map(|happened| Event::Crash { happened }),
    ]
}

/// What a run's task is at.
#[derive(Clone, Copy, Debug)]
enum At {
    WritingStart,
    Running,
    WritingEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Started,
    Ended,
}

/// What one call has come to, over all lives of the process.
#[derive(Debug, Default)]
struct History {
    starts: u32,
    /// Said to be committed since.
    committed: Option<Instant>,
    /// Told that it did not run, in this life.
    refused: bool,
    /// Told that the outcome is unknown.
    unknown: bool,
    /// The end went missing while the file may be there: a later life may find it.
    may_reappear: bool,
}

struct World {
    ledger: Ledger<i32>,
    now: Instant,
    disk: BTreeMap<i32, File>,
    tasks: BTreeMap<i32, At>,
    removals: BTreeSet<i32>,
    histories: BTreeMap<i32, History>,
}

fn key(call_index: i32) -> CallKey {
    CallKey { chat_id: Uuid::from_u128(1), message_id: 7, call_index }
}

fn input(other: bool) -> Input {
    Input::of("write_file", if other { "{ }" } else { "{}" })
}

fn limits() -> Limits {
    Limits {
        entries_max: 2,
        bytes_max: 1024 * ENTRY_BYTES_MAX,
        committed_for: Duration::from_secs(COMMITTED_FOR_S),
        foreign_for: Duration::from_secs(1),
        refusals_max: 100,
    }
}

impl World {
    fn new() -> Self {
        Self {
            ledger: Ledger::load(limits(), Vec::new()),
            now: Instant::now(),
            disk: BTreeMap::new(),
            tasks: BTreeMap::new(),
            removals: BTreeSet::new(),
            histories: BTreeMap::new(),
        }
    }

    fn history(&mut self, call: i32) -> &mut History {
        self.histories.entry(call).or_default()
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Asked { call, other_input } => self.asked(call, &input(other_input), other_input),
            Event::Step { call } => self.step(call),
            Event::Failure { call, is_there } => self.failure(call, is_there),
            Event::Unreadable { call } => {
                if !self.tasks.contains_key(&call) {
                    self.ledger.unreadable(key(call));
                    // Of a start alone no later life makes an answer.
                    if self.disk.get(&call) == Some(&File::Ended) {
                        self.history(call).may_reappear = true;
                    }
                }
            }
            Event::Verdict { call, disposition } => self.verdict(call, disposition),
            Event::RemovalEnds { call, is_gone } => self.removal_ends(call, is_gone),
            Event::TimePasses { seconds } => self.now += Duration::from_secs(seconds),
            Event::Crash { happened } => self.crash(happened),
        }
    }

    fn asked(&mut self, call: i32, input: &Input, other_input: bool) {
        let now = self.now;
        let old = Duration::from_secs(COMMITTED_FOR_S);
        if self.history(call).committed.is_some_and(|since| now - since >= old) {
            return;
        }
        match self.ledger.known(key(call), input) {
            // The committed input is one; a call begins with that.
            None if other_input => {}
            None => match self.ledger.begin(key(call), input.clone(), call) {
                Ok(()) => {
                    assert!(!self.history(call).refused, "it was told that it did not run");
                    self.tasks.insert(call, At::WritingStart);
                }
                Err(answer) => self.told(call, answer),
            },
            Some(Known::Running(run)) => {
                assert!(!other_input && run == call && self.tasks.contains_key(&call));
            }
            Some(Known::Recorded) => {
                assert!(!other_input);
                assert_eq!(self.disk.get(&call), Some(&File::Ended), "the answer is on disk");
                let history = self.history(call);
                assert!(!history.unknown || history.may_reappear, "what is lost stays lost");
            }
            Some(Known::Told(answer)) => self.told(call, answer),
        }
    }

    fn told(&mut self, call: i32, answer: Answer) {
        let started_or_may = self.disk.contains_key(&call) || self.tasks.contains_key(&call);
        let history = self.history(call);
        match answer {
            Answer::OutcomeUnknown => history.unknown = true,
            Answer::Refused(_) => {
                assert_eq!(history.starts, 0, "what has started is not told that it did not run");
                history.refused = true;
            }
            Answer::OtherInput => assert!(started_or_may),
            Answer::OtherJournal | Answer::NoJournal | Answer::Unreadable => {
                panic!("the ledger knows one journal, and reads nothing")
            }
        }
    }

    fn step(&mut self, call: i32) {
        match self.tasks.get(&call) {
            None => {}
            Some(At::WritingStart) => {
                self.disk.insert(call, File::Started);
                let history = self.history(call);
                history.starts += 1;
                assert_eq!(history.starts, 1, "no tool starts twice");
                self.tasks.insert(call, At::Running);
            }
            Some(At::Running) => {
                self.tasks.insert(call, At::WritingEnd);
            }
            Some(At::WritingEnd) => {
                self.disk.insert(call, File::Ended);
                self.ledger.recorded(key(call), 100);
                self.tasks.remove(&call);
            }
        }
    }

    fn failure(&mut self, call: i32, is_there: bool) {
        match self.tasks.get(&call) {
            // A tool that fails has an end like any other.
            None | Some(At::Running) => {}
            Some(At::WritingStart) => {
                if is_there {
                    self.disk.insert(call, File::Started);
                }
                self.tasks.remove(&call);
                let refused = self.ledger.not_started(key(call));
                self.told(call, refused);
            }
            Some(At::WritingEnd) => {
                if is_there {
                    self.disk.insert(call, File::Ended);
                    self.history(call).may_reappear = true;
                }
                self.ledger.unrecorded(key(call));
                self.tasks.remove(&call);
            }
        }
    }

    fn verdict(&mut self, call: i32, disposition: Disposition) {
        let now = self.now;
        let history = self.history(call);
        // What is committed stays so.
        let disposition = if history.committed.is_some() { Disposition::Committed } else { disposition };
        if disposition == Disposition::Committed {
            history.committed.get_or_insert(now);
        }
        match self.ledger.apply(key(call), disposition, now) {
            Consequence::Nothing => {}
            Consequence::Stop(run) => assert!(self.tasks.contains_key(&run)),
            Consequence::Remove => {
                assert!(!self.tasks.contains_key(&call), "what runs stays");
                assert!(self.removals.insert(call), "it is removed once");
            }
        }
    }

    fn removal_ends(&mut self, call: i32, is_gone: bool) {
        if !self.removals.remove(&call) {
            return;
        }
        if is_gone {
            self.disk.remove(&call);
            self.ledger.removed(key(call));
        } else {
            self.ledger.not_removed(key(call));
        }
    }

    fn crash(&mut self, happened: u8) {
        let happened = |call: i32| happened & (1 << call) != 0;
        for (call, at) in std::mem::take(&mut self.tasks) {
            match at {
                At::WritingStart if happened(call) => self.disk.insert(call, File::Started),
                At::WritingEnd if happened(call) => self.disk.insert(call, File::Ended),
                At::WritingStart | At::Running | At::WritingEnd => None,
            };
        }
        for call in std::mem::take(&mut self.removals).into_iter().filter(|call| happened(*call)) {
            self.disk.remove(&call);
        }
        for history in self.histories.values_mut() {
            // Whoever asks after a crash comes on a new stream, where no end of before arrives.
            history.refused = false;
        }
        let found = |(call, file): (&i32, &File)| Found {
            key: key(*call),
            readable: Some((Uuid::nil(), input(false))),
            has_answer: *file == File::Ended,
            bytes: 100,
            written: SystemTime::UNIX_EPOCH,
        };
        self.ledger = Ledger::load(limits(), self.disk.iter().map(found).collect());
    }

    fn check(&self) {
        assert_eq!(self.ledger.open_len(), self.tasks.len());
        let known: BTreeSet<_> = self.ledger.keys().iter().map(|key| key.call_index).collect();
        for call in self.tasks.keys().chain(&self.removals) {
            assert!(known.contains(call), "what is under way is known");
        }
        for (call, history) in &self.histories {
            let may_leave = history.committed.is_some();
            assert!(history.starts == 0 || may_leave || known.contains(call), "what has started is known");
        }
    }
}

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("CI").is_some() { 5_000 } else { 500 };
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_tool_starts_twice_and_no_answer_contradicts_another(
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            world.check();
        }
    }
}
