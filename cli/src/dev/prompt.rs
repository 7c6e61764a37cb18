//! The prompt of `--prompt`: where it comes from, and its one turn.

use std::io::{self, Read as _};

use tokio::{select, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    dev::{DevError, chat::Chat, model::Provider, stack::Stack, transcript::Outcome, words},
    exit::{Exit, say},
};

/// What the API takes as one part of a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The prompt itself: what was given, or what standard input holds.
pub(crate) async fn read(given: &str, shutdown: &CancellationToken) -> Result<String, DevError> {
    if given != STANDARD_INPUT {
        return checked(given.as_bytes().to_vec(), "--prompt");
    }
    let reading = spawn_blocking(|| {
        let mut bytes = Vec::new();
        // One more than is allowed shows that there is too much, and is all that is ever read.
        io::stdin().lock().take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    select! {
        read = reading => {
            let bytes = read.map_err(io::Error::other).and_then(|read| read);
            checked(bytes.map_err(DevError::PromptUnread)?, "standard input")
        }
        () = shutdown.cancelled() => Err(DevError::Interrupted),
    }
}

fn checked(bytes: Vec<u8>, origin: &'static str) -> Result<String, DevError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DevError::PromptTooLong { origin });
    }
    let text = String::from_utf8(bytes).map_err(|_| DevError::PromptNotText { origin })?;
    if text.trim().is_empty() {
        return Err(DevError::PromptEmpty { origin });
    }
    Ok(text)
}

/// Runs the prompt to the end of its turn.
pub(crate) async fn answer(
    chat: &mut Chat,
    stack: &mut Stack,
    provider: Provider,
    prompt: String,
    shutdown: &CancellationToken,
) -> Result<Exit, DevError> {
    let never = CancellationToken::new();
    let result = select! {
        outcome = chat.turn(prompt, &never) => outcome,
        () = shutdown.cancelled() => Err(DevError::Interrupted),
        error = stack.failed() => Err(error),
    };
    match result {
        Ok(Outcome::Answered) => Ok(Exit::Done),
        Ok(Outcome::Failed(error)) => {
            say(&words::failure(&error, provider));
            Ok(Exit::ChatFailed)
        }
        Err(error) => {
            chat.abandon().await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_text_of_a_bounded_length() {
        let check = |bytes: &[u8]| checked(bytes.to_vec(), "standard input");

        assert_eq!(check(b"  Hello?\n").unwrap(), "  Hello?\n");
        assert_eq!(check(&[b'x'; MESSAGE_BYTES_MAX]).unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(matches!(check(b" \n"), Err(DevError::PromptEmpty { .. })));
        assert!(matches!(check(b"\xff"), Err(DevError::PromptNotText { .. })));
        assert!(matches!(check(&[b'x'; MESSAGE_BYTES_MAX + 1]), Err(DevError::PromptTooLong { .. })));
    }
}
