//! What a provider must get back with a part of an answer.
//!
//! A piece of an answer is kept as its provider sent it, field by field in raw
//! JSON, so that fields this build does not know survive. What the part itself
//! holds (the thinking's text, a call's arguments) is left out and put back on
//! replay: an answer may be large, and would otherwise be stored twice. Chat Completions'
//! details of thinking are the exception: they repeat its text in pieces that cannot be
//! found again in the part's, and are kept as they go back.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Fields of a piece in raw JSON.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// Tells the states of one wire format from those of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Its name.
    pub(super) name: &'static str,
    /// Grows when an older build could not replay what a newer one stores.
    pub(super) version: u32,
}

/// A part's provider state. One of another format or version is foreign.
#[derive(Deserialize, Serialize)]
pub(super) struct State {
    format: String,
    version: u32,
    /// The model that was asked: another model's thinking is not replayed.
    pub(super) model: String,
    /// The piece without what the part holds.
    pub(super) block: Fields,
}

impl State {
    /// The state of a piece that `model` wrote.
    pub(super) fn new(format: Format, model: &str, block: Fields) -> Self {
        Self { format: format.name.to_owned(), version: format.version, model: model.to_owned(), block }
    }

    /// The bytes to keep with the part.
    pub(super) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("text and raw JSON can always be written").into()
    }

    /// Reads a part's state; `None` when there is none or it is foreign.
    pub(super) fn decode(format: Format, bytes: &[u8]) -> Option<Self> {
        let state: Self = serde_json::from_slice(bytes).ok()?;
        (state.format == format.name && state.version == format.version).then_some(state)
    }
}

/// A text as raw JSON.
pub(super) fn raw_text(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text can always be written as JSON")
}

/// A field's value as text; `None` when it is absent or something else.
pub(super) fn text_field(fields: &Fields, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { name: "some.format", version: 1 };

    #[test]
    fn fields_are_kept_byte_exactly_and_foreign_states_are_ignored() {
        let json =
            r#"{"type":"thinking","signature":"s","odd":1.000e2,"big":123456789012345678901234567890}"#;
        let fields: Fields = serde_json::from_str(json).unwrap();

        let encoded = State::new(FORMAT, "m", fields).encode();

        let state = State::decode(FORMAT, &encoded).unwrap();
        assert_eq!(state.model, "m");
        assert_eq!(state.block["odd"].get(), "1.000e2");
        assert_eq!(state.block["big"].get(), "123456789012345678901234567890");
        let text = String::from_utf8(encoded.to_vec()).unwrap();
        assert!(State::decode(FORMAT, text.replace("some.", "other.").as_bytes()).is_none());
        assert!(State::decode(FORMAT, text.replace("\"version\":1", "\"version\":2").as_bytes()).is_none());
        assert!(State::decode(FORMAT, b"").is_none());
        assert!(State::decode(FORMAT, b"\xFF\x00").is_none());
    }
}
