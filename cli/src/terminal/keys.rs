//! What keys mean: bytes of a terminal in, keys out. Pure.
//!
//! Bytes may come cut anywhere. A lone Escape waits for what follows: together they are the key with Alt, as
//! terminals send it.

/// Pasted text has no bound of its own; so much of it is kept, more than any message may have.
const PASTE_BYTES_MAX: usize = 1024 * 1024;
/// No key's sequence is as long.
const SEQUENCE_BYTES_MAX: usize = 32;
/// What a terminal sends around pasted text, after `ESC [`.
const PASTE_BEGIN: &[u8] = b"200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// A key, or what was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Paste(String),
    Enter,
    /// Ctrl-S, or Enter with Alt.
    Steer,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    CutToEnd,
    CutToStart,
    CutWord,
    CutNextWord,
    PutBack,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D: deletes a letter, and on an empty line means the end.
    EndOfInput,
    Redraw,
    Suspend,
}

/// The bytes that are no whole key yet.
#[derive(Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
    /// What has come of a paste that has not ended.
    paste: Option<Vec<u8>>,
}

impl Keys {
    /// The keys that are whole with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        loop {
            if self.paste.is_some() {
                match self.take_pasted() {
                    Some(key) => keys.push(key),
                    None => return keys,
                }
                continue;
            }
            match next(&self.pending) {
                Next::Incomplete => return keys,
                Next::Key { bytes, key } => {
                    self.pending.drain(..bytes);
                    keys.extend(key);
                }
                Next::PasteBegins { bytes } => {
                    self.pending.drain(..bytes);
                    self.paste = Some(Vec::new());
                }
            }
        }
    }

    /// Moves what has come into the paste; the key, when its end has come too.
    fn take_pasted(&mut self) -> Option<Key> {
        let paste = self.paste.as_mut()?;
        let end = self.pending.windows(PASTE_END.len()).position(|window| window == PASTE_END);
        // The end may have come in part.
        let taken = end.unwrap_or_else(|| self.pending.len().saturating_sub(PASTE_END.len() - 1));
        let room = PASTE_BYTES_MAX.saturating_sub(paste.len());
        paste.extend_from_slice(&self.pending[..taken.min(room)]);
        self.pending.drain(..taken);
        end?;
        self.pending.drain(..PASTE_END.len());
        let paste = self.paste.take().unwrap_or_default();
        // Terminals send the line ends of a paste as they send Enter.
        let text = String::from_utf8_lossy(&paste).replace("\r\n", "\n").replace('\r', "\n");
        Some(Key::Paste(text))
    }
}

enum Next {
    Incomplete,
    /// So many bytes are a key, or mean nothing here.
    Key {
        bytes: usize,
        key: Option<Key>,
    },
    PasteBegins {
        bytes: usize,
    },
}

fn next(pending: &[u8]) -> Next {
    match pending {
        [] | [0x1b] => Next::Incomplete,
        [0x1b, b'[', rest @ ..] => sequence(rest),
        [0x1b, b'O', rest @ ..] => match rest {
            [] => Next::Incomplete,
            [last, ..] => Next::Key { bytes: 3, key: cursor_key(*last, Modifier::None) },
        },
        [0x1b, byte, ..] => Next::Key { bytes: 2, key: with_alt(*byte) },
        [byte, ..] if *byte < 0x20 || *byte == 0x7f => Next::Key { bytes: 1, key: control(*byte) },
        _ => character(pending),
    }
}

/// One character of UTF-8.
fn character(pending: &[u8]) -> Next {
    let length = match pending[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let Some(bytes) = pending.get(..length) else {
        return Next::Incomplete;
    };
    match std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()) {
        Some(character) => {
            // A terminal set to eight bits sends these for what it also sends as ESC and a letter.
            let key = (!character.is_control()).then_some(Key::Character(character));
            Next::Key { bytes: length, key }
        }
        None => Next::Key { bytes: 1, key: None },
    }
}

fn control(byte: u8) -> Option<Key> {
    match byte {
        0x01 => Some(Key::Home),
        0x02 => Some(Key::Left),
        0x03 => Some(Key::Interrupt),
        0x04 => Some(Key::EndOfInput),
        0x05 => Some(Key::End),
        0x06 => Some(Key::Right),
        0x08 | 0x7f => Some(Key::Backspace),
        b'\t' => Some(Key::Character('\t')),
        // What was typed before the terminal was ours comes with the line ends of files.
        b'\r' | b'\n' => Some(Key::Enter),
        0x0b => Some(Key::CutToEnd),
        0x0c => Some(Key::Redraw),
        0x0e => Some(Key::Down),
        0x10 => Some(Key::Up),
        0x13 => Some(Key::Steer),
        0x15 => Some(Key::CutToStart),
        0x17 => Some(Key::CutWord),
        0x19 => Some(Key::PutBack),
        0x1a => Some(Key::Suspend),
        _ => None,
    }
}

