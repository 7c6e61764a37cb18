//! The journal with real files and real tasks, killed at any point of a call's life.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use rand::Rng;
use tempfile::TempDir;
use tokio::{task::yield_now, time::timeout};
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

#[tokio::test]
async fn a_journal_that_is_killed_at_any_point_runs_no_call_twice_and_keeps_what_it_told() {
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
    tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..4_000))).await;
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
