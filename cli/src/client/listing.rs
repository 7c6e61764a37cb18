//! Chats as rows of a table. Pure: the time is an argument, and what is foreign is freed of what a terminal
//! would obey.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{Chat, ChatState, ListedChat, Role, SearchMatch};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::client::{
    style::{Span, Style, add},
    words::{quote, turns_text},
};

/// How much of a title a row shows.
const TITLE_COLUMNS_MAX: usize = 48;
/// The heading of the titles, which are never narrower.
const TITLE_HEADING: &str = "TITLE";
/// How much of the labels a row shows: those of most chats.
const LABEL_CHARACTERS_MAX: usize = 120;
/// A UUID.
const ID_COLUMNS: usize = 36;
/// Up to 100 chats are pinned.
const PIN_COLUMNS: usize = 3;
/// The longest state: `interrupting`.
const STATE_COLUMNS: usize = 12;
const AGE_COLUMNS: usize = 4;
const UNREAD_MARK: &str = "•";
/// Stands before the title of a child.
const CHILD_MARK: &str = "└ ";
/// Stands before the place where a chat matches a search.
const MATCH_INDENT: &str = "      ";

/// Whether the ids of the chats are shown: who chooses from a list needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    Shown,
    Hidden,
}

/// The widths that all pages of a list share, as far as they are known.
pub(crate) struct Table {
    ids: Ids,
    title_columns: usize,
}

/// A chat of the list, and its rows.
pub(crate) struct Entry {
    pub(crate) chat_id: String,
    pub(crate) rows: Vec<Vec<Span>>,
}

impl Table {
    /// Wide enough for these chats. Titles of later pages may be wider, and are not cut for it.
    pub(crate) fn new(chats: &[ListedChat], ids: Ids) -> Self {
        let roots = chats.iter().filter_map(|listed| listed.chat.as_ref()).map(|chat| title(chat, ""));
        let children = chats.iter().flat_map(|listed| &listed.children).map(|chat| title(chat, CHILD_MARK));
        let widest = roots.chain(children).map(|title| title.width()).max().unwrap_or_default();
        Self { ids, title_columns: widest.max(TITLE_HEADING.len()) }
    }

    /// The names of the columns.
    pub(crate) fn heading(&self) -> Vec<Span> {
        let title = pad(TITLE_HEADING, self.title_columns);
        let id = self.id("CHAT");
        let heading = format!(
            "{:PIN_COLUMNS$}   {id}{:STATE_COLUMNS$}  {:>AGE_COLUMNS$}  {title}  LABELS",
            "PIN", "STATE", "AGE"
        );
        vec![Span::new(Style::DIM, heading)]
    }

    /// A chat, its children, and where it matches a search.
    pub(crate) fn rows(&self, listed: &ListedChat, now: SystemTime) -> Vec<Vec<Span>> {
        self.entries(listed, now).into_iter().flat_map(|entry| entry.rows).collect()
    }

    /// The same, for each chat.
    pub(crate) fn entries(&self, listed: &ListedChat, now: SystemTime) -> Vec<Entry> {
        let Some(chat) = &listed.chat else { return Vec::new() };
        let entry = |chat: &Chat, mark| Entry {
            chat_id: chat.chat_id.clone(),
            rows: vec![self.row(chat, mark, now)],
        };
        let mut root = entry(chat, "");
        root.rows.extend(listed.r#match.as_ref().map(matching));
        std::iter::once(root).chain(listed.children.iter().map(|child| entry(child, CHILD_MARK))).collect()
    }

    fn id(&self, id: &str) -> String {
        match self.ids {
            Ids::Shown => format!("{id:ID_COLUMNS$}  "),
            Ids::Hidden => String::new(),
        }
    }

    fn row(&self, chat: &Chat, mark: &str, now: SystemTime) -> Vec<Span> {
        let pin = match chat.pin_order {
            0 => String::new(),
            place => place.to_string(),
        };
        let (unread, title_style) =
            if chat.has_unread { (UNREAD_MARK, Style::BOLD) } else { (" ", Style::PLAIN) };
        let mut row = Vec::new();
        let age = age(chat, now);
        let id = self.id(&quote(&chat.chat_id, ID_COLUMNS));
        add(&mut row, Style::PLAIN, &format!("{pin:>PIN_COLUMNS$} "));
        add(&mut row, Style::BOLD, unread);
        add(&mut row, Style::DIM, &format!(" {id}"));
        add(&mut row, Style::PLAIN, &format!("{:STATE_COLUMNS$}  {age:>AGE_COLUMNS$}  ", state(chat)));
        let (title, labels) = (title(chat, mark), labels(chat));
        match labels.is_empty() {
            true => add(&mut row, title_style, &title),
            false => {
                add(&mut row, title_style, &pad(&title, self.title_columns));
                add(&mut row, Style::DIM, &format!("  {labels}"));
            }
        }
        row
    }
}

/// What a chat is doing, in a word.
pub(crate) fn state(chat: &Chat) -> &'static str {
    if chat.archived {
        return "archived";
    }
    match chat.state() {
        ChatState::Unspecified => "unknown",
        ChatState::Waiting => "waiting",
        ChatState::Running => "running",
        ChatState::Interrupting => "interrupting",
        ChatState::Suspended => "suspended",
        ChatState::Error => "error",
    }
}

