//! What a run depends on.

use std::{env, path::PathBuf, time::Duration};

/// How long faults rage.
const SECONDS_DEFAULT: u64 = 15;
/// The same where nobody waits.
const SECONDS_IN_CI: u64 = 120;
/// From here on a run is a full one: 300 chats and 200 watchers.
const SECONDS_FULL: u64 = 120;

/// Settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the plan of faults and every choice of users, watchers and models comes from.
    pub(crate) seed: u64,
    /// How long faults rage; then everything comes to rest.
    pub(crate) duration: Duration,
    pub(crate) load: Load,
    /// Where the report goes, beside standard error.
    pub(crate) report: Option<PathBuf>,
    /// Where the processes' logs stay, for who looks into what was found.
    pub(crate) logs: Option<PathBuf>,
    /// The binary of the release before, which one replica, half of the workers and one agent are then.
    pub(crate) release_before: Option<PathBuf>,
}

/// What the system has to carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) chats: usize,
    /// Watchers of one chat each.
    pub(crate) watchers: usize,
    /// Watchers of all chats.
    pub(crate) list_watchers: usize,
    pub(crate) users: usize,
}

/// What two cores carry beside other tests.
const SHORT: Load = Load { chats: 60, watchers: 40, list_watchers: 2, users: 12 };
/// What the proof is about.
const FULL: Load = Load { chats: 300, watchers: 190, list_watchers: 10, users: 32 };

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
        let seconds = if is_ci { SECONDS_IN_CI } else { SECONDS_DEFAULT };
        let seconds = number("CHATPLANE_CHAOS_SECONDS").unwrap_or(seconds);
        Self {
            seed: number("CHATPLANE_CHAOS_SEED").unwrap_or_else(rand::random),
            duration: Duration::from_secs(seconds),
            load: if seconds >= SECONDS_FULL { FULL } else { SHORT },
            report: path("CHATPLANE_CHAOS_REPORT"),
            logs: path("CHATPLANE_CHAOS_LOGS"),
            release_before: path("CHATPLANE_CHAOS_RELEASE_BEFORE"),
        }
    }
}

fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
