//! `read_file`: some lines of a text file, numbered.
//!
//! The file is streamed: memory depends on what is shown and not on the size of the file, nor on the length
//! of its lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    str,
};

use tokio_util::sync::CancellationToken;

use super::{Error, OUTPUT_BYTES_MAX, Root, beneath::Wanted};
use crate::tools::{Arguments, ArgumentsError, Call, Definition, shorten};

/// Lines that one call shows when the model does not say.
const LINES_DEFAULT: u64 = 2_000;

/// Characters of a line that are shown. Longer ones are generated or minified.
const LINE_CHARS_MAX: usize = 2_000;

/// Bytes that hold that many characters, whatever they are.
const LINE_BYTES_MAX: usize = LINE_CHARS_MAX * 4;

/// Read at once, and between two looks at the cancellation.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes at the beginning by which a binary file is told.
const SAMPLE_BYTES: usize = 8 * 1024;

/// Bytes after the shown lines that are read only to count lines; a fraction of a second of work.
const COUNTED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Room for the line that says what is shown.
const LAST_LINE_BYTES_MAX: usize = 256;

pub(super) const DEFINITION: Definition = Definition {
    name: "read_file",
    description: "Read a text file of the workspace. Each line is shown with its number and a tab before it; \
                  the last line says which lines of how many were shown, and how to go on. At most 2000 lines \
                  are shown by default, and at most 256 KiB; lines are cut at 2000 characters.",
    input_schema_json: r#"{
  "type": "object",
  "properties": {
    "path": {
      "type": "string",
      "description": "File, relative to the workspace directory."
    },
    "offset": {
      "type": "integer",
      "minimum": 1,
      "description": "Number of the first line to show, counted from 1. Default: 1."
    },
    "limit": {
      "type": "integer",
      "minimum": 1,
      "description": "How many lines to show at most. Default: 2000."
    }
  },
  "required": ["path"]
}"#,
};

/// The tool.
pub(super) fn run(root: &Root, call: &Call) -> Result<String, Error> {
    let asked = Asked::parse(&call.arguments)?;
    let file = root.open(asked.path, Wanted::RegularFile)?;
    let chunks = Chunks { file: File::from(file), cancel: &call.cancel };
    let reader = BufReader::with_capacity(CHUNK_BYTES, chunks);
    asked.read(reader).map_err(|error| match error {
        // A failing read of a cancelled call is our own doing.
        Error::Io { .. } if call.cancel.is_cancelled() => Error::Cancelled,
        error => error,
    })
}

/// What a call asks for.
struct Asked<'a> {
    path: &'a str,
    offset: u64,
    limit: u64,
}

impl<'a> Asked<'a> {
    fn parse(arguments: &'a Arguments) -> Result<Self, ArgumentsError> {
        Ok(Self {
            path: arguments.fields().required_text("path")?,
            offset: arguments.positive("offset")?.unwrap_or(1),
            limit: arguments.positive("limit")?.unwrap_or(LINES_DEFAULT),
        })
    }

    fn read(&self, mut reader: impl BufRead) -> Result<String, Error> {
        let failed = |source| Error::io(self.path, source);
        let sample = reader.fill_buf().map_err(failed)?;
        if sample.is_empty() {
            return self.empty();
        }
        if is_binary(&sample[..sample.len().min(SAMPLE_BYTES)]) {
            return Err(Error::Binary(shorten(self.path)));
        }
        for lines in 0..self.offset - 1 {
            if next_line(&mut reader, &mut Vec::new(), 0).map_err(failed)?.is_none() {
                return Err(self.past_end(lines));
            }
        }
        let (mut text, shown) = self.show(&mut reader).map_err(failed)?;
        if shown == 0 {
            return Err(self.past_end(self.offset - 1));
        }
        let rest = count_lines(&mut reader).map_err(failed)?;
        text.push_str(&self.last_line(shown, rest));
        Ok(text)
    }

    fn empty(&self) -> Result<String, Error> {
        if self.offset > 1 { Err(self.past_end(0)) } else { Ok("(the file is empty)".to_owned()) }
    }

