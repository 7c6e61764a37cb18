//! Reads standard input in a thread of its own, for reading a terminal blocks: keys, or lines.

use std::{
    io::{self, Read as _},
    thread,
};

use tokio::sync::mpsc;

use super::keys::{Key, Keys};
use crate::client::text::MESSAGE_BYTES_MAX;

/// Readings that wait; a person who types faster waits for the screen.
const READINGS_MAX: usize = 16;
const READ_BYTES: usize = 4 * 1024;

/// Keys as they are pressed. It is handed on from one who reads them to the next: a second thread would get
/// keys that are meant for the first.
pub(crate) struct Keyboard(mpsc::Receiver<Vec<Key>>);

impl Keyboard {
    /// The next keys; none when the terminal is gone. Dropping the wait loses nothing.
    pub(super) async fn recv(&mut self) -> Option<Vec<Key>> {
        self.0.recv().await
    }
}

/// Begins to read keys. The thread ends with the reader, or with the process when it is waiting for a key just
/// then.
pub(super) fn keys() -> io::Result<Keyboard> {
    let (sender, receiver) = mpsc::channel(READINGS_MAX);
    thread::Builder::new().name("keyboard".to_owned()).spawn(move || {
        let mut keys = Keys::default();
        let mut bytes = [0; READ_BYTES];
        // A signal that somebody handles in this process may cut a reading short.
        loop {
            match io::stdin().lock().read(&mut bytes) {
                Ok(count @ 1..) => {
                    let pressed = keys.push(&bytes[..count]);
                    if !pressed.is_empty() && sender.blocking_send(pressed).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    })?;
    Ok(Keyboard(receiver))
}

/// Lines without their ends. A line that is too long for a message comes cut, and still too long.
pub(super) fn lines() -> io::Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel(READINGS_MAX);
    thread::Builder::new().name("lines".to_owned()).spawn(move || {
        loop {
            match read_line(&mut io::stdin().lock()) {
                Ok(Some(line)) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    })?;
    Ok(receiver)
}

/// The next line, kept up to a byte more than a message may have.
fn read_line(input: &mut impl io::BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let buffered = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffered => buffered?,
        };
        if buffered.is_empty() {
            return Ok((!line.is_empty()).then(|| text(&line)));
        }
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffered.len());
        let room = (MESSAGE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&buffered[..taken.min(room)]);
        input.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Some(text(&line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_within_their_bound() {
        let long = "x".repeat(3 * MESSAGE_BYTES_MAX);
        let input = format!("one\r\n\n{long}\nlast");
        let mut reader = io::BufReader::with_capacity(7, input.as_bytes());

        let lines: Vec<String> = std::iter::from_fn(|| read_line(&mut reader).unwrap()).collect();

        assert_eq!([&lines[0], &lines[1], &lines[3]], ["one", "", "last"]);
        assert_eq!(lines[2].len(), MESSAGE_BYTES_MAX + 1);
    }
}
