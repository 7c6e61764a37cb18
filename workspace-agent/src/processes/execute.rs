//! `execute`: runs a command.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    COMMAND_BYTES_MAX, COMMANDS_MAX, Processes,
    report::{Ended as CommandEnded, ShellEnd},
    running::{Outcome, Running, Stop},
    transcript::Transcript,
};
use crate::tools::{Arguments, ArgumentsError, Call, Definition, Effect, Ended, OutputSink, Preview, Tool};

/// How long a command may run when the model does not say: a build, a test suite.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);

/// How long it may run at most. People wait for it, and nothing else of its turn goes on meanwhile.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

const DEFINITION: Definition = Definition {
    name: "execute",
    description: "Run a command with `sh -c` in the workspace and wait for its end. It gets no input and no \
                  terminal. The result is what it wrote to standard output and standard error, in the \
                  order in which it was written, and last a line with its exit code; any exit code is a \
                  result, so look at that line. Of output above 64 KiB the middle is left out: for more, \
                  write it to a file and read that. After its timeout the command is killed. Nothing that \
                  it starts outlives the call: processes left in the background are killed when the shell \
                  ends, so start a server and use it in the same command. Each call begins afresh: \
                  variables and `cd` do not carry over. Environment variables with keys, tokens, proxies \
                  and the like are not handed down.",
    input_schema_json: r#"{
  "type": "object",
  "properties": {
    "command": {
      "type": "string",
      "description": "Command for `sh -c`. It may have many lines."
    },
    "directory": {
      "type": "string",
      "description": "Where it runs, relative to the workspace directory. Default: the workspace directory itself."
    },
    "timeout_s": {
      "type": "integer",
      "minimum": 1,
      "maximum": 600,
      "description": "Seconds after which it is killed. Default: 120."
    }
  },
  "required": ["command"]
}"#,
};

/// Why a command was not run, in words for the model.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    #[error("The argument `command` is empty.")]
    CommandEmpty,
    #[error("The argument `command` contains a NUL character, which no command can.")]
    CommandHasNul,
    #[error("The argument `command` is longer than 100 KiB. Write a script with write_file, and run that.")]
    CommandTooLong,
    #[error("The argument `timeout_s` must be at most 600. Split what takes longer into several calls.")]
    TimeoutTooLong,
    #[error("The workspace is busy: {COMMANDS_MAX} commands are running. Try again later.")]
    Busy,
    #[error("The command was not run, because the call was cancelled.")]
    Cancelled,
    #[error("The command could not be started: {0}.")]
    Unstarted(String),
}

/// The tool.
pub(super) struct Execute {
    processes: Arc<Processes>,
}

impl Execute {
    pub(super) fn new(processes: Arc<Processes>) -> Self {
        Self { processes }
    }
}

impl Tool for Execute {
    fn definition(&self) -> Definition {
        DEFINITION
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, call: Call) -> BoxFuture<'static, Ended> {
        let processes = Arc::clone(&self.processes);
        let Call { arguments, output, cancel } = call;
        Box::pin(async move {
            let asked = match Asked::parse(&arguments) {
                Ok(asked) => asked,
                Err(error) => return Ended::failed(error.to_string()),
            };
            // In a task of its own: whoever polls this future may be waiting for a slow stream, and the
            // command's output and time go on.
            let task = tokio::spawn(async move { processes.execute(asked, output, &cancel).await });
            AbortOnDropHandle::new(task).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a command's task ended by a defect");
                Ended::failed("The tool failed by a defect of its own.")
            })
        })
    }
}

/// What a call asks for.
struct Asked {
    command: String,
    directory: String,
    time: Duration,
}

impl Asked {
    fn parse(arguments: &Arguments) -> Result<Self, Error> {
        let fields = arguments.fields();
        let command = fields.required_text("command")?;
        let directory = fields.text("directory")?.filter(|directory| !directory.is_empty());
        let time = fields.positive("timeout_s")?.map_or(TIMEOUT_DEFAULT, Duration::from_secs);
        if command.trim().is_empty() {
            return Err(Error::CommandEmpty);
        }
        if command.contains('\0') {
            return Err(Error::CommandHasNul);
        }
        if command.len() > COMMAND_BYTES_MAX {
            return Err(Error::CommandTooLong);
        }
        if time > TIMEOUT_MAX {
            return Err(Error::TimeoutTooLong);
        }
        Ok(Self { command: command.to_owned(), directory: directory.unwrap_or(".").to_owned(), time })
    }
}

impl Processes {
    async fn execute(&self, asked: Asked, output: OutputSink, cancel: &CancellationToken) -> Ended {
        let (_slot, directory) = match self.prepare(&asked, cancel).await {
            Ok(prepared) => prepared,
            Err(ended) => return ended,
        };
        let guards = Arc::clone(&self.guards);
        let running = match Running::start(guards, &self.environment, directory, &asked.command).await {
            Ok(running) => running,
            Err(error) => return Error::Unstarted(error.to_string()).into(),
        };
        let mut transcript = Transcript::new();
        let outcome = running.hold(asked.time, cancel, &mut transcript, Preview::new(output)).await;
        render(transcript.finish(), outcome, asked.time)
    }

