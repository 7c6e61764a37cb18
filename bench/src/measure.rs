//! What is measured, and what it has to reach. The numbers are those of the design's
//! page of budgets.

pub(crate) mod library;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    TurnsPerSecond,
    /// 10⁶ bytes.
    Megabytes,
    RoundTrips,
    /// Pages of PostgreSQL, found in memory or read.
    Buffers,
}

impl Unit {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::TurnsPerSecond => "turns/s",
            Self::Megabytes => "MB",
            Self::RoundTrips => "round trips",
            Self::Buffers => "buffers",
        }
    }

    /// Whether more of it is better.
    pub(crate) fn is_yield(self) -> bool {
        self == Self::TurnsPerSecond
    }

    /// Whether single events are measured, so that their tail says something.
    pub(crate) fn has_tail(self) -> bool {
        self == Self::Milliseconds
    }
}

/// What a measure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Budget {
    /// The median and the tail.
    MedianAndTail { p50: f64, p99: f64 },
    /// The tail alone.
    Tail { p99: f64 },
    /// The value, or the median where events are measured.
    AtMost(f64),
    /// The value.
    AtLeast(f64),
}

impl Budget {
    /// Whether the figures hold it. The tolerance is of a value that cannot be counted exactly.
    pub(crate) fn is_met(self, value: f64, p99: Option<f64>, tolerance: f64) -> bool {
        let tail_is_within = |bound| p99.is_some_and(|p99| p99 <= bound);
        match self {
            Self::MedianAndTail { p50, p99 } => value <= p50 && tail_is_within(p99),
            Self::Tail { p99 } => tail_is_within(p99),
            Self::AtMost(bound) => value <= bound + tolerance,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    /// As one number: the bound of the value, or of the tail where only that has one.
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::MedianAndTail { p50, .. } => p50,
            Self::Tail { p99 } => p99,
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }

    /// The bounds of the value and of the tail, in words.
    pub(crate) fn words(self) -> (Option<String>, Option<String>) {
        match self {
            Self::MedianAndTail { p50, p99 } => (Some(format!("≤ {p50}")), Some(format!("≤ {p99}"))),
            Self::Tail { p99 } => (None, Some(format!("≤ {p99}"))),
            Self::AtMost(bound) => (Some(format!("≤ {bound}")), None),
            Self::AtLeast(bound) => (Some(format!("≥ {bound}")), None),
        }
    }
}

/// One line of the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Measure {
    /// The number of the row of budgets, with a letter where it holds two.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) budget: Budget,
}

