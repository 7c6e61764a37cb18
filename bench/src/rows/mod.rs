//! The rows of the budgets. Each is measured with processes of its own, and but for `library`, whose data takes
//! long to load, with a database of its own.

mod first_part;
mod interrupt;
mod library;
mod live_part;
mod memory;
mod moved_watch;
mod pick_up;
mod prompts;
mod round_trips;
mod start;
mod takeover;
mod throughput;
mod turns;

use crate::{arguments::Row, bench::Bench, error::Result, summary::Reading};

/// Measures a row once.
pub(crate) async fn measure(row: Row, bench: &Bench<'_>) -> Result<Vec<Reading>> {
    match row {
        Row::R1 => Box::pin(pick_up::measure(bench)).await,
        Row::R2 => Box::pin(pick_up::measure_elsewhere(bench)).await,
        Row::R3 => Box::pin(first_part::measure(bench)).await,
        Row::R4 => Box::pin(live_part::measure(bench)).await,
        Row::R5 => Box::pin(throughput::measure(bench)).await,
        Row::R8 => Box::pin(memory::measure(bench)).await,
        Row::R9 => Box::pin(start::measure(bench)).await,
        Row::R10 => Box::pin(takeover::measure(bench, takeover::Victim::Killed)).await,
        Row::R11 => Box::pin(takeover::measure(bench, takeover::Victim::Silent)).await,
        Row::R12 => Box::pin(moved_watch::measure(bench)).await,
        Row::R13 => Box::pin(prompts::measure(bench)).await,
        Row::Library => Box::pin(library::measure(bench)).await,
        Row::Interrupt => Box::pin(interrupt::measure(bench)).await,
        Row::Trips => Box::pin(round_trips::measure(bench)).await,
    }
}
