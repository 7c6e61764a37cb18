//! What the demo model does next: a pure function of the conversation.

use serde_json::{Value, json};

use super::{
    conversation::{Call, Conversation},
    listing,
};

const LIST_DIR: &str = "list_dir";
const READ_FILE: &str = "read_file";
const EXECUTE: &str = "execute";
/// Characters of a question that a reply repeats.
const QUESTION_CHARS_SHOWN: usize = 80;
/// Lines asked of a file.
const LINES_READ: u32 = 40;
/// Lines of a file that the answer shows.
const LINES_SHOWN: usize = 4;
/// Characters of a line that the answer shows.
const LINE_CHARS_SHOWN: usize = 160;
/// Names that the answer lists.
const ENTRIES_SHOWN: usize = 50;

/// A piece of a reply.
#[derive(Debug, PartialEq)]
pub(super) enum Block {
    Text(String),
    Call { tool_name: &'static str, input: Value },
}

/// Lists the directory, then reads a few files and runs a command, then answers.
pub(super) fn decide(conversation: &Conversation<'_>) -> Vec<Block> {
    if !conversation.has_tool(LIST_DIR) {
        return vec![Block::Text(without_tools())];
    }
    let calls = &conversation.calls;
    let Some(listing) = calls.iter().find(|call| call.tool_name == LIST_DIR) else {
        return vec![
            Block::Text(opening(conversation)),
            Block::Call { tool_name: LIST_DIR, input: json!({"path": "."}) },
        ];
    };
    if listing.is_error {
        return vec![Block::Text(format!("I could not list the directory: {}", cut(&listing.output)))];
    }
    let entries = listing::entries(&listing.output);
    let has_looked_closer = calls.iter().any(|call| call.tool_name != LIST_DIR);
    if !has_looked_closer {
        let closer = look_closer(conversation, &entries);
        if !closer.is_empty() {
            return closer;
        }
    }
    vec![Block::Text(summary(&entries, calls))]
}

fn opening(conversation: &Conversation<'_>) -> String {
    if conversation.questions < 2 {
        return "Let me see what is in this directory.".to_owned();
    }
    // The first thing that a person would like to know of a follow-up is that it has arrived.
    let words: Vec<&str> = conversation.question.split_whitespace().collect();
    let question = cut_to(&words.join(" "), QUESTION_CHARS_SHOWN);
    format!(
        "You asked: \"{question}\". I am only the demo model and cannot tell what that means, but I can look \
         again."
    )
}

/// Reads the files that promise most, and runs one harmless command.
fn look_closer(conversation: &Conversation<'_>, entries: &[&str]) -> Vec<Block> {
    let files = match conversation.has_tool(READ_FILE) {
        true => listing::worth_reading(entries),
        false => Vec::new(),
    };
    let command = conversation.has_tool(EXECUTE).then(|| command(entries));
    let plan = match (files.as_slice(), command) {
        ([], None) => return Vec::new(),
        ([], Some(command)) => format!("I will run `{command}`."),
        (files, None) => format!("I will read {}.", and(files)),
        (files, Some(command)) => format!("I will read {}, and run `{command}`.", and(files)),
    };
    let read = |path: &&str| Block::Call {
        tool_name: READ_FILE,
        input: json!({"path": path, "offset": 1, "limit": LINES_READ}),
    };
    let mut reply = vec![Block::Text(plan)];
    reply.extend(files.iter().map(read));
    reply.extend(
        command.map(|command| Block::Call { tool_name: EXECUTE, input: json!({"command": command}) }),
    );
    reply
}

/// A command that changes nothing and is quick anywhere. No name of the directory becomes part of it: names
/// may hold anything, also what a shell would run.
fn command(entries: &[&str]) -> &'static str {
    if entries.is_empty() { "uname -s" } else { "ls -A | wc -l" }
}

fn without_tools() -> String {
    "I am the demo model: a small program that stands in for a language model. I can only look at a workspace, \
     and this chat has no tools for that, so I have nothing to say. With a provider's key a real model answers."
        .to_owned()
}

fn summary(entries: &[&str], calls: &[Call<'_>]) -> String {
    let mut paragraphs = vec![contents(entries)];
    paragraphs.extend(calls.iter().filter_map(|call| match call.tool_name {
        READ_FILE => Some(file_summary(call)),
        EXECUTE => Some(command_summary(call)),
        _ => None,
    }));
    paragraphs.join("\n\n")
}

fn contents(entries: &[&str]) -> String {
    if entries.is_empty() {
        return "This directory is empty.".to_owned();
    }
    let directories = entries.iter().filter(|entry| listing::is_directory(entry)).count();
    let counts = [
        counted(directories, "directory", "directories"),
        counted(entries.len() - directories, "file", "files"),
    ];
    let counts: Vec<&str> = counts.iter().flatten().map(String::as_str).collect();
    let shown = &entries[..entries.len().min(ENTRIES_SHOWN)];
    let more = match entries.len() - shown.len() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("This directory has {}: {}{more}.", and(&counts), and(shown))
}

fn command_summary(call: &Call<'_>) -> String {
    let command = cut(call.input["command"].as_str().unwrap_or("The command"));
    if call.is_error {
        return format!("`{command}` failed: {}", cut(&call.output));
    }
    let lines = call.output.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let shown: Vec<String> = lines.take(LINES_SHOWN).map(|line| format!("> {}", cut(line))).collect();
    match shown.as_slice() {
        [] => format!("`{command}` printed nothing."),
        shown => format!("`{command}` printed:\n{}", shown.join("\n")),
    }
}

fn file_summary(call: &Call<'_>) -> String {
    let path = call.input["path"].as_str().unwrap_or("A file");
    if call.is_error {
        return format!("{path} could not be read: {}", cut(&call.output));
    }
    let lines: Vec<&str> = call.output.lines().filter_map(file_line).collect();
    let is_heading = |line: &&&str| line.starts_with('#') && path.to_lowercase().ends_with(".md");
    let heading = lines.iter().find(is_heading);
    let shown: Vec<String> = lines
        .iter()
        .filter(|line| Some(*line) != heading)
        .take(LINES_SHOWN)
        .map(|line| format!("> {}", cut(line)))
        .collect();
    match heading {
        _ if lines.is_empty() => format!("{path} is empty."),
        Some(heading) if shown.is_empty() => format!("{path} is titled \"{}\".", title(heading)),
        Some(heading) => format!("{path} is titled \"{}\" and begins:\n{}", title(heading), shown.join("\n")),
        None => format!("{path} begins:\n{}", shown.join("\n")),
    }
}

/// A line of a file without its number; `None` for blank lines and for notes of the
/// tool, which have no number.
fn file_line(line: &str) -> Option<&str> {
    let (number, text) = line.split_once('\t')?;
    number.trim().parse::<u64>().ok()?;
    (!text.trim().is_empty()).then_some(text)
}

fn title(heading: &str) -> String {
    cut(heading.trim_start_matches('#').trim())
}

fn cut(text: &str) -> String {
    cut_to(text, LINE_CHARS_SHOWN)
}

fn cut_to(text: &str, chars_shown: usize) -> String {
    let mut chars = text.trim_end().chars();
    let mut cut: String = chars.by_ref().take(chars_shown).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}

fn counted(count: usize, one: &str, many: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
