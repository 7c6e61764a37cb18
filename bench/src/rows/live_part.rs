//! Row 4: model chunk → part at a subscriber of the same replica, and of another.
//!
//! The model server writes numbered chunks at a set pace and notes when; the subscriber
//! notes when the bytes of each have come, however they were put together. One way, from
//! the model server's hand-over of a chunk to its connection to the event in the
//! subscriber's hand: the hop from the model server to the worker is in the figure.

use std::time::Instant;

use crate::{
    bench::Bench,
    chunks::ChunkReader,
    client::{Client, Watch},
    error::Result,
    floors::{grpc, http},
    measure::{LIVE_PART, LIVE_PART_ELSEWHERE},
    model_server::{End, ModelServer, Script, mark},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

const SLOTS: u32 = 16;
/// Answers that a round's chunks are divided among.
const TURNS: u32 = 2;
/// Calls of the floor, one to warm up as in the row itself: each has as many chunks as a turn.
const FLOOR_CALLS: http::Calls = http::Calls { warm_up: 1, counted: 1 };
const FLOOR_MARK: u64 = 1_000_000;

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let script = Script {
        first_chunk_after: bench.arguments.chunk_every,
        chunk_every: bench.arguments.chunk_every,
        end: End::WhenSeen,
        ..Script::at_once(bench.scale.chunks / TURNS, bench.arguments.chunk_bytes)
    };
    let model = ModelServer::start(script).await?;
    let stack = Stack::start(bench, Some(&model)).await?;
    let watcher = stack.client().await?;
    let here = figures(stack, watcher, &model, script).await?;
    let elsewhere_model = ModelServer::start(script).await?;
    let stack = Stack::start_two(bench, Some(&elsewhere_model)).await?;
    let watcher = stack.client_elsewhere().await?;
    let elsewhere = figures(stack, watcher, &elsewhere_model, script).await?;
    let hop = http::hop(&model, FLOOR_CALLS, FLOOR_MARK).await?.chunk_ms;
    let streamed = grpc::streamed_ms(bench).await?;
    let reading = |measure, figures, messages: u32| {
        let note = format!(
            "floor: the hop from the model server over plain HTTP ({} ms) and {messages} streamed gRPC messages \
             ({} ms each)",
            number(hop),
            number(streamed)
        );
        let floor = Some(hop + f64::from(messages) * streamed);
        Reading { measure, figures, floor, tolerance: 0.0, notes: vec![note] }
    };
    Ok(vec![reading(&LIVE_PART, here, 2), reading(&LIVE_PART_ELSEWHERE, elsewhere, 3)])
}

/// From each chunk's writing to its coming, for all turns.
async fn figures(
    mut stack: Stack<'_>,
    mut watcher: Client,
    model: &ModelServer,
    script: Script,
) -> Result<Vec<f64>> {
    stack.add_worker(SLOTS).await?;
    let mut client = stack.client().await?;
    // The answer to the first message warms everything up.
    let chat = client.create_chat("Hello.").await?;
    let mut watch = watcher.watch(&chat).await?;
    let mut figures = Vec::new();
    for turn_number in 0..TURNS {
        let version = client.send(&chat, &mark(turn_number.into())).await?;
        let come = read_chunks(&mut watch, script).await?;
        model.journal().saw(turn_number.into());
        watch.rest(version).await?;
        let written = model.journal().written(turn_number.into())?;
        figures.extend(come.iter().zip(&written).map(|(come, written)| milliseconds(*come - *written)));
    }
    stack.end().await?;
    Ok(figures)
}

/// When each chunk had come.
async fn read_chunks(watch: &mut Watch, script: Script) -> Result<Vec<Instant>> {
    let mut reader = ChunkReader::new(script.chunk_bytes);
    let mut come = Vec::new();
    while reader.count() < script.chunks {
        let (append, at) = watch.append().await?;
        come.extend(reader.append(append.offset, &append.data)?.map(|_| at));
    }
    Ok(come)
}
