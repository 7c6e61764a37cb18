//! Words that stand for what a user attached.
//!
//! Everything that is not a user's own words is within a tag with its name and place, so that
//! the model can tell it apart. Attributes are escaped, contents are not: they are for reading.

use chatplane_domain::{DiffSide, FileRef};

use super::forms::{INLINE_BYTES_MAX, Why};

/// Stands before a file that follows as it is: images have no names on the wire.
pub(super) fn label(file: &FileRef) -> String {
    format!("<file {}/>", attributes(file))
}

/// A file of words, cut where it is long.
pub(super) fn inlined(file: &FileRef, data: &[u8]) -> String {
    let shown = &data[..data.len().min(INLINE_BYTES_MAX)];
    let text = whole_characters(shown);
    let notice = if super::forms::size(file) > text.len() {
        format!(
            "\n[The file is cut here: these are the first {} of its {} bytes.]",
            text.len(),
            file.size_bytes
        )
    } else {
        String::new()
    };
    element("file", &attributes(file), &format!("{text}{notice}"))
}

/// Without a character that the cut has halved. What is no text, which the control plane does
/// not take for one, is shown as far as it can be.
fn whole_characters(data: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(data) {
        Ok(text) => text.into(),
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&data[..error.valid_up_to()]),
        Err(_) => String::from_utf8_lossy(data),
    }
}

/// Stands for a file that is not there.
pub(super) fn placeholder(file: &FileRef, why: Why) -> String {
    let reason = match why {
        Why::NotTaken => "this model cannot take files of this type",
        Why::TooLarge => "it is larger than the model's provider takes",
        Why::Moves => "it is animated, and the model's provider takes still images only",
        Why::NoRoom => "newer files take up all the room that a call has for files",
        Why::Unreadable => "it could not be read",
    };
    element("file", &attributes(file), &format!("[The file is not shown: {reason}.]"))
}

/// Stands where a message names a file again.
pub(super) fn named_again(file: &FileRef) -> String {
    element("file", &attributes(file), "[The file is in this message already.]")
}

/// A place in a file that the user points at.
pub(super) fn reference(path: &str, lines: (u32, u32), snippet: &str) -> String {
    let attributes = format!("path=\"{}\"{}", escaped(path), line_range(lines));
    if snippet.is_empty() {
        return format!("<file_reference {attributes}/>");
    }
    element("file_reference", &attributes, snippet)
}

/// What the user has to say of a place in a diff.
pub(super) fn comment(path: &str, side: DiffSide, lines: (u32, u32), text: &str) -> String {
    let side = match side {
        DiffSide::Old => "old",
        DiffSide::New => "new",
    };
    let attributes = format!("path=\"{}\" side=\"{side}\"{}", escaped(path), line_range(lines));
    element("diff_comment", &attributes, text)
}

fn element(name: &str, attributes: &str, content: &str) -> String {
    let end = if content.ends_with('\n') { "" } else { "\n" };
    format!("<{name} {attributes}>\n{content}{end}</{name}>")
}

fn attributes(file: &FileRef) -> String {
    let FileRef { name, media_type, size_bytes, .. } = file;
    format!("name=\"{}\" type=\"{}\" bytes=\"{size_bytes}\"", escaped(name), escaped(media_type))
}

fn line_range((start, end): (u32, u32)) -> String {
    match (start, end) {
        (0, _) => String::new(),
        (start, end) if end <= start => format!(" lines=\"{start}\""),
        (start, end) => format!(" lines=\"{start}-{end}\""),
    }
}

/// A text as the value of an attribute, on one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => {
                escaped.push_str(&format!("&#{};", u32::from(control)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}
