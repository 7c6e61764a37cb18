//! A terminal, with a process in it and the test in front of it.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStringExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    process::{Signal, ioctl_tiocsctty, setsid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    stdio::stdin,
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::fixture::{send, wait_until};

pub(crate) const CTRL_C: &str = "\u{3}";
pub(crate) const CTRL_D: &str = "\u{4}";
pub(crate) const UP: &str = "\u{1b}[A";
/// What a terminal sends around pasted text.
pub(crate) const PASTE: &str = "\u{1b}[200~";
pub(crate) const PASTE_END: &str = "\u{1b}[201~";
pub(crate) const ENTER: &str = "\r";

pub(crate) const CTRL_S: &str = "\u{13}";
pub(crate) const ALT_ENTER: &str = "\u{1b}\r";

const ROWS: u16 = 50;
const COLUMNS: u16 = 200;
/// Rows above the screen that can be scrolled back to.
const ROWS_ABOVE: usize = 1000;

/// The process and its terminal. The process is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Screen>>,
    /// How much of the screen has been looked at.
    seen: usize,
}

/// What the process has written, and what a person sees of it.
struct Screen {
    bytes: Vec<u8>,
    emulator: vt100::Parser,
}

impl Terminal {
    /// Starts the command as a shell in a terminal would: in a session and in the foreground.
    #[allow(unsafe_code, reason = "between fork and exec only system calls are made")]
    pub(crate) fn start(command: &mut Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap().into_bytes();
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        command.env("TERM", "xterm").stdin(open()).stdout(open()).stderr(open());
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(stdin())?)
            });
        }
        let child = command.spawn().unwrap();
        let keyboard = File::from(controller);
        let emulator = vt100::Parser::new(ROWS, COLUMNS, ROWS_ABOVE);
        let screen = Arc::new(Mutex::new(Screen { bytes: Vec::new(), emulator }));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut screen = shown.lock().unwrap();
                screen.bytes.extend_from_slice(&bytes[..count]);
                screen.emulator.process(&bytes[..count]);
            }
        });
        // Our copies of the other end close here.
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self { child, keyboard, screen, seen: 0 }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the text is shown, after everything that was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        wait_until(|| self.look_for(text));
    }

    /// Presses keys until the text is shown: what is pressed as fast as only a test can press it may count as
    /// one press.
    pub(crate) fn press_until(&mut self, keys: &str, text: &str) {
        wait_until(|| {
            let look = self.look_for(text);
            look.inspect_err(|_| self.keyboard.write_all(keys.as_bytes()).unwrap())
        });
    }

    fn look_for(&mut self, text: &str) -> Result<(), String> {
        let screen = self.screen.lock().unwrap();
        let new = &screen.bytes[self.seen..];
        match new.windows(text.len()).position(|window| window == text.as_bytes()) {
            Some(position) => {
                self.seen += position + text.len();
                Ok(())
            }
            None => Err(format!("no {text:?} after {:?}", String::from_utf8_lossy(new))),
        }
    }

    /// Everything that was shown.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap().bytes).into_owned()
    }

    /// What a person sees now, without the empty rows below.
    pub(crate) fn screen(&self) -> String {
        let contents = self.screen.lock().unwrap().emulator.screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Waits until what a person sees is so.
    pub(crate) fn wait_until_it_shows(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        wait_until(|| {
            let screen = self.screen();
            is_so(&screen).then_some(()).ok_or_else(|| format!("not {what}:\n{screen}"))
        });
    }

    /// Presses keys until what a person sees is so.
    pub(crate) fn press_until_it_shows(&mut self, keys: &str, is_so: impl Fn(&str) -> bool) {
        wait_until(|| {
            let screen = self.screen();
            if is_so(&screen) {
                return Ok(());
            }
            self.press(keys);
            Err(format!("{keys:?} does not lead to it:\n{screen}"))
        });
    }

    /// Waits until nothing is going on and the line to write on is empty.
    pub(crate) fn wait_until_idle(&self) {
        self.wait_until_it_shows("idle", |screen| {
            let mut rows = screen.lines().rev();
            rows.next() == Some(">") && !rows.next().is_some_and(|row| row.contains(" · "))
        });
    }

    /// Whether keys are echoed and lines edited by the terminal itself, as shells expect to find it.
    pub(crate) fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the end of the process.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().unwrap();
            status.map(|_| ()).ok_or_else(|| format!("it still runs after {:?}", self.shown()))
        });
        status.unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
