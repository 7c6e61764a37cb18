//! The chat in the terminal: a line is a message, its answer is printed, then the next line.
//!
//! - `editor`: reads lines, in a thread of its own;
//! - `input`: what a line means;
//! - `presses`: what a Ctrl-C means, and where;
//! - `mode`: leaves the terminal as it was found.
//!
//! While a turn runs nothing is read, so that Ctrl-C is a signal, and what is typed is thrown away; at the
//! prompt Ctrl-C is a key.

use std::{
    io::{self, IsTerminal as _},
    pin::pin,
};

use tokio::{select, sync::mpsc};
use tokio_util::sync::CancellationToken;

mod editor;
mod input;
mod mode;
mod presses;

use self::{
    editor::{LineEditor, Read},
    input::{Command, Input},
    mode::SavedMode,
    presses::{AtPrompt, InTurn, PromptAction, TurnAction, Typed},
};
use crate::{
    dev::{DevError, chat::Chat, model::Provider, stack::Stack, transcript::Outcome, words},
    exit::{Exit, say},
    signals::Signals,
};

const HELP: &str = "\
/new    begin a new chat; the one before is kept
/exit   leave, as Ctrl-D does
/help   show this
Ctrl-C interrupts a running turn, a second one leaves. A line that ends in \\ goes on in the next, and pasted \
lines stay together. A message that begins with / is sent with a space before it. What is typed while a turn \
runs is thrown away.";
const HINT: &str = "Ctrl-C once more leaves, or Ctrl-D.";
/// Said where somebody may wonder why a moment passes: everything is being stopped.
const LEAVING: &str = "Leaving.";

/// Whether there is a person to chat with.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Chats until the person leaves.
pub(crate) async fn converse(
    chat: &mut Chat,
    stack: &mut Stack,
    provider: Provider,
    signals: &Signals,
) -> Result<Exit, DevError> {
    let _saved_mode = SavedMode::save();
    let editor = LineEditor::start().map_err(DevError::Terminal)?;
    let interrupts = signals.claim_interrupts();
    let mut session = Session { chat, stack, provider, editor, interrupts, shutdown: signals.shutdown() };
    let result = session.run().await;
    session.chat.abandon().await;
    result
}

struct Session<'a> {
    chat: &'a mut Chat,
    stack: &'a mut Stack,
    provider: Provider,
    editor: LineEditor,
    interrupts: mpsc::Receiver<()>,
    shutdown: CancellationToken,
}

/// What came of a turn.
enum Turn {
    Over(Outcome),
    Refused(DevError),
    Left,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<Exit, DevError> {
        let mut presses = AtPrompt::default();
        loop {
            let typed = select! {
                read = self.editor.read() => match read.map_err(DevError::Terminal)? {
                    Read::Line(line) => {
                        presses.line_entered();
                        match self.enter(&line).await? {
                            Some(exit) => return Ok(exit),
                            None => continue,
                        }
                    }
                    Read::End => return Ok(Exit::Done),
                    Read::Interrupted(typed) => typed,
                },
                // Sent by another process, or by a terminal that cannot edit lines.
                Some(()) = self.interrupts.recv() => Typed::Nothing,
                () = self.shutdown.cancelled() => return Ok(Exit::Done),
                error = self.stack.failed() => return Err(error),
            };
            match presses.press(typed) {
                PromptAction::Discard => {}
                PromptAction::Hint => say(HINT),
                PromptAction::Leave => {
                    say(LEAVING);
                    return Ok(Exit::Interrupted);
                }
            }
        }
    }

    /// Does what the line says; an exit when that was to leave.
    async fn enter(&mut self, line: &str) -> Result<Option<Exit>, DevError> {
        match Input::of(line) {
            Input::Nothing => {}
            Input::Message(text) => return self.message(text).await,
            Input::Command(Command::Help) => say(HELP),
            Input::Command(Command::New) => {
                self.chat.begin_anew();
                say("The next message begins a new chat.");
            }
            Input::Command(Command::Exit) => return Ok(Some(Exit::Done)),
            Input::Unknown(word) => {
                let word = words::quote_name(&word);
                say(&format!("There is no command {word}: /help shows those there are, and how to send it."));
            }
            Input::TooLong => say("That is more than 256 KiB, the most that one message may have."),
        }
        Ok(None)
    }

    async fn message(&mut self, text: String) -> Result<Option<Exit>, DevError> {
        let stop = CancellationToken::new();
        let turn = self.turn(text, &stop).await?;
        // Typed while nobody could see it: as messages, these lines would be sent one by one and unread.
        mode::forget_what_was_typed();
        match turn {
            Turn::Left => {
                say(LEAVING);
                return Ok(Some(Exit::Interrupted));
            }
            Turn::Over(Outcome::Answered) if stop.is_cancelled() => say(words::INTERRUPTED),
            Turn::Over(Outcome::Answered) => {}
            Turn::Over(Outcome::Failed(error)) => {
                say(&words::failure(&error, self.provider));
                say("The next message tries again.");
            }
            Turn::Refused(error) => say(&crate::exit::chain(&error)),
        }
        Ok(None)
    }

    async fn turn(&mut self, text: String, stop: &CancellationToken) -> Result<Turn, DevError> {
        let mut presses = InTurn::default();
        let mut turn = pin!(self.chat.turn(text, stop));
        loop {
            select! {
                outcome = &mut turn => return match outcome {
                    Ok(outcome) => Ok(Turn::Over(outcome)),
                    Err(error @ (DevError::Refused { .. } | DevError::Unanswered { .. })) => {
                        Ok(Turn::Refused(error))
                    }
                    Err(error) => Err(error),
                },
                Some(()) = self.interrupts.recv() => match presses.press() {
                    TurnAction::Interrupt => stop.cancel(),
                    TurnAction::Leave => return Ok(Turn::Left),
                },
                () = self.shutdown.cancelled() => return Err(DevError::Interrupted),
                error = self.stack.failed() => return Err(error),
            }
        }
    }
}