pub(crate) const PICK_UP: Measure = Measure {
    id: "1",
    name: "SendMessage → worker holds the turn, same replica",
    unit: Unit::Milliseconds,
    budget: Budget::MedianAndTail { p50: 1.0, p99: 5.0 },
};
pub(crate) const PICK_UP_ELSEWHERE: Measure = Measure {
    id: "2",
    name: "SendMessage → worker holds the turn, worker on another replica",
    unit: Unit::Milliseconds,
    budget: Budget::MedianAndTail { p50: 2.0, p99: 10.0 },
};
pub(crate) const FIRST_PART: Measure = Measure {
    id: "3",
    name: "SendMessage → first part at the client, over the model's own time",
    unit: Unit::Milliseconds,
    budget: Budget::MedianAndTail { p50: 3.0, p99: 15.0 },
};
pub(crate) const LIVE_PART: Measure = Measure {
    id: "4",
    name: "model chunk → part at a subscriber, same replica",
    unit: Unit::Milliseconds,
    budget: Budget::MedianAndTail { p50: 0.3, p99: 2.0 },
};
pub(crate) const LIVE_PART_ELSEWHERE: Measure = Measure {
    id: "4b",
    name: "model chunk → part at a subscriber of another replica",
    unit: Unit::Milliseconds,
    budget: Budget::MedianAndTail { p50: 0.5, p99: 4.0 },
};
pub(crate) const THROUGHPUT: Measure = Measure {
    id: "5",
    name: "turns of one step, 64 chats in flight",
    unit: Unit::TurnsPerSecond,
    budget: Budget::AtLeast(1000.0),
};
pub(crate) const CONTROL_PLANE_MEMORY: Measure = Measure {
    id: "8a",
    name: "resident memory of an idle control plane",
    unit: Unit::Megabytes,
    budget: Budget::AtMost(40.0),
};
pub(crate) const WORKER_MEMORY: Measure = Measure {
    id: "8b",
    name: "resident memory of an idle worker",
    unit: Unit::Megabytes,
    budget: Budget::AtMost(30.0),
};
pub(crate) const SERVE_START: Measure = Measure {
    id: "9a",
    name: "serve: start → ready, existing database",
    unit: Unit::Milliseconds,
    budget: Budget::AtMost(300.0),
};
pub(crate) const DEV_START: Measure = Measure {
    id: "9b",
    name: "dev: first start from nothing → ready",
    unit: Unit::Milliseconds,
    budget: Budget::AtMost(2000.0),
};
pub(crate) const TAKEOVER: Measure = Measure {
    id: "10",
    name: "worker kill -9 → its chat running on another worker",
    unit: Unit::Milliseconds,
    budget: Budget::Tail { p99: 1000.0 },
};
pub(crate) const TAKEOVER_OF_SILENT: Measure = Measure {
    id: "11",
    name: "worker silent (SIGSTOP) → its chat running on another worker",
    unit: Unit::Milliseconds,
    budget: Budget::Tail { p99: 10_000.0 },
};
pub(crate) const MOVED_WATCH: Measure = Measure {
    id: "12",
    name: "watcher moved to another replica with a cursor → it has all, live parts too",
    unit: Unit::Milliseconds,
    budget: Budget::Tail { p99: 50.0 },
};
pub(crate) const PROMPTS_TIME: Measure = Measure {
    id: "13a",
    name: "prompts of a chat with 5,000 messages among 260,000: time in PostgreSQL",
    unit: Unit::Milliseconds,
    budget: Budget::AtMost(1.3),
};
pub(crate) const PROMPTS_BUFFERS: Measure =
    Measure { id: "13b", name: "the same: pages read", unit: Unit::Buffers, budget: Budget::AtMost(38.0) };
pub(crate) const INTERRUPT: Measure = Measure {
    id: "i",
    name: "InterruptChat → the provider's connection is closed",
    unit: Unit::Milliseconds,
    budget: Budget::Tail { p99: 50.0 },
};
pub(crate) const SEND_TRIPS: Measure = Measure {
    id: "t1",
    name: "Postgres round trips of a SendMessage",
    unit: Unit::RoundTrips,
    budget: Budget::AtMost(2.0),
};
pub(crate) const SEND_TRIPS_WITH_WORKER: Measure = Measure {
    id: "t1w",
    name: "Postgres round trips of a SendMessage that a worker takes, until it has the lease",
    unit: Unit::RoundTrips,
    budget: Budget::AtMost(2.0),
};
pub(crate) const COMMIT_TRIPS: Measure = Measure {
    id: "t2",
    name: "Postgres round trips of a CommitStep",
    unit: Unit::RoundTrips,
    budget: Budget::AtMost(2.0),
};
pub(crate) const PART_TRIPS: Measure = Measure {
    id: "t3",
    name: "Postgres round trips of a live part, watched",
    unit: Unit::RoundTrips,
    budget: Budget::AtMost(0.0),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_median_and_tail_needs_both() {
        let budget = Budget::MedianAndTail { p50: 1.0, p99: 5.0 };

        assert!(budget.is_met(1.0, Some(5.0), 0.0));
        assert!(!budget.is_met(1.1, Some(5.0), 0.0));
        assert!(!budget.is_met(1.0, Some(5.1), 0.0));
        assert!(!budget.is_met(1.0, None, 0.0));
    }

    #[test]
    fn bounds_hold_from_their_side() {
        assert!(Budget::AtLeast(1000.0).is_met(1000.0, None, 0.0));
        assert!(!Budget::AtLeast(1000.0).is_met(999.0, None, 0.0));
        assert!(Budget::AtMost(2.0).is_met(2.0, Some(9.0), 0.0));
        assert!(!Budget::AtMost(2.0).is_met(2.01, None, 0.0));
        assert!(Budget::AtMost(2.0).is_met(2.01, None, 0.02));
        assert!(!Budget::AtMost(2.0).is_met(2.03, None, 0.02));
        assert!(Budget::Tail { p99: 1.0 }.is_met(7.0, Some(1.0), 0.0));
        assert!(!Budget::Tail { p99: 1.0 }.is_met(0.5, None, 0.0));
    }
}
