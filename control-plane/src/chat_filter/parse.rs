//! From text to a filter.

use chatplane_domain::{State, WorkspaceId};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::{Archived, ChatFilter, FILTER_CHARS_MAX, FilterError, LABELS_MAX, SearchText};

const NOT_A_TERM: &str =
    "terms are `key:value`, separated by spaces; words to search for are written as search:\"two words\"";
const UNKNOWN_KEY: &str = "keys are archived, state, has_unread, label, title, model, workspace, \
                           created_after, created_before and search";
const TIME: &str = "it is a time as in 2026-01-31T12:00:00Z, or a date as in 2026-01-31";

/// Reads a filter.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn parse(q: &str) -> Result<ChatFilter, FilterError> {
    if let Some((position, _)) = q.chars().enumerate().nth(FILTER_CHARS_MAX) {
        return Err(FilterError { position, what: "it has at most 1,024 characters" });
    }
    let characters: Vec<char> = q.chars().collect();
    if let Some(position) = characters.iter().position(|&character| character == '\0') {
        return Err(FilterError { position, what: "U+0000 is in no title, label or name" });
    }
    let mut reader = Reader { characters: &characters, position: 0 };
    let mut filter = ChatFilter::default();
    let mut given = Vec::new();
    while let Some(term) = reader.term()? {
        if term.key != "label" && given.contains(&term.key) {
            return Err(FilterError {
                position: term.position,
                what: "each key is given once, but for label",
            });
        }
        apply(&mut filter, &term)?;
        given.push(term.key);
    }
    Ok(filter)
}

struct Term {
    position: usize,
    key: String,
    value_position: usize,
    value: String,
}

struct Reader<'a> {
    characters: &'a [char],
    position: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += 1;
        Some(character)
    }

    /// The next term; none at the end.
    fn term(&mut self) -> Result<Option<Term>, FilterError> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.position += 1;
        }
        let position = self.position;
        let mut key = String::new();
        loop {
            match self.next() {
                None if key.is_empty() => return Ok(None),
                Some(':') if !key.is_empty() => break,
                Some(character) if character.is_ascii_lowercase() || character == '_' => key.push(character),
                None | Some(_) => return Err(self.no_key(position)),
            }
        }
        let value_position = self.position;
        let value = self.value()?;
        if value.is_empty() {
            return Err(FilterError { position: value_position, what: "a key is followed by its value" });
        }
        Ok(Some(Term { position, key, value_position, value }))
    }

    /// A word that is no key, with a colon or without one.
    fn no_key(&self, position: usize) -> FilterError {
        let word = self.characters[position..].iter().take_while(|character| !character.is_whitespace());
        let what = if word.take_while(|&&character| character != '"').any(|&character| character == ':') {
            UNKNOWN_KEY
        } else {
            NOT_A_TERM
        };
        FilterError { position, what }
    }

    /// What stands up to the next white space that is not quoted.
    fn value(&mut self) -> Result<String, FilterError> {
        let mut value = String::new();
        while let Some(character) = self.peek().filter(|character| !character.is_whitespace()) {
            self.position += 1;
            match character {
                '"' => self.quoted(&mut value)?,
                other => value.push(other),
            }
        }
        Ok(value)
    }

    /// The rest of what is quoted; its first quote has been read.
    fn quoted(&mut self, value: &mut String) -> Result<(), FilterError> {
        let opened = self.position - 1;
        loop {
            match self.next() {
                None => {
                    let what = "the quote that begins here has no end; a quote itself is written \\\"";
                    return Err(FilterError { position: opened, what });
                }
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some(escaped @ ('"' | '\\')) => value.push(escaped),
                    // A quote that has no end, either.
                    None => {}
                    Some(_) => {
                        let what = "within quotes, \\ is followed by \" or by \\";
                        return Err(FilterError { position: self.position - 2, what });
                    }
                },
                Some(other) => value.push(other),
            }
        }
    }
}

fn apply(filter: &mut ChatFilter, term: &Term) -> Result<(), FilterError> {
    let wrong = |what| FilterError { position: term.value_position, what };
    let value = term.value.as_str();
    match term.key.as_str() {
        "archived" => {
            filter.archived = match value {
                "false" => Archived::No,
                "true" => Archived::Only,
                "any" => Archived::Any,
                _ => return Err(wrong("archived is true, false or any")),
            }
        }
        "state" => filter.state = Some(state(value).ok_or_else(|| wrong(STATES))?),
        "has_unread" => {
            filter.has_unread = match value {
                "true" => Some(true),
                "false" => Some(false),
                _ => return Err(wrong("has_unread is true or false")),
            }
        }
        "label" => {
            let label = value.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
            let (key, value) = label.ok_or_else(|| wrong("a label is written label:key=value"))?;
            if filter.labels.len() == LABELS_MAX {
                return Err(FilterError { position: term.position, what: "there are at most 10 labels" });
            }
            filter.labels.push((key.to_owned(), value.to_owned()));
        }
        "title" => filter.title = Some(value.to_owned()),
        "model" => filter.model = Some(value.to_owned()),
        "workspace" => {
            let id = Uuid::try_parse(value).map_err(|_| wrong("a workspace is named by its id, a UUID"))?;
            filter.workspace = Some(WorkspaceId(id));
        }
        "created_after" => filter.created_after = Some(time(value).ok_or_else(|| wrong(TIME))?),
        "created_before" => filter.created_before = Some(time(value).ok_or_else(|| wrong(TIME))?),
        "search" => {
            filter.search = Some(SearchText { text: value.to_owned(), position: term.value_position });
        }
        _ => return Err(FilterError { position: term.position, what: UNKNOWN_KEY }),
    }
    Ok(())
}

const STATES: &str = "a state is waiting, running, interrupting, suspended or error";

fn state(word: &str) -> Option<State> {
    [State::Waiting, State::Running, State::Interrupting, State::Suspended, State::Error]
        .into_iter()
        .find(|state| state.as_str() == word)
}

/// A time, or the midnight with which a day begins, in UTC.
fn time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    // Its own parser takes years of any length, and signs.
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| is_date)?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc())
}
