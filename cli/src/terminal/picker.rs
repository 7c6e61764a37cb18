//! A list of chats to choose from: keys and pages in, wishes and rows out. Pure.

use std::time::SystemTime;

use chatplane_proto::chat::v1::{ListChatsRequest, ListChatsResponse, ListedChat};

use super::{keys::Key, rows::Row, screen::Size};
use crate::client::{
    listing::{Entry, Ids, Table},
    style::{Span, Style},
    words::quote,
};

/// Nobody looks through more: a query finds the others.
const CHATS_MAX: usize = 1000;
/// When so few chats are left below the chosen one, the next page is asked for.
const CHATS_AHEAD: usize = 5;
/// As many are listed again at once when something has changed: a page of the API.
const CHATS_AGAIN_MAX: usize = 100;
/// A list that is shorter is listed again as if it were so long: it may have grown.
const CHATS_AGAIN_MIN: usize = 25;
/// What the API takes as a query.
const QUERY_CHARACTERS_MAX: usize = 1024;
/// What is not for chats: the heading, the line of keys, and a row that stays free for the cursor.
const OTHER_ROWS: usize = 3;
/// Words about what went wrong.
const NOTE_CHARACTERS_MAX: usize = 300;

const KEYS: &str = "Enter opens · j k or the arrow keys move · / asks for a query · q leaves";
const KEYS_IN_QUERY: &str = "  (Enter lists · Ctrl-C keeps the list)";
const CHOSEN_MARK: &str = "> ";
const OTHER_MARK: &str = "  ";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    Nothing,
    Load(ListChatsRequest),
    Open { chat_id: String },
    Leave,
    LeaveInAHurry,
}

/// Why a page is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// It begins the list of a query.
    First,
    /// It goes on with the list.
    Next,
    /// It takes the place of the list, in which something has changed.
    Again,
}

/// The list as far as it was loaded.
pub(super) struct Picker {
    /// The query of what is listed.
    query: String,
    /// The query that is being written.
    written: Option<String>,
    chats: Vec<ListedChat>,
    next_page_token: String,
    /// What was asked for and has not come.
    loading: Option<(Page, ListChatsRequest)>,
    /// Something has changed since the list was asked for.
    is_stale: bool,
    chosen: usize,
    /// The first entry that is shown.
    top: usize,
    note: Option<String>,
}

impl Picker {
    /// The list, and what is to be loaded first.
    pub(super) fn new(query: String) -> (Self, Wish) {
        let mut picker = Self {
            query: String::new(),
            written: None,
            chats: Vec::new(),
            next_page_token: String::new(),
            loading: None,
            is_stale: false,
            chosen: 0,
            top: 0,
            note: None,
        };
        let wish = picker.load(Page::First, query);
        (picker, wish)
    }

    /// A page has come. It begins the list when it is the first of its query.
    pub(super) fn loaded(&mut self, page: ListChatsResponse) {
        let Some((which, request)) = self.loading.take() else { return };
        match which {
            Page::First => {
                self.chats = page.chats;
                (self.chosen, self.top) = (0, 0);
            }
            Page::Next => self.chats.extend(page.chats),
            Page::Again => self.replace(page.chats),
        }
        self.query = request.q;
        self.chats.truncate(CHATS_MAX);
        self.next_page_token = page.next_page_token;
        if which != Page::Again {
            self.note = None;
        }
    }

    /// The list is another one; what was chosen stays chosen.
    fn replace(&mut self, chats: Vec<ListedChat>) {
        let chosen = self.chosen_chat();
        self.chats = chats;
        let entries = self.entries(SystemTime::UNIX_EPOCH);
        let place = chosen.and_then(|chat_id| entries.iter().position(|entry| entry.chat_id == chat_id));
        self.chosen = place.unwrap_or(self.chosen).min(entries.len().saturating_sub(1));
    }

    /// Something has changed among the chats.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// Lists again what has changed, once nothing else is on its way. A long list stays as it is: to read all of
    /// it anew for each change is too much.
    pub(super) fn catch_up(&mut self) -> Wish {
        if !self.is_stale || self.loading.is_some() || self.chats.len() > CHATS_AGAIN_MAX {
            return Wish::Nothing;
        }
        self.load(Page::Again, self.query.clone())
    }

    /// What was asked for does not come.
    pub(super) fn failed(&mut self, reason: &str) {
        self.loading = None;
        self.tell(reason);
    }

    /// Shows words until something else happens.
    pub(super) fn tell(&mut self, note: &str) {
        self.note = Some(quote(note, NOTE_CHARACTERS_MAX));
    }

    pub(super) fn press(&mut self, key: Key) -> Wish {
        self.note = None;
        match self.written.take() {
            Some(written) => self.write(written, key),
            None => self.choose(&key),
        }
    }

