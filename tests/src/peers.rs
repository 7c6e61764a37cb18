//! Programs that are not ours: a model server and a gRPC client that others wrote, so that a test does not
//! only agree with itself.
//!
//! They come from npm and PyPI. A variable names one that is ready, as CI does; otherwise the first test that
//! asks installs it below the build's target directory, and it stays there. Several test processes may ask at
//! once: one installs, beside the place where it will lie, and the others wait for its lock.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{sync::OnceCell, time};

/// One step of an installation; longer than a slow network needs, shorter than anybody waits.
const STEP_MAX: Duration = Duration::from_secs(180);
/// How long another process may install: its steps, and the fallback.
const LOCK_MAX: Duration = Duration::from_secs(600);
/// Between two looks at the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a program may take to say that it runs.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// `llmock`, a model server for many wire formats.
const LLMOCK: Peer = Peer {
    name: "llmock",
    variable: "CHATPLANE_LLMOCK",
    needs: &["npm", "--version"],
    missing: "npm is not installed",
    manifest: ("package.json", include_str!("../tests/llmock/package.json")),
    steps: &[&["npm", "install", "--omit=dev", "--no-audit", "--no-fund", "--fetch-retries=1"]],
    // Distributions ship a Node that is too old for it. Its shebang asks the path for one.
    fallback: &["npm", "install", "--include=dev", "--no-audit", "--no-fund", "--fetch-retries=1"],
    program: "node_modules/.bin/llmock",
    probe: &["--help"],
};

/// Python with grpcio.
const PYTHON: Peer = Peer {
    name: "python",
    variable: "CHATPLANE_PYTHON",
    // grpcio asks for that version.
    needs: &["python3", "-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))"],
    missing: "python3 (3.10 or newer, with venv) is not installed",
    manifest: ("requirements.txt", include_str!("../python/requirements.txt")),
    steps: &[
        &["python3", "-m", "venv", "."],
        &["bin/python", "-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt"],
    ],
    fallback: &[],
    program: "bin/python",
    probe: &["-c", "import grpc, grpc_reflection"],
};

/// `llmock`, or nothing where npm is missing; why is printed.
///
/// # Panics
///
/// When it cannot be installed, with npm's words.
pub async fn llmock() -> Option<Program> {
    static FOUND: OnceCell<Result<Option<Program>, String>> = OnceCell::const_new();
    given(&LLMOCK, FOUND.get_or_init(|| find(&LLMOCK)).await)
}

/// A Python that has grpcio, or nothing where Python or its venv is missing; why is printed.
///
/// # Panics
///
/// When it cannot be installed, with pip's words.
pub async fn python() -> Option<Program> {
    static FOUND: OnceCell<Result<Option<Program>, String>> = OnceCell::const_new();
    given(&PYTHON, FOUND.get_or_init(|| find(&PYTHON)).await)
}

/// Says that a test is skipped, where a person sees it: the test harness hides what the macros print.
///
/// # Panics
///
/// In CI, which has everything.
pub fn skip(why: &str) {
    assert!(env::var_os("CI").is_none(), "CI skips nothing, but {why}");
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Program(PathBuf);

impl Program {
    /// A command of it, with nothing in its environment but the path. What was installed beside it goes first.
    #[must_use]
    pub fn command(&self) -> Command {
        // A bare name has none: the path finds it.
        let own = self.0.parent().filter(|own| !own.as_os_str().is_empty()).map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(own.into_iter().chain(env::split_paths(&path)));
        let mut command = Command::new(&self.0);
        command.env_clear().env("PATH", path.expect("directories of a path have no separators"));
        command
    }
}

/// How a program is installed. Commands run in the directory of the installation.
struct Peer {
    name: &'static str,
    /// Names a program that is ready.
    variable: &'static str,
    /// Succeeds where it can be installed.
    needs: &'static [&'static str],
    /// What is so where `needs` fails.
    missing: &'static str,
    /// Name and content of the file that says what to install, in which version.
    manifest: (&'static str, &'static str),
    steps: &'static [&'static [&'static str]],
    /// One more step where the program does not run after the others; empty for none.
    fallback: &'static [&'static str],
    /// Where the program is then.
    program: &'static str,
    /// Arguments with which it shows that it runs.
    probe: &'static [&'static str],
}

