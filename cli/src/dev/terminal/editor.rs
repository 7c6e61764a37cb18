//! Reads lines, with editing and a history that is kept in memory only, in a thread of its own: reading a
//! terminal blocks.

use std::{
    io,
    sync::{
        Arc,
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
    history::DefaultHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::sync::mpsc;

use super::{input, presses::Typed};

const PROMPT: &str = "> ";
/// Lines that the history holds.
const HISTORY_LINES_MAX: usize = 1000;

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
        read.unwrap_or(Ok(Read::End))
    }
}

fn read_lines(wanted: &Receiver<()>, read: &mpsc::Sender<io::Result<Read>>) {
    let is_line_empty = Arc::new(AtomicBool::new(true));
    let mut editor = match editor(Arc::clone(&is_line_empty)) {
        Ok(editor) => editor,
        Err(error) => {
            let _ = read.blocking_send(Err(io::Error::other(error)));
            return;
        }
    };
    while wanted.recv().is_ok() {
        is_line_empty.store(true, Ordering::Relaxed);
        if read.blocking_send(read_line(&mut editor, &is_line_empty)).is_err() {
            return;
        }
    }
}

fn read_line(
    editor: &mut Editor<LineHelper, DefaultHistory>,
    is_line_empty: &AtomicBool,
) -> io::Result<Read> {
    loop {
        return match editor.readline(PROMPT) {
            Ok(line) => Ok(Read::Line(line)),
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(ReadlineError::Interrupted) => match is_line_empty.load(Ordering::Relaxed) {
                true => Ok(Read::Interrupted(Typed::Nothing)),
                false => Ok(Read::Interrupted(Typed::Something)),
            },
            // The window's size has changed while nobody looked.
            Err(ReadlineError::Signal(_)) => continue,
            Err(error) => Err(io::Error::other(error)),
        };
    }
}

fn editor(is_line_empty: Arc<AtomicBool>) -> rustyline::Result<Editor<LineHelper, DefaultHistory>> {
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.auto_add_history(true).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(LineHelper { is_line_empty }));
    Ok(editor)
}

/// Continues lines that want to go on, and knows whether the line is empty.
struct LineHelper {
    is_line_empty: Arc<AtomicBool>,
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
        self.is_line_empty.store(line.is_empty(), Ordering::Relaxed);
        None
    }
}

impl Validator for LineHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match input::goes_on(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}
