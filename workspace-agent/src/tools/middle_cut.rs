//! Text of which the beginning and the end are kept, since that is where the news are: what was run and what
//! came first, and how it ended.

/// Text that grows, in memory that does not.
pub(crate) struct MiddleCut {
    /// Bytes of both ends together that are kept.
    bytes_max: usize,
    head: String,
    /// The head has come to its end: something did not fit.
    is_head_full: bool,
    /// What came after the head, or the last of it.
    tail: String,
    /// Bytes between head and tail that are gone.
    left_out: u64,
}

impl MiddleCut {
    /// Keeps `bytes_max` bytes, half of them from each end. Only the notice in the middle is on top.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, head: String::new(), is_head_full: false, tail: String::new(), left_out: 0 }
    }

    /// All of a text at once.
    pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
        let mut cut = Self::new(bytes_max);
        cut.push(text);
        cut.finish()
    }

    pub(crate) fn push(&mut self, text: &str) {
        let mut text = text;
        if !self.is_head_full {
            let fits = text.floor_char_boundary(self.bytes_max / 2 - self.head.len());
            self.head.push_str(&text[..fits]);
            self.is_head_full = fits < text.len();
            text = &text[fits..];
        }
        self.tail.push_str(text);
        // Twice as much as is kept, so that a byte is moved once and not with each push.
        if self.tail.len() > 2 * self.bytes_max {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let surplus = (self.head.len() + self.tail.len()).saturating_sub(self.bytes_max);
        let surplus = self.tail.ceil_char_boundary(surplus);
        self.tail.drain(..surplus);
        self.left_out += surplus as u64;
    }

    /// The text, with a notice in place of what is left out.
    pub(crate) fn finish(mut self) -> String {
        self.trim();
        let Self { head, tail, left_out, .. } = self;
        match left_out {
            0 => head + &tail,
            bytes => format!("{head}\n(… {bytes} bytes are left out here …)\n{tail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_whole() {
        for text in ["", "a", "0123456789", "茶茶茶"] {
            assert_eq!(MiddleCut::cut(text, 10), text);
        }
    }

    #[test]
    fn both_ends_are_kept_and_the_notice_says_how_much_is_not() {
        assert_eq!(MiddleCut::cut("0123456789ab", 10), "01234\n(… 2 bytes are left out here …)\n789ab");
    }

    #[test]
    fn both_cuts_fall_between_characters() {
        // A character has three bytes: one fits into the first five, and two into the seven that are left.
        assert_eq!(MiddleCut::cut(&"茶".repeat(5), 10), "茶\n(… 6 bytes are left out here …)\n茶茶");
    }

    #[test]
    fn it_is_all_the_same_in_which_pieces_text_comes() {
        let text: String = (0..200).map(|number| format!("{number} 茶\n")).collect();
        let expected = MiddleCut::cut(&text, 100);

        for chars in [1, 2, 7, 50, 1_000] {
            let mut cut = MiddleCut::new(100);
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(chars) {
                cut.push(&piece.iter().collect::<String>());
            }
            assert_eq!(cut.finish(), expected, "in pieces of {chars}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut cut = MiddleCut::new(1_000);

        for _ in 0..10_000 {
            cut.push(&"x".repeat(1_000));
        }

        assert!(cut.head.capacity() + cut.tail.capacity() < 10_000);
        assert!(cut.finish().contains("(… 9999000 bytes are left out here …)"));
    }
}
