//! What a user's message is made of.

use serde::{Deserialize, Serialize};

use crate::FileId;

/// Which side of a diff a comment is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffSide {
    /// What was there before.
    Old,
    /// What is there after.
    New,
}

/// A file as a message refers to it. Its content is read when a model is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// The file.
    pub id: FileId,
    /// Its name.
    pub name: String,
    /// What it is, by its content.
    pub media_type: String,
    /// How many bytes it has.
    pub size_bytes: i64,
}

/// A piece of a user's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPart {
    /// Words.
    Text(String),
    /// A file that the user attached.
    File(FileRef),
    /// A place in a file of the workspace.
    FileReference {
        /// Path of the file.
        path: String,
        /// First line, from 1; 0 for the whole file.
        start_line: u32,
        /// Last line; 0 for the first alone.
        end_line: u32,
        /// What stands there; may be empty.
        snippet: String,
    },
    /// A comment on lines of a diff.
    DiffComment {
        /// Path of the file.
        path: String,
        /// Which side of the diff.
        side: DiffSide,
        /// First line, from 1.
        start_line: u32,
        /// Last line; 0 for the first alone.
        end_line: u32,
        /// The comment.
        text: String,
    },
}

impl UserPart {
    /// The words, if it is nothing but words.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::File(_) | Self::FileReference { .. } | Self::DiffComment { .. } => None,
        }
    }

    /// Bytes that its row holds; a file's own bytes are elsewhere.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::File(file) => file.name.len() + file.media_type.len(),
            Self::FileReference { path, snippet, .. } => path.len() + snippet.len(),
            Self::DiffComment { path, text, .. } => path.len() + text.len(),
        }
    }

    /// What stands for it in a line for lists, where a message has no words.
    fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::DiffComment { text, .. } => text,
            Self::File(file) => &file.name,
            Self::FileReference { path, .. } => path,
        }
    }
}

/// The text parts, in order.
pub fn texts(parts: &[UserPart]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(UserPart::as_text)
}

/// The files that parts refer to, each once, in order.
#[must_use]
pub fn file_ids(parts: &[UserPart]) -> Vec<FileId> {
    let mut ids = Vec::new();
    for part in parts {
        match part {
            UserPart::File(file) if !ids.contains(&file.id) => ids.push(file.id),
            UserPart::File(_)
            | UserPart::Text(_)
            | UserPart::FileReference { .. }
            | UserPart::DiffComment { .. } => {}
        }
    }
    ids
}

/// The words by which lists show a message: its texts, or else the name of its first file,
/// or what its first part is about.
pub fn shown_words(parts: &[UserPart]) -> impl Iterator<Item = &str> {
    let has_text = texts(parts).next().is_some();
    let is_file = |part: &&UserPart| matches!(part, UserPart::File(_));
    let instead = parts.iter().find(is_file).or(parts.first()).filter(|_| !has_text);
    texts(parts).chain(instead.map(UserPart::shown))
}

/// Bytes that the parts' row holds.
#[must_use]
pub fn content_bytes(parts: &[UserPart]) -> usize {
    parts.iter().map(UserPart::content_bytes).sum()
}
