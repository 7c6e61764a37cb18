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

/// The process and its terminal. The process is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of the screen has been looked at.
    seen: usize,
}

impl Terminal {
    /// Starts the command as a shell in a terminal would: in a session and in the foreground.
    #[allow(unsafe_code, reason = "between fork and exec only system calls are made")]
    pub(crate) fn start(command: &mut Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
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
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..count]);
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
        let new = &screen[self.seen..];
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
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
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
