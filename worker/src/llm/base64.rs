//! Bytes as text within a request, without a copy of their own: files are large.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::{Attachment, ModelCall, PromptMessage, UserPiece};

/// Longer than any word.
const FILE_RUN_BYTES: usize = 4096;
/// What a request has beside files, most of the time.
const REQUEST_BYTES: usize = 64 * 1024;

/// Bytes in base64.
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// A file as a URL that holds it.
pub(super) struct DataUrl<'a>(pub(super) &'a Attachment);

impl fmt::Display for DataUrl<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attachment { media_type, data, .. } = self.0;
        write!(formatter, "data:{media_type};base64,{}", Base64Display::new(data, &STANDARD))
    }
}

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The files that a call sends as they are.
pub(super) fn files(call: &ModelCall) -> impl Iterator<Item = &Attachment> {
    let parts = call.messages.iter().flat_map(|message| match message {
        PromptMessage::User { parts } => parts.as_slice(),
        PromptMessage::Assistant { .. } | PromptMessage::Tool { .. } => &[],
    });
    parts.filter_map(|part| match part {
        UserPiece::Text(_) => None,
        UserPiece::Image(file) | UserPiece::Document(file) => Some(file),
    })
}

/// A text without its long runs of base64, which are files: nobody quotes them, and to look
/// for quotations in them takes long.
pub(super) fn without_files(request: &str) -> String {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut kept = String::new();
    let (mut kept_through, mut run_start) = (0, 0);
    // The end of the text ends a run as well.
    for (place, byte) in request.bytes().chain([b' ']).enumerate() {
        if is_base64(byte) {
            continue;
        }
        if place - run_start > FILE_RUN_BYTES {
            kept.push_str(&request[kept_through..run_start]);
            kept_through = place;
        }
        run_start = place + 1;
    }
    kept.push_str(&request[kept_through..]);
    kept
}

/// The body of a call as JSON, in one buffer that need not grow for its files.
pub(super) fn body(call: &ModelCall, request: &impl Serialize) -> String {
    let bytes: usize = files(call).map(|file| file.data.len().div_ceil(3) * 4).sum();
    let mut body = Vec::with_capacity(REQUEST_BYTES + bytes);
    serde_json::to_writer(&mut body, request).expect("text and raw JSON can always be written");
    String::from_utf8(body).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_out_of_what_may_be_quoted_and_words_are_not() {
        let file = "A".repeat(FILE_RUN_BYTES + 1);
        let request =
            format!("{{\"text\":\"gr\u{fc}\u{df}e \u{e9}{file}\u{e9}\",\"data\":\"{file}==\"}}{file}");

        assert_eq!(without_files(&request), "{\"text\":\"gr\u{fc}\u{df}e \u{e9}\u{e9}\",\"data\":\"\"}");
        assert_eq!(without_files("short"), "short");
        assert_eq!(without_files(""), "");
    }
}
