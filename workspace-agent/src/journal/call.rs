//! How the journal names a call, and what it was asked to do.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A tool call, named for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    /// The chat.
    pub(crate) chat_id: Uuid,
    /// The message that holds the call.
    pub(crate) message_id: i64,
    /// Which of its calls it is.
    pub(crate) call_index: i32,
}

impl fmt::Display for CallKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chat_id, message_id, call_index } = self;
        write!(formatter, "{chat_id}.{message_id}.{call_index}")
    }
}

impl CallKey {
    /// Reads what `Display` writes, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let chat_id = Uuid::try_parse(parts.next()?).ok()?;
        let message_id = parts.next()?.parse().ok()?;
        let call_index = parts.next()?.parse().ok()?;
        let key = Self { chat_id, message_id, call_index };
        (key.to_string() == text).then_some(key)
    }
}

/// What a call was asked to do, as the SHA-256 of its tool's name and its arguments, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input(String);

impl Input {
    /// The name's length comes first, so that no two inputs share their bytes.
    pub(crate) fn of(tool_name: &str, arguments_json: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((tool_name.len() as u64).to_be_bytes());
        hash.update(tool_name);
        hash.update(arguments_json);
        Self(format!("{:x}", hash.finalize()))
    }

    /// Reads what `as_str` gives.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self(hex.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
