//! `chatplane send`: one message, and its answer.

use chatplane_proto::chat::v1::{BusyBehavior, CreateChatRequest, Part, SendMessageRequest};
use tokio::{pin, select};
use tokio_util::sync::CancellationToken;

use super::{
    CommandError,
    chat::{attach, settings, tell_of_workspace},
    credentials, report,
};
use crate::{
    arguments::client::Send,
    client::{
        ClientError,
        connection::new_request_id,
        exchange::{Delivery, End, Exchange, Format},
        text,
        transcript::Outcome,
        words::{self, Advice},
    },
    exit::{Exit, say},
    signals::Signals,
    terminal::Settings,
};

/// Sends one message and prints its answer.
pub(crate) async fn send(send: Send, signals: &Signals) -> Exit {
    report("send", run(send, signals)).await
}

async fn run(send: Send, signals: &Signals) -> Result<Exit, CommandError> {
    let (client, files) = credentials::clients(&send.connection)?;
    tell_of_workspace(&send.chat);
    let mut parts = match &send.text {
        Some(text) => text::parts(text::read(text, "message", &signals.shutdown()).await?),
        None => Vec::new(),
    };
    parts.extend(attach(&files, &send.attached, signals).await?);
    let format = send.output.format();
    let is_new = send.chat.chat.is_none();
    let mut exchange = Exchange::new(client, delivery(&send, parts), Advice::Operator, format);
    if send.no_wait {
        exchange.send_only(&signals.shutdown()).await?;
        if let (Format::Text, Some(chat_id)) = (format, exchange.chat_id().map(str::to_owned)) {
            if is_new {
                exchange.print_line(&chat_id).await?;
            }
            say(&words::watch_it(&chat_id));
        }
        return Ok(Exit::Done);
    }
    let ended = Box::pin(answer(&mut exchange, signals)).await;
    if let (true, Some(chat_id)) = (is_new && format == Format::Text, exchange.chat_id()) {
        say(&words::go_on_with(chat_id));
    }
    ended
}

fn delivery(send: &Send, parts: Vec<Part>) -> Delivery {
    let Settings { workspace_id, model, effort } = settings(&send.chat);
    let (request_id, effort) = (new_request_id(), effort.into());
    match send.chat.chat.clone() {
        None => Delivery::New(CreateChatRequest {
            request_id,
            parts,
            workspace_id,
            model,
            effort,
            ..Default::default()
        }),
        Some(chat_id) => {
            let busy_behavior = BusyBehavior::from(send.busy).into();
            Delivery::ToChat(SendMessageRequest { chat_id, request_id, parts, model, effort, busy_behavior })
        }
    }
}

/// Prints the answer. The first Ctrl-C stops the turn, or takes the message back while it waits; the second one
/// leaves, and so does SIGTERM, without stopping anything.
async fn answer(exchange: &mut Exchange, signals: &Signals) -> Result<Exit, CommandError> {
    let mut interrupts = signals.claim_interrupts();
    let shutdown = signals.shutdown();
    let stop = CancellationToken::new();
    let end = {
        let run = exchange.run(&stop);
        pin!(run);
        loop {
            select! {
                end = &mut run => break end,
                Some(()) = interrupts.recv() => {
                    if stop.is_cancelled() {
                        break Err(ClientError::Interrupted);
                    }
                    stop.cancel();
                }
                () = shutdown.cancelled() => break Err(ClientError::Interrupted),
            }
        }
    };
    if let Err(ClientError::Interrupted) = end {
        match stop.is_cancelled() && !exchange.has_arrived() {
            // It may have arrived all the same.
            true => exchange.abandon().await,
            false => exchange.end_line().await,
        }
    }
    Ok(told(end?, stop.is_cancelled()))
}

/// Says how it ended, where the answer does not say it.
fn told(end: End, was_stopped: bool) -> Exit {
    match (end, was_stopped) {
        (End::Turn(Outcome::Failed(error)), _) => {
            say(&words::failure(&error, Advice::Operator));
            Exit::ChatFailed
        }
        (End::Turn(Outcome::Answered | Outcome::Interrupted), true) => {
            say(words::INTERRUPTED);
            Exit::Interrupted
        }
        (End::Removed, true) => {
            say(words::TAKEN_BACK);
            Exit::Interrupted
        }
        (End::Turn(Outcome::Answered), false) => Exit::Done,
        (End::Turn(Outcome::Interrupted), false) => {
            say(words::INTERRUPTED);
            Exit::ChatFailed
        }
        (End::Removed, false) => {
            say(words::REMOVED);
            Exit::ChatFailed
        }
    }
}
