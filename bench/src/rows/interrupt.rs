//! Interrupts: `InterruptChat` sent by the client → the connection of the model call is closed
//! at the model server.
//!
//! That is later than the worker's hearing of it, which the budget is about, so it is an upper
//! bound, and it is what stops the costs. The model has begun its answer, and a watcher has seen
//! that, when the client calls; the answer would never end by itself. Then the chat comes to rest
//! with what the model had said, and gets its next message. One turn at a time.

use std::time::Instant;

use tokio::try_join;

use super::turns::one_by_one;
use crate::{
    bench::Bench,
    client::{Client, Watch},
    error::Result,
    floors::{database, grpc, http},
    measure::INTERRUPT,
    model_server::{End, ModelServer, Script, mark},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

const SLOTS: u32 = 16;
const CHUNKS: u32 = 1;
/// Marks of the floor's own calls begin here, far from those of the turns.
const FLOOR_MARKS: u64 = 1_000_000;

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let script = Script { end: End::WhenSeen, ..Script::at_once(CHUNKS, bench.arguments.chunk_bytes) };
    let model = ModelServer::start(script).await?;
    let mut stack = Stack::start(bench, Some(&model)).await?;
    stack.add_worker(SLOTS).await?;
    let mut client = stack.client().await?;
    let figures =
        one_by_one(bench, &mut client, async |client, chat, event| turn(client, chat, &model, event).await);
    let figures = figures.await?;
    let calls = http::Calls { warm_up: bench.scale.warm_up, counted: bench.scale.floor_events };
    let close = http::close_ms(&model, calls, FLOOR_MARKS).await?;
    let streamed = grpc::streamed_ms(bench).await?;
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    stack.end().await?;
    let note = format!(
        "floor: half a gRPC round trip ({} ms), a durable write of two round trips ({} ms), a streamed gRPC message \
         ({} ms), and the model server's noticing of a connection that a plain HTTP client closes ({} ms)",
        number(unary / 2.0),
        number(write),
        number(streamed),
        number(close)
    );
    let floor = unary / 2.0 + write + streamed + close;
    Ok(vec![Reading { measure: &INTERRUPT, figures, floor: Some(floor), tolerance: 0.0, notes: vec![note] }])
}

async fn turn(
    client: &mut Client,
    (chat, watch): &mut (String, Watch),
    model: &ModelServer,
    number: u64,
) -> Result<f64> {
    let words = mark(number);
    try_join!(client.send(chat, &words), watch.append())?;
    let start = Instant::now();
    let (version, left) = try_join!(client.interrupt(chat), model.journal().wait_until_left(number))?;
    watch.rest(version).await?;
    Ok(milliseconds(left.saturating_duration_since(start)))
}