    /// A slot, for which a call waits no longer than it would run, and the directory.
    async fn prepare(
        &self,
        asked: &Asked,
        cancel: &CancellationToken,
    ) -> Result<(OwnedSemaphorePermit, OwnedFd), Ended> {
        let slot = tokio::select! {
            () = cancel.cancelled() => return Err(Error::Cancelled.into()),
            slot = timeout(asked.time, Arc::clone(&self.slots).acquire_owned()) => slot,
        };
        let slot = slot.map_err(|_| Error::Busy)?.expect("the semaphore is never closed");
        Ok((slot, self.files.directory(&asked.directory, cancel).await?))
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// The result: what was written, and how it ended.
fn render(output: String, outcome: Outcome, time: Duration) -> Ended {
    let (words, is_error) = match outcome {
        Outcome::Ended { ended, stop } => (how_it_ended(ended, stop, time), was_stopped(ended)),
        Outcome::Unstarted(reason) => return Error::Unstarted(reason).into(),
        Outcome::Lost => (LOST.to_owned(), true),
    };
    let mut text = output;
    if text.is_empty() {
        text.push_str("(no output)");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&words);
    Ended { output: text, is_error }
}

/// A guard does not end by itself.
const LOST: &str = "(the process that guards the command was killed or stopped, and so the command was killed \
                    with everything it had started; how far it came is not known)";

/// A shell that has ended by itself has a result, whatever its exit code.
fn was_stopped(ended: CommandEnded) -> bool {
    matches!(ended.shell, ShellEnd::Signalled(_))
}

fn how_it_ended(ended: CommandEnded, stop: Option<Stop>, time: Duration) -> String {
    let seconds = time.as_secs();
    let mut words = match (ended.shell, stop) {
        (ShellEnd::Exited(code), _) => format!("(exit code {code})"),
        (ShellEnd::Signalled(_), Some(Stop::TimedOut)) => format!(
            "(timed out: the command was killed after {seconds} s, with everything it had started; \
             give a larger `timeout_s`, at most {}, or split the work)",
            TIMEOUT_MAX.as_secs()
        ),
        (ShellEnd::Signalled(_), Some(Stop::Cancelled)) => {
            "(cancelled: the command was killed, with everything it had started)".to_owned()
        }
        (ShellEnd::Signalled(signal), None) => format!("(the shell was ended by signal {signal})"),
    };
    if ended.background > 0 && stop.is_none() {
        let processes = counted(ended.background);
        words
            .push_str(&format!("\n({processes} that ran on in the background when the shell ended: killed)"));
    }
    if ended.left > 0 {
        words.push_str(&format!("\n({} could not be killed, and may still run)", counted(ended.left)));
    }
    words
}

fn counted(processes: usize) -> String {
    if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(7);

    fn ended(shell: ShellEnd, background: usize, left: usize, stop: Option<Stop>) -> Outcome {
        Outcome::Ended { ended: CommandEnded { shell, background, left }, stop }
    }

    #[test]
    fn a_command_that_ends_while_it_is_being_stopped_has_its_own_result() {
        let outcome = ended(ShellEnd::Exited(1), 0, 0, Some(Stop::TimedOut));

        assert_eq!(render("x\n".to_owned(), outcome, TIME), Ended::ok("x\n(exit code 1)"));
    }

    #[test]
    fn what_was_killed_and_what_could_not_be_is_said() {
        let outcome = ended(ShellEnd::Exited(0), 2, 1, None);

        let expected = "x\n(exit code 0)\n\
                        (2 processes that ran on in the background when the shell ended: killed)\n\
                        (1 process could not be killed, and may still run)";
        assert_eq!(render("x".to_owned(), outcome, TIME), Ended::ok(expected));
    }

    #[test]
    fn a_command_that_was_stopped_has_failed() {
        let killed = ShellEnd::Signalled(9);
        for (outcome, words) in [
            (ended(killed, 3, 0, Some(Stop::TimedOut)), "(timed out: the command was killed after 7 s"),
            (ended(killed, 3, 0, Some(Stop::Cancelled)), "(cancelled: the command was killed"),
            (ended(killed, 0, 0, None), "(the shell was ended by signal 9)"),
            (Outcome::Lost, "(the process that guards the command was killed"),
        ] {
            let ended = render(String::new(), outcome, TIME);

            assert!(
                ended.is_error && ended.output.starts_with(&format!("(no output)\n{words}")),
                "{ended:?}"
            );
            assert!(!ended.output.contains("background"), "{ended:?}");
        }
    }

    #[test]
    fn a_shell_that_does_not_start_says_why() {
        let ended = render(String::new(), Outcome::Unstarted("no shell".to_owned()), TIME);

        assert_eq!(ended, Ended::failed("The command could not be started: no shell."));
    }

    #[test]
    fn the_schema_says_the_limits_that_hold() {
        let schema: serde_json::Value = serde_json::from_str(DEFINITION.input_schema_json).unwrap();

        assert_eq!(schema["properties"]["timeout_s"]["maximum"], TIMEOUT_MAX.as_secs());
        assert!(DEFINITION.input_schema_json.contains(&format!("Default: {}.", TIMEOUT_DEFAULT.as_secs())));
    }
}
