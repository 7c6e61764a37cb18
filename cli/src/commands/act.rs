//! The commands that are one call: `interrupt`, `fork`, `compact`, `clear`.

use chatplane_proto::chat::v1::{
    Chat, ChatState, ClearContextRequest, CompactChatRequest, ForkChatRequest, InterruptChatRequest,
    ListMessagesRequest, WatchChatRequest,
};
use tokio::{select, time::timeout};

use super::{
    CommandError, chats::chosen, credentials, observation::Observation, print, report, unless_stopped,
};
use crate::{
    arguments::client::{Compact, Fork, OneChat},
    client::{
        ClientError,
        connection::new_request_id,
        exchange::{self, ABANDON_TIME_MAX, Format},
        json,
        notes::Notes,
        requests::Caller,
        transcript::Outcome,
        words::{self, Advice},
    },
    exit::{Exit, say},
    signals::Signals,
};

/// Stops the turn that runs.
pub(crate) async fn interrupt(command: OneChat, signals: &Signals) -> Exit {
    let work = async {
        let OneChat { connection, chat, output } = command;
        let chat_id = chosen(chat.chat, &connection, &output, "", signals).await?;
        let caller = Caller::new(credentials::client(&connection)?, Notes::StandardError);
        let request = InterruptChatRequest { chat_id, request_id: new_request_id() };
        let response = caller.interrupt_chat(&request).await?;
        let words = match response.chat.as_ref().map(Chat::state) {
            Some(ChatState::Interrupting) => "The turn is being interrupted.",
            Some(ChatState::Running) => "The turn was interrupted; the next message is being answered.",
            // It may have been at rest before, or a turn was ended on the spot: the reply does not tell which.
            _ => "Nothing runs in the chat now.",
        };
        match output.format() {
            Format::Json => print(&json::line("InterruptChatResponse", &response)).await,
            Format::Text => {
                say(words);
                Ok(())
            }
        }
    };
    report("interrupt", unless_stopped(work, signals)).await
}

/// Copies a chat, and prints the id of the copy.
pub(crate) async fn fork(command: Fork, signals: &Signals) -> Exit {
    let work = async {
        let chat_id = chosen(command.chat.chat, &command.connection, &command.output, "", signals).await?;
        let caller = Caller::new(credentials::client(&command.connection)?, Notes::StandardError);
        let message_id = match command.message {
            Some(message_id) => message_id,
            None => newest_message(&caller, chat_id.clone()).await?,
        };
        let request = ForkChatRequest { chat_id, request_id: new_request_id(), message_id };
        let response = caller.fork_chat(&request).await?;
        match command.output.format() {
            Format::Json => print(&json::line("ForkChatResponse", &response)).await,
            Format::Text => {
                let chat_id = response.chat.unwrap_or_default().chat_id;
                print(&chat_id).await?;
                say(&words::go_on_with(&chat_id));
                Ok(())
            }
        }
    };
    report("fork", unless_stopped(Box::pin(work), signals)).await
}

async fn newest_message(caller: &Caller, chat_id: String) -> Result<i64, CommandError> {
    let request = ListMessagesRequest { chat_id, page_size: 1, ..Default::default() };
    let page = caller.list_messages(&request).await?;
    page.messages.first().map(|message| message.message_id).ok_or(CommandError::NothingToFork)
}

/// Lets the model forget what was said.
pub(crate) async fn clear(command: OneChat, signals: &Signals) -> Exit {
    let work = async {
        let OneChat { connection, chat, output } = command;
        let chat_id = chosen(chat.chat, &connection, &output, "", signals).await?;
        let caller = Caller::new(credentials::client(&connection)?, Notes::StandardError);
        let request = ClearContextRequest { chat_id, request_id: new_request_id() };
        let response = caller.clear_context(&request).await?;
        match output.format() {
            Format::Json => print(&json::line("ClearContextResponse", &response)).await,
            Format::Text => {
                say("The context is clear: the model no longer sees what was said. It stays readable.");
                Ok(())
            }
        }
    };
    report("clear", unless_stopped(work, signals)).await
}

