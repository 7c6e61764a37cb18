//! Faults as planned, one beside the other.

use std::{sync::Arc, time::Duration};

use chatplane_tests::{Database, restart_postgres, stop_postgres_immediately, tcp_proxy::Mode};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    REPLICAS,
    notes::Notes,
    plan::{Fault, Line, Planned, Process},
    recoveries::{self, Cause},
    stage::Stage,
};

/// The administrator's connection answers at once, or the database is away.
const ADMINISTRATOR_TIME_MAX: Duration = Duration::from_secs(2);

/// Ends every third session of this database but that of the tests, which come over no line.
const END_BACKENDS: &str = "
select count(pg_terminate_backend(pid))
from pg_stat_activity
where datname = current_database()
and pid <> pg_backend_pid()
and backend_type = 'client backend'
and pid % 3 = $1";

/// Lets every fault begin and end at its time.
pub(crate) async fn rage(stage: &Arc<Stage>, notes: &Arc<Notes>, plan: Vec<Planned>) {
    let beginning = Instant::now();
    let mut raging = JoinSet::new();
    for Planned { at, lasts, fault } in plan {
        sleep_until(beginning + at).await;
        let (stage, notes) = (Arc::clone(stage), Arc::clone(notes));
        raging.spawn(async move {
            let note = notes.fault_begins(fault.kind());
            strike(&stage, &notes, fault, lasts).await;
            notes.fault_ends(note);
        });
    }
    while let Some(ended) = raging.join_next().await {
        ended.expect("a fault does not panic");
    }
    stage.heal();
}

/// One fault, from its beginning to its end.
async fn strike(stage: &Arc<Stage>, notes: &Arc<Notes>, fault: Fault, lasts: Duration) {
    match fault {
        Fault::Kill(process) => {
            stage.processes.kill(process);
            if let Process::Worker(_) = process {
                recoveries::follow(stage, notes, process, Cause::Killed);
            }
            sleep(lasts).await;
            stage.processes.start_again(process);
        }
        Fault::Pause(process) => {
            stage.processes.pause(process);
            if let Process::Worker(_) = process {
                recoveries::follow(stage, notes, process, Cause::Paused { lasts });
            }
            sleep(lasts).await;
            stage.processes.resume(process);
        }
        Fault::Stop(process) => {
            if let Some(wrong) = stage.processes.stop(process).await {
                notes.found(wrong);
            }
            sleep(lasts).await;
            stage.processes.start_again(process);
        }
        Fault::Sever(line, mode) => {
            stage.sever(line, mode);
            sleep(lasts).await;
            stage.sever(line, Mode::Pass);
        }
        Fault::Isolate(worker, mode) => {
            let lines = || (0..REPLICAS).map(|replica| Line::Worker(worker, replica));
            lines().for_each(|line| stage.sever(line, mode));
            sleep(lasts).await;
            lines().for_each(|line| stage.sever(line, Mode::Pass));
        }
        Fault::EndBackends(first) => end_backends(&stage.database, notes, first).await,
        Fault::RestartPostgres => restart_postgres().await,
        Fault::StopPostgresImmediately => {
            stop_postgres_immediately().await;
            sleep(lasts).await;
            restart_postgres().await;
        }
    }
}

async fn end_backends(database: &Database, notes: &Notes, first: i32) {
    let ending = async {
        let mut administrator = PgConnection::connect(database.url()).await.ok()?;
        sqlx::query_scalar::<_, i64>(END_BACKENDS).bind(first).fetch_one(&mut administrator).await.ok()
    };
    let ended = timeout(ADMINISTRATOR_TIME_MAX, ending).await.ok().flatten().unwrap_or_default();
    notes.count_times(
        "sessions of the database that were terminated",
        usize::try_from(ended).unwrap_or_default(),
    );
}
