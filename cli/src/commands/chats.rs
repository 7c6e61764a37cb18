//! `chatplane chats`: the chats that there are, as a table or to choose from.

use std::{future::pending, time::SystemTime};

use chatplane_proto::chat::v1::{ListChatsRequest, ListChatsResponse};

use super::{CommandError, credentials, library::print_lines, print, report, unless_stopped};
use crate::{
    arguments::{
        client::{Connection, Output},
        library::Chats,
    },
    client::{
        ClientError,
        exchange::Format,
        json,
        listing::{Ids, Table},
        notes::Notes,
        printer::is_capable,
        requests::Caller,
        words::Advice,
    },
    exit::{Exit, say},
    signals::Signals,
    terminal::{self, Beginning, Leaving, Picked, Settings, converse},
};

/// With `--all` pages are as large as they can be.
const PAGE_SIZE_MAX: i32 = 100;

/// The chat that was named, or that the person chooses among those of the query.
pub(super) async fn chosen(
    named: Option<String>,
    connection: &Connection,
    output: &Output,
    query: &str,
    signals: &Signals,
) -> Result<String, CommandError> {
    if let Some(chat_id) = named {
        return Ok(chat_id);
    }
    if output.format() == Format::Json || !is_person_there() {
        return Err(CommandError::ChatMissing);
    }
    let client = credentials::client(connection)?;
    match Box::pin(terminal::pick(client, query.to_owned(), signals)).await? {
        Picked::Chat { chat_id, .. } => Ok(chat_id),
        // What was to be done to a chat is not done.
        Picked::Nothing => Err(ClientError::Interrupted.into()),
    }
}

fn is_person_there() -> bool {
    terminal::is_there() && is_capable()
}

/// Lists chats, or has the person choose one.
pub(super) async fn chats(command: Chats, signals: &Signals) -> Exit {
    let is_for_person = command.output.format() == Format::Text && !command.all;
    if is_for_person && is_person_there() {
        return report("chats", choose(command, signals)).await;
    }
    report("chats", unless_stopped(list(command), signals)).await
}

async fn list(command: Chats) -> Result<(), CommandError> {
    let caller = Caller::new(credentials::client(&command.connection)?, Notes::StandardError);
    let mut request = ListChatsRequest {
        page_size: if command.all { PAGE_SIZE_MAX } else { 0 },
        q: command.query.join(" "),
        ..Default::default()
    };
    let mut table = None;
    loop {
        let page = caller.list_chats(&request).await?;
        match command.output.format() {
            Format::Json => print_objects(&page).await?,
            Format::Text => print_table(&page, &mut table).await?,
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(());
        }
        if !command.all {
            say("There are more: --all lists them.");
            return Ok(());
        }
    }
}

async fn print_objects(page: &ListChatsResponse) -> Result<(), CommandError> {
    for listed in &page.chats {
        print(&json::line("ListedChat", listed)).await?;
    }
    Ok(())
}

/// The first page decides how wide the columns are.
async fn print_table(page: &ListChatsResponse, table: &mut Option<Table>) -> Result<(), CommandError> {
    let is_first = table.is_none();
    if is_first && page.chats.is_empty() {
        say("There are no such chats.");
        return Ok(());
    }
    let table = table.get_or_insert_with(|| Table::new(&page.chats, Ids::Shown));
    let now = SystemTime::now();
    let mut lines = if is_first { vec![table.heading()] } else { Vec::new() };
    lines.extend(page.chats.iter().flat_map(|listed| table.rows(listed, now)));
    print_lines(&lines).await
}

/// Has the person choose a chat, and opens it.
async fn choose(command: Chats, signals: &Signals) -> Result<Exit, CommandError> {
    let client = credentials::client(&command.connection)?;
    let picked = Box::pin(terminal::pick(client.clone(), command.query.join(" "), signals)).await?;
    let (chat_id, keyboard) = match picked {
        Picked::Chat { chat_id, keyboard } => (chat_id, keyboard),
        Picked::Nothing => return Ok(Exit::Done),
    };
    let beginning = Beginning {
        client,
        chat_id: Some(chat_id),
        settings: Settings::default(),
        attached: Vec::new(),
        keyboard: Some(keyboard),
        advice: Advice::Operator,
        leaving: Leaving::LetsTurnRun,
        format: Format::Text,
    };
    Box::pin(converse(beginning, signals, pending())).await
}
