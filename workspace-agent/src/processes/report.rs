//! What a guard tells the agent: lines of words, at most two in a command's life.

use std::fmt;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The shell is about to run, under this number, which is also that of its process group. It says so itself.
    Shell(i32),
    /// The shell could not be started, for this reason. Nothing follows.
    Unstarted(String),
    /// Everything has ended. Nothing follows.
    Ended(Ended),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) shell: ShellEnd,
    /// Processes that were still there when the shell had ended, and were killed.
    pub(super) background: usize,
    /// Processes that could not be killed in time.
    pub(super) left: usize,
}

/// How the shell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShellEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(pid) => writeln!(formatter, "shell {pid}"),
            Self::Unstarted(reason) => writeln!(formatter, "unstarted {}", reason.replace('\n', " ")),
            Self::Ended(Ended { shell, background, left }) => {
                let (how, number) = match shell {
                    ShellEnd::Exited(code) => ("exited", code),
                    ShellEnd::Signalled(signal) => ("signalled", signal),
                };
                writeln!(formatter, "{how} {number} {background} {left}")
            }
        }
    }
}

impl Report {
    /// Reads one line, without its end.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "shell" => Some(Self::Shell(rest.parse().ok()?)),
            "unstarted" => Some(Self::Unstarted(rest.to_owned())),
            "exited" => Self::ended(rest, ShellEnd::Exited),
            "signalled" => Self::ended(rest, ShellEnd::Signalled),
            _ => None,
        }
    }

    fn ended(numbers: &str, how: fn(i32) -> ShellEnd) -> Option<Self> {
        let mut numbers = numbers.split(' ');
        let shell = how(numbers.next()?.parse().ok()?);
        let background = numbers.next()?.parse().ok()?;
        let left = numbers.next()?.parse().ok()?;
        Some(Self::Ended(Ended { shell, background, left }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for report in [
            Report::Shell(4_711),
            Report::Unstarted("no such file (os error 2)".to_owned()),
            Report::Ended(Ended { shell: ShellEnd::Exited(3), background: 2, left: 0 }),
            Report::Ended(Ended { shell: ShellEnd::Signalled(9), background: 0, left: 1 }),
        ] {
            let line = report.to_string();

            assert_eq!(Report::parse(line.strip_suffix('\n').unwrap()), Some(report));
        }
    }

    #[test]
    fn other_words_are_no_report() {
        for line in ["", "shell", "shell x", "exited 3", "exited 3 0 x", "hello world"] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }
}
