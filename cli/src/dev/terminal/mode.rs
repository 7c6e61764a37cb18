//! Leaves the terminal as it was found, also when the line editor is cut short in the middle of a line.

use std::io::{self, Write as _};

use rustix::{
    process::getpgrp,
    termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp, tcsetattr},
};

/// Ends the mode in which a terminal marks what is pasted, and the line that was begun.
const END_OF_EDITING: &[u8] = b"\x1b[?2004l\r\n";

/// How the terminal was before; it is set back when this is dropped.
pub(super) struct SavedMode(Option<Termios>);

impl SavedMode {
    pub(super) fn save() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }
}

/// Throws away what was typed and not read yet.
pub(super) fn forget_what_was_typed() {
    if is_ours() {
        // A terminal that cannot do it reads the lines then, as a shell would.
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    }
}

/// In the background the terminal is another's, and who touches it is stopped.
fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

impl Drop for SavedMode {
    fn drop(&mut self) {
        let Some(saved) = &self.0 else { return };
        let is_edited = tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes != saved.local_modes);
        if is_edited && is_ours() {
            // A terminal that is gone needs no setting back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
            let mut stdout = io::stdout();
            let _ = stdout.write_all(END_OF_EDITING).and_then(|()| stdout.flush());
        }
    }
}
