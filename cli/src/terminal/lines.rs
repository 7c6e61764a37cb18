//! A chat whose messages are lines of standard input: from a file, another program, or a terminal that can do
//! no more.

use std::{
    future::Future,
    io::{self, IsTerminal as _},
    pin::pin,
    time::Duration,
};

use chatplane_proto::chat::v1::BusyBehavior;
use tokio::{
    io::{Stderr, Stdout},
    select,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    HELP,
    input::{Command, Input},
    keyboard,
    live::Left,
    presses::{InTurn, TurnAction},
    talk::{News, Talk},
};
use crate::client::{
    ClientError,
    exchange::Format,
    printer::Printer,
    transcript::{Outcome, Output},
    words,
};

/// How often the line is drawn that says what is going on and for how long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The talk, and where it is printed.
pub(super) struct Lines {
    pub(super) talk: Talk,
    format: Format,
    printer: Printer<Stdout, Stderr>,
    lines: mpsc::Receiver<String>,
    has_ended: bool,
    in_turn: InTurn,
    /// The error that the last turn ended in, if it did.
    has_failed: bool,
}

impl Lines {
    pub(super) fn new(talk: Talk, format: Format) -> Result<Self, ClientError> {
        Ok(Self {
            talk,
            format,
            printer: Printer::standard(),
            lines: keyboard::lines().map_err(ClientError::Terminal)?,
            has_ended: false,
            in_turn: InTurn::default(),
            has_failed: false,
        })
    }

    /// Whether the last turn ended in an error.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Sends every line, and ends when all of them are answered.
    pub(super) async fn run<E: From<ClientError>>(
        &mut self,
        interrupts: &mut mpsc::Receiver<()>,
        shutdown: &CancellationToken,
        failed: impl Future<Output = E>,
    ) -> Result<Left, E> {
        let mut failed = pin!(failed);
        let mut progress = interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shows_progress = self.format == Format::Text && self.printer.shows_progress();
        // A person may type ahead. A file waits, however long it is: the queue has an end.
        let types_ahead = io::stdin().is_terminal();
        loop {
            if self.has_ended && !self.talk.is_busy() {
                return Ok(Left::AtWill);
            }
            let reads = !self.has_ended && (types_ahead || !self.talk.is_busy());
            let left = select! {
                line = self.lines.recv(), if reads => match line {
                    Some(line) => self.enter(&line).await,
                    None => {
                        self.has_ended = true;
                        None
                    }
                },
                news = self.talk.news() => {
                    self.show(news?).await?;
                    None
                }
                _ = progress.tick(), if shows_progress => {
                    self.printer.show_progress(&self.talk.activity(), self.talk.advice()).await;
                    None
                }
                Some(()) = interrupts.recv() => self.interrupt().await,
                () = shutdown.cancelled() => Some(Left::Ended),
                error = &mut failed => return Err(error),
            };
            if let Some(left) = left {
                return Ok(left);
            }
        }
    }

    /// Ends the answer's line.
    pub(super) async fn leave(&mut self) {
        // The answer ends here; that its line cannot be ended is of no use to anybody.
        let _ = self.printer.end_line().await;
    }

    async fn show(&mut self, news: News) -> Result<(), ClientError> {
        if news.enters {
            self.in_turn = InTurn::default();
        }
        if news.follows_interruption {
            self.printer.note(words::INTERRUPTED).await;
        }
        if let Some(outcome) = &news.outcome {
            self.has_failed = matches!(outcome, Outcome::Failed(_));
            self.in_turn = InTurn::default();
        }
        match (self.format, news.line) {
            (Format::Json, Some(line)) => self.printer.line(&line).await.map_err(ClientError::Output),
            (Format::Json, None) => {
                self.print(news.outputs.into_iter().filter(|output| matches!(output, Output::Note(_)))).await
            }
            (Format::Text, _) => {
                self.print(news.outputs.into_iter()).await?;
                self.tell(news.outcome).await
            }
        }
    }

    /// What was typed at a terminal stands there already.
    async fn print(&mut self, outputs: impl Iterator<Item = Output>) -> Result<(), ClientError> {
        let is_echoed = io::stdin().is_terminal();
        let outputs = outputs.filter(|output| !(is_echoed && matches!(output, Output::Message(_)))).collect();
        self.printer.print(outputs).await.map_err(ClientError::Output)
    }

    async fn tell(&mut self, outcome: Option<Outcome>) -> Result<(), ClientError> {
        let Some(outcome) = outcome else { return Ok(()) };
        self.printer.end_line().await.map_err(ClientError::Output)?;
        match outcome {
            Outcome::Failed(error) => self.printer.note(&words::failure(&error, self.talk.advice())).await,
            Outcome::Interrupted => self.printer.note(words::INTERRUPTED).await,
            Outcome::Answered => {}
        }
        Ok(())
    }

    async fn enter(&mut self, line: &str) -> Option<Left> {
        let note = match Input::of(line) {
            Input::Nothing => None,
            Input::Message(text) => self.talk.send(text, BusyBehavior::Queue).err(),
            Input::Command(Command::Exit) => return Some(Left::AtWill),
            Input::Command(Command::Help) => Some(HELP),
            Input::Command(Command::New) => self.talk.begin_anew().err(),
            Input::Command(Command::Fork) => self.talk.fork().err(),
            Input::Command(Command::Compact) => self.talk.compact().err(),
            Input::Command(Command::Clear) => self.talk.clear().err(),
            Input::Unknown(word) => {
                self.printer.note(&words::unknown_command(&word)).await;
                None
            }
            Input::TooLong => Some(words::TOO_LONG),
        };
        if let Some(note) = note {
            self.printer.note(note).await;
        }
        None
    }

    async fn interrupt(&mut self) -> Option<Left> {
        if !self.talk.is_busy() {
            return Some(Left::InAHurry);
        }
        match self.in_turn.press() {
            TurnAction::Interrupt => {
                self.talk.interrupt();
                self.printer.note(words::INTERRUPTING).await;
                None
            }
            TurnAction::Leave => Some(Left::InAHurry),
        }
    }
}
