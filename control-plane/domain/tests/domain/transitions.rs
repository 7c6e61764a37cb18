//! The golden table: what every command does in every state.
//!
//! `transitions.txt` is compared by hand with the specification; reviewing a change
//! of the lifecycle is reading its diff.

mod client;
mod holder;

use std::{fs, path::Path};

use chatplane_domain::{
    Chat, ChatId, Command, Context, Decision, ForkChat, MessageId, Rejection, create, decide, fork,
};
use uuid::Uuid;

use crate::{
    fixtures::{context, creation, offering, session},
    states::{EXISTING, chat_in, short},
};

const HEADER: &str = "\
# What every command does in every state, decided by the code and compared by a test.
# Regenerate: UPDATE_GOLDEN=1 cargo test -p chatplane-domain
#
# A column is the state before, a cell the state after. The states that end in 1 have
# one ordinary queued message, which the row's words may change; a queue holds three.
# S has one open call of a client; the other states none, unless the row says so.
#
#   =X       accepted, but nothing changes and no version moves
#   .        STATE_FORBIDS           absent   NOT_FOUND (of `-` by the store)
#   invalid  FIELD_INVALID           full     QUEUE_FULL
#   lost     LEASE_LOST              stale    SUPERSEDED
#   early    refused: nothing is due, or the lease is another one
#   n/a      the command names no chat
";

/// Where the names of the commands end.
const NAME_WIDTH: usize = 58;

/// A line of the table.
pub(super) struct Line {
    name: String,
    prepare: fn(Chat) -> Chat,
    command: Box<dyn Fn(&Chat) -> Command>,
    context: Context,
}

impl Line {
    pub(super) fn new(name: &str, command: impl Fn(&Chat) -> Command + 'static) -> Self {
        Self { name: name.to_owned(), prepare: |chat| chat, command: Box::new(command), context: context() }
    }

    /// Changes the chat before the command.
    pub(super) fn given(mut self, prepare: fn(Chat) -> Chat) -> Self {
        self.prepare = prepare;
        self
    }

    pub(super) fn offered(mut self) -> Self {
        self.context = offering(session(9));
        self
    }

    pub(super) fn at(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    fn cells(&self) -> Vec<String> {
        let existing = EXISTING.iter().map(|state| {
            let chat = (self.prepare)(chat_in(state));
            assert_eq!(short(&chat), *state, "{} prepares another state", self.name);
            let command = (self.command)(&chat);
            cell(decide(&chat, command, self.context))
        });
        std::iter::once("absent".to_owned()).chain(existing).collect()
    }
}

fn cell(decided: Result<Decision, Rejection>) -> String {
    match decided {
        Ok(decision) if decision.change.is_none() => format!("={}", short(&decision.chat)),
        Ok(decision) if decision.change.as_ref().is_some_and(|change| change.erased) => "-".to_owned(),
        Ok(decision) => short(&decision.chat).to_owned(),
        Err(rejection) => refusal(&rejection).to_owned(),
    }
}

fn refusal(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::StateForbids { .. } => ".",
        Rejection::QueuedMessageNotFound | Rejection::MessageNotFound => "absent",
        Rejection::FieldInvalid { .. } => "invalid",
        Rejection::QueueFull { .. } => "full",
        Rejection::LeaseLost => "lost",
        Rejection::Superseded => "stale",
        Rejection::NotDue => "early",
    }
}

fn created(context: Context) -> String {
    short(&create(creation("first"), context).chat).to_owned()
}

fn only_creation(name: &str, context: Context) -> (String, Vec<String>) {
    let mut cells = vec![created(context)];
    cells.resize(EXISTING.len() + 1, "n/a".to_owned());
    (name.to_owned(), cells)
}

/// What the copy is; its source stays as it is.
fn copies() -> (String, Vec<String>) {
    let existing = EXISTING.iter().map(|state| {
        let source = chat_in(state);
        let target = ForkChat {
            id: ChatId(Uuid::from_u128(2)),
            organization: source.organization,
            owner: source.owner,
            target: MessageId(3),
            covers_through: None,
            unanswered: source.open_calls.clone(),
            answered: true,
        };
        short(&fork(&source, target, offering(session(9))).chat).to_owned()
    });
    ("ForkChat, the copy".to_owned(), std::iter::once("absent".to_owned()).chain(existing).collect())
}

fn table() -> String {
    let mut rows = vec![
        only_creation("CreateChat", context()),
        only_creation("CreateChat, lease offered", offering(session(9))),
    ];
    let lines = client::lines().into_iter().chain(holder::lines());
    rows.extend(lines.map(|line| (line.name.clone(), line.cells())));
    rows.push(copies());

    let columns: Vec<&str> = std::iter::once("-").chain(EXISTING).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            let cells = rows.iter().map(|(_, cells)| cells[column].len());
            cells.max().unwrap_or(0).max(columns[column].len())
        })
        .collect();
    let line = |name: &str, cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths);
        let padded: Vec<String> = padded.map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{name:NAME_WIDTH$} {}", padded.join(" ")).trim_end().to_owned()
    };

    let mut table = format!("{HEADER}\n{}\n", line("", columns));
    let mut command = "";
    for (name, cells) in &rows {
        let this = name.split([' ', ',']).next().unwrap_or(name);
        if this != command {
            table.push('\n');
            command = this;
        }
        table.push_str(&line(name, cells.iter().map(String::as_str).collect()));
        table.push('\n');
    }
    table
}

#[test]
fn the_golden_table_shows_every_command_in_every_state() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transitions.txt");

    let decided = table();

    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &decided).expect("the golden table can be written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    for (decided, golden) in decided.lines().zip(golden.lines()) {
        assert_eq!(decided, golden, "regenerate transitions.txt and review its diff");
    }
    assert_eq!(decided, golden, "regenerate transitions.txt and review its diff");
}

#[test]
fn no_line_of_the_golden_table_is_longer_than_its_column() {
    for line in client::lines().iter().chain(&holder::lines()) {
        assert!(line.name.len() <= NAME_WIDTH, "{}", line.name);
    }
}
