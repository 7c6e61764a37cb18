//! The journal with real files and real tasks, dropped at any point of a call's life, and in a process of its own
//! that is killed at any point.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::BoxFuture;
use rand::Rng;
use tempfile::TempDir;
use tokio::task::yield_now;
use uuid::Uuid;

use super::*;
use crate::tools::{Call, Definition, Effect};

const DEADLINE: Duration = Duration::from_secs(30);

/// Counts how often it starts, and gives the count.
#[derive(Default)]
struct Count {
    starts: AtomicUsize,
}

impl Tool for Count {
    fn definition(&self) -> Definition {
        Definition { name: "count", description: "Counts.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, _call: Call) -> BoxFuture<'static, Ended> {
        let start_no = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(async move {
            yield_now().await;
            Ended::ok(format!("start {start_no}"))
        })
    }
}

/// A tool that panics before it has begun.
struct Broken;

impl Tool for Broken {
    fn definition(&self) -> Definition {
        Definition { name: "broken", description: "Panics.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, _call: Call) -> BoxFuture<'static, Ended> {
        panic!("a defect")
    }
}

struct Place {
    state: TempDir,
    workspace: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap(), workspace: tempfile::tempdir().unwrap() }
    }

    /// Waits for the last write of a journal that was dropped: it holds the lock.
    async fn open(&self) -> Journal {
        let open = async {
            loop {
                match Journal::open(Some(self.state.path()), self.workspace.path(), Limits::default()) {
                    Ok(journal) => return journal,
                    Err(JournalError::InUse { .. }) => yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(DEADLINE, open).await.expect("the last write ends")
    }
}

fn key(call_index: i32) -> CallKey {
    CallKey { chat_id: Uuid::from_u128(1), message_id: 7, call_index }
}

fn input() -> Input {
    Input::of("count", "{}")
}

fn start(journal: &mut Journal, key: CallKey, tool: Arc<dyn Tool>) -> Arc<Run> {
    journal.start(key, input(), tool, Arguments::parse("{}").unwrap()).unwrap()
}

async fn end(run: &Run) -> Ended {
    match timeout(DEADLINE, run.next(0)).await.expect("the tool ends") {
        Next::Ended(ended) => ended,
        Next::Output(_) => panic!("it writes nothing"),
    }
}

/// A write that is under way goes to its end: a thread that blocks is not ended by the drop.
#[tokio::test]
async fn a_journal_that_is_dropped_at_any_point_runs_no_call_twice_and_keeps_what_it_told() {
    let lives = if std::env::var_os("CI").is_some() { 300 } else { 50 };
    let place = Place::new();
    for call_index in 0..lives {
        let (key, tool) = (key(call_index), Arc::new(Count::default()));
        let mut journal = place.open().await;
        let run = start(&mut journal, key, tool.clone());
        let told = tokio::select! {
            biased;
            ended = end(&run) => Some(ended),
            () = wait_a_little() => None,
        };
        drop((journal, run));

        let journal = place.open().await;
        let started = tool.starts.load(Ordering::Relaxed);
        match (journal.known(key, &input()), told) {
            (None, None) => assert_eq!(started, 0, "what has started is known"),
            (Some(Known::Told(Answer::OutcomeUnknown)), None) => assert!(started <= 1),
            (Some(Known::Recorded), told) => {
                let recorded = journal.recorded(key).await;
                assert_eq!((recorded.output.as_str(), started), ("start 1", 1));
                assert!(told.is_none_or(|told| told == recorded));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Any number of turns of the runtime, and up to about the time of a call.
async fn wait_a_little() {
    let turns = rand::rng().random_range(0..20);
    for _ in 0..turns {
        yield_now().await;
    }
    sleep(Duration::from_micros(rand::rng().random_range(0..4_000))).await;
}

#[tokio::test]
async fn a_tool_with_a_defect_has_an_end_like_any_other() {
    let place = Place::new();
    let mut journal = place.open().await;

    let run = start(&mut journal, key(0), Arc::new(Broken));

    let ended = end(&run).await;
    assert_eq!(ended, Ended::failed("The tool failed by a defect of its own."));
    assert_eq!(journal.recorded(key(0)).await, ended);
    assert_eq!(journal.running(), 0);
}

#[tokio::test]
async fn a_call_that_is_stopped_before_it_starts_does_not_run() {
    let place = Place::new();
    let mut journal = place.open().await;
    let tool = Arc::new(Count::default());

    let run = start(&mut journal, key(0), tool.clone());
    journal.cancel(key(0));

    assert_eq!(end(&run).await, Ended::failed(STOPPED_BEFORE_START));
    assert_eq!(tool.starts.load(Ordering::Relaxed), 0);
    assert!(matches!(journal.known(key(0), &input()), Some(Known::Recorded)));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_at_this_moment_is_not_lost() {
    let place = Place::new();
    let mut journal = place.open().await;
    let ended = end(&start(&mut journal, key(0), Arc::new(Count::default()))).await;
    let home = std::fs::read_dir(place.state.path()).unwrap().next().unwrap().unwrap().path();
    let file = home.join("calls").join(key(0).to_string());
    let aside = home.join("aside");
    std::fs::rename(&file, &aside).unwrap();
    // Reading a directory fails, for every user.
    std::fs::create_dir(&file).unwrap();

    assert_eq!(journal.recorded(key(0)).await, Answer::Unreadable.into());

    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    assert!(matches!(journal.known(key(0), &input()), Some(Known::Recorded)));
    assert_eq!(journal.recorded(key(0)).await, ended);
}

/// Writes its number to a file each time it starts.
struct Note(PathBuf, i32);

impl Tool for Note {
    fn definition(&self) -> Definition {
        Definition { name: "note", description: "Notes.", input_schema_json: "{}" }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn run(&self, _call: Call) -> BoxFuture<'static, Ended> {
        let mut notes = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        // In one piece, since a kill may come after any.
        notes.write_all(format!("{}\n", self.1).as_bytes()).unwrap();
        let output = self.1.to_string();
        Box::pin(async move { Ended::ok(output) })
    }
}

const JOURNAL: &str = "journal::tests::the_journal";

fn arguments() -> [&'static str; 4] {
    ["--ignored", "--exact", "--nocapture", JOURNAL]
}

/// Calls that the process below makes at most, so that it ends should nobody kill it.
const CALLS_MAX: i32 = 2_000;

/// Not a test: a process that asks for one call after the other, from the first, in the current directory.
#[test]
#[ignore = "what another test starts and kills"]
fn the_journal() {
    if !std::env::args().skip(1).eq(arguments()) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let limits = Limits::default();
        let mut journal = Journal::open(Some("state".as_ref()), "workspace".as_ref(), limits).unwrap();
        for call_index in 0..CALLS_MAX {
            if journal.known(key(call_index), &input()).is_none() {
                let tool = Note("starts".into(), call_index);
                let ended = end(&start(&mut journal, key(call_index), Arc::new(tool))).await;
                assert_eq!(ended, Ended::ok(call_index.to_string()));
            }
        }
    });
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_point_has_started_no_call_twice_and_knows_those_it_has() {
    let lives = if std::env::var_os("CI").is_some() { 100 } else { 10 };
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("workspace")).unwrap();
    let starts = || {
        let text = std::fs::read_to_string(dir.path().join("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect::<Vec<i32>>()
    };
    for _ in 0..lives {
        let wanted = starts().len() + rand::rng().random_range(1..8);
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(arguments())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let some_calls = async {
            while starts().len() < wanted {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let came_so_far = timeout(DEADLINE, some_calls).await;
        wait_a_little().await;
        process.kill().unwrap();
        process.wait().unwrap();
        came_so_far.expect("the process makes calls");
    }

    let (state, workspace) = (dir.path().join("state"), dir.path().join("workspace"));
    let journal = Journal::open(Some(&state), &workspace, Limits::default()).unwrap();
    let mut started = starts();
    started.sort_unstable();
    let count = started.len();
    started.dedup();
    assert_eq!(started.len(), count, "no call has started twice");
    for call_index in 0..CALLS_MAX {
        match journal.known(key(call_index), &input()) {
            None => assert!(!started.contains(&call_index), "what has started is known"),
            Some(Known::Recorded) => {
                assert!(started.contains(&call_index), "what has an answer has started");
                assert_eq!(journal.recorded(key(call_index)).await, Ended::ok(call_index.to_string()));
            }
            // It was killed between the two.
            Some(Known::Told(Answer::OutcomeUnknown)) => {}
            other => panic!("{other:?}"),
        }
    }
}
