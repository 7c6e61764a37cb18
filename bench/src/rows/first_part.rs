//! Row 3: `SendMessage` sent by the client → first part at the client, over the model's
//! own time.
//!
//! A real worker, and a model server that takes a set time to its first chunk. What it
//! really took, from the whole request to the handing over of the chunk, is measured
//! there and taken off. The answer ends when the client has seen the part, however late that
//! is: the committed message would take its place. The chat is watched on the client's own connection. One turn at a
//! time.

use std::time::Instant;

use tokio::try_join;

use super::turns::one_by_one;
use crate::{
    bench::Bench,
    client::{Client, Watch},
    error::Result,
    floors::{database, grpc, http},
    measure::FIRST_PART,
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
    let script = Script {
        first_chunk_after: bench.arguments.first_chunk_after,
        end: End::WhenSeen,
        ..Script::at_once(CHUNKS, bench.arguments.chunk_bytes)
    };
    let model = ModelServer::start(script).await?;
    let mut stack = Stack::start(bench, Some(&model)).await?;
    stack.add_worker(SLOTS).await?;
    let mut client = stack.client().await?;
    let figures =
        one_by_one(bench, &mut client, async |client, chat, event| turn(client, chat, &model, event).await);
    let figures = figures.await?;
    let calls = http::Calls { warm_up: bench.scale.warm_up, counted: bench.scale.floor_events };
    let hop = http::hop(&model, calls, FLOOR_MARKS).await?;
    let streamed = grpc::streamed_ms(bench).await?;
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    stack.end().await?;
    let note = format!(
        "floor: half a gRPC round trip ({} ms), a durable write of two round trips ({} ms), three streamed gRPC \
         messages ({} ms each), a plain HTTP call to its first chunk ({} ms)",
        number(unary / 2.0),
        number(write),
        number(streamed),
        number(hop.first_chunk_ms)
    );
    let floor = unary / 2.0 + write + 3.0 * streamed + hop.first_chunk_ms;
    Ok(vec![Reading { measure: &FIRST_PART, figures, floor: Some(floor), tolerance: 0.0, notes: vec![note] }])
}

async fn turn(
    client: &mut Client,
    (chat, watch): &mut (String, Watch),
    model: &ModelServer,
    number: u64,
) -> Result<f64> {
    let words = mark(number);
    let start = Instant::now();
    let (version, (_, at)) = try_join!(client.send(chat, &words), watch.append())?;
    model.journal().saw(number);
    watch.rest(version).await?;
    let own_time = model.journal().own_time(number)?;
    Ok(milliseconds(at.duration_since(start).saturating_sub(own_time)))
}
