//! Reads lines, with editing and a history that is kept in memory only, in a thread of its own: reading a
//! terminal blocks.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use rustyline::{
    Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::{DefaultHistory, History as _},
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::sync::mpsc;

use super::{
    input::{self, Continuations},
    presses::Typed,
};

const PROMPT: &str = "> ";
/// Lines that the history holds.
const HISTORY_LINES_MAX: usize = 1000;
/// Bytes that they may have together. The oldest go first; the last line stays.
const HISTORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What reading came to.
pub(super) enum Read {
    Line(String),
    /// Ctrl-C.
    Interrupted(Typed),
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// The thread, from outside.
pub(super) struct LineEditor {
    wanted: SyncSender<()>,
    read: mpsc::Receiver<io::Result<Read>>,
    /// True from when a line is wanted until it is there.
    is_reading: bool,
}

impl LineEditor {
    /// Starts the thread. It ends with this, or with the process when it is waiting for a key just then.
    pub(super) fn start() -> io::Result<Self> {
        let (wanted, wanted_receiver) = sync_channel(1);
        let (read_sender, read) = mpsc::channel(1);
        thread::Builder::new()
            .name("line-editor".to_owned())
            .spawn(move || read_lines(&wanted_receiver, &read_sender))?;
        Ok(Self { wanted, read, is_reading: false })
    }

    /// The next line. Dropping the wait loses nothing: the next call takes what is read meanwhile.
    pub(super) async fn read(&mut self) -> io::Result<Read> {
        if !self.is_reading {
            self.wanted.send(()).map_err(io::Error::other)?;
            self.is_reading = true;
        }
        let read = self.read.recv().await;
        self.is_reading = false;
        // The thread answers as long as there is this: it has panicked, which is no wish to leave.
        read.unwrap_or_else(|| Err(io::Error::other("the line editor has failed")))
    }
}

fn read_lines(wanted: &Receiver<()>, read: &mpsc::Sender<io::Result<Read>>) {
    let line = Arc::new(LineState::default());
    let mut editor = match editor(Arc::clone(&line)) {
        Ok(editor) => editor,
        Err(error) => {
            let _ = read.blocking_send(Err(io::Error::other(error)));
            return;
        }
    };
    while wanted.recv().is_ok() {
        if read.blocking_send(read_line(&mut editor, &line)).is_err() {
            return;
        }
    }
}

fn read_line(editor: &mut Editor<LineHelper, DefaultHistory>, line: &LineState) -> io::Result<Read> {
    loop {
        line.begin();
        return match editor.readline(PROMPT) {
            Ok(lines) => {
                let text = line.take_continuations().taken_out_of(&lines);
                remember(editor.history_mut(), &text).map_err(io::Error::other)?;
                Ok(Read::Line(text))
            }
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(ReadlineError::Interrupted) => match line.is_empty.load(Ordering::Relaxed) {
                true => Ok(Read::Interrupted(Typed::Nothing)),
                false => Ok(Read::Interrupted(Typed::Something)),
            },
            // The window's size has changed while nobody looked.
            Err(ReadlineError::Signal(_)) => continue,
            Err(error) => Err(io::Error::other(error)),
        };
    }
}

fn remember(history: &mut DefaultHistory, text: &str) -> rustyline::Result<()> {
    let bytes = |history: &DefaultHistory| history.into_iter().map(String::len).sum::<usize>();
    history.add(text)?;
    while history.len() > 1 && bytes(history) > HISTORY_BYTES_MAX {
        history.set_max_len(history.len() - 1)?;
    }
    history.set_max_len(HISTORY_LINES_MAX)
}

fn editor(line: Arc<LineState>) -> rustyline::Result<Editor<LineHelper, DefaultHistory>> {
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(LineHelper { line }));
    Ok(editor)
}

/// What the editor does not tell of the line that it edits.
struct LineState {
    is_empty: AtomicBool,
    continuations: Mutex<Continuations>,
}

impl Default for LineState {
    fn default() -> Self {
        Self { is_empty: AtomicBool::new(true), continuations: Mutex::default() }
    }
}

impl LineState {
    fn begin(&self) {
        self.is_empty.store(true, Ordering::Relaxed);
        self.take_continuations();
    }

    fn take_continuations(&self) -> Continuations {
        std::mem::take(&mut *self.continuations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Continues lines that want to go on, and knows whether the line is empty.
struct LineHelper {
    line: Arc<LineState>,
}

impl Helper for LineHelper {}

impl Completer for LineHelper {
    type Candidate = String;
}

impl Highlighter for LineHelper {}

impl Hinter for LineHelper {
    type Hint = String;

    /// Gives no hint, but is asked after each change of the line: an interrupt tells nothing of the line that
    /// it ends.
    fn hint(&self, line: &str, _cursor: usize, _context: &Context<'_>) -> Option<String> {
        self.line.is_empty.store(line.is_empty(), Ordering::Relaxed);
        None
    }
}

impl Validator for LineHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if !input::goes_on(context.input()) {
            return Ok(ValidationResult::Valid(None));
        }
        self.line.continuations.lock().unwrap_or_else(PoisonError::into_inner).add(context.input());
        Ok(ValidationResult::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_by_bytes_and_keeps_the_newest() {
        let mut history = DefaultHistory::new();

        for number in 0..5 {
            remember(&mut history, &format!("{number}{}", "x".repeat(HISTORY_BYTES_MAX / 3))).unwrap();
        }
        let kept: Vec<String> = (&history).into_iter().map(|line| line[..1].to_owned()).collect();
        remember(&mut history, &"y".repeat(HISTORY_BYTES_MAX + 1)).unwrap();

        assert_eq!(kept, ["3", "4"]);
        assert_eq!(history.len(), 1);
    }

    #[tokio::test]
    async fn an_editor_that_has_failed_is_no_end_of_input() {
        let (wanted, _wanted) = sync_channel(1);
        let (_, read) = mpsc::channel(1);
        let mut editor = LineEditor { wanted, read, is_reading: false };

        assert!(editor.read().await.is_err());
    }
}
