//! Starts and stops a private PostgreSQL from installed server binaries.
//!
//! For `chatplane dev`, whose data is kept between runs, and for tests, whose data goes with them. It works
//! as root and as an ordinary user, in an empty environment, and never listens on TCP: the only way in is a
//! unix socket in a directory that nobody else may enter.
//!
//! ```no_run
//! use chatplane_embedded_postgres::{Postgres, Settings};
//!
//! # fn main() -> Result<(), chatplane_embedded_postgres::StartError> {
//! let postgres = Postgres::start(Settings::temporary())?;
//! let url = postgres.url("postgres"); // for sqlx, tokio-postgres and psql alike
//! # Ok(())
//! # }
//! ```
//!
//! # Theory of operation
//!
//! Nothing is left running, whatever dies:
//!
//! - dropping [`Postgres`] stops the server and removes temporary directories;
//! - when our process ends without that (kill -9, or a `static`, which is never dropped), the kernel sends
//!   Postgres a fast shutdown (on Linux), and the guard (a shell at the end of a pipe that only we hold) sees
//!   to it that it comes to an end, and removes the temporary directories;
//! - when all of them are killed together, the next start ends what is left, throws half-made data away and
//!   lets Postgres recover the rest.
//!
//! A lock in the directory keeps two launchers apart. Everything here blocks: call it from a thread that may.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

mod account;
mod cluster;
mod command;
mod error;
mod guard;
mod home;
mod installation;
mod leftover;
mod memory;
mod postmaster;
#[allow(unsafe_code, reason = "process control that the standard library has no safe form for")]
mod system;

pub use error::StartError;

use account::RunAs;
use guard::Guard;
use home::Home;
use installation::Installation;
use leftover::Leftover;
use postmaster::Postmaster;

/// The one database user, a superuser.
const SUPERUSER: &str = "chatplane";
/// Enough for a test binary whose tests each hold a few connections.
const MAX_CONNECTIONS_DEFAULT: u32 = 100;

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the data lives, and for how long.
    pub storage: Storage,
    /// What a crash of the machine may cost.
    pub durability: Durability,
    /// The directory of `initdb` and `postgres`; found by itself if `None`.
    pub bin_dir: Option<PathBuf>,
    /// How many clients may be connected at a time.
    pub max_connections: u32,
}

impl Settings {
    /// Data that is kept between runs, durably. The directory is made if it does not exist, and must hold
    /// nothing but what earlier starts made.
    pub fn kept_in(dir: impl Into<PathBuf>) -> Self {
        Self {
            storage: Storage::Kept(dir.into()),
            durability: Durability::Durable,
            bin_dir: None,
            max_connections: MAX_CONNECTIONS_DEFAULT,
        }
    }

    /// Data that goes with the [`Postgres`], made for speed.
    pub fn temporary() -> Self {
        Self {
            storage: Storage::Temporary,
            durability: Durability::Throwaway,
            bin_dir: None,
            max_connections: MAX_CONNECTIONS_DEFAULT,
        }
    }
}

/// Where the data lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In this directory, which is the launcher's alone.
    Kept(PathBuf),
    /// In a new directory that is removed with the [`Postgres`], or when its process ends.
    Temporary,
}

/// What a crash of the machine (not of Postgres) may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed.
    Durable,
    /// Everything: nothing is synced to the disk.
    Throwaway,
}

/// A private Postgres. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order: the guard removes directories, then the lock in them is let go.
    postmaster: Option<Postmaster>,
    guard: Guard,
    home: Home,
    installation: Installation,
    run_as: RunAs,
    settings: Settings,
}

