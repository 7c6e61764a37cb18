//! The text of a message: where it comes from, and that it is one.

use std::io::{self, Read as _};

use chatplane_proto::chat::v1::{Part, TextPart, part};
use tokio::{select, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::client::ClientError;

/// What the API takes as one part of a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Stands for standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

/// The text itself: what was given as `origin`, or what standard input holds.
pub(crate) async fn read(
    given: &str,
    origin: &'static str,
    shutdown: &CancellationToken,
) -> Result<String, ClientError> {
    if given != STANDARD_INPUT {
        return checked(given.as_bytes().to_vec(), origin);
    }
    let reading = spawn_blocking(|| {
        let mut bytes = Vec::new();
        // One more than is allowed shows that there is too much, and is all that is ever read.
        io::stdin().lock().take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    select! {
        read = reading => {
            let bytes = read.map_err(io::Error::other).and_then(|read| read);
            checked(bytes.map_err(ClientError::InputUnread)?, "text on standard input")
        }
        () = shutdown.cancelled() => Err(ClientError::Interrupted),
    }
}

/// The text as a message has it.
pub(crate) fn parts(text: String) -> Vec<Part> {
    vec![Part { kind: Some(part::Kind::Text(TextPart { text })) }]
}

fn checked(bytes: Vec<u8>, origin: &'static str) -> Result<String, ClientError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ClientError::TextTooLong { origin });
    }
    let text = String::from_utf8(bytes).map_err(|_| ClientError::TextNotUtf8 { origin })?;
    if text.trim().is_empty() {
        return Err(ClientError::TextEmpty { origin });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_text_of_a_bounded_length() {
        let check = |bytes: &[u8]| checked(bytes.to_vec(), "prompt");

        assert_eq!(check(b"  Hello?\n").unwrap(), "  Hello?\n");
        assert_eq!(check(&[b'x'; MESSAGE_BYTES_MAX]).unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(matches!(check(b" \n"), Err(ClientError::TextEmpty { .. })));
        assert!(matches!(check(b"\xff"), Err(ClientError::TextNotUtf8 { .. })));
        assert!(matches!(check(&[b'x'; MESSAGE_BYTES_MAX + 1]), Err(ClientError::TextTooLong { .. })));
    }
}
