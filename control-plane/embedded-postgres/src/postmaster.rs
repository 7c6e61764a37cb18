//! One run of Postgres: its settings, the thread that owns its process, its end.
//!
//! The kernel's death signal fires when the *thread* that spawned a process ends. So each run has a thread
//! of its own, the keeper, which spawns Postgres and then does nothing but wait for its exit: it ends after
//! Postgres, or with our whole process. The keeper reaps the exited process under the lock under which it is
//! signalled, so no signal can reach a stranger that got the number again.

use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::account::RunAs;
use crate::error::{StartError, failed};
use crate::home::{Home, PORT};
use crate::installation::Installation;
use crate::leftover::{self, PidFile};
use crate::memory::{buffers_mib, memory_bytes};
use crate::system::{self, Pid, Signal};
use crate::{Durability, Settings};

/// 33 ms here; the limit is for a slow disk and the recovery after a crash.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A fast shutdown ends all sessions and writes a checkpoint.
const FAST_TIME_MAX: Duration = Duration::from_secs(10);
/// An immediate one only ends the processes; Postgres itself kills the stubborn ones after 5 s.
const IMMEDIATE_TIME_MAX: Duration = Duration::from_secs(7);
/// After a kill there is only the kernel's own work left.
const KILLED_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    life: Arc<Life>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Life {
    has_exited: Mutex<bool>,
    changed: Condvar,
}

impl Life {
    fn has_exited(&self) -> MutexGuard<'_, bool> {
        // Nothing panics while holding it, and a boolean cannot be half-written.
        self.has_exited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Postmaster {
    /// Spawns Postgres over a cluster; it may not be ready yet.
    pub(crate) fn spawn(
        home: &Home,
        installation: &Installation,
        run_as: RunAs,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let program = installation.program("postgres");
        let mut command = run_as.command(&program, &home.dir);
        command.arg("-D").arg(home.data());
        for (name, value) in parameters(home, settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = home.new_log()?;
        command.stdout(log.try_clone().map_err(failed("share the log of", &program))?).stderr(log);
        // A Ctrl-C in the terminal is for our process, which then stops Postgres after its users.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        system::end_with_this_thread(&mut command, Signal::Interrupt);
        home.clear_socket();
        Self::keep(command).map_err(failed("run", &program))
    }

    fn keep(mut command: Command) -> io::Result<Self> {
        let life = Arc::new(Life::default());
        let (spawned, answer) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new().name("postgres-keeper".to_owned()).spawn({
            let life = Arc::clone(&life);
            move || match command.spawn() {
                Ok(child) => {
                    // The receiver waits for exactly this.
                    let _ = spawned.send(Ok(child.id()));
                    keep_until_exit(child, &life);
                }
                Err(error) => {
                    let _ = spawned.send(Err(error));
                }
            }
        })?;
        let number = answer.recv().map_err(|_| io::Error::other("the keeper thread ended"))??;
        let pid = Pid::new(number).ok_or_else(|| io::Error::other("a child with an impossible number"))?;
        Ok(Self { pid, life, keeper: Some(keeper) })
    }

    /// Waits until Postgres accepts connections.
    pub(crate) fn wait_until_ready(&self, home: &Home) -> Result<(), StartError> {
        let data = home.data();
        let deadline = Instant::now() + START_TIME_MAX;
        while !PidFile::read(&data).is_some_and(|file| file.pid == self.pid && file.is_ready) {
            if self.wait_for_exit(LOOK_EVERY) {
                return Err(StartError::Exited { log_tail: home.log_tail() });
            }
            if Instant::now() >= deadline {
                let seconds = START_TIME_MAX.as_secs();
                return Err(StartError::TimedOut { seconds, log_tail: home.log_tail() });
            }
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn is_running(&self) -> bool {
        !*self.life.has_exited()
    }

    /// Ends Postgres in order: fast, then immediately, then by force; bounded in all.
    pub(crate) fn stop(mut self, home: &Home) {
        self.signal(Signal::Interrupt);
        if !self.wait_for_exit(FAST_TIME_MAX) {
            self.signal(Signal::Quit);
            if !self.wait_for_exit(IMMEDIATE_TIME_MAX) {
                self.kill_now(home);
            }
        }
        self.join();
    }

    /// Ends Postgres as a crash would.
    pub(crate) fn kill(mut self, home: &Home) {
        self.kill_now(home);
        self.join();
    }

    fn kill_now(&self, home: &Home) {
        {
            // Held over the signals: the number stays this process's until then.
            let has_exited = self.life.has_exited();
            if !*has_exited {
                leftover::kill_family(self.pid, &home.data());
            }
        }
        self.wait_for_exit(KILLED_TIME_MAX);
    }

    fn signal(&self, signal: Signal) {
        let has_exited = self.life.has_exited();
        if !*has_exited {
            self.pid.send(signal);
        }
    }

    /// Whether Postgres has exited, at the latest when the time is over.
    fn wait_for_exit(&self, time_max: Duration) -> bool {
        let waited =
            self.life.changed.wait_timeout_while(self.life.has_exited(), time_max, |exited| !*exited);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn join(&mut self) {
        // A process that not even a kill ended (stuck in the kernel) must not hold us for ever: its keeper
        // then stays behind and reaps it when it can.
        if !self.is_running()
            && let Some(keeper) = self.keeper.take()
        {
            let _ = keeper.join();
        }
    }
}

fn keep_until_exit(mut child: Child, life: &Life) {
    if let Some(pid) = Pid::new(child.id()) {
        pid.wait_until_exited();
    }
    let mut has_exited = life.has_exited();
    // It is a zombie by now, so this does not wait. How it ended is in its log.
    let _ = child.wait();
    *has_exited = true;
    life.changed.notify_all();
}

/// Given on the command line, these win over everything in the data directory.
fn parameters(home: &Home, settings: &Settings) -> Vec<(&'static str, String)> {
    let mut parameters = vec![
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", home.socket_dir.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("max_connections", settings.max_connections.to_string()),
        ("timezone", "UTC".to_owned()),
        ("client_encoding", "UTF8".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        // A failed statement is told to its client. Its text and its values are users' prompts and outputs,
        // which belong into no log. And what is left is little: the log of one run stays small.
        ("log_min_messages", "log".to_owned()),
        ("log_min_error_statement", "panic".to_owned()),
        ("log_error_verbosity", "terse".to_owned()),
        ("log_statement", "none".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        ("log_autovacuum_min_duration", "-1".to_owned()),
    ];
    match settings.durability {
        Durability::Durable => {
            parameters.push(("shared_buffers", format!("{}MB", buffers_mib(memory_bytes()))));
        }
        Durability::Throwaway => {
            // Commits still wait for their write to the log, which without a sync costs next to nothing: a
            // killed Postgres loses none, and tests may kill it.
            let fast = [("fsync", "off"), ("full_page_writes", "off")];
            parameters.extend(fast.map(|(name, value)| (name, value.to_owned())));
            parameters.push(("shared_buffers", "32MB".to_owned()));
        }
    }
    parameters
}
