//! Round trips to PostgreSQL: of a `SendMessage`, of a `CommitStep`, and of a live part
//! that is watched. Nothing is timed here: a proxy stands between the replica and
//! PostgreSQL.
//!
//! A replica talks to PostgreSQL when it is idle too (sessions are renewed, leases looked
//! after). So the trips of an idle replica in the same company are counted first, and
//! those of the same time are taken off. What is left is judged as it is, with a tolerance of a
//! few trips in the whole window, since work of an idle replica may fall on either side of its
//! ends. Calls
//! made before the first that counts have prepared the statements; what a pool does
//! before each use counts.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    bench::Bench,
    chunks::ChunkReader,
    client::Watch,
    database::Database,
    error::{Error, Result},
    fake_worker::FakeWorker,
    floors::database::per_second,
    measure::{COMMIT_TRIPS, Measure, PART_TRIPS, SEND_TRIPS, SEND_TRIPS_WITH_WORKER},
    model_server::{End, ModelServer, Script, mark},
    proxy::{Found, Proxy},
    report::table::number,
    samples::median,
    stack::Stack,
    summary::Reading,
};

const WORDS: &str = "How does the garden grow?";
const SLOTS: u32 = 16;
/// Statements that run less often a call are not told.
const STATEMENT_RUNS_MIN: f64 = 0.05;
/// A live part that nobody counts comes before and after those that are counted.
const UNCOUNTED_CHUNKS: u32 = 5;
const CHUNK_EVERY: Duration = Duration::from_millis(10);
/// The turn whose parts are counted.
const MARK: u64 = 0;
/// How many trips of a window may be an idle replica's beyond its rate: what it does by a
/// clock comes in bunches of a few, and one bunch may fall into the window or beside it.
const TOLERANCE_TRIPS: f64 = 4.0;
/// What a write does after its reply (hints, the lease's way) has ended after this long.
const SETTLE: Duration = Duration::from_millis(50);

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let send = send_trips(bench).await?;
    let with_worker = commit_trips(bench, &send).await?;
    Ok(vec![send.reading(), with_worker.send, with_worker.commit, part_trips(bench).await?])
}

async fn start<'a>(bench: &'a Bench<'a>, model: Option<&ModelServer>) -> Result<(Stack<'a>, Proxy)> {
    let proxy = Proxy::start(bench)?;
    let database = Database::create(bench).await?;
    let url = proxy.url(database.name());
    Ok((Stack::start_on(bench, model, database, &url).await?, proxy))
}

/// Trips that were counted, as far as they are not those of an idle replica.
struct Counter<'a> {
    proxy: &'a Proxy,
    /// What an idle replica does a second.
    idle_trips: f64,
    idle_statements: BTreeMap<String, f64>,
    before: Found,
    at: Instant,
}

impl<'a> Counter<'a> {
    /// Counts the idle replica, and begins.
    async fn start(bench: &Bench<'_>, proxy: &'a Proxy) -> Self {
        let (first, at) = (proxy.found(), Instant::now());
        sleep(bench.scale.counted_idle).await;
        let before = proxy.found();
        let idle_statements = before
            .statements
            .iter()
            .map(|(words, runs)| {
                let runs = runs - first.statements.get(words).copied().unwrap_or_default();
                (words.clone(), per_second(runs, at.elapsed()))
            })
            .collect();
        let idle_trips = per_second(before.trips - first.trips, at.elapsed());
        Self { proxy, idle_trips, idle_statements, before, at: Instant::now() }
    }

    /// Begins anew, with what is known of the idle replica.
    fn begin(&mut self) {
        self.before = self.proxy.found();
        self.at = Instant::now();
    }

