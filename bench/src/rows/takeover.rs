//! Row 10: worker kill -9 → its chat running on another worker.
//!
//! Two workers. A chat's model call hangs at the model server; the worker that made it is
//! killed; the time goes until the model server has the repeated call, from the other
//! worker, whole. Then that one is answered and a new worker takes the dead one's place.

use std::time::Instant;

use crate::{
    bench::Bench,
    client::{Client, Watch},
    error::{Error, Result},
    floors::{database, grpc, http},
    measure::TAKEOVER,
    model_server::{Hold, ModelServer, Script, mark},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

const WORKERS: usize = 2;
const SLOTS: u32 = 16;
const FLOOR_MARKS: u64 = 1_000_000;

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let script = Script::at_once(1, bench.arguments.chunk_bytes);
    let model = ModelServer::start(Script { hold: Hold::FirstCalls, ..script }).await?;
    let mut stack = Stack::start(bench, Some(&model)).await?;
    for _ in 0..WORKERS {
        stack.add_worker(SLOTS).await?;
    }
    let mut client = stack.client().await?;
    let mut chat = client.idle_chat("Hello.").await?;
    let mut figures = Vec::new();
    for number in 0..bench.scale.takeovers {
        figures.push(take_over(&mut stack, &mut client, &mut chat, &model, number as u64).await?);
    }
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    let at_once = ModelServer::start(script).await?;
    let calls = http::Calls { warm_up: bench.scale.warm_up, counted: bench.scale.floor_events };
    let hop = http::hop(&at_once, calls, FLOOR_MARKS).await?;
    stack.end().await?;
    let note = format!(
        "the replica's grace (500 ms unless set) is in the figure; floor: two durable writes ({} ms each), a gRPC \
         round trip ({} ms) and an HTTP call ({} ms), without any grace",
        number(write),
        number(unary),
        number(hop.first_chunk_ms)
    );
    let floor = 2.0 * write + unary + hop.first_chunk_ms;
    Ok(vec![Reading { measure: &TAKEOVER, figures, floor: Some(floor), tolerance: 0.0, notes: vec![note] }])
}

async fn take_over(
    stack: &mut Stack<'_>,
    client: &mut Client,
    (chat, watch): &mut (String, Watch),
    model: &ModelServer,
    number: u64,
) -> Result<f64> {
    let version = client.send(chat, &mark(number)).await?;
    model.journal().wait_for_call(number, 1).await?;
    let holder = stack.database.holder(chat).await?;
    let place = stack.workers.iter().position(|worker| Some(worker.name()) == holder.as_deref());
    let mut victim = match place {
        Some(place) => stack.workers.swap_remove(place),
        None => return Err(Error::wrong("a running chat has no worker")),
    };
    let start = Instant::now();
    victim.kill()?;
    let at = model.journal().wait_for_call(number, 2).await?;
    watch.rest(version).await?;
    victim.ended().await?;
    stack.add_worker(SLOTS).await?;
    Ok(milliseconds(at - start))
}
