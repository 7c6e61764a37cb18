//! One command that runs, from the agent's side.

use std::{
    io::{self, PipeReader},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    process::Child,
    task,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Environment, KILL_TIME_MAX,
    guards::{Guards, Streams},
    report::{Ended, Report},
    transcript::Transcript,
};
use crate::tools::Preview;

/// Read at once: what a pipe holds by default.
const PIECE_BYTES: usize = 64 * 1024;

/// All reports of a guard together are far shorter.
const REPORTS_BYTES_MAX: u64 = 4096;

/// What may still be in the pipe when everything has ended: the largest pipe that a user may make.
const REST_BYTES_MAX: usize = 1024 * 1024;

/// A guard does what it is told within the time to kill, and this much more for a busy machine.
const GUARD_DELAY_MAX: Duration = Duration::from_secs(2);

/// How long the end of a command may wait for a watcher to take the rest of the preview.
const PREVIEW_DELAY_MAX: Duration = Duration::from_secs(1);

/// Why we had a command stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    TimedOut,
    Cancelled,
}

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its guard has told how it ended. `stop` is set when that was our doing.
    Ended { ended: Ended, stop: Option<Stop> },
    /// It was never started, for this reason.
    Unstarted(String),
    /// Its guard was killed or hung, and so everything was killed.
    Lost,
}

/// A command that runs. Dropping it stops it.
pub(super) struct Running {
    guards: Arc<Guards>,
    guard: (Pid, Child),
    /// Closing it has the guard kill everything.
    lifeline: Option<OwnedWriteHalf>,
    reports: Lines<BufReader<Take<OwnedReadHalf>>>,
    output: pipe::Receiver,
    /// The process group of the shell.
    group: Option<Pid>,
}

impl Running {
    /// Starts a guard, and has it start the command.
    pub(super) async fn start(
        guards: Arc<Guards>,
        environment: &Environment,
        directory: OwnedFd,
        command: &str,
    ) -> io::Result<Self> {
        let (ours, lifeline) = StdUnixStream::pair()?;
        let (reader, output) = io::pipe()?;
        let (reports, ours) = socket(ours)?.into_split();
        let reader = receiver(reader)?;
        let streams = Streams { lifeline: lifeline.into(), output: output.into(), directory };
        let guard = guards.start(environment, streams)?;
        let reports = BufReader::new(reports.take(REPORTS_BYTES_MAX)).lines();
        let mut running = Self { guards, guard, lifeline: Some(ours), reports, output: reader, group: None };
        let sent = timeout(GUARD_DELAY_MAX, running.send(command)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(running)
    }

    async fn send(&mut self, command: &str) -> io::Result<()> {
        let lifeline = self.lifeline.as_mut().expect("it is open from the start");
        lifeline.write_all(command.as_bytes()).await?;
        lifeline.write_all(&[0]).await
    }

    /// Waits for the end, and brings it about when the time is over or nobody wants the result any more.
    /// However slowly `preview` is read, the command does not wait for it.
    pub(super) async fn hold(
        mut self,
        time: Duration,
        cancel: &CancellationToken,
        transcript: &mut Transcript,
        mut preview: Preview,
    ) -> Outcome {
        let outcome = self.until_the_end(time, cancel, transcript, &mut preview).await;
        if outcome == Outcome::Lost {
            self.kill_without_guard();
        }
        self.read_the_rest(transcript, &mut preview);
        // A guard that has said its last word, or was killed, ends at once; not so one that goes on killing.
        if timeout(GUARD_DELAY_MAX, self.guard.1.wait()).await.is_ok() {
            self.guards.ended(self.guard.0);
        }
        if !matches!(outcome, Outcome::Ended { ended: Ended { left: 0, .. }, .. }) {
            let guards = Arc::clone(&self.guards);
            // It ends by a deadline of its own.
            let _ = task::spawn_blocking(move || guards.end_orphans()).await;
        }
        let _ = timeout(PREVIEW_DELAY_MAX, preview.finish()).await;
        outcome
    }

    async fn until_the_end(
        &mut self,
        time: Duration,
        cancel: &CancellationToken,
        transcript: &mut Transcript,
        preview: &mut Preview,
    ) -> Outcome {
        let mut deadline = Instant::now() + time;
        let mut stop = None;
        let mut piece = vec![0; PIECE_BYTES];
        let mut is_output_open = true;
        loop {
            let stopped_for = tokio::select! {
                read = self.output.read(&mut piece), if is_output_open => {
                    let length = read.unwrap_or(0);
                    transcript.push(&piece[..length]);
                    preview.push(&piece[..length]);
                    is_output_open = length > 0;
                    continue;
                }
                line = self.reports.next_line() => {
                    match line.ok().flatten().and_then(|line| Report::parse(&line)) {
                        Some(Report::Shell(pid)) => self.group = Pid::from_raw(pid),
                        Some(Report::Unstarted(reason)) => return Outcome::Unstarted(reason),
                        Some(Report::Ended(ended)) => return Outcome::Ended { ended, stop },
                        None => return Outcome::Lost,
                    }
                    continue;
                }
                () = preview.send() => continue,
                () = cancel.cancelled(), if stop.is_none() => Stop::Cancelled,
                () = sleep_until(deadline) => match stop {
                    None => Stop::TimedOut,
                    Some(_) => return Outcome::Lost,
                },
            };
            stop = Some(stopped_for);
            self.lifeline = None;
            deadline = Instant::now() + KILL_TIME_MAX + GUARD_DELAY_MAX;
        }
    }

    /// Everything that has ended has written what it had to write: what is in the pipe now is all.
    fn read_the_rest(&mut self, transcript: &mut Transcript, preview: &mut Preview) {
        let mut piece = vec![0; PIECE_BYTES];
        let mut rest = 0;
        // Straight from the system: the runtime may not have noticed yet that there is something to read.
        while let Ok(length @ 1..) = rustix::io::read(self.output.as_fd(), &mut piece) {
            transcript.push(&piece[..length]);
            preview.push(&piece[..length]);
            rest += length;
            if rest > REST_BYTES_MAX {
                return;
            }
        }
    }

    /// What can be done without the guard: it, and the process group that the shell began.
    fn kill_without_guard(&mut self) {
        tracing::warn!("the guard of a command was lost");
        // It fails when the guard has ended, and that is what is wanted.
        let _ = self.guard.1.start_kill();
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn socket(socket: StdUnixStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn receiver(reader: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(reader.into())
}
