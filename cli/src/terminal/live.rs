//! A chat with a person who sees what they type while the agent works.

use std::{
    future::{Future, pending},
    io,
    pin::pin,
    time::Duration,
};

use chatplane_proto::chat::v1::{BusyBehavior, ListPromptsRequest};
use futures::future::BoxFuture;
use rustix::termios::tcgetwinsize;
use tokio::{
    io::{AsyncWriteExt as _, Stdout},
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    HELP,
    composer::{Action, Composer, Urgency},
    input::{Command, Input},
    keyboard::{self, Keyboard},
    keys::Key,
    mode::KeyMode,
    presses::{AtPrompt, InTurn, PromptAction, TurnAction, Typed},
    screen::{Looks, Screen, Size},
    talk::{News, Talk},
};
use crate::client::{
    ClientError,
    printer::{can_style, without_commands},
    progress::Since,
    style::{Span, Style},
    transcript::{Outcome, Output},
    words,
};

/// How often the row is drawn that says what is going on and for how long.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Prompts that are brought back from the chat for the Up key.
const PROMPTS_RECALLED: i32 = 200;
/// How long the last frame may take on a terminal that takes no more.
const LAST_FRAME_TIME_MAX: Duration = Duration::from_millis(500);

/// Why the chat was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// As one leaves: Ctrl-D, `/exit`, or the terminal is gone.
    AtWill,
    /// With a second Ctrl-C.
    InAHurry,
    /// Somebody has asked this process to end.
    Ended,
}

/// The talk, and the terminal that it is held in.
pub(super) struct Live {
    talk: Talk,
    screen: Screen,
    composer: Composer,
    keyboard: Keyboard,
    mode: KeyMode,
    resized: Signal,
    /// What was written in this chat before, on its way here for the Up key.
    recalled: Option<BoxFuture<'static, Vec<String>>>,
    out: Stdout,
    at_prompt: AtPrompt,
    in_turn: InTurn,
    since: Since,
}

impl Live {
    pub(super) fn new(talk: Talk, keyboard: Option<Keyboard>) -> Result<Self, ClientError> {
        let looks = if can_style(&io::stdout()) { Looks::Styled } else { Looks::Plain };
        let recalled = recall(&talk);
        let mode = KeyMode::enter().map_err(ClientError::Terminal)?;
        Ok(Self {
            talk,
            screen: Screen::new(size(), looks),
            composer: Composer::default(),
            keyboard: keyboard.map_or_else(keyboard::keys, Ok).map_err(ClientError::Terminal)?,
            mode,
            resized: signal(SignalKind::window_change()).map_err(ClientError::Terminal)?,
            recalled,
            out: tokio::io::stdout(),
            at_prompt: AtPrompt::default(),
            in_turn: InTurn::default(),
            since: Since::default(),
        })
    }

    /// Chats until the person leaves, this process is asked to end, or something else has failed.
    pub(super) async fn run<E: From<ClientError>>(
        &mut self,
        interrupts: &mut mpsc::Receiver<()>,
        shutdown: &CancellationToken,
        failed: impl Future<Output = E>,
    ) -> Result<Left, E> {
        let mut failed = pin!(failed);
        let mut status = status_interval();
        loop {
            self.draw().await?;
            let left = select! {
                pressed = self.keyboard.recv() => match pressed {
                    Some(keys) => self.press(keys).await?,
                    None => Some(Left::AtWill),
                },
                news = self.talk.news() => {
                    self.show(news?);
                    None
                }
                prompts = recalled(&mut self.recalled) => {
                    self.recalled = None;
                    self.composer.recall(prompts.into_iter());
                    None
                }
                _ = status.tick(), if self.talk.is_busy() => None,
                Some(()) = self.resized.recv() => {
                    self.screen.resize(size());
                    None
                }
                // Sent by another process: Ctrl-C is a key.
                Some(()) = interrupts.recv() => self.interrupt(),
                () = shutdown.cancelled() => Some(Left::Ended),
                error = &mut failed => return Err(error),
            };
            if let Some(left) = left {
                return Ok(left);
            }
        }
    }

    /// Takes the live part off the terminal, so that others may write.
    pub(super) async fn leave(&mut self) {
        let frame = self.screen.leave();
        // A terminal that takes no more must not keep us.
        let _ = timeout(LAST_FRAME_TIME_MAX, self.write(&frame)).await;
    }

    /// The talk alone; the terminal is as it was found.
    pub(super) fn into_talk(self) -> Talk {
        self.talk
    }

    async fn draw(&mut self) -> Result<(), ClientError> {
        let size = self.screen.size();
        let composer = self.composer.view(size.columns - 1, size.composer_rows());
        let status = self.status();
        let frame = self.screen.frame(&status, &self.talk.waiting(), &composer);
        self.write(&frame).await.map_err(ClientError::Output)
    }

    async fn write(&mut self, frame: &str) -> io::Result<()> {
        self.out.write_all(frame.as_bytes()).await?;
        self.out.flush().await
    }

    /// What is going on, and which keys do something about it.
    fn status(&mut self) -> Vec<Span> {
        let told = self.since.told(&self.talk.activity(), self.talk.advice());
        let Some(told) = told.filter(|_| self.talk.is_busy()) else {
            return Vec::new();
        };
        let keys = if self.composer.is_empty() { words::KEYS_IN_TURN } else { words::KEYS_WHILE_TYPING };
        vec![Span::new(Style::DIM, format!("{told} · {keys}"))]
    }

