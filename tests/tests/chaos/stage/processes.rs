//! The processes, each with what it takes to start it again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chatplane_tests::{Database, Role};
use tokio::time::sleep;

use super::{Names, Workspace, lines::Lines};
use crate::{
    AGENTS, REPLICAS, WORKERS,
    plan::{LEAVE_TIME_MAX, Line, Process},
};

/// Between two looks whether somebody has ended unasked.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Between two looks whether a process that was asked to leave has left.
const LEAVE_LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Seconds that a process gets to drain.
const DRAIN_TIMEOUT: &str = "4";
/// Chats that a worker runs at a time: together enough that hardly one waits for a slot, so that
/// what is measured is how soon it is taken.
const SLOTS: &str = "50";
/// A chat's queue is short, so that everything is done soon after the last fault.
const QUEUE_MAX: &str = "4";

/// What a process logs that ends because the database is not there when it starts.
const DATABASE_UNUSABLE: &str = "the database cannot be used";
/// What a replica logs once it works.
const REPLICA_WORKS: &str = "the control plane takes calls";
/// What an agent says to whom a newer one is preferred: a registration that was held up on its
/// way may well be that of its own predecessor.
const AGENT_REPLACED: &str = "taken this one's place";
/// What a thread says that dies.
const PANICKED: &str = "panicked at";
/// So much of a log's end is shown.
const LOG_LINES_MAX: usize = 3;

/// All processes.
pub(crate) struct Processes(BTreeMap<Process, Place>);

/// One process, and its successors.
struct Place {
    launch: Launch,
    running: Mutex<Running>,
}

/// How a process is started.
struct Launch {
    name: String,
    /// Of the release before; none for this one's.
    program: Option<PathBuf>,
    arguments: &'static [&'static str],
    variables: BTreeMap<&'static str, String>,
    logs: PathBuf,
}

struct Running {
    role: Role,
    /// Somebody has ended it on purpose, and will start it again.
    is_down: bool,
    /// Where the log of this run begins.
    log_from: usize,
}

/// A process that ended unasked.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) process: Process,
    /// Why that may be.
    pub(crate) excuse: Option<&'static str>,
    /// Its last words.
    pub(crate) last_words: String,
}

impl Processes {
    pub(super) fn start(database: &Database, workspaces: &[Workspace], lines: &Lines, names: &Names) -> Self {
        let place = |process, role, variables| (process, Place::start(process, role, variables, names));
        let replicas = (0..REPLICAS).map(|replica| {
            place(Process::Replica(replica), &["serve"], serve(replica, database, lines, names))
        });
        let workers = (0..WORKERS)
            .map(|worker| place(Process::Worker(worker), &["worker"], work(worker, lines, names)));
        let agents = (0..AGENTS).map(|agent| {
            let variables = attend(agent, &workspaces[agent], lines, names);
            place(Process::Agent(agent), &["workspace-agent"], variables)
        });
        Self(replicas.chain(workers).chain(agents).collect())
    }

    /// What a worker is called in the database.
    pub(crate) fn name(&self, process: Process) -> &str {
        &self.0[&process].launch.name
    }

    pub(crate) fn kill(&self, process: Process) {
        let mut running = self.0[&process].running();
        running.is_down = true;
        running.role.kill();
    }

    /// Starts what has been ended.
    pub(crate) fn start_again(&self, process: Process) {
        let place = &self.0[&process];
        place.start_again(&mut place.running());
    }

    pub(crate) fn pause(&self, process: Process) {
        if let Some(running) = self.0[&process].alive() {
            running.role.pause();
        }
    }

    pub(crate) fn resume(&self, process: Process) {
        if let Some(running) = self.0[&process].alive() {
            running.role.resume();
        }
    }

    pub(crate) fn resume_all(&self) {
        for process in self.0.keys() {
            self.resume(*process);
        }
    }

    /// Asks a process to leave; answers what is wrong with how it does.
    pub(crate) async fn stop(&self, process: Process) -> Option<String> {
        let place = &self.0[&process];
        let asked = place.alive().map(|mut running| {
            running.is_down = true;
            running.role.terminate();
        });
        // Of one that has ended already, whoever looks after it has told why, or will.
        asked?;
        let mut waited = Duration::ZERO;
        while !place.running().role.has_ended() {
            if waited > LEAVE_TIME_MAX {
                place.running().role.kill();
                return Some(format!("{} was asked to leave and did not", place.launch.name));
            }
            sleep(LEAVE_LOOK_AGAIN).await;
            waited += LEAVE_LOOK_AGAIN;
        }
        let mut running = place.running();
        let code = running.role.exit_code();
        let is_well = code == Some(0) || place.excuse(process, &running).is_some();
        (!is_well).then(|| format!("{} left with {code:?}: {}", place.launch.name, last_words(&running)))
    }

    /// Starts whoever ended unasked, as an operator's supervisor would, and tells of it.
    pub(crate) async fn supervise(&self, tell: impl Fn(Ended)) {
        loop {
            for (process, place) in &self.0 {
                let mut running = place.running();
                if running.is_down || !running.role.has_ended() {
                    continue;
                }
                tell(Ended {
                    process: *process,
                    excuse: place.excuse(*process, &running),
                    last_words: last_words(&running),
                });
                place.start_again(&mut running);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What somebody said in a log that nobody may say.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut panics = Vec::new();
        for place in self.0.values() {
            let log = place.running().role.log();
            let lines = log.lines().filter(|line| line.contains(PANICKED));
            panics.extend(lines.map(|line| format!("{} {line}", place.launch.name)));
        }
        panics
    }

    /// How often each kind of process logged an error, for the report: somebody should act.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for (process, place) in &self.0 {
            for line in place.running().role.log().lines() {
                if let Some((_, said)) = line.split_once(" ERROR ") {
                    let said: String =
                        said.chars().filter(|letter| !letter.is_ascii_digit()).take(120).collect();
                    *errors.entry(format!("{process}: {said}")).or_default() += 1;
                }
            }
        }
        errors
    }
}