fn with_alt(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Steer),
        b'b' => Some(Key::WordLeft),
        b'f' => Some(Key::WordRight),
        b'd' => Some(Key::CutNextWord),
        0x08 | 0x7f => Some(Key::CutWord),
        _ => None,
    }
}

/// What was held down with a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modifier {
    None,
    /// Alt or Ctrl, which both mean words.
    Word,
}

/// `ESC [`, parameters, and the byte that ends them.
fn sequence(rest: &[u8]) -> Next {
    const INTRODUCER_BYTES: usize = 2;
    let Some(length) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
        let is_endless = rest.len() > SEQUENCE_BYTES_MAX;
        return if is_endless { Next::Key { bytes: INTRODUCER_BYTES, key: None } } else { Next::Incomplete };
    };
    let bytes = INTRODUCER_BYTES + length + 1;
    if rest.starts_with(PASTE_BEGIN) {
        return Next::PasteBegins { bytes };
    }
    let parameters = std::str::from_utf8(&rest[..length]).unwrap_or_default();
    let mut parameters = parameters.split(';');
    let number = parameters.next().unwrap_or_default();
    let modifier = match parameters.next() {
        Some("3" | "5" | "7") => Modifier::Word,
        _ => Modifier::None,
    };
    let key = match (rest[length], number) {
        (b'~', "1" | "7") => Some(Key::Home),
        (b'~', "4" | "8") => Some(Key::End),
        (b'~', "3") if modifier == Modifier::Word => Some(Key::CutNextWord),
        (b'~', "3") => Some(Key::Delete),
        // Enter with a modifier, where the terminal tells it: 13 is its number.
        (b'u', "13") if modifier == Modifier::Word => Some(Key::Steer),
        (b'u', "13") => Some(Key::Enter),
        (last, _) => cursor_key(last, modifier),
    };
    Next::Key { bytes, key }
}

fn cursor_key(last: u8, modifier: Modifier) -> Option<Key> {
    match (last, modifier) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', Modifier::None) => Some(Key::Right),
        (b'C', Modifier::Word) => Some(Key::WordRight),
        (b'D', Modifier::None) => Some(Key::Left),
        (b'D', Modifier::Word) => Some(Key::WordLeft),
        (b'H', _) => Some(Key::Home),
        (b'F', _) => Some(Key::End),
        (b'M', _) => Some(Key::Enter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Keys::default().push(bytes)
    }

    #[test]
    fn letters_controls_and_sequences_are_keys() {
        assert_eq!(keys("aü日".as_bytes()), [Key::Character('a'), Key::Character('ü'), Key::Character('日')]);
        assert_eq!(
            keys(b"\x01\x05\x7f\r\x03\x04\x1b[A\x1b[1;5C\x1b[3~\x1bOD"),
            [
                Key::Home,
                Key::End,
                Key::Backspace,
                Key::Enter,
                Key::Interrupt,
                Key::EndOfInput,
                Key::Up,
                Key::WordRight,
                Key::Delete,
                Key::Left,
            ]
        );
    }

    #[test]
    fn ctrl_s_and_alt_enter_steer() {
        assert_eq!(keys(b"\x13"), [Key::Steer]);
        assert_eq!(keys(b"\x1b\r"), [Key::Steer]);
        assert_eq!(keys(b"\x1b[13;3u"), [Key::Steer]);
    }

    #[test]
    fn what_means_nothing_is_left_out() {
        assert_eq!(
            keys(b"\x00\x1b[5~\x1b[999;1;2Ra\xffb\xc2\x9bc\x1bz"),
            [Key::Character('a'), Key::Character('b'), Key::Character('c'),]
        );
        assert_eq!(keys(&[b"\x1b[".as_slice(), &[b'1'; 100]].concat()).len(), 100);
    }

    #[test]
    fn a_paste_is_one_key_with_the_line_ends_of_text() {
        assert_eq!(
            keys(b"\x1b[200~a\rb\r\nc\x1b[31m\x1b[201~d"),
            [Key::Paste("a\nb\nc\x1b[31m".to_owned()), Key::Character('d'),]
        );
        let endless = [b"\x1b[200~".as_slice(), &vec![b'x'; PASTE_BYTES_MAX + 10], b"\x1b[201~"].concat();
        assert_eq!(keys(&endless), [Key::Paste("x".repeat(PASTE_BYTES_MAX))]);
    }

    #[test]
    fn however_the_bytes_are_cut_the_keys_are_the_same() {
        let bytes = "ü\x1b[1;3D\x1b[200~two\rlines ü\x1b[201~\r\x1b\rz".as_bytes();
        let whole = keys(bytes);

        for length in 1..bytes.len() {
            let mut cut = Keys::default();
            let pieces: Vec<Key> = bytes.chunks(length).flat_map(|piece| cut.push(piece)).collect();
            assert_eq!(pieces, whole, "in pieces of {length}");
        }
    }
}
