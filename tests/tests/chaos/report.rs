//! What a run was, as Markdown.

use std::{fmt::Write as _, time::Duration};

use crate::{
    AGENTS, REPLICAS, WORKERS,
    notes::{Notes, Took},
    settings::Settings,
    stage::Stage,
    verify,
};

/// The report of a run; `rest` is how long after the last fault every chat was at rest.
pub(crate) async fn report(
    settings: &Settings,
    stage: &Stage,
    notes: &Notes,
    model_calls: usize,
    rest: Duration,
) -> String {
    let mut page = String::new();
    let load = settings.load;
    line(&mut page, format_args!("### Chaos with seed {}", settings.seed));
    line(
        &mut page,
        format_args!(
            "{REPLICAS} replicas, {WORKERS} workers, {AGENTS} workspace agents, {} chats, {} watchers of a chat, {} of \
             all chats, {} users; {} s of faults.",
            load.chats,
            load.watchers,
            load.list_watchers,
            load.users,
            settings.duration.as_secs()
        ),
    );
    line(&mut page, format_args!("Every chat was at rest {:.1} s after the last fault.", rest.as_secs_f64()));
    let faults = notes.faults();
    let all: usize = faults.values().sum();
    table(&mut page, &format!("Faults ({all})"), faults);
    let mut totals = verify::totals(&stage.database).await;
    totals.push(("model calls".to_owned(), i64::try_from(model_calls).unwrap_or(i64::MAX)));
    table(&mut page, "What there was", totals);
    table(&mut page, "What users and watchers met", notes.counts());
    recoveries(&mut page, &notes.recoveries());
    table(&mut page, "Errors in logs", stage.processes.errors());
    page
}

fn line(page: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(page, "{line}\n").expect("a string takes everything");
}

fn table<N: std::fmt::Display>(page: &mut String, title: &str, rows: impl IntoIterator<Item = (String, N)>) {
    let rows: String = rows.into_iter().map(|(what, count)| format!("| {what} | {count} |\n")).collect();
    if !rows.is_empty() {
        line(page, format_args!("| {title} | |\n| --- | ---: |\n{}", rows.trim_end()));
    }
}

fn recoveries(page: &mut String, kinds: &[Took]) {
    let mut rows = String::new();
    for Took { what, all, undisturbed } in kinds {
        for (which, took) in [("all", all), ("no other fault near", undisturbed)] {
            if let (Some(p50), Some(p99), Some(max)) = (quantile(took, 50), quantile(took, 99), took.last()) {
                let (p50, p99, max) = (millis(p50), millis(p99), millis(*max));
                rows += &format!("| {what} | {which} | {} | {p50} | {p99} | {max} |\n", took.len());
            }
        }
    }
    let head = "| recovery | which | times | p50, ms | p99, ms | longest, ms |\n| --- | --- | ---: | ---: | ---: | ---: |";
    line(page, format_args!("{head}\n{}", rows.trim_end()));
}

fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((sorted.len() * percent / 100).min(last)).copied()
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}