fn given(peer: &Peer, found: &Result<Option<Program>, String>) -> Option<Program> {
    match found {
        Ok(Some(program)) => Some(program.clone()),
        Ok(None) => {
            skip(peer.missing);
            None
        }
        Err(why) => panic!("{why}"),
    }
}

async fn find(peer: &Peer) -> Result<Option<Program>, String> {
    if let Some(named) = env::var_os(peer.variable).filter(|named| !named.is_empty()) {
        let program = Program(named.into());
        return match probe(peer, &program).await {
            Ok(()) => Ok(Some(program)),
            Err(words) => Err(format!("{} names a program that does not run: {words}", peer.variable)),
        };
    }
    let test = env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(3).expect("a test lies three levels below the target directory");
    install(peer, &target.join("peers")).await
}

/// The program below `root`, installed there unless it is.
async fn install(peer: &Peer, root: &Path) -> Result<Option<Program>, String> {
    if run(command(peer.needs, Path::new(".")), PROBE_MAX).await.is_err() {
        return Ok(None);
    }
    fs::create_dir_all(root).map_err(|error| format!("{} cannot be made: {error}", root.display()))?;
    let _lock = lock(&root.join(format!("{}.lock", peer.name))).await?;
    let ready = root.join(peer.name);
    let (name, manifest) = peer.manifest;
    let program = Program(ready.join(peer.program));
    let is_current = fs::read_to_string(ready.join(name)).is_ok_and(|installed| installed == manifest);
    if is_current && probe(peer, &program).await.is_ok() {
        return Ok(Some(program));
    }
    let fresh = root.join(format!("{}.new", peer.name));
    fill(peer, &fresh).await.map_err(|words| {
        // What is left of it is only in the way.
        let _ = remove(&fresh);
        format!(
            "{} could not be installed, which needs the network once. Without one, set {} to a program that \
             is ready. What the installation said:\n{words}",
            peer.name, peer.variable
        )
    })?;
    let moved = remove(&ready).and_then(|()| fs::rename(&fresh, &ready));
    moved.map_err(|error| format!("{} cannot be replaced: {error}", ready.display()))?;
    probe(peer, &program).await.map(|()| Some(program))
}

/// Installs into a directory of its own.
async fn fill(peer: &Peer, fresh: &Path) -> Result<(), String> {
    let (name, manifest) = peer.manifest;
    let made = remove(fresh).and_then(|()| fs::create_dir(fresh));
    made.and_then(|()| fs::write(fresh.join(name), manifest)).map_err(|error| error.to_string())?;
    for step in peer.steps {
        run(command(step, fresh), STEP_MAX).await?;
    }
    let program = Program(fresh.join(peer.program));
    match probe(peer, &program).await {
        Err(_) if !peer.fallback.is_empty() => {
            run(command(peer.fallback, fresh), STEP_MAX).await?;
            probe(peer, &program).await
        }
        probed => probed,
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Held until the file is dropped, also by the death of the process.
async fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: io::Error| format!("{} cannot be locked: {error}", path.display());
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    let locking = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => time::sleep(LOCK_INTERVAL).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    };
    let locked = time::timeout(LOCK_MAX, locking).await;
    locked.map_err(|_| format!("another process has held {} for too long", path.display()))??;
    Ok(file)
}

async fn probe(peer: &Peer, program: &Program) -> Result<(), String> {
    let mut command = program.command();
    command.args(peer.probe);
    run(command, PROBE_MAX).await
}

/// A command line; a program with a slash lies in the directory.
fn command(line: &[&str], directory: &Path) -> Command {
    let (program, arguments) = line.split_first().expect("a command line has a program");
    let program =
        if program.contains('/') { directory.join(program).into() } else { OsString::from(program) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    command
}

/// Runs to the end; an error is what it said.
async fn run(command: Command, time_max: Duration) -> Result<(), String> {
    let line = format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match time::timeout(time_max, output).await {
        Err(_) => return Err(format!("{line} took longer than {} s", time_max.as_secs())),
        Ok(Err(error)) => return Err(format!("{line} cannot be started: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Err(format!("{line} ended with {}:\n{}{}", output.status, said[0], said[1]))
}

#[cfg(test)]
mod tests;
