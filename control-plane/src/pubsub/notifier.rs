//! The connection that tells other replicas what has changed here.

use std::time::Duration;

use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    Wire,
    connection::{Connection, ConnectionError},
    hints::{Hints, Message},
    retry,
};

/// Notifications of one statement: half a MiB at most.
const MESSAGES_MAX: usize = 64;
/// So many statements follow each other without a pause: what a single chat gives rise to
/// goes out at once.
const IN_A_ROW_MAX: u32 = 4;
/// Between two statements when there is always more to tell: more then goes into each, and
/// the database has other things to do.
const PAUSE: Duration = Duration::from_millis(1);
/// When the replica leaves, what waits is told within this time, or not at all.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Tells what is to be told, until `stop`.
pub(super) async fn run(wire: Wire, stop: CancellationToken) {
    let too_late = async {
        stop.cancelled().await;
        time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = too_late => {}
        () = tell_all(&wire, &stop) => {}
    }
}

/// One connection after another.
async fn tell_all(wire: &Wire, stop: &CancellationToken) {
    let mut failures = 0;
    loop {
        let Err(error) = tell(wire, &mut failures, stop).await else { return };
        failures = failures.saturating_add(1);
        if failures == 1 {
            tracing::warn!(cause = %error.chain(), "no hints are sent to other replicas; they wait until that works again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = time::sleep(retry::delay(failures, rand::random())) => {}
        }
    }
}

/// One connection, until it ends; without an error at the replica's own end.
async fn tell(wire: &Wire, failures: &mut u32, stop: &CancellationToken) -> Result<(), ConnectionError> {
    let mut connection = Connection::open(&wire.target).await?;
    // A hint is no data: nobody waits for it to be on disk.
    connection.execute("set synchronous_commit = off", |_| {}).await?;
    if *failures > 0 {
        tracing::info!("hints are sent to other replicas again");
        *failures = 0;
    }
    let outgoing = &wire.hub.outgoing;
    let mut in_a_row = 0;
    loop {
        if in_a_row >= IN_A_ROW_MAX {
            time::sleep(PAUSE).await;
        }
        in_a_row = if outgoing.is_empty() { 0 } else { in_a_row + 1 };
        tokio::select! {
            hints = outgoing.take() => send(wire, &mut connection, hints).await?,
            // It listens to nothing; this is how its end is noticed.
            end = connection.notified() => drop(end?),
            () = stop.cancelled() => {
                let last = outgoing.take_now();
                return send(wire, &mut connection, last).await;
            }
        }
    }
}

/// Sends them, or keeps them for the next connection.
async fn send(wire: &Wire, connection: &mut Connection, hints: Hints) -> Result<(), ConnectionError> {
    for messages in hints.messages(wire.replica).chunks(MESSAGES_MAX) {
        let channels: Vec<&str> = messages.iter().map(|Message { channel, .. }| channel.as_str()).collect();
        let payloads: Vec<&str> = messages.iter().map(|Message { payload, .. }| payload.as_str()).collect();
        if let Err(error) = connection.notify(&channels, &payloads).await {
            wire.hub.outgoing.put(|waiting| waiting.merge(hints));
            return Err(error);
        }
    }
    Ok(())
}
