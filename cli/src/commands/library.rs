//! The commands for one chat of the library: `show`, `read`, `archive`, `unarchive`, `label`, `pin`, `unpin`; and
//! `completions`.

use std::collections::BTreeMap;

use chatplane_proto::chat::v1::{
    ArchiveChatRequest, Chat, GetChatRequest, MarkReadRequest, UnarchiveChatRequest, UpdateChatRequest,
    UpdateChatResponse,
};
use futures::future::LocalBoxFuture;
use prost_types::FieldMask;

use super::{CommandError, chats, credentials, files, print, report, unless_stopped};
use crate::{
    arguments::library::{self, Label, LibraryCommand, Pin, Shell},
    client::{
        ClientError,
        connection::new_request_id,
        details,
        exchange::Format,
        json,
        listing::label_lines,
        notes::Notes,
        printer::can_style,
        requests::{ARCHIVED, Caller, UNREAD},
        style::{Span, paint},
    },
    completion,
    exit::{Exit, say},
    signals::Signals,
};

/// Behind all that are pinned: a place is at most the last.
const LAST_PLACE: i32 = i32::MAX;

/// Runs one of the commands.
pub(crate) async fn library(command: LibraryCommand, signals: &Signals) -> Exit {
    let (name, work): (_, LocalBoxFuture<'_, Result<(), CommandError>>) = match command {
        LibraryCommand::Chats(command) => return Box::pin(chats::chats(command, signals)).await,
        LibraryCommand::Files(command) => return Box::pin(files::files(command, signals)).await,
        LibraryCommand::Show(command) => ("show", Box::pin(show(command, signals))),
        LibraryCommand::Read(command) => ("read", Box::pin(read(command, signals))),
        LibraryCommand::Archive(command) => ("archive", Box::pin(archive(command, signals))),
        LibraryCommand::Unarchive(command) => ("unarchive", Box::pin(unarchive(command, signals))),
        LibraryCommand::Label(command) => ("label", Box::pin(label(command, signals))),
        LibraryCommand::Pin(command) => ("pin", Box::pin(pin(command, signals))),
        LibraryCommand::Unpin(command) => ("unpin", Box::pin(unpin(command, signals))),
        LibraryCommand::Completions { shell } => ("completions", Box::pin(completions(shell))),
    };
    report(name, unless_stopped(work, signals)).await
}

/// The chat that a command is for, and who asks for it.
async fn chosen(
    command: &library::Chat,
    query: &str,
    signals: &Signals,
) -> Result<(Caller, String), CommandError> {
    let named = command.chat.clone();
    let chat_id = chats::chosen(named, &command.connection, &command.output, query, signals).await?;
    Ok((Caller::new(credentials::client(&command.connection)?, Notes::StandardError), chat_id))
}

async fn show(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let (caller, chat_id) = chosen(&command, "", signals).await?;
    let response = caller.get_chat(&GetChatRequest { chat_id }).await?;
    match command.output.format() {
        Format::Json => print(&json::line("GetChatResponse", &response)).await,
        Format::Text => print_lines(&details::chat(&response.chat.unwrap_or_default())).await,
    }
}

/// Marks the newest message as read: the answers up to there are not new any more.
async fn read(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let (caller, chat_id) = chosen(&command, UNREAD, signals).await?;
    let response = caller.mark_read(&MarkReadRequest { chat_id, message_id: 0 }).await?;
    match command.output.format() {
        Format::Json => print(&json::line("MarkReadResponse", &response)).await,
        Format::Text => {
            say("The chat is read.");
            Ok(())
        }
    }
}

async fn archive(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let (caller, chat_id) = chosen(&command, "", signals).await?;
    let request = ArchiveChatRequest { chat_id: chat_id.clone(), request_id: new_request_id() };
    let response = caller.archive_chat(&request).await?;
    match command.output.format() {
        Format::Json => print(&json::line("ArchiveChatResponse", &response)).await,
        Format::Text => {
            say(&format!("Archived. `chatplane unarchive {chat_id}` brings it back."));
            Ok(())
        }
    }
}

async fn unarchive(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let (caller, chat_id) = chosen(&command, ARCHIVED, signals).await?;
    let request = UnarchiveChatRequest { chat_id, request_id: new_request_id() };
    let response = caller.unarchive_chat(&request).await?;
    match command.output.format() {
        Format::Json => print(&json::line("UnarchiveChatResponse", &response)).await,
        Format::Text => {
            say("The chat is back.");
            Ok(())
        }
    }
}

