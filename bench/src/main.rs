//! The benchmark: measures chatplane's budgets on real processes, and the floors in the
//! same run. `docs/benchmarks.md` says what each figure includes.
//!
//! - `rows`: one file a row; `floors`: the primitives;
//! - `stack`, `process`, `database`, `binary`: what is measured, as processes of the
//!   `chatplane` binary on a private, durable PostgreSQL;
//! - `library`: a large database for lists and searches;
//! - `client`, `fake_worker`, `model_server`, `proxy`: what it is measured with, in this
//!   process, so that one clock sees both ends;
//! - `measure`, `samples`, `summary`, `report`: from figures to the table.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::ExitCode};

use chatplane_embedded_postgres::Postgres;
use clap::Parser as _;
use tokio::{
    runtime::Runtime,
    select,
    signal::unix::{SignalKind, signal},
};

use crate::{
    arguments::{Arguments, Row},
    bench::{Bench, say},
    error::{Error, OrFailed as _, Result},
    summary::{Reading, summarize},
};

mod arguments;
mod bench;
mod binary;
mod chunks;
mod client;
mod database;
mod error;
mod fake_worker;
mod floors;
mod library;
mod measure;
mod model_server;
mod proc;
mod process;
mod proxy;
mod report;
mod rows;
mod samples;
mod scale;
mod stack;
mod summary;
mod wait;

/// What the exit code says: everything was measured, whatever was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    Complete,
    Partial,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(Completeness::Complete) => ExitCode::SUCCESS,
        Ok(Completeness::Partial) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("chatplane-bench: {}", error.chain()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Completeness> {
    let runtime = Runtime::new().or_failed("start a runtime")?;
    if let Some(url) = &arguments.floor_process {
        return runtime.block_on(floors::process::sit(url)).map(|()| Completeness::Complete);
    }
    let chatplane = binary::find(arguments.chatplane.as_deref())?;
    say(&format!("measuring {}", chatplane.display()));
    let scratch = tempfile::tempdir().or_failed("make a directory")?;
    // As root, PostgreSQL runs as another user, who has to get to what `dev` keeps here.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).or_failed("open a directory")?;
    // In this thread, which lives to the end; it blocks, and nothing runs yet.
    let postgres = Postgres::start(database::settings(arguments.postgres_bin_dir.clone()))
        .or_failed("start PostgreSQL")?;
    let bench = Bench::new(arguments, &chatplane, &postgres, scratch.path());
    let (readings, completeness) = runtime.block_on(async {
        select! {
            measured = Box::pin(measure(&bench)) => Ok(measured),
            stopped = stop_signal() => Err(stopped),
        }
    })?;
    let lines = summarize(&readings);
    let circumstances = report::circumstances::circumstances(&bench);
    let text = match arguments.json {
        true => {
            // The list has no place for them.
            say(circumstances.trim());
            report::json::json(&lines) + "\n"
        }
        false => report::table::table(&lines) + &circumstances,
    };
    std::io::stdout().write_all(text.as_bytes()).or_failed("print what was measured")?;
    Ok(completeness)
}

/// Rounds of all rows, one after the other: a bad spell of the machine then hits one round
/// of a row and not all of them. A row that fails once is given up with all it had read.
async fn measure(bench: &Bench<'_>) -> (Vec<Reading>, Completeness) {
    let mut rows = bench.arguments.rows.clone();
    let asked = rows.len();
    let mut readings: Vec<(Row, Reading)> = Vec::new();
    for round in 1..=bench.scale.rounds {
        // Counts of round trips do not vary as times do.
        for row in rows.clone().into_iter().filter(|row| round == 1 || *row != Row::Trips) {
            say(&format!("round {round} of {}, row {row}", bench.scale.rounds));
            match rows::measure(row, bench).await {
                Ok(read) => readings.extend(read.into_iter().map(|reading| (row, reading))),
                Err(error) => {
                    say(&format!("row {row} could not be measured: {}", error.chain()));
                    rows.retain(|kept| *kept != row);
                    readings.retain(|(kept, _)| *kept != row);
                }
            }
        }
    }
    let completeness = if rows.len() == asked { Completeness::Complete } else { Completeness::Partial };
    (readings.into_iter().map(|(_, reading)| reading).collect(), completeness)
}

/// The error that a signal to stop ends everything with.
async fn stop_signal() -> Error {
    let wait = async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    };
    let waited: std::io::Result<()> = wait.await;
    match waited.or_failed("receive signals") {
        Ok(()) => Error::Interrupted,
        Err(error) => error,
    }
}