impl Postgres {
    /// Starts Postgres and waits until it accepts connections; makes the data first where there is none.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing is left running then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let data = match &settings.storage {
            Storage::Kept(dir) => Some(dir.join("data")),
            Storage::Temporary => None,
        };
        let data = data.as_deref();
        let data_major = data.map(home::data_major).transpose()?.flatten();
        // First of all, so that a machine without Postgres gets no directories.
        let installation = Installation::find(settings.bin_dir.as_deref(), data_major)?;
        let run_as = RunAs::choose(data)?;
        home::require_reachable(run_as, &installation.program("postgres"))?;

        let home = Home::open(&settings.storage, run_as)?;
        let shell = Path::new("/bin/sh");
        let guard = Guard::start(&home.data().join("postmaster.pid"), &home.disposable)
            .map_err(error::failed("run", shell))?;
        let mut postgres = Self { postmaster: None, guard, home, installation, run_as, settings };
        // What still runs then keeps Postgres from starting, which says so better.
        let _ = leftover::end(&postgres.home.data());
        cluster::prepare(&postgres.home, &postgres.installation, run_as, postgres.settings.durability)?;
        postgres.launch()?;
        Ok(postgres)
    }

    /// Says whether server binaries would be found for new data, without starting or making anything.
    ///
    /// # Errors
    ///
    /// [`StartError::BinariesMissing`], [`StartError::BinDirUnusable`].
    pub fn require_installed(bin_dir: Option<&Path>) -> Result<(), StartError> {
        Installation::find(bin_dir, None).map(|_| ())
    }

    /// Deletes kept data with all that belongs to it, and says whether there was any. What a dead launcher
    /// left running is ended first.
    ///
    /// # Errors
    ///
    /// [`StartError::InUse`] while a launcher has the directory, [`StartError::ForeignFiles`],
    /// [`StartError::NotOwned`] and [`StartError::Link`] when it is not ours alone, and
    /// [`StartError::StillRuns`] when what was left running could not be ended: nothing is deleted then.
    /// [`StartError::Io`] may leave a part of it, but never a part of a cluster where a start would look for
    /// one: the next start makes a new one.
    pub fn erase(dir: &Path) -> Result<bool, StartError> {
        match dir.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => return Err(StartError::Link { dir: dir.to_owned() }),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error::failed("look at", dir)(error)),
        }
        let home = Home::reopen(dir)?;
        match leftover::end(&home.data()) {
            Leftover::Gone => home.erase()?,
            Leftover::Runs(pid) => {
                return Err(StartError::StillRuns { dir: home.dir.clone(), pid: pid.number() });
            }
        }
        Ok(true)
    }

    /// The address of a database, with the socket's directory as its percent-encoded host. The databases
    /// `postgres` and `template1` always exist.
    pub fn url(&self, database: &str) -> String {
        let host = percent_encoded(self.home.socket_dir.as_os_str().as_encoded_bytes());
        let database = percent_encoded(database.as_bytes());
        // The port and the mode are spelled out: clients would take them from their environment otherwise.
        format!("postgres://{SUPERUSER}@{host}:{}/{database}?sslmode=disable", home::PORT)
    }

    /// Where the socket `.s.PGSQL.5432` is.
    pub fn socket_dir(&self) -> &Path {
        &self.home.socket_dir
    }

    /// Where the server's programs are, and with them usually `psql` and `pg_dump`.
    pub fn bin_dir(&self) -> &Path {
        &self.installation.bin_dir
    }

    /// The server's process, or `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().filter(|postmaster| postmaster.is_running()).map(|it| it.pid().number())
    }

    /// Stops the server in order, ending open sessions; by force if it takes too long. The data stays as
    /// long as this value, also if it is temporary.
    pub fn stop(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.stop(&self.home);
            self.guard.watch(None);
        }
    }

    /// Kills the server and its children as a crash would, for tests of recovery.
    pub fn kill(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.kill(&self.home);
            self.guard.watch(None);
        }
    }

    /// Starts the server again, stopping it first if it runs, over the same data and at the same address.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.stop();
        let _ = leftover::end(&self.home.data());
        self.launch()
    }

    fn launch(&mut self) -> Result<(), StartError> {
        let postmaster = Postmaster::spawn(&self.home, &self.installation, self.run_as, &self.settings)?;
        self.guard.watch(Some(postmaster.pid()));
        // Kept before it is ready, so that a failed start is ended by the drop.
        self.postmaster.insert(postmaster).wait_until_ready(&self.home)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Everything but letters and digits is encoded, as in a URL's host.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_url_gives_a_meaning_is_encoded() {
        assert_eq!(percent_encoded(b"/tmp/chat-plane_1.d"), "%2Ftmp%2Fchat-plane_1.d");
        assert_eq!(percent_encoded("a?b#c d@ü".as_bytes()), "a%3Fb%23c%20d%40%C3%BC");
    }
}