/// The labels, by key.
pub(crate) fn label_lines(chat: &Chat) -> Vec<String> {
    let shown = |(key, value): (&String, &String)| {
        format!("{}={}", quote(key, LABEL_CHARACTERS_MAX), quote(value, LABEL_CHARACTERS_MAX * 4))
    };
    chat.labels.iter().map(shown).collect()
}

fn labels(chat: &Chat) -> String {
    quote(&label_lines(chat).join(" "), LABEL_CHARACTERS_MAX)
}

fn title(chat: &Chat, mark: &str) -> String {
    // A letter may be many characters, and no title has as many.
    let title = quote(&chat.title, usize::from(u8::MAX) * 2);
    cut(&format!("{mark}{title}"), TITLE_COLUMNS_MAX)
}

/// `now`, `5m`, `3h`, `12d`: the time since the chat last changed.
fn age(chat: &Chat, now: SystemTime) -> String {
    let then = chat.update_time.and_then(|time| SystemTime::try_from(time).ok());
    // A clock that is behind makes no age.
    let age = then.map(|then| now.duration_since(then).unwrap_or(Duration::ZERO));
    let Some(minutes) = age.map(|age| age.as_secs() / 60) else {
        return "?".to_owned();
    };
    match (minutes, minutes / 60, minutes / (24 * 60)) {
        (0, ..) => "now".to_owned(),
        (minutes @ ..60, ..) => format!("{minutes}m"),
        (_, hours @ ..24, _) => format!("{hours}h"),
        (.., days @ ..1000) => format!("{days}d"),
        (.., days) => format!("{}y", days / 365),
    }
}

/// The row below a chat: who said it, and the piece with what matches in it.
fn matching(found: &SearchMatch) -> Vec<Span> {
    let who = match (found.message_id, found.role()) {
        (0, _) => "title".to_owned(),
        (id, Role::User) => format!("user #{id}"),
        (id, Role::Assistant) => format!("assistant #{id}"),
        (id, Role::Unspecified | Role::System | Role::Tool) => format!("#{id}"),
    };
    let mut row = vec![Span::new(Style::DIM, format!("{MATCH_INDENT}{who}: "))];
    for span in highlighted(found) {
        add(&mut row, span.style, &span.text);
    }
    row
}

/// The piece in one line. Places count characters as they came, also those that are left out.
fn highlighted(found: &SearchMatch) -> Vec<Span> {
    let is_within = |place: usize| {
        let is_in = |start: i32, end: i32| {
            let (start, end) = (usize::try_from(start), usize::try_from(end));
            start.is_ok_and(|start| start <= place) && end.is_ok_and(|end| place < end)
        };
        found.highlights.iter().any(|range| is_in(range.start, range.end))
    };
    let mut spans = Vec::new();
    let mut is_blank = true;
    for (place, character) in found.snippet.chars().enumerate().filter(|(_, it)| !turns_text(*it)) {
        let style = if is_within(place) { Style::BOLD.and(Style::UNDERLINED) } else { Style::PLAIN };
        let is_space = character.is_whitespace() || character.is_control();
        if !is_space {
            add(&mut spans, style, character.encode_utf8(&mut [0; 4]));
        } else if !is_blank {
            add(&mut spans, style, " ");
        }
        is_blank = is_space;
    }
    spans
}

