//! Numbered chunks of an answer: what the model server writes and a watcher finds
//! again, however the bytes were put together or cut on their way.

use std::ops::Range;

use crate::error::{Error, Result};

/// A chunk begins with its number in this many digits.
const DIGITS: usize = 8;
/// The smallest chunk: a number, and something to read it by.
pub(crate) const CHUNK_BYTES_MIN: usize = DIGITS + 1;

/// The text of a chunk. Nothing in it changes its length in JSON.
pub(crate) fn chunk(number: u32, bytes: usize) -> String {
    let mut text = format!("{number:0DIGITS$}");
    text.extend(std::iter::repeat_n('.', bytes.max(CHUNK_BYTES_MIN) - DIGITS));
    text
}

/// Finds the chunks in what a watcher is sent.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    chunk_bytes: usize,
    /// Where the next append must begin.
    offset: usize,
    /// The chunk that has not come whole.
    partial: Vec<u8>,
    next: u32,
}

impl ChunkReader {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes: chunk_bytes.max(CHUNK_BYTES_MIN), offset: 0, partial: Vec::new(), next: 0 }
    }

    /// The numbers of the chunks that are whole with this append.
    ///
    /// # Errors
    ///
    /// A gap, an overlap, or another chunk than the next one.
    pub(crate) fn append(&mut self, offset: i64, data: &[u8]) -> Result<Range<u32>> {
        if usize::try_from(offset) != Ok(self.offset) {
            return Err(Error::wrong(format!("an append begins at {offset} and not at {}", self.offset)));
        }
        self.offset += data.len();
        self.partial.extend_from_slice(data);
        let first = self.next;
        let whole = self.partial.len() / self.chunk_bytes;
        for chunk in self.partial.chunks_exact(self.chunk_bytes) {
            let number = str::from_utf8(&chunk[..DIGITS]).ok().and_then(|digits| digits.parse().ok());
            if number != Some(self.next) {
                return Err(Error::wrong(format!("chunk {} is not in its place", self.next)));
            }
            self.next += 1;
        }
        self.partial.drain(..whole * self.chunk_bytes);
        Ok(first..self.next)
    }

    /// How many chunks have come whole.
    pub(crate) fn count(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_found_however_they_were_cut() {
        let text: String = (0..50).map(|number| chunk(number, 16)).collect();

        for size in 1..40 {
            let mut reader = ChunkReader::new(16);
            let mut offset = 0;
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                found.extend(reader.append(offset, piece).unwrap());
                offset += i64::try_from(piece.len()).unwrap();
            }

            assert_eq!(found, (0..50).collect::<Vec<u32>>(), "cut at {size}");
            assert_eq!(reader.count(), 50);
        }
    }

    #[test]
    fn several_chunks_may_come_in_one_append() {
        let mut reader = ChunkReader::new(10);
        let text: String = (0..3).map(|number| chunk(number, 10)).collect();

        assert_eq!(reader.append(0, &text.as_bytes()[..15]).unwrap(), 0..1);
        assert_eq!(reader.append(15, &text.as_bytes()[15..]).unwrap(), 1..3);
    }

    #[test]
    fn a_gap_and_a_wrong_chunk_are_refused() {
        let mut reader = ChunkReader::new(10);
        reader.append(0, chunk(0, 10).as_bytes()).unwrap();

        assert!(reader.append(11, b"x").is_err());
        assert!(reader.append(10, chunk(2, 10).as_bytes()).is_err());
    }

    #[test]
    fn a_chunk_has_the_size_that_was_asked_for_but_room_for_its_number() {
        assert_eq!(chunk(7, 12), "00000007....");
        assert_eq!(chunk(7, 0), "00000007.");
    }
}