    fn show(&mut self, news: News) {
        if news.follows_interruption {
            self.screen.note(words::INTERRUPTED);
        }
        for output in news.outputs {
            match output {
                Output::Answer(bytes) => {
                    self.screen.answer(&String::from_utf8_lossy(&without_commands(&bytes)));
                }
                Output::NewLine => self.screen.end_line(),
                Output::Message(text) => {
                    self.screen.message(&String::from_utf8_lossy(&without_commands(text.as_bytes())));
                }
                Output::Note(note) => self.screen.note(&note),
            }
        }
        if news.enters {
            self.in_turn = InTurn::default();
        }
        if let Some(outcome) = news.outcome {
            self.turn_is_over(outcome);
        }
    }

    fn turn_is_over(&mut self, outcome: Outcome) {
        self.screen.end_line();
        self.in_turn = InTurn::default();
        match outcome {
            Outcome::Failed(error) => {
                self.screen.note(&words::failure(&error, self.talk.advice()));
                self.screen.note("The next message tries again.");
            }
            Outcome::Interrupted => self.screen.note(words::INTERRUPTED),
            Outcome::Answered => {}
        }
    }

    async fn press(&mut self, keys: Vec<Key>) -> Result<Option<Left>, ClientError> {
        for key in keys {
            let left = match self.composer.press(key) {
                Action::Edited => None,
                Action::Enter { text, urgency } => {
                    self.at_prompt.line_entered();
                    self.enter(&text, urgency)
                }
                Action::Interrupt => self.interrupt(),
                Action::End => Some(Left::AtWill),
                Action::Redraw => {
                    self.write("\x1b[H\x1b[2J").await.map_err(ClientError::Output)?;
                    self.screen.forget();
                    None
                }
                Action::Suspend => {
                    let frame = self.screen.erase();
                    self.write(&frame).await.map_err(ClientError::Output)?;
                    self.mode.suspend().map_err(ClientError::Terminal)?;
                    self.screen.resize(size());
                    None
                }
            };
            if left.is_some() {
                return Ok(left);
            }
        }
        Ok(None)
    }

    /// Does what the line says.
    fn enter(&mut self, line: &str, urgency: Urgency) -> Option<Left> {
        let done = match Input::of(line) {
            Input::Nothing => Ok(()),
            Input::Message(text) => {
                let busy = match urgency {
                    Urgency::Enter => BusyBehavior::Queue,
                    Urgency::Steer => BusyBehavior::Steer,
                };
                self.talk.send(text, busy)
            }
            Input::Command(Command::Exit) => return Some(Left::AtWill),
            Input::Command(Command::Help) => {
                HELP.lines().for_each(|line| self.screen.note(line));
                Ok(())
            }
            Input::Command(Command::New) => {
                self.talk.begin_anew().inspect(|()| self.screen.note("The next message begins a new chat."))
            }
            Input::Command(Command::Fork) => self.talk.fork(),
            Input::Command(Command::Compact) => self.talk.compact(),
            Input::Command(Command::Clear) => self.talk.clear(),
            Input::Unknown(word) => {
                self.screen.note(&words::unknown_command(&word));
                Ok(())
            }
            Input::TooLong => {
                self.screen.note(words::TOO_LONG);
                Ok(())
            }
        };
        if let Err(reason) = done {
            self.screen.note(reason);
        }
        None
    }

    /// Ctrl-C: stops a turn, throws a line away, or leaves.
    fn interrupt(&mut self) -> Option<Left> {
        if self.talk.is_busy() {
            return match self.in_turn.press() {
                TurnAction::Interrupt => {
                    self.talk.interrupt();
                    self.screen.note(words::INTERRUPTING);
                    None
                }
                TurnAction::Leave => Some(Left::InAHurry),
            };
        }
        let typed = if self.composer.is_empty() { Typed::Nothing } else { Typed::Something };
        self.composer.clear();
        match self.at_prompt.press(typed) {
            PromptAction::Discard => None,
            PromptAction::Hint => {
                self.screen.note(words::HINT_TO_LEAVE);
                None
            }
            PromptAction::Leave => Some(Left::InAHurry),
        }
    }
}

/// Asks for what was written in the chat before, the newest first. Without it the chat works.
fn recall(talk: &Talk) -> Option<BoxFuture<'static, Vec<String>>> {
    let (chat_id, caller) = (talk.chat_id()?.to_owned(), talk.caller().clone());
    let request = ListPromptsRequest { chat_id, limit: PROMPTS_RECALLED, before_id: 0 };
    Some(Box::pin(async move {
        let prompts =
            caller.list_prompts(&request).await.map(|response| response.prompts).unwrap_or_default();
        prompts.into_iter().map(|prompt| prompt.text.trim_end().to_owned()).collect()
    }))
}

async fn recalled(recalled: &mut Option<BoxFuture<'static, Vec<String>>>) -> Vec<String> {
    match recalled {
        Some(recalled) => recalled.await,
        None => pending().await,
    }
}

fn status_interval() -> Interval {
    let mut status = interval(STATUS_INTERVAL);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    status
}

pub(super) fn size() -> Size {
    tcgetwinsize(io::stdout()).map_or(Size::told(0, 0), |size| Size::told(size.ws_col, size.ws_row))
}