    fn choose(&mut self, key: &Key) -> Wish {
        let last = self.entries(SystemTime::UNIX_EPOCH).len().saturating_sub(1);
        match key {
            Key::Up | Key::Character('k') => self.chosen = self.chosen.saturating_sub(1),
            Key::Down | Key::Character('j') => self.chosen = (self.chosen + 1).min(last),
            Key::Home | Key::Character('g') => self.chosen = 0,
            Key::End | Key::Character('G') => self.chosen = last,
            Key::Enter => {
                return self.chosen_chat().map_or(Wish::Nothing, |chat_id| Wish::Open { chat_id });
            }
            Key::Character('/') => self.written = Some(self.query.clone()),
            Key::Character('r') => return self.load(Page::First, self.query.clone()),
            Key::Character('q') | Key::EndOfInput => return Wish::Leave,
            Key::Interrupt => return Wish::LeaveInAHurry,
            _ => {}
        }
        if self.chosen + CHATS_AHEAD > last { self.load_more() } else { Wish::Nothing }
    }

    /// A key while a query is being written.
    fn write(&mut self, mut written: String, key: Key) -> Wish {
        match key {
            Key::Enter => return self.load(Page::First, written),
            // The list stays as it is.
            Key::Interrupt | Key::EndOfInput => return Wish::Nothing,
            Key::Character(character) => written.push(character),
            Key::Paste(text) => written.push_str(&quote(&text, QUERY_CHARACTERS_MAX)),
            Key::Backspace => drop(written.pop()),
            Key::CutToStart => written.clear(),
            Key::CutWord => {
                let kept = written.trim_end().rfind(' ').map_or(0, |space| space + 1);
                written.truncate(kept);
            }
            _ => {}
        }
        self.written = Some(written.chars().take(QUERY_CHARACTERS_MAX).collect());
        Wish::Nothing
    }

    fn load(&mut self, which: Page, q: String) -> Wish {
        let page_token = if which == Page::Next { self.next_page_token.clone() } else { String::new() };
        let page_size = match which {
            Page::First | Page::Next => 0,
            Page::Again => i32::try_from(self.chats.len().max(CHATS_AGAIN_MIN)).unwrap_or(i32::MAX),
        };
        // A page that goes on with a list says nothing of what has changed in it.
        self.is_stale &= which == Page::Next;
        let request = ListChatsRequest { page_size, page_token, q };
        // A page that is still on its way is of no use any more.
        self.loading = Some((which, request.clone()));
        Wish::Load(request)
    }

    fn chosen_chat(&self) -> Option<String> {
        self.entries(SystemTime::UNIX_EPOCH).into_iter().nth(self.chosen).map(|entry| entry.chat_id)
    }

    fn load_more(&mut self) -> Wish {
        if self.loading.is_some() || self.next_page_token.is_empty() || self.chats.len() >= CHATS_MAX {
            return Wish::Nothing;
        }
        self.load(Page::Next, self.query.clone())
    }

    fn entries(&self, now: SystemTime) -> Vec<Entry> {
        let table = Table::new(&self.chats, Ids::Hidden);
        self.chats.iter().flat_map(|listed| table.entries(listed, now)).collect()
    }

    /// What is shown, none of it wider than the terminal, and no more than fits it.
    pub(super) fn rows(&mut self, size: Size, now: SystemTime) -> Vec<Row> {
        let entries = self.entries(now);
        let rows_max = size.rows.saturating_sub(OTHER_ROWS).max(1);
        self.show_chosen(&entries, rows_max);
        let heading = Table::new(&self.chats, Ids::Hidden).heading();
        let mut rows = vec![marked(OTHER_MARK, heading)];
        let shown = entries.into_iter().enumerate().skip(self.top);
        for (place, entry) in shown {
            if rows.len() - 1 + entry.rows.len() > rows_max {
                break;
            }
            let is_chosen = place == self.chosen;
            for (number, row) in entry.rows.into_iter().enumerate() {
                let mark = if is_chosen && number == 0 { CHOSEN_MARK } else { OTHER_MARK };
                rows.push(marked(mark, if is_chosen { bold(row) } else { row }));
            }
        }
        rows.push(self.last_row());
        // The last column stays empty: what a terminal does after it differs.
        rows.iter().map(|row| Row::cut(row, size.columns - 1)).collect()
    }