/// The beginning of a line, as far as it fits so many columns.
fn cut(line: &str, columns_max: usize) -> String {
    if line.width() <= columns_max {
        return line.to_owned();
    }
    let mut cut = String::new();
    for letter in line.graphemes(true) {
        // One column is for what says that something is missing.
        if cut.width() + letter.width() >= columns_max {
            break;
        }
        cut.push_str(letter);
    }
    cut + "…"
}

/// The text with spaces up to so many columns; a letter may take none or two of them.
fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::TextRange;

    use super::*;
    use crate::client::style::paint;

    const ID: &str = "0197f7a0-0000-7000-8000-000000000000";
    const NOW: u64 = 2_000_000_000;

    fn chat(title: &str, seconds_ago: u64) -> Chat {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW - seconds_ago);
        Chat {
            chat_id: ID.to_owned(),
            title: title.to_owned(),
            state: ChatState::Waiting.into(),
            update_time: Some(time.into()),
            ..Default::default()
        }
    }

    fn plain(spans: &[Span]) -> String {
        spans.iter().map(|span| span.text.as_str()).collect()
    }

    fn table(chats: &[ListedChat]) -> String {
        let (table, now) = (Table::new(chats, Ids::Shown), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
        let rows = chats.iter().flat_map(|listed| table.rows(listed, now));
        std::iter::once(table.heading()).chain(rows).map(|row| plain(&row) + "\n").collect()
    }

    #[test]
    fn a_table_shows_pins_unread_answers_states_ages_titles_and_labels() {
        let pinned = Chat {
            pin_order: 2,
            has_unread: true,
            labels: [("team", "river"), ("a", "x y")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..chat("Otters", 30)
        };
        let running = Chat { state: ChatState::Running.into(), ..chat("日本語の本", 3 * 3600) };
        let archived = Chat {
            archived: true,
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..chat("Herons\u{1b}[2J \u{202e}and egrets", 400 * 24 * 3600)
        };
        let child = Chat { state: ChatState::Error.into(), ..chat("Look it up", 59 * 60) };
        let chats = [
            ListedChat { chat: Some(pinned), ..Default::default() },
            ListedChat { chat: Some(running), children: vec![child], ..Default::default() },
            ListedChat { chat: Some(archived), ..Default::default() },
        ];

        assert_eq!(
            table(&chats),
            format!(
                "PIN   {:36}  STATE          AGE  TITLE                  LABELS\n\
                 \x20 2 • {ID}  waiting        now  Otters                 a=x y team=river\n\
                 \x20     {ID}  running         3h  日本語の本\n\
                 \x20     {ID}  error          59m  └ Look it up\n\
                 \x20     {ID}  archived      400d  Herons [2J and egrets  k=v\n",
                "CHAT"
            )
        );
    }

    #[test]
    fn a_long_title_is_cut_where_its_letters_end() {
        let wide = cut(&"日".repeat(100), 10);
        let family = cut(&"👩‍👩‍👧".repeat(10), 6);

        assert_eq!(wide, "日日日日…");
        assert_eq!(family.graphemes(true).count(), 3);
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn what_matches_stands_out_also_where_something_before_it_was_left_out() {
        let found = SearchMatch {
            message_id: 7,
            role: Role::Assistant.into(),
            snippet: "\u{202e}a\n\nbig\u{1b} otter, 日本".to_owned(),
            highlights: vec![TextRange { start: 9, end: 14 }, TextRange { start: 16, end: 99 }],
        };

        let row = matching(&found);

        assert_eq!(plain(&row), "      assistant #7: a big otter, 日本");
        assert!(paint(&row).contains("a big \x1b[1;4motter\x1b[0m, \x1b[1;4m日本\x1b[0m"), "{}", paint(&row));
    }

    #[test]
    fn nonsense_ranges_and_times_are_borne() {
        let found = SearchMatch {
            snippet: "x".to_owned(),
            highlights: vec![TextRange { start: -5, end: -1 }, TextRange { start: 5, end: 2 }],
            ..Default::default()
        };
        let now = SystemTime::UNIX_EPOCH;

        assert_eq!(plain(&matching(&found)), "      title: x");
        assert_eq!(age(&chat("", 0), now), "now");
        assert_eq!(age(&Chat::default(), now), "?");
    }
}