    /// What has come since, divided among so many.
    fn each(&self, number: usize) -> Each {
        let number = u32::try_from(number).map_or(f64::INFINITY, f64::from);
        let seconds = self.at.elapsed().as_secs_f64();
        let found = self.proxy.found();
        let share = |count: u64, idle: f64| (count_of(count) - idle * seconds) / number;
        let statements = found.statements.iter().map(|(words, runs)| {
            let before = self.before.statements.get(words).copied().unwrap_or_default();
            let idle = self.idle_statements.get(words).copied().unwrap_or_default();
            (words.clone(), share(runs - before, idle))
        });
        Each {
            trips: share(found.trips - self.before.trips, self.idle_trips),
            tolerance: TOLERANCE_TRIPS / number,
            idle: self.idle_trips,
            statements: statements.filter(|(_, runs)| *runs >= STATEMENT_RUNS_MIN).collect(),
        }
    }
}

/// What one call takes.
struct Each {
    trips: f64,
    /// Of the trips, a call.
    tolerance: f64,
    idle: f64,
    statements: Vec<(String, f64)>,
}

impl Each {
    fn reading(&self, measure: &'static Measure, trips: f64, notes: Vec<String>) -> Reading {
        // Less than none is the idle replica's; adding zero makes a negative zero a plain one.
        let figures = vec![trips.max(0.0) + 0.0];
        Reading { measure, figures, floor: None, tolerance: self.tolerance, notes }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "{:.3} with the trips of an idle replica in the same company ({} per second) taken off, known to {:.3}",
            self.trips,
            number(self.idle),
            self.tolerance
        )];
        let statements = self.statements.iter().map(|(words, runs)| format!("{runs:.1} × `{words}`"));
        let statements: Vec<String> = statements.collect();
        if !statements.is_empty() {
            notes.push(format!("statements: {}", statements.join(", ")));
        }
        notes
    }
}

fn count_of(count: u64) -> f64 {
    per_second(count, Duration::from_secs(1))
}

/// What a `SendMessage` takes, and how much of it before its reply.
struct SendTrips {
    each: Each,
    until_reply: f64,
}

impl SendTrips {
    fn reading(&self) -> Reading {
        let mut notes = self.each.notes();
        notes.push(format!("until the reply {}", number(self.until_reply)));
        self.each.reading(&SEND_TRIPS, self.each.trips, notes)
    }
}

/// To chats that wait, with no worker there, so that nothing but the call happens.
async fn send_trips(bench: &Bench<'_>) -> Result<SendTrips> {
    let (mut stack, proxy) = start(bench, None).await?;
    let mut client = stack.client().await?;
    let mut worker = FakeWorker::open(stack.channel().await?, &stack.database.worker_token).await?;
    let mut chats = Vec::new();
    for _ in 0..bench.scale.warm_up + bench.scale.counted_calls {
        chats.push(client.create_chat(WORDS).await?);
        worker.finish_turns(1).await?;
    }
    drop(worker);
    stack.database.wait_for_sessions(0).await?;
    let (warm_up, counted) = chats.split_at(bench.scale.warm_up);
    for chat in warm_up {
        client.send(chat, WORDS).await?;
    }
    let counter = Counter::start(bench, &proxy).await;
    let mut single = Vec::new();
    for chat in counted {
        let before = proxy.trips();
        client.send(chat, WORDS).await?;
        single.push(count_of(proxy.trips() - before));
    }
    sleep(SETTLE).await;
    let each = counter.each(counted.len());
    stack.end().await?;
    let until_reply = median(single).ok_or_else(|| Error::wrong("nothing was sent"))?;
    Ok(SendTrips { each, until_reply })
}

/// What was counted with the benchmark's worker.
struct WithWorker {
    send: Reading,
    commit: Reading,
}

