//! The terminal gives every key as it is pressed, and is left as it was found, however this process ends.

use std::{
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
};

use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

/// Has the terminal mark what is pasted.
const BEGIN: &[u8] = b"\x1b[?2004h";
/// Ends that, and shows the cursor.
const END: &[u8] = b"\x1b[?2004l\x1b[?25h";

/// How the terminal was found; one process has one. Kept here and not in a value, for an exit at once drops none.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// The mode, left when this is dropped.
pub(super) struct KeyMode(());

impl KeyMode {
    pub(super) fn enter() -> io::Result<Self> {
        let found = tcgetattr(io::stdin())?;
        *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        set(&found)?;
        Ok(Self(()))
    }

    /// Stops this process and what it has started until a shell lets them go on.
    pub(super) fn suspend(&self) -> io::Result<()> {
        restore();
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone();
        found.as_ref().map_or(Ok(()), set)
    }
}

fn set(found: &Termios) -> io::Result<()> {
    let mut raw = found.clone();
    raw.make_raw();
    // Lines that others write to the terminal still begin at its left edge.
    raw.output_modes = found.output_modes;
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    let mut stdout = io::stdout();
    stdout.write_all(BEGIN)?;
    stdout.flush()
}

impl Drop for KeyMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves the terminal as it was found, if it is not so already.
pub(crate) fn restore() {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(found) = found.as_ref() else { return };
    if is_ours() && tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes != found.local_modes) {
        // A terminal that is gone needs no setting back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
        let mut stdout = io::stdout();
        let _ = stdout.write_all(END).and_then(|()| stdout.flush());
    }
}

/// In the background the terminal is another's, and who touches it is stopped.
fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Letters that are typed are not shown until this is dropped.
pub(crate) struct Hidden(Option<Termios>);

impl Hidden {
    pub(crate) fn begin() -> Self {
        let Ok(found) = tcgetattr(io::stdin()) else {
            return Self(None);
        };
        let mut hidden = found.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        match tcsetattr(io::stdin(), OptionalActions::Now, &hidden) {
            Ok(()) => Self(Some(found)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(found) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
        }
    }
}
