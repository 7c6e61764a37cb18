//! A chat at a terminal, or with a program: what is typed goes out while what happens is shown.
//!
//! - `keys`, `composer`, `history`, `input`, `presses`: pure: from bytes to what is meant;
//! - `rows`, `screen`: pure: what the terminal shows, and the bytes for it;
//! - `mode`, `keyboard`: the terminal itself, which is left as it was found;
//! - `outbox`, `talk`: the chat, without a terminal;
//! - `picker`: pure: a list of chats, and which is chosen; `browse`: the same with a terminal;
//! - `live`, `lines`: both together: with a person, or line by line.

use std::{
    future::Future,
    io::{self, IsTerminal as _},
};

mod browse;
mod composer;
mod history;
mod input;
mod keyboard;
mod keys;
mod lines;
mod live;
mod mode;
mod outbox;
mod picker;
mod presses;
mod rows;
mod screen;
mod talk;

use chatplane_proto::chat::v1::Part;

pub(crate) use self::{
    browse::{Picked, pick},
    keyboard::Keyboard,
    mode::{Hidden, restore},
    outbox::Settings,
};
use self::{
    lines::Lines,
    live::{Left, Live},
    talk::Talk,
};
use crate::{
    client::{
        ClientError, connection::ChatClient, exchange::Format, printer::is_capable, words, words::Advice,
    },
    exit::{Exit, say},
    signals::Signals,
};

const HELP: &str = "\
Enter    sends the message; while a turn runs it waits in the queue
Ctrl-S   the same, but it joins the running turn; so does Alt-Enter
Ctrl-C   interrupts a running turn, a second one leaves
Ctrl-D   leaves
/new     begin a new chat; the one before is kept
/fork    go on in a copy of the chat
/compact have the history summarized for the model
/clear   let the model forget the history, which stays readable
/exit    leave, as Ctrl-D does
/help    show this
A line that ends in \\ goes on in the next, and pasted lines stay together. The Up key brings back what was \
typed. A message that begins with / is sent with a space before it.";

/// What becomes of a turn that runs when its person leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It is stopped, for what runs it stops too.
    StopsTurn,
    /// It goes on, and can be come back to.
    LetsTurnRun,
}

/// The chat that is begun or gone on with.
pub(crate) struct Beginning {
    pub(crate) client: ChatClient,
    /// None for a new one.
    pub(crate) chat_id: Option<String>,
    pub(crate) settings: Settings,
    /// Files that go with the first message.
    pub(crate) attached: Vec<Part>,
    /// Who reads the keys, if somebody does already: there is one such thread.
    pub(crate) keyboard: Option<Keyboard>,
    pub(crate) advice: Advice,
    pub(crate) leaving: Leaving,
    pub(crate) format: Format,
}

/// Whether there is a person to chat with.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Chats until the person leaves, or all lines are answered. Ends early when `failed` does.
pub(crate) async fn converse<E: From<ClientError>>(
    beginning: Beginning,
    signals: &Signals,
    failed: impl Future<Output = E>,
) -> Result<Exit, E> {
    let Beginning { client, chat_id, settings, attached, keyboard, advice, leaving, format } = beginning;
    let mut interrupts = signals.claim_interrupts();
    let shutdown = signals.shutdown();
    let talk = Talk::new(client, chat_id, settings, attached, advice);
    let (mut talk, left, has_failed) = if format == Format::Text && is_there() && is_capable() {
        let mut live = Live::new(talk, keyboard)?;
        let left = live.run(&mut interrupts, &shutdown, failed).await;
        live.leave().await;
        (live.into_talk(), left, false)
    } else {
        let mut lines = Lines::new(talk, format)?;
        let left = lines.run(&mut interrupts, &shutdown, failed).await;
        lines.leave().await;
        let has_failed = lines.has_failed();
        (lines.talk, left, has_failed)
    };
    let was_busy = talk.is_busy();
    if matches!(left, Ok(Left::InAHurry)) {
        // Somebody may wonder why a moment passes.
        say("Leaving.");
    }
    match leaving {
        Leaving::StopsTurn => {
            let not_stopped = talk.stop().await;
            if not_stopped > 0 {
                say(&words::not_stopped(not_stopped));
            }
        }
        Leaving::LetsTurnRun => {
            let parting = talk.let_go().await;
            parting.notes.iter().for_each(|note| say(note));
            if let Some(line) = words::left(parting.unsent, talk.chat_id(), talk.is_busy()) {
                say(&line);
            }
        }
    }
    match left? {
        Left::AtWill if has_failed => Ok(Exit::ChatFailed),
        Left::AtWill => Ok(Exit::Done),
        Left::InAHurry => Ok(Exit::Interrupted),
        Left::Ended if was_busy => Err(ClientError::Interrupted.into()),
        Left::Ended => Ok(Exit::Done),
    }
}