async fn label(command: Label, signals: &Signals) -> Result<(), CommandError> {
    let Label { chat: command, set, remove } = command;
    let (caller, chat_id) = chosen(&command, "", signals).await?;
    let (line, chat) = if set.is_empty() && remove.is_empty() {
        let response = caller.get_chat(&GetChatRequest { chat_id }).await?;
        (json::line("GetChatResponse", &response), response.chat)
    } else {
        let names = [("set_labels", set.is_empty()), ("remove_labels", remove.is_empty())];
        let paths = names.iter().filter(|(_, is_empty)| !is_empty).map(|(path, _)| (*path).to_owned());
        let request = UpdateChatRequest {
            chat_id,
            request_id: new_request_id(),
            update_mask: Some(FieldMask { paths: paths.collect() }),
            set_labels: labels(set)?,
            remove_labels: remove,
            ..Default::default()
        };
        let response = caller.update_chat(&request).await?;
        (json::line("UpdateChatResponse", &response), response.chat)
    };
    match command.output.format() {
        Format::Json => print(&line).await,
        Format::Text => {
            let chat = chat.unwrap_or_default();
            let lines = label_lines(&chat).into_iter().map(|label| vec![Span::plain(label)]);
            print_lines(&lines.collect::<Vec<_>>()).await
        }
    }
}

/// A key that is given twice would lose a value without a word.
fn labels(set: Vec<(String, String)>) -> Result<BTreeMap<String, String>, CommandError> {
    let mut labels = BTreeMap::new();
    for (key, value) in set {
        if labels.insert(key.clone(), value).is_some() {
            return Err(CommandError::LabelTwice { key });
        }
    }
    Ok(labels)
}

async fn pin(command: Pin, signals: &Signals) -> Result<(), CommandError> {
    let Pin { chat: command, place } = command;
    let (caller, chat_id) = chosen(&command, "", signals).await?;
    let mut response = set_pin(&caller, &chat_id, place.unwrap_or(LAST_PLACE)).await?;
    // A chat that was not pinned goes behind the others first, wherever it was sent.
    if place.is_some_and(|place| place_of(&response) > place) {
        response = set_pin(&caller, &chat_id, place.unwrap_or(LAST_PLACE)).await?;
    }
    match command.output.format() {
        Format::Json => print(&json::line("UpdateChatResponse", &response)).await,
        Format::Text => {
            say(&format!("Pinned, at place {}.", place_of(&response)));
            Ok(())
        }
    }
}

fn place_of(response: &UpdateChatResponse) -> i32 {
    response.chat.as_ref().map_or(0, |chat: &Chat| chat.pin_order)
}

async fn unpin(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let (caller, chat_id) = chosen(&command, "", signals).await?;
    let response = set_pin(&caller, &chat_id, 0).await?;
    match command.output.format() {
        Format::Json => print(&json::line("UpdateChatResponse", &response)).await,
        Format::Text => {
            say("The chat is not pinned.");
            Ok(())
        }
    }
}

async fn set_pin(caller: &Caller, chat_id: &str, place: i32) -> Result<UpdateChatResponse, ClientError> {
    let request = UpdateChatRequest {
        chat_id: chat_id.to_owned(),
        request_id: new_request_id(),
        update_mask: Some(FieldMask { paths: vec!["pin_order".to_owned()] }),
        pin_order: place,
        ..Default::default()
    };
    caller.update_chat(&request).await
}

async fn completions(shell: Shell) -> Result<(), CommandError> {
    let script = completion::script(shell).map_err(ClientError::Output)?;
    print(String::from_utf8_lossy(&script).trim_end()).await
}

/// Prints lines that are freed of what a terminal would obey, with their looks where they are wanted.
pub(super) async fn print_lines(lines: &[Vec<Span>]) -> Result<(), CommandError> {
    if lines.is_empty() {
        return Ok(());
    }
    let is_styled = can_style(&std::io::stdout());
    let shown = |line: &Vec<Span>| match is_styled {
        true => paint(line),
        false => line.iter().map(|span| span.text.as_str()).collect(),
    };
    let lines: Vec<String> = lines.iter().map(|line| shown(line).trim_end().to_owned()).collect();
    print(&lines.join("\n")).await
}