/// Has a chat summarized, and prints the summary.
pub(crate) async fn compact(command: Compact, signals: &Signals) -> Exit {
    report("compact", run_compact(command, signals)).await
}

async fn run_compact(command: Compact, signals: &Signals) -> Result<Exit, CommandError> {
    let chat_id = chosen(command.chat.chat, &command.connection, &command.output, "", signals).await?;
    let client = credentials::client(&command.connection)?;
    let format = command.output.format();
    let request = CompactChatRequest { chat_id: chat_id.clone(), request_id: new_request_id() };
    if command.no_wait {
        let caller = Caller::new(client, Notes::StandardError);
        return unless_stopped(ask_for_summary(&caller, &request, format), signals).await;
    }
    let watched = WatchChatRequest { chat_id, history_limit: Some(0), ..Default::default() };
    let mut observation = Observation::begin(client, watched, format);
    let shutdown = signals.shutdown();
    let mut asked = Asked::NotYet;
    let outcome = select! {
        outcome = summarize(&mut observation, &request, format, &mut asked) => outcome?,
        () = shutdown.cancelled() => {
            abandon(observation.caller(), &request, asked).await;
            return Err(ClientError::Interrupted.into());
        }
    };
    match outcome {
        Outcome::Answered => {
            let summary = observation.transcript().summary().map(str::to_owned);
            if let (Format::Text, Some(summary)) = (format, summary) {
                observation.printer().text(&summary).await.map_err(ClientError::Output)?;
            }
            Ok(Exit::Done)
        }
        Outcome::Interrupted => {
            say(words::INTERRUPTED);
            Ok(Exit::ChatFailed)
        }
        Outcome::Failed(error) => {
            say(&words::failure(&error, Advice::Operator));
            Ok(Exit::ChatFailed)
        }
    }
}

/// Asks for the summary, and waits for nothing more.
async fn ask_for_summary(
    caller: &Caller,
    request: &CompactChatRequest,
    format: Format,
) -> Result<(), CommandError> {
    let response = caller.compact_chat(request).await?;
    match format {
        Format::Json => print(&json::line("CompactChatResponse", &response)).await,
        Format::Text => {
            say(&words::watch_it(&request.chat_id));
            Ok(())
        }
    }
}

/// How far the request for a summary has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// What runs in the chat is somebody else's.
    NotYet,
    /// It may have arrived.
    Perhaps,
    /// It was accepted: what runs in the chat is the summary.
    Accepted,
}

/// Asks for the summary, and prints what happens until the chat is at rest again.
async fn summarize(
    observation: &mut Observation,
    request: &CompactChatRequest,
    format: Format,
    asked: &mut Asked,
) -> Result<Outcome, ClientError> {
    // What comes after this picture is not missed.
    observation.next_picture().await?;
    *asked = Asked::Perhaps;
    let response = observation.caller().compact_chat(request).await?;
    *asked = Asked::Accepted;
    if format == Format::Json {
        let line = json::line("CompactChatResponse", &response);
        observation.printer().line(&line).await.map_err(ClientError::Output)?;
    }
    let version = response.chat.unwrap_or_default().snapshot_version;
    observation.transcript().begin_turn();
    observation.transcript().has_begun(version);
    loop {
        if let Some(outcome) = observation.next_picture().await? {
            return Ok(outcome);
        }
    }
}

/// Stops the summary, for nobody is left to read it. Before it was asked for, what runs is somebody else's.
async fn abandon(caller: &Caller, request: &CompactChatRequest, asked: Asked) {
    let stopped = async {
        match asked {
            Asked::NotYet => return Ok(()),
            // Repeated under its request id it has no second effect, and the reply tells whether it had a first:
            // or has it now, which is undone at once.
            Asked::Perhaps => match caller.compact_chat(request).await {
                Ok(_) => {}
                Err(ClientError::Refused { .. }) => return Ok(()),
                Err(error) => return Err(error),
            },
            Asked::Accepted => {}
        }
        exchange::interrupt(caller, request.chat_id.clone()).await
    };
    match timeout(ABANDON_TIME_MAX, stopped).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the summary could not be interrupted"),
        Err(_) => tracing::warn!("the summary could not be interrupted in time"),
    }
}