impl Launch {
    fn start(&self) -> Role {
        let Some(program) = &self.program else {
            return Role::start(&self.name, self.arguments, &self.variables, &self.logs);
        };
        let mut command = Command::new(program);
        command.args(self.arguments);
        Role::start_command(command, &self.name, &self.variables, &self.logs)
    }
}

impl Place {
    fn start(
        process: Process,
        arguments: &'static [&'static str],
        variables: BTreeMap<&'static str, String>,
        names: &Names,
    ) -> Self {
        let program = names.release_before.clone().filter(|_| is_of_the_release_before(process));
        let (name, logs) = (name_of(process), names.logs.clone());
        let launch = Launch { name, program, arguments, variables, logs };
        let running = Mutex::new(Running { role: launch.start(), is_down: false, log_from: 0 });
        Self { launch, running }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same if it has not ended: a number that nobody has any more may soon be a stranger's.
    fn alive(&self) -> Option<MutexGuard<'_, Running>> {
        let mut running = self.running();
        (!running.role.has_ended()).then_some(running)
    }

    fn start_again(&self, running: &mut Running) {
        // Its successor needs its port and its lock.
        running.role.kill();
        running.log_from = running.role.log().len();
        running.role = self.launch.start();
        running.is_down = false;
    }

    fn excuse(&self, process: Process, running: &Running) -> Option<&'static str> {
        let log = this_run(running);
        match process {
            Process::Replica(_) if log.contains(DATABASE_UNUSABLE) && !log.contains(REPLICA_WORKS) => {
                Some("the database was away when it started")
            }
            Process::Agent(_) if log.contains(AGENT_REPLACED) => {
                Some("a registration of its predecessor came late and took its place")
            }
            Process::Replica(_) | Process::Worker(_) | Process::Agent(_) => None,
        }
    }
}

fn name_of(process: Process) -> String {
    match process {
        Process::Replica(replica) => format!("replica-{replica}"),
        Process::Worker(worker) => format!("worker-{worker}"),
        Process::Agent(agent) => format!("agent-{agent}"),
    }
}

/// In the middle of an upgrade one replica, half of the workers and one agent are.
fn is_of_the_release_before(process: Process) -> bool {
    match process {
        Process::Replica(replica) => replica == 0,
        Process::Worker(worker) => worker < WORKERS / 2,
        Process::Agent(agent) => agent == 0,
    }
}

/// The log of this run.
fn this_run(running: &Running) -> String {
    running.role.log().get(running.log_from..).unwrap_or_default().to_owned()
}

fn last_words(running: &Running) -> String {
    let log = this_run(running);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join(" / ")
}

fn serve(
    replica: usize,
    database: &Database,
    lines: &Lines,
    names: &Names,
) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("CHATPLANE_LISTEN", lines.replica(replica).to_string()),
        // Over a line of their own, so that they can be parted.
        ("CHATPLANE_ADVERTISE", lines.url(Line::Peers(replica))),
        ("CHATPLANE_DATABASE_URL", database.url_at(lines.address(Line::Database(replica)))),
        ("CHATPLANE_DATABASE_CONNECTIONS", "8".to_owned()),
        ("CHATPLANE_MODEL", "test".to_owned()),
        ("CHATPLANE_MODEL_CONTEXT_TOKENS", "100000000".to_owned()),
        ("CHATPLANE_QUEUE_MAX", QUEUE_MAX.to_owned()),
        ("CHATPLANE_DRAIN_TIMEOUT", DRAIN_TIMEOUT.to_owned()),
        ("CHATPLANE_GENERATE_TITLES", "false".to_owned()),
        ("ANTHROPIC_API_KEY", "test-key".to_owned()),
        ("ANTHROPIC_BASE_URL", names.model_url.clone()),
    ])
}

fn work(worker: usize, lines: &Lines, names: &Names) -> BTreeMap<&'static str, String> {
    // Each begins with another replica.
    let replicas = (0..REPLICAS).map(|offset| (worker + offset) % REPLICAS);
    let addresses: Vec<String> = replicas.map(|replica| lines.url(Line::Worker(worker, replica))).collect();
    BTreeMap::from([
        ("CHATPLANE_CONTROL_PLANE", addresses.join(",")),
        ("CHATPLANE_WORKER_TOKEN", names.worker_token.clone()),
        ("CHATPLANE_WORKER_NAME", format!("worker-{worker}")),
        ("CHATPLANE_WORKER_SLOTS", SLOTS.to_owned()),
        ("CHATPLANE_WORKER_DRAIN_TIMEOUT", DRAIN_TIMEOUT.to_owned()),
    ])
}

fn attend(
    agent: usize,
    workspace: &Workspace,
    lines: &Lines,
    names: &Names,
) -> BTreeMap<&'static str, String> {
    let text = |path: &Path| path.to_str().expect("temporary paths are UTF-8").to_owned();
    BTreeMap::from([
        ("CHATPLANE_CONTROL_PLANE", lines.url(Line::Agent(agent))),
        ("CHATPLANE_WORKSPACE_TOKEN", names.agent_tokens[agent].clone()),
        ("CHATPLANE_WORKSPACE_DIR", text(workspace.directory())),
        ("CHATPLANE_WORKSPACE_STATE_DIR", text(workspace.state())),
    ])
}
