//! Finds the end of a JSON value that comes in pieces.

/// Follows an object or array to its closing bracket. It does not check anything else:
/// what is no JSON never ends, or ends where its brackets do.
#[derive(Debug, Default)]
pub(super) struct ObjectEnd {
    depth: usize,
    in_text: bool,
    escaped: bool,
    reached: bool,
}

impl ObjectEnd {
    /// Whether the value is whole.
    pub(super) fn reached(&self) -> bool {
        self.reached
    }

    /// Takes the next piece.
    pub(super) fn follow(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.reached |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_at_its_last_bracket_wherever_it_is_cut() {
        for text in ["{}", " {\"a\":{\"b\":[1,{}]}}", "[{}]", "{\"a\":\"}\\\"}\\\\\"}", "{\"é{\":\"[\"}"] {
            let mut end = ObjectEnd::default();
            for character in text.chars() {
                assert!(!end.reached(), "{text}");
                end.follow(&character.to_string());
            }
            assert!(end.reached(), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_never_ends() {
        for text in ["", "null", "7", "\"{}\"", "{\"a\":", "{\"a\":\"}"] {
            let mut end = ObjectEnd::default();
            end.follow(text);
            assert!(!end.reached(), "{text}");
        }
    }
}
