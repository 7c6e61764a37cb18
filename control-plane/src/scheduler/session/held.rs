//! A lease as the replica that has its session knows it.

use std::time::Duration;

use super::{Action, LeaseKey, LeaseRow, SettingsMark};

/// How far a lease has come on its way to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its input is being read. Control messages wait for it: a worker ignores those
    /// of a lease it does not have.
    Reading { interrupt: i64, reload: i64 },
    /// Its input could not be read; the next pong tries again.
    Unread,
    /// It went down the stream, after the ping with this number.
    Sent { after_ping: i64 },
    /// The worker lists it.
    Listed,
}

impl Standing {
    /// Whether the worker, which answers this ping without listing the lease, has to be
    /// sent it again.
    pub(super) fn is_unheard(self, ping_no: i64) -> bool {
        match self {
            Self::Unread => true,
            Self::Sent { after_ping } => ping_no > after_ping,
            Self::Reading { .. } | Self::Listed => false,
        }
    }

    /// Whether the worker may know of the lease.
    pub(super) fn was_sent(self) -> bool {
        match self {
            Self::Sent { .. } | Self::Listed => true,
            Self::Reading { .. } | Self::Unread => false,
        }
    }
}

/// A lease of the session.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Known here since then.
    pub(super) known_since: Duration,
    /// Whether the database gave it to the session; else the worker only says so.
    pub(super) is_given: bool,
    pub(super) standing: Standing,
    /// The highest version whose history the worker was sent or told of.
    pub(super) told: i64,
    /// The highest version of a stop that the worker was told of.
    stopped: i64,
    /// The settings that the worker was sent or told of, where known.
    pub(super) settings: Option<SettingsMark>,
}

impl Held {
    /// A lease that a write gave, or that a row shows and the worker does not list.
    pub(super) fn granted(now: Duration) -> Self {
        Self {
            known_since: now,
            is_given: true,
            standing: Standing::Unread,
            told: 0,
            stopped: 0,
            settings: None,
        }
    }

    /// A lease that the worker lists and that no row has shown yet.
    pub(super) fn claimed(now: Duration) -> Self {
        Self { is_given: false, standing: Standing::Listed, ..Self::granted(now) }
    }

    /// A lease whose versions the worker is told as it resumes.
    pub(super) fn resumed(now: Duration, row: &LeaseRow) -> Self {
        Self {
            standing: Standing::Listed,
            told: row.snapshot_version,
            settings: Some(row.settings),
            ..Self::granted(now)
        }
    }

    pub(super) fn interrupt(&mut self, key: LeaseKey, version: i64) -> Option<Action> {
        match &mut self.standing {
            Standing::Reading { interrupt, .. } => *interrupt = version.max(*interrupt),
            Standing::Sent { .. } | Standing::Listed if version > self.stopped => {
                self.stopped = version;
                return Some(Action::SendInterrupt { key, version });
            }
            // An input that is read later than this says so itself.
            Standing::Sent { .. } | Standing::Listed | Standing::Unread => {}
        }
        None
    }

    pub(super) fn reload(&mut self, key: LeaseKey, version: i64) -> Option<Action> {
        match &mut self.standing {
            Standing::Reading { reload, .. } => *reload = version.max(*reload),
            Standing::Sent { .. } | Standing::Listed if version > self.told => {
                self.told = version;
                return Some(Action::SendReload { key, version });
            }
            Standing::Sent { .. } | Standing::Listed | Standing::Unread => {}
        }
        None
    }

    /// What the worker has to be told so that it knows what the row says.
    pub(super) fn catch_up(&mut self, row: &LeaseRow) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.standing.was_sent() {
            return actions;
        }
        if row.interrupting {
            // The next version, not the row's: the holder may have written since the
            // stop, would know the row's version, and would take the stop for old news.
            // Whatever ends this interruption produces a version at least as high.
            actions.extend(self.interrupt(row.key, row.snapshot_version + 1));
        }
        // The holder knows the history that its own last write produced.
        let is_foreign = row.history_version > row.last_write_version;
        let is_reconfigured = self.settings.replace(row.settings).is_some_and(|known| known != row.settings);
        if is_reconfigured {
            actions.extend(self.reload(row.key, row.snapshot_version));
        } else if is_foreign {
            actions.extend(self.reload(row.key, row.history_version));
        }
        actions
    }
}