    fn past_end(&self, lines: u64) -> Error {
        Error::PastEnd { path: shorten(self.path), lines }
    }

    /// The lines asked for, as far as they fit, and how many they are.
    fn show(&self, reader: &mut impl BufRead) -> io::Result<(String, u64)> {
        let mut text = String::new();
        let mut line = Vec::new();
        let mut shown = 0;
        let room = OUTPUT_BYTES_MAX - LAST_LINE_BYTES_MAX - LINE_BYTES_MAX;
        // A line shows at most as many bytes as it may keep, plus its number: checked before it is taken.
        while shown < self.limit && text.len() < room {
            line.clear();
            let Some(bytes) = next_line(reader, &mut line, LINE_BYTES_MAX)? else {
                break;
            };
            push_line(&mut text, self.offset.saturating_add(shown), &line, bytes);
            shown += 1;
        }
        Ok((text, shown))
    }

    fn last_line(&self, shown: u64, rest: Rest) -> String {
        let first = self.offset;
        let last = first + shown - 1;
        let next = last + 1;
        match rest {
            Rest::Lines(0) => format!("(lines {first}-{last} of {last})"),
            Rest::Lines(lines) => {
                format!("(lines {first}-{last} of {}; go on with offset {next})", last + lines)
            }
            Rest::MoreThan(lines) => {
                format!("(lines {first}-{last} of more than {}; go on with offset {next})", last + lines)
            }
        }
    }
}

/// A file that stops being readable once nobody waits for it.
struct Chunks<'a> {
    file: File,
    cancel: &'a CancellationToken,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

/// Takes one line, keeps its first `keep` bytes, and says how many it has without its end. `None`: no more.
fn next_line(reader: &mut impl BufRead, kept: &mut Vec<u8>, keep: usize) -> io::Result<Option<u64>> {
    let mut bytes = 0;
    let mut begun = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(begun.then_some(bytes));
        }
        begun = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        let room = keep.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
        bytes += piece.len() as u64;
        let taken = piece.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            return Ok(Some(bytes));
        }
    }
}

/// Adds a line, with its number and a tab before it. `bytes` is its full length.
fn push_line(text: &mut String, number: u64, kept: &[u8], bytes: u64) {
    let line = String::from_utf8_lossy(kept);
    let (line, is_cut) = match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => (&line[..end], true),
        None => (&line[..], bytes > kept.len() as u64),
    };
    let notice = if is_cut { " … (line cut at 2000 characters)" } else { "" };
    text.push_str(&format!("{number:>6}\t{line}{notice}\n"));
}

/// What comes after the shown lines.
#[derive(Clone, Copy)]
enum Rest {
    /// So many lines.
    Lines(u64),
    /// So many lines, and at least the beginning of another that was not read to its end.
    MoreThan(u64),
}

fn count_lines(reader: &mut impl BufRead) -> io::Result<Rest> {
    let (mut lines, mut bytes, mut unfinished) = (0, 0, false);
    loop {
        let buffer = reader.fill_buf()?;
        let length = buffer.len();
        if length == 0 {
            return Ok(Rest::Lines(lines + u64::from(unfinished)));
        }
        if bytes >= COUNTED_BYTES_MAX {
            return Ok(Rest::MoreThan(lines));
        }
        lines += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        unfinished = !buffer.ends_with(b"\n");
        bytes += length as u64;
        reader.consume(length);
    }
}

/// Tells whether the bytes would be noise to a model: more than a tenth are no UTF-8, or are control
/// characters that no text has. A stray NUL or a few letters of an old encoding are still text.
fn is_binary(sample: &[u8]) -> bool {
    let mut noise = 0;
    for chunk in sample.utf8_chunks() {
        noise += chunk.valid().bytes().filter(|byte| is_noise(*byte)).count();
        noise += chunk.invalid().len();
    }
    noise * 10 > sample.len()
}

fn is_noise(byte: u8) -> bool {
    byte == 0x7f || byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0c | 0x1b)
}

#[cfg(test)]
mod tests;
