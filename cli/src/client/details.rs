//! One chat in full, and the files of a chat. Pure.

use chatplane_proto::chat::v1::{Chat, DiffSide, File, Part, part::Kind};

use crate::client::{
    listing::{label_lines, state},
    style::{Span, Style},
    words::quote,
};

/// No title, name or summary is longer.
const CHARACTERS_MAX: usize = 500;
/// The longest name of a line, and the space after it.
const NAME_COLUMNS: usize = 11;
/// Sizes of files are told in bytes, up to this many digits.
const SIZE_COLUMNS: usize = 10;
/// The longest type: `application/json`.
const TYPE_COLUMNS: usize = 16;

/// The lines of a chat. What it does not have has no line.
pub(crate) fn chat(chat: &Chat) -> Vec<Vec<Span>> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let name = Span::new(Style::DIM, format!("{name:NAME_COLUMNS$}"));
            lines.push(vec![name, Span::plain(quote(value, CHARACTERS_MAX))]);
        }
    };
    line("chat", &chat.chat_id);
    line("title", &chat.title);
    line("state", state(chat));
    line("error", chat.last_error.as_ref().map_or("", |error| error.message.as_str()));
    line("summary", &chat.last_turn_summary);
    line("unread", if chat.has_unread { "yes" } else { "no" });
    line("pin", &some_number(chat.pin_order));
    line("queued", &some_number(chat.queue_length));
    line("model", &chat.model);
    line("workspace", &chat.workspace_id);
    line("parent", &chat.parent_chat_id);
    line("created", &chat.create_time.map(|time| time.to_string()).unwrap_or_default());
    line("changed", &chat.update_time.map(|time| time.to_string()).unwrap_or_default());
    line("archived", &chat.archive_time.map(|time| time.to_string()).unwrap_or_default());
    for label in label_lines(chat) {
        line("label", &label);
    }
    for file in &chat.files {
        line(
            "file",
            &format!("{} {} ({}, {})", file.file_id, file.name, file.media_type, size(file.size_bytes)),
        );
    }
    lines
}

/// The line of a file.
pub(crate) fn file(file: &File) -> String {
    let (name, kind) = (quote(&file.name, CHARACTERS_MAX), quote(&file.media_type, CHARACTERS_MAX));
    format!("{}  {:>SIZE_COLUMNS$}  {kind:TYPE_COLUMNS$}  {name}", file.file_id, file.size_bytes)
}

/// The line after an upload.
pub(crate) fn stored(file: &File) -> String {
    let name = quote(&file.name, CHARACTERS_MAX);
    format!("{name}: {}, {}", quote(&file.media_type, CHARACTERS_MAX), size(file.size_bytes))
}

/// The line of what goes with a message's text.
pub(crate) fn attached(part: &Part) -> Option<String> {
    let place = |path: &str, start: i32, end: i32| {
        let path = quote(path, CHARACTERS_MAX);
        match (start, end) {
            (0, _) => path,
            (start, end) if end <= start => format!("{path}:{start}"),
            (start, end) => format!("{path}:{start}-{end}"),
        }
    };
    let line = match part.kind.as_ref()? {
        Kind::File(file) => format!("{}, {}", quote(&file.name, CHARACTERS_MAX), size(file.size_bytes)),
        Kind::FileReference(it) => place(&it.path, it.start_line, it.end_line),
        Kind::DiffComment(it) => {
            let side = if it.side() == DiffSide::Old { "before" } else { "after" };
            let place = place(&it.path, it.start_line, it.end_line);
            format!("{place}, {side}: {}", quote(&it.text, CHARACTERS_MAX))
        }
        Kind::Text(_) | Kind::Reasoning(_) | Kind::ToolCall(_) | Kind::ToolResult(_) => return None,
    };
    Some(format!("[{line}]"))
}

/// `512 bytes`, `20 KiB`, `1.5 MiB`.
pub(crate) fn size(bytes: i64) -> String {
    const KIB: i64 = 1024;
    const MIB: i64 = KIB * KIB;
    match bytes {
        1 => "1 byte".to_owned(),
        ..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        MIB.. => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

fn some_number(number: i32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::{ChatState, DiffCommentPart, FilePart, FileReferencePart};

    use super::*;

    #[test]
    fn a_chat_is_told_in_lines_and_what_is_missing_is_left_out() {
        let told = Chat {
            chat_id: "0197f7a0".to_owned(),
            title: "Otters\n\u{1b}[2J".to_owned(),
            state: ChatState::Waiting.into(),
            pin_order: 3,
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            labels: [("team".to_owned(), "river".to_owned())].into(),
            files: vec![File {
                file_id: "0197f7a1".to_owned(),
                name: "a\u{202e}gnp.txt".to_owned(),
                media_type: "text/plain".to_owned(),
                size_bytes: 1_600_000,
                ..Default::default()
            }],
            ..Default::default()
        };

        let lines: Vec<String> =
            chat(&told).iter().map(|line| line.iter().map(|span| span.text.as_str()).collect()).collect();

        assert_eq!(
            lines,
            [
                "chat       0197f7a0",
                "title      Otters [2J",
                "state      waiting",
                "unread     no",
                "pin        3",
                "created    1970-01-01T00:00:00Z",
                "label      team=river",
                "file       0197f7a1 agnp.txt (text/plain, 1.5 MiB)",
            ]
        );
    }

    #[test]
    fn what_goes_with_a_message_is_a_line_each() {
        let file = FilePart { name: "a.png".to_owned(), size_bytes: 3, ..Default::default() };
        let path = "src/main.rs".to_owned();
        let whole = FileReferencePart { path: path.clone(), ..Default::default() };
        let lines = FileReferencePart { start_line: 3, end_line: 5, ..whole.clone() };
        let comment = DiffCommentPart {
            path,
            side: DiffSide::New.into(),
            start_line: 7,
            text: "why\nso?".to_owned(),
            ..Default::default()
        };
        let kinds = [
            Kind::File(file),
            Kind::FileReference(whole),
            Kind::FileReference(lines),
            Kind::DiffComment(comment),
            Kind::Text(Default::default()),
        ];

        let told = kinds.map(|kind| attached(&Part { kind: Some(kind) }).unwrap_or_default());

        assert_eq!(
            told,
            ["[a.png, 3 bytes]", "[src/main.rs]", "[src/main.rs:3-5]", "[src/main.rs:7, after: why so?]", "",]
        );
    }

    #[test]
    fn sizes_are_told_as_exactly_as_is_needed() {
        assert_eq!(
            [0, 1, 1023, 20_480, 10_485_760].map(size),
            ["0 bytes", "1 byte", "1023 bytes", "20 KiB", "10.0 MiB"]
        );
    }
}
