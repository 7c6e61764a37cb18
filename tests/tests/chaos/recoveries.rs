//! How long the chats of a worker that is gone wait for another.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{notes::Notes, plan::Process, stage::Stage};

/// A chat of a killed worker runs on another.
pub(crate) const KILLED: &str = "worker killed: its chat runs on another";
/// A chat of a worker that is silent runs on another.
pub(crate) const SILENT: &str = "worker silent: its chat runs on another";

/// Between two looks: what is measured takes some hundred milliseconds at least.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A look that takes longer is none: the database is away.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
/// Nobody waits longer; that such a chat comes to rest is looked for in the end.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(60);

/// The chats that a worker has.
const LEASED: &str = "
select c.chat_id, c.fence
from chats c
join sessions s using (session_id)
where c.leased
and s.worker_name = $1
and s.close_time is null";

/// What became of them.
const NOW: &str = "select chat_id, fence, leased, state from chats where chat_id = any ($1)";

/// Why a worker is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    Killed,
    /// For so long.
    Paused {
        lasts: Duration,
    },
}

/// Follows the chats of a worker that has just gone, beside everything else.
pub(crate) fn follow(stage: &Arc<Stage>, notes: &Arc<Notes>, worker: Process, cause: Cause) {
    let (url, name) = (stage.database.url().to_owned(), stage.processes.name(worker).to_owned());
    let notes = Arc::clone(notes);
    let began = Instant::now();
    stage.followers.spawn(async move {
        let following = follow_chats(&url, &name, &notes, cause, began);
        // Chats that nobody takes are found by who looks for rest.
        let _ = timeout(FOLLOW_TIME_MAX, following).await;
    });
}

async fn follow_chats(url: &str, name: &str, notes: &Notes, cause: Cause, began: Instant) -> Option<()> {
    let mut connection = connect(url).await?;
    let leased = sqlx::query_as(LEASED).bind(name).fetch_all(&mut connection);
    let leased: Vec<(Uuid, i64)> = timeout(LOOK_TIME_MAX, leased).await.ok()?.ok()?;
    let mut waiting: BTreeMap<Uuid, i64> = leased.into_iter().collect();
    let (what, until) = match cause {
        Cause::Killed => (KILLED, FOLLOW_TIME_MAX),
        // Afterwards it may go on itself.
        Cause::Paused { lasts } => (SILENT, lasts),
    };
    while !waiting.is_empty() && began.elapsed() < until {
        sleep(LOOK_AGAIN).await;
        let chats: Vec<Uuid> = waiting.keys().copied().collect();
        let now = sqlx::query_as(NOW).bind(&chats).fetch_all(&mut connection);
        let now: Option<Vec<(Uuid, i64, bool, String)>> = timeout(LOOK_TIME_MAX, now).await.ok()?.ok();
        let Some(now) = now else {
            connection = connect(url).await?;
            continue;
        };
        for (chat, fence, is_leased, state) in now {
            let before = waiting.get(&chat).copied().unwrap_or_default();
            if fence > before {
                notes.recovered(what, began);
                waiting.remove(&chat);
            } else if !is_leased && state != "running" {
                // A user has stopped it: nobody needs to take it.
                waiting.remove(&chat);
            }
        }
    }
    Some(())
}

/// A connection over no line, as soon as there is one.
async fn connect(url: &str) -> Option<PgConnection> {
    loop {
        match timeout(LOOK_TIME_MAX, PgConnection::connect(url)).await {
            Ok(Ok(connection)) => return Some(connection),
            Ok(Err(_)) => sleep(LOOK_AGAIN).await,
            Err(_) => return None,
        }
    }
}
