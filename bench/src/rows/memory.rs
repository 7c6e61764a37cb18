//! Row 8: resident memory of an idle control plane and an idle worker, connected to each
//! other and left alone for a moment.
//!
//! The figure is VmRSS. The proportional size, which divides pages of the binary that
//! several processes share, is told beside it.

use tokio::time::sleep;

use crate::{
    bench::Bench,
    error::{Error, Result},
    floors::process::idle_memory,
    measure::{CONTROL_PLANE_MEMORY, Measure, WORKER_MEMORY},
    proc::{Memory, memory},
    process::Process,
    report::table::number,
    stack::Stack,
    summary::Reading,
};

const SLOTS: u32 = 16;

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let mut stack = Stack::start(bench, None).await?;
    stack.add_worker(SLOTS).await?;
    sleep(bench.scale.settle).await;
    stack.require_running()?;
    let control_plane = memory_of(&stack.control_plane)?;
    let worker = memory_of(stack.workers.first().ok_or_else(|| Error::wrong("no worker"))?)?;
    let floor = idle_memory(bench, stack.database.url()).await?;
    stack.end().await?;
    Ok(vec![reading(&CONTROL_PLANE_MEMORY, control_plane, floor), reading(&WORKER_MEMORY, worker, floor)])
}

fn memory_of(process: &Process) -> Result<Memory> {
    let ended = || Error::wrong(format!("{} has ended", process.name()));
    memory(process.pid().ok_or_else(ended)?)
}

fn reading(measure: &'static Measure, found: Memory, floor: Memory) -> Reading {
    let proportional = match found.proportional {
        Some(proportional) => format!("{} MB", number(proportional)),
        None => "for root alone to read".to_owned(),
    };
    let note = format!(
        "VmRSS; proportional (Pss) {proportional}; floor: a process with a runtime, a bare gRPC server and one \
         database connection"
    );
    Reading {
        measure,
        figures: vec![found.resident],
        floor: Some(floor.resident),
        tolerance: 0.0,
        notes: vec![note],
    }
}
