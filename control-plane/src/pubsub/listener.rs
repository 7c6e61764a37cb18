//! The connection that listens. What it hears it leaves in the hub, and never waits for
//! who acts on it.

use std::{convert::Infallible, time::Duration};

use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_postgres::Notification;
use tokio_util::sync::CancellationToken;

use super::{
    Wire,
    connection::{Connection, ConnectionError},
    hints::Hints,
    retry,
    wanted::Listening,
};

/// How often a silent connection is asked whether it lives, and what is no longer wanted is
/// looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What outlives a connection.
struct Listener {
    wire: Wire,
    start: Instant,
    listening: Listening,
    /// Connections that were lost or could not be made, since one could.
    failures: u32,
}

/// Listens, until `stop`.
pub(super) async fn run(wire: Wire, stop: CancellationToken) {
    let mut listener = Listener { wire, start: Instant::now(), listening: Listening::default(), failures: 0 };
    loop {
        let error = tokio::select! {
            () = stop.cancelled() => return,
            Err(error) = listener.listen() => error,
        };
        listener.failures = listener.failures.saturating_add(1);
        if listener.failures == 1 {
            tracing::warn!(cause = %error.chain(), "no hints are heard from other replicas; polls see to it meanwhile");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = time::sleep(retry::delay(listener.failures, rand::random())) => {}
        }
    }
}

impl Listener {
    /// One connection, until it ends.
    async fn listen(&mut self) -> Result<Infallible, ConnectionError> {
        let mut connection = Connection::open(&self.wire.target).await?;
        self.listening.begin();
        let mut look = time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.listening.want(self.start.elapsed(), &self.wire.hub.wanted());
            self.listen_to_more(&mut connection).await?;
            let wire = &self.wire;
            tokio::select! {
                heard = hear_next(wire, &mut connection) => match heard? {},
                () = wire.hub.more_is_wanted() => {}
                _ = look.tick() => {
                    self.listening.want(self.start.elapsed(), &wire.hub.wanted_so_far());
                    connection.execute("select 1", |heard| hear(wire, &heard)).await?;
                }
            }
        }
    }

    async fn listen_to_more(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        let plan = self.listening.plan(self.start.elapsed());
        if plan.is_empty() {
            return Ok(());
        }
        let wire = &self.wire;
        connection.execute(&plan.statements(), |heard| hear(wire, &heard)).await?;
        self.listening.done(&plan);
        // Nobody knows what was said before: whoever is interested looks once.
        let look = |hints: &mut Hints| plan.listen.iter().for_each(|channel| hints.add_everything(*channel));
        wire.hub.incoming.put(look);
        if self.failures > 0 {
            tracing::info!("hints are heard from other replicas again");
            self.failures = 0;
        }
        Ok(())
    }
}

/// Hears what comes, until the connection ends.
async fn hear_next(wire: &Wire, connection: &mut Connection) -> Result<Infallible, ConnectionError> {
    loop {
        hear(wire, &connection.notified().await?);
    }
}

fn hear(wire: &Wire, heard: &Notification) {
    wire.hub.incoming.put(|hints| {
        if hints.hear(wire.replica, heard.channel(), heard.payload()).is_err() {
            tracing::debug!(channel = heard.channel(), "a notification that no replica sends is ignored");
        }
    });
}
