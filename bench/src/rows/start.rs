//! Row 9: the start of `serve` on an existing database, and the first start of `dev` from
//! nothing.
//!
//! `serve` is ready when it answers a health check with SERVING; it is asked on the first
//! connection that it takes, which is tried each millisecond. `dev` runs without a
//! terminal, and is ready when it says on standard output that it serves: its own
//! PostgreSQL, a control plane, a worker and a workspace agent then run.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Instant};

use chatplane_embedded_postgres::{Postgres, Settings};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::spawn_blocking,
};

use crate::{
    bench::Bench,
    database::Database,
    error::{Error, OrFailed as _, Result},
    floors::{database::connect_ms, process::spawn_ms},
    measure::{DEV_START, SERVE_START},
    process::{Launch, Process},
    report::table::number,
    samples::median,
    stack::{Company, Serve, free_address, start_serve, wait_until_serving},
    summary::Reading,
    wait::{in_time, milliseconds},
};

/// What `dev` says when it is ready.
const READY: &str = "chatplane serves";

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let spawn = spawn_median(bench).await?;
    Ok(vec![measure_serve(bench, spawn).await?, measure_dev(bench, spawn).await?])
}

async fn spawn_median(bench: &Bench<'_>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..bench.scale.serve_starts {
        times.push(spawn_ms(bench.chatplane).await?);
    }
    median(times).ok_or_else(|| Error::wrong("nothing was started"))
}

async fn measure_serve(bench: &Bench<'_>, spawn: f64) -> Result<Reading> {
    let database = Database::create(bench).await?;
    let mut figures = Vec::new();
    let mut connects = Vec::new();
    for _ in 0..bench.scale.serve_starts {
        let address = free_address()?;
        let start = Instant::now();
        let serve = Serve {
            address,
            database_url: database.url(),
            listener_database_url: None,
            model: None,
            company: Company::Alone,
        };
        let mut replica = start_serve(bench, &serve)?;
        wait_until_serving(address, &mut replica).await?;
        figures.push(milliseconds(start.elapsed()));
        replica.stop().await?;
        connects.push(connect_ms(&database).await?);
    }
    let connect = median(connects).ok_or_else(|| Error::wrong("nothing was connected"))?;
    database.remove(bench).await?;
    let note = format!(
        "floor: the binary started for its version ({} ms) and a new database connection ({} ms)",
        number(spawn),
        number(connect)
    );
    Ok(Reading {
        measure: &SERVE_START,
        figures,
        floor: Some(spawn + connect),
        tolerance: 0.0,
        notes: vec![note],
    })
}

async fn measure_dev(bench: &Bench<'_>, spawn: f64) -> Result<Reading> {
    let mut figures = Vec::new();
    let mut databases = Vec::new();
    for _ in 0..bench.scale.dev_starts {
        let places = bench.new_path();
        let workspace = places.join("workspace");
        fs::create_dir_all(&workspace).or_failed("make a workspace")?;
        // As root, PostgreSQL runs as another user, who has to get to its data.
        fs::set_permissions(&places, fs::Permissions::from_mode(0o711)).or_failed("open a directory")?;
        figures.push(dev_ms(bench, &places.join("data"), &workspace).await?);
        databases.push(postgres_ms(bench, &places.join("floor")).await?);
        fs::remove_dir_all(&places).or_failed("remove a data directory")?;
    }
    let database = median(databases).ok_or_else(|| Error::wrong("nothing was started"))?;
    let note = format!(
        "floor: a new PostgreSQL from nothing ({} ms) and the binary started for its version ({} ms)",
        number(database),
        number(spawn)
    );
    Ok(Reading {
        measure: &DEV_START,
        figures,
        floor: Some(database + spawn),
        tolerance: 0.0,
        notes: vec![note],
    })
}

async fn dev_ms(bench: &Bench<'_>, data: &Path, workspace: &Path) -> Result<f64> {
    let data = data.to_string_lossy();
    let workspace = workspace.to_string_lossy();
    let mut variables = Vec::new();
    if let Some(bin_dir) = &bench.arguments.postgres_bin_dir {
        variables.push(("CHATPLANE_POSTGRES_BIN_DIR".to_owned(), bin_dir.to_string_lossy().into_owned()));
    }
    let launch = Launch {
        name: "dev",
        program: bench.chatplane,
        arguments: &["dev", "--data-dir", &data, "--dir", &workspace, "--port", "0"],
        variables: &variables,
        logs: bench.scratch,
    };
    let start = Instant::now();
    let (mut dev, output) = Process::start_and_read(&launch)?;
    let mut lines = BufReader::new(output).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.or_failed("read what dev says")? {
            if line.contains(READY) {
                return Ok(Instant::now());
            }
        }
        dev.ended().await?;
        dev.require_running()?;
        Err(Error::wrong("dev has ended before it was ready"))
    };
    let time = in_time("dev is ready", ready).await??.duration_since(start);
    dev.stop().await?;
    Ok(milliseconds(time))
}

/// A new durable PostgreSQL, from nothing to accepting connections.
async fn postgres_ms(bench: &Bench<'_>, dir: &Path) -> Result<f64> {
    let bin_dir = bench.arguments.postgres_bin_dir.clone();
    let settings = Settings { bin_dir, ..Settings::kept_in(dir) };
    let started = spawn_blocking(move || {
        let start = Instant::now();
        Postgres::start(settings).map(|postgres| (start.elapsed(), postgres))
    });
    let (time, postgres) =
        started.await.or_failed("start PostgreSQL")?.or_failed("start a new PostgreSQL")?;
    spawn_blocking(move || drop(postgres)).await.or_failed("stop PostgreSQL")?;
    Ok(milliseconds(time))
}