/// By the benchmark's worker: what a message takes until the worker has its lease, and what
/// the turn takes, less what a message takes without a worker.
async fn commit_trips(bench: &Bench<'_>, send: &SendTrips) -> Result<WithWorker> {
    let (stack, proxy) = start(bench, None).await?;
    let mut client = stack.client().await?;
    let mut worker = FakeWorker::open(stack.channel().await?, &stack.database.worker_token).await?;
    let mut chats = Vec::new();
    for _ in 0..bench.scale.warm_up {
        chats.push(client.create_chat(WORDS).await?);
        worker.finish_turns(1).await?;
    }
    for chat in &chats {
        client.send(chat, WORDS).await?;
        worker.finish_turns(1).await?;
    }
    let counter = Counter::start(bench, &proxy).await;
    let (mut trips, mut time) = (0, Duration::ZERO);
    for chat in chats.iter().cycle().take(bench.scale.counted_calls) {
        let (before, start) = (proxy.trips(), Instant::now());
        client.send(chat, WORDS).await?;
        let lease = worker.lease().await?;
        trips += proxy.trips() - before;
        time += start.elapsed();
        worker.finish(lease).await?;
    }
    sleep(SETTLE).await;
    let turn = counter.each(bench.scale.counted_calls);
    stack.end().await?;
    let mut notes = vec!["a whole turn of one step, less its SendMessage; of the whole turn".to_owned()];
    notes.extend(turn.notes());
    let commit = turn.reading(&COMMIT_TRIPS, turn.trips - send.each.trips, notes);
    let calls = u32::try_from(bench.scale.counted_calls).map_or(f64::INFINITY, f64::from);
    let until_lease = (count_of(trips) - turn.idle * time.as_secs_f64()) / calls;
    let note = format!(
        "{until_lease:.3} from the call until the worker has the lease, without those of an idle replica"
    );
    Ok(WithWorker { send: turn.reading(&SEND_TRIPS_WITH_WORKER, until_lease, vec![note]), commit })
}

/// With a real worker and a watcher: between two chunks of one answer.
async fn part_trips(bench: &Bench<'_>) -> Result<Reading> {
    let chunks = bench.scale.chunks / 2 + 2 * UNCOUNTED_CHUNKS;
    let script = Script {
        first_chunk_after: CHUNK_EVERY,
        chunk_every: CHUNK_EVERY,
        end: End::WhenSeen,
        ..Script::at_once(chunks, bench.arguments.chunk_bytes)
    };
    let model = ModelServer::start(script).await?;
    let (mut stack, proxy) = start(bench, Some(&model)).await?;
    stack.add_worker(SLOTS).await?;
    let mut client = stack.client().await?;
    let (chat, mut watch) = client.idle_chat(WORDS).await?;
    let mut counter = Counter::start(bench, &proxy).await;
    let version = client.send(&chat, &mark(MARK)).await?;
    let mut reader = ChunkReader::new(bench.arguments.chunk_bytes);
    read_to(&mut watch, &mut reader, UNCOUNTED_CHUNKS).await?;
    counter.begin();
    let first = reader.count();
    read_to(&mut watch, &mut reader, chunks - UNCOUNTED_CHUNKS).await?;
    let each = counter.each((reader.count() - first) as usize);
    read_to(&mut watch, &mut reader, chunks).await?;
    model.journal().saw(MARK);
    watch.rest(version).await?;
    stack.end().await?;
    Ok(each.reading(&PART_TRIPS, each.trips, each.notes()))
}

async fn read_to(watch: &mut Watch, reader: &mut ChunkReader, count: u32) -> Result<()> {
    while reader.count() < count {
        let (append, _) = watch.append().await?;
        reader.append(append.offset, &append.data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trips_are_judged_unrounded_and_are_never_negative() {
        let each = Each { trips: 0.0, tolerance: 0.02, idle: 1.0, statements: Vec::new() };

        let figures = [2.04, -0.01].map(|trips| each.reading(&SEND_TRIPS, trips, Vec::new()).figures);

        assert_eq!(figures, [[2.04], [0.0]]);
        assert!(!SEND_TRIPS.budget.is_met(2.04, None, each.tolerance));
    }
}
