//! Rows 10 and 11: worker killed, or silent → its chat running on another worker.
//!
//! Two workers. A chat's model call hangs at the model server; the worker that made it is
//! killed, or stopped so that its connections stay; the time goes until the model server has the
//! repeated call, from the other worker, whole. Then that one is answered and a new worker takes
//! the place of the first.

use std::time::Instant;

use crate::{
    bench::Bench,
    client::{Client, Watch},
    error::{Error, Result},
    floors::{database, grpc, http},
    measure::{TAKEOVER, TAKEOVER_OF_SILENT},
    model_server::{Hold, ModelServer, Script, mark},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

const WORKERS: usize = 2;
const SLOTS: u32 = 16;
const FLOOR_MARKS: u64 = 1_000_000;

/// What becomes of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Killed,
    Silent,
}

pub(crate) async fn measure(bench: &Bench<'_>, victim: Victim) -> Result<Vec<Reading>> {
    let script = Script::at_once(1, bench.arguments.chunk_bytes);
    let model = ModelServer::start(Script { hold: Hold::FirstCalls, ..script }).await?;
    let mut stack = Stack::start(bench, Some(&model)).await?;
    for _ in 0..WORKERS {
        stack.add_worker(SLOTS).await?;
    }
    let mut client = stack.client().await?;
    let mut chat = client.idle_chat("Hello.").await?;
    let mut figures = Vec::new();
    let times = match victim {
        Victim::Killed => bench.scale.takeovers,
        Victim::Silent => bench.scale.silent_takeovers,
    };
    for number in 0..times {
        let number = number as u64;
        figures.push(take_over(&mut stack, &mut client, &mut chat, &model, Fault { victim, number }).await?);
    }
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    let at_once = ModelServer::start(script).await?;
    let calls = http::Calls { warm_up: bench.scale.warm_up, counted: bench.scale.floor_events };
    let hop = http::hop(&at_once, calls, FLOOR_MARKS).await?;
    stack.end().await?;
    let (measure, wait) = match victim {
        Victim::Killed => (&TAKEOVER, "the replica's grace (500 ms unless set)"),
        Victim::Silent => (&TAKEOVER_OF_SILENT, "the session's time to live (8 s after its last pong)"),
    };
    let note = format!(
        "{wait} is in the figure; floor: two durable writes ({} ms each), a gRPC round trip ({} ms) and an HTTP \
         call ({} ms), without any wait",
        number(write),
        number(unary),
        number(hop.first_chunk_ms)
    );
    let floor = 2.0 * write + unary + hop.first_chunk_ms;
    Ok(vec![Reading { measure, figures, floor: Some(floor), tolerance: 0.0, notes: vec![note] }])
}

/// What happens to the holder of a turn, and the turn's number.
#[derive(Clone, Copy, Debug)]
struct Fault {
    victim: Victim,
    number: u64,
}

async fn take_over(
    stack: &mut Stack<'_>,
    client: &mut Client,
    (chat, watch): &mut (String, Watch),
    model: &ModelServer,
    Fault { victim, number }: Fault,
) -> Result<f64> {
    let version = client.send(chat, &mark(number)).await?;
    model.journal().wait_for_call(number, 1).await?;
    let holder = stack.database.holder(chat).await?;
    let place = stack.workers.iter().position(|worker| Some(worker.name()) == holder.as_deref());
    let mut worker = match place {
        Some(place) => stack.workers.swap_remove(place),
        None => return Err(Error::wrong("a running chat has no worker")),
    };
    let start = Instant::now();
    match victim {
        Victim::Killed => worker.kill()?,
        Victim::Silent => worker.pause()?,
    }
    let at = model.journal().wait_for_call(number, 2).await?;
    watch.rest(version).await?;
    worker.kill()?;
    worker.ended().await?;
    stack.add_worker(SLOTS).await?;
    Ok(milliseconds(at - start))
}
