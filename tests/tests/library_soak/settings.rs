//! What a run depends on.

use std::{env, time::Duration};

/// How long users are at it.
const SECONDS_DEFAULT: u64 = 10;
/// The same where nobody waits.
const SECONDS_IN_CI: u64 = 120;

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// What every choice of users, watchers and models comes from.
    pub(crate) seed: u64,
    /// How long users are at it; then everything comes to rest.
    pub(crate) duration: Duration,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let in_ci = env::var("CI").is_ok_and(|ci| ci == "true");
        let seconds = if in_ci { SECONDS_IN_CI } else { SECONDS_DEFAULT };
        Self {
            seed: number("CHATPLANE_SOAK_SEED").unwrap_or_else(rand::random),
            duration: Duration::from_secs(number("CHATPLANE_SOAK_SECONDS").unwrap_or(seconds)),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
