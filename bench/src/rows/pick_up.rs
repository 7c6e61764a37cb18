//! Rows 1 and 2: `SendMessage` received → worker holds the turn, on the same replica and on
//! another.
//!
//! The benchmark is the client and the worker, each with a connection of its own. The
//! time goes from just before the client's call to the lease's arrival on the worker's
//! stream: the client's half of the call is in it, so it is an upper bound. One turn at a
//! time; the worker ends each with a short answer, so that the chat waits again.

use std::time::Instant;

use tokio::try_join;

use crate::{
    bench::Bench,
    client::Client,
    error::{Error, Result},
    fake_worker::FakeWorker,
    floors::{database, grpc},
    measure::{PICK_UP, PICK_UP_ELSEWHERE},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

/// Chats that take turns, so that no history grows long.
const CHATS: usize = 50;
const WORDS: &str = "How does the garden grow?";

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let stack = Stack::start(bench, None).await?;
    let worker = FakeWorker::open(stack.channel().await?, &stack.database.worker_token).await?;
    let figures = turns(bench, &stack, worker).await?;
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    stack.end().await?;
    let note = format!(
        "floor: a unary gRPC round trip to the same server ({} ms) and a durable write of two round trips ({} ms)",
        number(unary),
        number(write)
    );
    let floor = Some(unary + write);
    Ok(vec![Reading { measure: &PICK_UP, figures, floor, tolerance: 0.0, notes: vec![note] }])
}

/// Row 2: the client is connected to one replica and the worker to another.
pub(crate) async fn measure_elsewhere(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let stack = Stack::start_two(bench, None).await?;
    let worker = FakeWorker::open(stack.channel_elsewhere().await?, &stack.database.worker_token).await?;
    let figures = turns(bench, &stack, worker).await?;
    let unary = grpc::unary_ms(bench, stack.channel().await?).await?;
    let write = database::write_ms(bench, &stack.database).await?;
    let notify = database::notify_ms(bench, &stack.database).await?;
    stack.end().await?;
    let note = format!(
        "floor: a unary gRPC round trip to the same server ({} ms), two durable writes of two round trips ({} ms \
         each), and a notification between them ({} ms)",
        number(unary),
        number(write),
        number(notify)
    );
    let floor = Some(unary + 2.0 * write + notify);
    Ok(vec![Reading { measure: &PICK_UP_ELSEWHERE, figures, floor, tolerance: 0.0, notes: vec![note] }])
}

/// One turn after the other, of which each is a figure.
async fn turns(bench: &Bench<'_>, stack: &Stack<'_>, mut worker: FakeWorker) -> Result<Vec<f64>> {
    let mut client = stack.client().await?;
    let mut chats = Vec::with_capacity(CHATS);
    for _ in 0..CHATS {
        chats.push(client.create_chat(WORDS).await?);
        worker.finish_turns(1).await?;
    }
    let mut figures = Vec::with_capacity(bench.scale.events);
    for (event, chat) in chats.iter().cycle().take(bench.scale.warm_up + bench.scale.events).enumerate() {
        let figure = turn(&mut client, &mut worker, chat).await?;
        if event >= bench.scale.warm_up {
            figures.push(figure);
        }
    }
    Ok(figures)
}

async fn turn(client: &mut Client, worker: &mut FakeWorker, chat: &str) -> Result<f64> {
    let start = Instant::now();
    let (_, lease) = try_join!(client.send(chat, WORDS), worker.lease())?;
    if lease.chat() != chat {
        return Err(Error::wrong("another chat was leased than the one that got a message"));
    }
    let time = lease.at - start;
    worker.finish(lease).await?;
    Ok(milliseconds(time))
}
