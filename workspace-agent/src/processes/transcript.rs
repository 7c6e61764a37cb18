//! What a command has written, as text for the model.

use crate::tools::MiddleCut;

/// What the model gets to read of a command's output. Some hundred lines tell what happened; more drowns it.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Output on its way to being text. Bytes that are no UTF-8 are replaced, also where it comes in pieces.
pub(super) struct Transcript {
    text: MiddleCut,
    /// The beginning of a character whose rest has not come yet.
    unfinished: Vec<u8>,
}

impl Transcript {
    pub(super) fn new() -> Self {
        Self { text: MiddleCut::new(OUTPUT_BYTES_MAX), unfinished: Vec::new() }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        if self.unfinished.is_empty() {
            self.push_bytes(data);
        } else {
            let mut bytes = std::mem::take(&mut self.unfinished);
            bytes.extend_from_slice(data);
            self.push_bytes(&bytes);
        }
    }

    fn push_bytes(&mut self, mut bytes: &[u8]) {
        loop {
            let error = match str::from_utf8(bytes) {
                Ok(text) => return self.text.push(text),
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            self.text.push(str::from_utf8(valid).expect("it is valid up to there"));
            let Some(invalid) = error.error_len() else {
                self.unfinished.extend_from_slice(rest);
                return;
            };
            self.text.push("\u{fffd}");
            bytes = &rest[invalid..];
        }
    }

    pub(super) fn finish(mut self) -> String {
        if !self.unfinished.is_empty() {
            self.text.push("\u{fffd}");
        }
        self.text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(bytes: &[u8], length: usize) -> String {
        let mut transcript = Transcript::new();
        for piece in bytes.chunks(length) {
            transcript.push(piece);
        }
        transcript.finish()
    }

    #[test]
    fn bytes_are_replaced_as_in_one_piece_however_they_come() {
        let bytes = b"caf\xe9 \xe8\x8c\xb6 \xf0\x9f\x8d\xb5 \xf0\x9f \xff\xff end \xe8\x8c";
        let expected = String::from_utf8_lossy(bytes);

        for length in 1..=bytes.len() {
            assert_eq!(in_pieces(bytes, length), expected, "in pieces of {length}");
        }
    }

    #[test]
    fn noise_stays_within_the_limit_when_it_is_replaced() {
        let text = in_pieces(&vec![0xff; 1_000_000], 65_536);

        assert!(text.len() <= OUTPUT_BYTES_MAX + 100, "{}", text.len());
        assert!(text.starts_with('\u{fffd}') && text.ends_with('\u{fffd}'));
    }
}