    /// Moves what is shown so that the chosen one is in it.
    fn show_chosen(&mut self, entries: &[Entry], rows_max: usize) {
        self.chosen = self.chosen.min(entries.len().saturating_sub(1));
        self.top = self.top.min(self.chosen);
        let height = |entries: &[Entry]| entries.iter().map(|entry| entry.rows.len()).sum::<usize>();
        while self.top < self.chosen && height(&entries[self.top..=self.chosen]) > rows_max {
            self.top += 1;
        }
        // What fits above is shown, too: a list that was listed again may be shorter.
        while self.top > 0 && height(&entries[self.top - 1..]) <= rows_max {
            self.top -= 1;
        }
    }

    /// Whether the cursor is to be seen: something is being written.
    pub(super) fn is_written_to(&self) -> bool {
        self.written.is_some()
    }

    fn last_row(&self) -> Vec<Span> {
        let dim = |text: &str| Span::new(Style::DIM, text);
        match (&self.written, &self.note) {
            (Some(written), _) => {
                // A terminal must not obey what was pasted either.
                vec![
                    dim(KEYS_IN_QUERY.trim_start()),
                    Span::plain(format!(" /{}", quote(written, QUERY_CHARACTERS_MAX))),
                ]
            }
            (None, Some(note)) => vec![Span::plain(note.clone())],
            (None, None) if self.loading.as_ref().is_some_and(|(which, _)| *which != Page::Again) => {
                vec![dim("Loading …")]
            }
            (None, None) if self.chats.is_empty() => vec![dim(&format!("There are no such chats. {KEYS}"))],
            (None, None) if self.query.is_empty() => vec![dim(KEYS)],
            (None, None) => vec![Span::plain(format!("/{} ", quote(&self.query, 60))), dim(KEYS)],
        }
    }
}

fn marked(mark: &str, mut row: Vec<Span>) -> Vec<Span> {
    row.insert(0, Span::new(Style::BOLD, mark));
    row
}

