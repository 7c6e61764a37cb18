//! A line that says what is going on and for how long, and goes away again.

use std::time::Instant;

use crate::client::{
    style::{Style, painted},
    transcript::Activity,
    words::{self, Advice},
};

/// Goes to the beginning of the line and takes it away.
const CLEAR_LINE: &str = "\r\x1b[K";

/// How long the same has been going on.
pub(crate) struct Since {
    activity: Activity,
    begin: Instant,
}

impl Default for Since {
    fn default() -> Self {
        Self { activity: Activity::Idle, begin: Instant::now() }
    }
}

impl Since {
    /// What is going on, and for how long; nothing when nothing is.
    pub(crate) fn told(&mut self, activity: &Activity, advice: Advice) -> Option<String> {
        if self.activity != *activity {
            *self = Self { activity: activity.clone(), begin: Instant::now() };
        }
        let words = words::activity(activity, advice);
        (!words.is_empty()).then(|| format!("{words} {}", words::duration(self.begin.elapsed())))
    }
}

/// The line, and whether it stands there.
pub(super) struct Progress {
    columns: usize,
    since: Since,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, since: Since::default(), is_shown: false }
    }

    /// The bytes that show it.
    pub(super) fn show(&mut self, activity: &Activity, advice: Advice) -> String {
        let Some(line) = self.since.told(activity, advice) else {
            return self.clear();
        };
        self.is_shown = true;
        // A line that is broken in two could not be taken away.
        let line: String = line.chars().take(self.columns.saturating_sub(1)).collect();
        format!("{CLEAR_LINE}{}", painted(Style::DIM, &line))
    }

    /// The bytes that take it away.
    pub(super) fn clear(&mut self) -> String {
        if std::mem::take(&mut self.is_shown) { CLEAR_LINE.to_owned() } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_a_row_and_is_taken_away_once() {
        let mut progress = Progress::new(10);

        assert_eq!(progress.show(&Activity::Answer, Advice::Nothing), "\r\x1b[K\x1b[2mThe model\x1b[0m");
        assert_eq!(progress.clear(), CLEAR_LINE);
        assert_eq!(progress.clear(), "");
        assert_eq!(progress.show(&Activity::Idle, Advice::Nothing), "");
    }
}
