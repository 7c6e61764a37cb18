//! Row 5: turns of one step per second, with 64 chats in flight, everything on this
//! machine.
//!
//! Each chat has a client that watches it and sends the next message as soon as it has
//! seen that the turn is over. The model server answers at once with one short chunk.
//! Clients share a few connections. A chat is left for a new one after some turns, so
//! that histories stay short; the turn that begins a chat counts like any other.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::Bench,
    client::Client,
    error::{Error, OrFailed as _, Result},
    floors::{
        database::{per_second, writes_per_second},
        http::calls_per_second,
    },
    measure::THROUGHPUT,
    model_server::{ModelServer, Script},
    proc::{children, processor_time},
    report::table::number,
    samples::Samples,
    stack::Stack,
    summary::Reading,
    wait::{eventually, milliseconds},
};

const CHATS: usize = 64;
const CONNECTIONS: usize = 8;
const TURNS: usize = 20;
/// Of all workers together: every chat can run at any time.
const SLOTS: u32 = 128;
/// A turn of one step is committed twice: with its message and with its answer.
const COMMITS: f64 = 2.0;
const FLOOR_CONNECTIONS: usize = 32;
const WORDS: &str = "How does the garden grow?";

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let model = ModelServer::start(Script::at_once(1, bench.arguments.chunk_bytes)).await?;
    let mut stack = Stack::start(bench, Some(&model)).await?;
    for _ in 0..bench.arguments.workers {
        stack.add_worker(SLOTS.div_ceil(bench.arguments.workers)).await?;
    }
    let stop = CancellationToken::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let mut chats = Vec::with_capacity(CHATS);
    for _ in 0..CONNECTIONS {
        let client = stack.client().await?;
        for _ in 0..CHATS / CONNECTIONS {
            chats.push(tokio::spawn(run_chats(client.clone(), stop.clone(), Arc::clone(&ended))));
        }
    }
    // Dropped on the way out of an error, it ends the clients.
    let _guard = stop.clone().drop_guard();
    // The first that fails ends them all, and the row.
    let chats = chats.into_iter().map(|chat| async move { chat.await.or_failed("drive a chat")? });
    let mut all = pin!(try_join_all(chats));
    let windows = async {
        run_for(bench.scale.load_warm_up, &ended).await?;
        let before = Used::now(bench, &stack)?;
        run_for(bench.scale.load, &ended).await?;
        Ok((before, Used::now(bench, &stack)?))
    };
    let (before, after) = select! {
        ended = &mut all => {
            return Err(ended.err().unwrap_or_else(|| Error::wrong("the chats have ended by themselves")));
        }
        counted = windows => counted?,
    };
    stop.cancel();
    let turns = all.await?.concat();
    let within: Vec<&Turn> =
        turns.iter().filter(|turn| before.at <= turn.end && turn.end < after.at).collect();
    let rate = per_second(within.len() as u64, after.at - before.at);
    let none = || Error::wrong("no turn has ended while turns were counted");
    let times = |of: fn(&Turn) -> Duration| {
        Samples::new(within.iter().map(|turn| milliseconds(of(turn))).collect()).ok_or_else(none)
    };
    let (whole, sent) = (times(|turn| turn.time)?, times(|turn| turn.sent)?);
    let writes = writes_per_second(bench, &stack.database, FLOOR_CONNECTIONS).await?;
    let answers = calls_per_second(&model, CHATS, bench.scale.floor_load).await?;
    stack.end().await?;
    let notes = vec![
        format!(
            "a turn took {} ms, p99 {} ms, of which the reply to its message {} ms, p99 {} ms",
            number(whole.median()),
            number(whole.percentile(99)),
            number(sent.median()),
            number(sent.percentile(99))
        ),
        format!("processors: {}", after.since(&before)),
        format!(
            "floor: {} durable writes of two round trips a second over {FLOOR_CONNECTIONS} connections, two a turn",
            number(writes)
        ),
        format!("the model server alone answers {} calls/s", number(answers)),
    ];
    let floor = Some(writes / COMMITS);
    Ok(vec![Reading { measure: &THROUGHPUT, figures: vec![rate], floor, tolerance: 0.0, notes }])
}

#[derive(Clone, Debug)]
struct Turn {
    end: Instant,
    time: Duration,
    /// Until the reply to its message.
    sent: Duration,
}

/// Lets the chats run for a time, and longer where not even one turn a chat has ended then:
/// so short a time on so busy a machine would count nothing.
async fn run_for(time: Duration, ended: &AtomicUsize) -> Result<()> {
    let before = ended.load(Ordering::Relaxed);
    sleep(time).await;
    eventually("the end of a turn a chat", async || {
        Ok((ended.load(Ordering::Relaxed) >= before + CHATS).then_some(()))
    })
    .await
}

/// One chat after the other, until it is told to stop; answers every turn.
async fn run_chats(
    mut client: Client,
    stop: CancellationToken,
    ended: Arc<AtomicUsize>,
) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    let mut turn = |start: Instant, sent: Instant, end: Instant| {
        turns.push(Turn { end, time: end - start, sent: sent - start });
        ended.fetch_add(1, Ordering::Relaxed);
    };
    while !stop.is_cancelled() {
        let start = Instant::now();
        let chat = client.create_chat(WORDS).await?;
        let sent = Instant::now();
        let mut watch = client.watch(&chat).await?;
        turn(start, sent, Instant::now());
        for _ in 1..TURNS {
            if stop.is_cancelled() {
                break;
            }
            let start = Instant::now();
            let version = client.send(&chat, WORDS).await?;
            let sent = Instant::now();
            turn(start, sent, watch.rest(version).await?);
        }
    }
    Ok(turns)
}

/// Processor time that everybody has had by now.
struct Used {
    at: Instant,
    by: Vec<(&'static str, Duration)>,
}

impl Used {
    fn now(bench: &Bench<'_>, stack: &Stack<'_>) -> Result<Self> {
        let at = Instant::now();
        let gone = || Error::wrong("a process has ended while turns were counted");
        let of = |pid: Option<u32>| processor_time(pid.ok_or_else(gone)?);
        let mut workers = Duration::ZERO;
        for worker in &stack.workers {
            workers += of(worker.pid())?;
        }
        let postmaster = bench.postgres.pid().ok_or_else(gone)?;
        // A connection may end meanwhile; its time is then missing.
        let backends = children(postmaster).into_iter().filter_map(|pid| processor_time(pid).ok()).sum();
        let by = vec![
            ("control plane", of(stack.control_plane.pid())?),
            ("workers", workers),
            ("PostgreSQL", backends),
            ("benchmark with its model server and clients", processor_time(std::process::id())?),
        ];
        Ok(Self { at, by })
    }

    /// In percent of one processor.
    fn since(&self, before: &Self) -> String {
        let time = (self.at - before.at).as_secs_f64();
        let percent = |(name, after): &(&str, Duration), before: Duration| {
            format!("{name} {:.0} %", after.saturating_sub(before).as_secs_f64() / time * 100.0)
        };
        let shares: Vec<String> =
            self.by.iter().zip(&before.by).map(|(after, before)| percent(after, before.1)).collect();
        shares.join(", ")
    }
}
