//! Lists, search, unread and watch-all in a large database: 100,000 chats with two million messages.
//!
//! A client of one user asks one thing after the other, on one connection, with nothing else going on. It is the
//! owner with the most chats where nothing else is said. The database is made once, and each round has a replica
//! of its own on it, whose caches are empty.

mod asks;
mod changes;
mod lists;

use crate::{
    bench::Bench,
    error::Result,
    floors::{database, grpc},
    library::{Library, check_form},
    report::table::number,
    stack::Stack,
    summary::Reading,
};

/// What the primitives took, in milliseconds.
struct Floors {
    unary: f64,
    read: f64,
    write: f64,
    streamed: f64,
}

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let Library { facts, database } = match bench.library.lock().await.take() {
        Some(library) => library,
        None => Library::load(bench).await?,
    };
    let url = database.url().to_owned();
    let stack = Stack::start_on(bench, None, database, &url).await?;
    check_form(&stack).await?;
    let mut figures = lists::measure(bench, &stack, &facts).await?;
    figures.push(changes::mark_read(bench, &stack, &facts).await?);
    figures.push(changes::watch(bench, &stack, &facts).await?);
    figures.push(changes::resume(bench, &stack, &facts).await?);
    let floors = Floors {
        unary: grpc::unary_ms(bench, stack.channel().await?).await?,
        read: database::read_ms(bench, &stack.database, &facts.seen).await?,
        write: database::write_ms(bench, &stack.database).await?,
        streamed: grpc::streamed_ms(bench).await?,
    };
    let database = stack.stop().await?;
    let mut readings: Vec<Reading> = figures.into_iter().map(|figures| figures.reading(&floors)).collect();
    if let Some(first) = readings.first_mut() {
        first.notes.splice(0..0, [facts.note(), floors.note()]);
    }
    bench.library.lock().await.replace(Library { facts, database });
    Ok(readings)
}

/// What a row has read, and what it is compared with.
struct Figures {
    measure: &'static crate::measure::Measure,
    ms: Vec<f64>,
    floor: Floor,
    notes: Vec<String>,
}

/// The primitives that something is made of.
#[derive(Clone, Copy, Debug)]
enum Floor {
    /// A call, and a row that is read.
    Read,
    /// A call, and a durable write.
    Write,
    /// Half a call, a durable write, and a streamed message.
    Event,
}

impl Figures {
    fn reading(self, floors: &Floors) -> Reading {
        let floor = match self.floor {
            Floor::Read => floors.unary + floors.read,
            Floor::Write => floors.unary + floors.write,
            Floor::Event => floors.unary / 2.0 + floors.write + floors.streamed,
        };
        let Self { measure, ms: figures, notes, .. } = self;
        Reading { measure, figures, floor: Some(floor), tolerance: 0.0, notes }
    }
}

impl Floors {
    fn note(&self) -> String {
        format!(
            "floor: a unary gRPC round trip to the same server ({} ms) and a row read by its key ({} ms); of u1 and w1 \
             a durable write of two round trips ({} ms) instead, and of w1 half a round trip and a streamed message \
             ({} ms)",
            number(self.unary),
            number(self.read),
            number(self.write),
            number(self.streamed)
        )
    }
}
