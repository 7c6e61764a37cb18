//! How a process ends: the codes that scripts may rely on, and the last words on standard error.

use std::{error::Error, io::Write as _, process::ExitCode};

/// The exit codes of every role. `Usage` is clap's own too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Done,
    /// The chat ended in an error.
    ChatFailed,
    /// The command cannot be meant as it was given.
    Usage,
    /// Something could not start, or a part failed while running.
    Failed,
    /// Stopped by a signal before the work was done.
    Interrupted,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::ChatFailed => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Says on standard error what failed and why, down to the last cause.
pub(crate) fn complain(what: &str, error: &dyn Error) -> Exit {
    say(&format!("{what}: {}", chain(error)));
    Exit::Failed
}

/// An error with its causes in one line. A cause that its effect already spells out is not repeated.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !sentence.contains(&words) {
            sentence.push_str(": ");
            sentence.push_str(&words);
        }
        cause = error.source();
    }
    sentence
}

/// One line for the person in front of the terminal. Nobody is left to tell that it cannot be written.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("the port cannot be used")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(io::Error::other(io::Error::other("it is taken")));

        assert_eq!(chain(&error), "the port cannot be used: it is taken");
    }
}