fn bold(row: Vec<Span>) -> Vec<Span> {
    row.into_iter().map(|span| Span { style: span.style.and(Style::BOLD), ..span }).collect()
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::{Chat, SearchMatch};

    use super::*;

    const SIZE: Size = Size { columns: 60, rows: 6 };

    fn page(ids: std::ops::Range<usize>, next: &str) -> ListChatsResponse {
        let chat =
            |id| Chat { chat_id: format!("id{id}"), title: format!("title {id}"), ..Default::default() };
        let listed = |id| ListedChat { chat: Some(chat(id)), ..Default::default() };
        ListChatsResponse {
            chats: ids.map(listed).collect(),
            next_page_token: next.to_owned(),
            ..Default::default()
        }
    }

    fn picker(ids: std::ops::Range<usize>, next: &str) -> Picker {
        let (mut picker, first) = Picker::new(String::new());
        assert_eq!(first, Wish::Load(ListChatsRequest::default()));
        picker.loaded(page(ids, next));
        picker
    }

    fn press(picker: &mut Picker, keys: &[Key]) -> Wish {
        keys.iter().map(|key| picker.press(key.clone())).last().unwrap()
    }

    fn typed(text: &str) -> Vec<Key> {
        text.chars().map(Key::Character).collect()
    }

    /// The titles that are shown, with the mark before the chosen one.
    fn shown(picker: &mut Picker) -> Vec<String> {
        let rows = picker.rows(SIZE, SystemTime::UNIX_EPOCH);
        assert!(rows.len() < SIZE.rows && rows.iter().all(|row| row.columns() < SIZE.columns));
        let plain = |row: &Row| String::from_utf8_lossy(&strip(&row.paint())).into_owned();
        let rows: Vec<String> = rows.iter().map(plain).collect();
        let title = |row: &String| format!("{}{}", &row[..2], row.rsplit("  ").next().unwrap_or_default());
        rows[1..rows.len() - 1].iter().map(title).collect()
    }

    fn strip(painted: &str) -> Vec<u8> {
        let mut pieces = painted.split("\x1b[");
        let first = pieces.next().unwrap_or_default().to_owned();
        let rest = pieces.map(|piece| piece.split_once('m').map_or("", |(_, text)| text));
        (first + &rest.collect::<String>()).into_bytes()
    }

    #[test]
    fn keys_move_through_a_list_that_is_longer_than_the_screen() {
        let mut picker = picker(0..5, "");

        assert_eq!(shown(&mut picker), ["> title 0", "  title 1", "  title 2"]);
        press(&mut picker, &[Key::Down, Key::Character('j'), Key::Down]);
        assert_eq!(shown(&mut picker), ["  title 1", "  title 2", "> title 3"]);
        press(&mut picker, &[Key::Up, Key::Character('k'), Key::Up, Key::Up]);
        assert_eq!(shown(&mut picker), ["> title 0", "  title 1", "  title 2"]);
        press(&mut picker, &[Key::End, Key::Down]);
        assert_eq!(shown(&mut picker), ["  title 2", "  title 3", "> title 4"]);

        assert_eq!(press(&mut picker, &[Key::Enter]), Wish::Open { chat_id: "id4".to_owned() });
        assert_eq!(press(&mut picker, &typed("q")), Wish::Leave);
        assert_eq!(press(&mut picker, &[Key::Interrupt]), Wish::LeaveInAHurry);
    }

    #[test]
    fn the_next_page_is_asked_for_once_before_the_end_is_seen() {
        let mut picker = picker(0..10, "more");

        assert_eq!(press(&mut picker, &vec![Key::Down; 4]), Wish::Nothing);
        let wish = press(&mut picker, &[Key::Down]);
        assert_eq!(
            wish,
            Wish::Load(ListChatsRequest { page_token: "more".to_owned(), ..Default::default() })
        );
        assert_eq!(press(&mut picker, &[Key::Down]), Wish::Nothing);
        picker.loaded(page(10..12, ""));

        press(&mut picker, &[Key::End]);
        assert_eq!(shown(&mut picker).last().map(String::as_str), Some("> title 11"));
    }

    #[test]
    fn a_query_is_written_asked_for_and_kept_when_it_was_refused() {
        let mut picker = picker(0..5, "");

        let wish = press(&mut picker, &[typed("/labelx"), vec![Key::Backspace, Key::Enter]].concat());
        assert_eq!(wish, Wish::Load(ListChatsRequest { q: "label".to_owned(), ..Default::default() }));
        picker.failed("\u{1b}no value");
        let row = picker.last_row();
        assert_eq!(row, [Span::plain("no value")]);
        assert_eq!(shown(&mut picker).len(), 3, "the list is still there");
        press(&mut picker, &[typed("/"), typed("abc"), vec![Key::Interrupt]].concat());
        assert_eq!(picker.query, "");

        press(&mut picker, &[typed("r/state:error"), vec![Key::Enter]].concat());
        picker.loaded(page(7..8, ""));
        assert_eq!(
            (shown(&mut picker), picker.query.as_str()),
            (vec!["> title 7".to_owned()], "state:error")
        );
        press(&mut picker, &typed("/"));
        assert_eq!(picker.written.as_deref(), Some("state:error"), "it can be changed");
    }

    #[test]
    fn a_list_in_which_something_has_changed_is_listed_again_around_what_is_chosen() {
        let mut picker = picker(1..6, "");
        press(&mut picker, &[Key::Down, Key::Down, Key::Down]);
        assert_eq!(shown(&mut picker), ["  title 2", "  title 3", "> title 4"]);
        assert_eq!(picker.catch_up(), Wish::Nothing, "nothing has changed");

        picker.changed();
        let again = ListChatsRequest { page_size: 25, ..Default::default() };
        assert_eq!(picker.catch_up(), Wish::Load(again.clone()));
        picker.changed();
        assert_eq!(picker.catch_up(), Wish::Nothing, "it is on its way");
        picker.loaded(page(0..6, ""));
        assert_eq!(shown(&mut picker), ["  title 2", "  title 3", "> title 4"]);
        assert_eq!(picker.catch_up(), Wish::Load(again), "it changed once more");
        picker.loaded(page(0..3, ""));
        assert_eq!(shown(&mut picker), ["  title 0", "  title 1", "> title 2"], "what was chosen is gone");

        picker.changed();
        assert!(matches!(press(&mut picker, &typed("r")), Wish::Load(_)));
        picker.loaded(page(0..200, "more"));
        assert_eq!(picker.catch_up(), Wish::Nothing, "it was listed again already");
        picker.changed();
        assert_eq!(picker.catch_up(), Wish::Nothing, "it is too long");
    }

    #[test]
    fn a_chat_that_comes_above_what_is_chosen_is_seen() {
        let mut picker = picker(1..2, "");

        picker.changed();
        picker.catch_up();
        picker.loaded(page(0..2, ""));

        assert_eq!(shown(&mut picker), ["  title 0", "> title 1"]);
    }

    #[test]
    fn a_chat_that_was_found_is_shown_with_its_place() {
        let mut picker = picker(0..0, "");
        assert_eq!(press(&mut picker, &[Key::Enter]), Wish::Nothing);
        let mut found = page(0..3, "");
        for listed in &mut found.chats {
            listed.r#match = Some(SearchMatch { snippet: "an otter".to_owned(), ..Default::default() });
        }
        press(&mut picker, &typed("r"));
        picker.loaded(found);

        press(&mut picker, &[Key::Down]);

        assert_eq!(shown(&mut picker).len(), 2, "the chosen one is whole, and no other half");
        assert_eq!(shown(&mut picker)[0], "> title 1");
    }
}
