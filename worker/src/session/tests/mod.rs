//! Single cases; `properties` has what always holds.

mod connections;
mod leases;

use uuid::Uuid;

use super::*;
use crate::backoff::Backoff;

const TIMING: Timing = Timing {
    open_timeout: Duration::from_secs(5),
    hop_after: Duration::from_secs(4),
    pause_after: Duration::from_secs(6),
    redial: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
    drain_timeout: Duration::from_secs(30),
    release_grace: Duration::from_secs(2),
};

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn key(chat: u128, fence: i64) -> LeaseKey {
    LeaseKey { chat_id: Uuid::from_u128(chat), fence }
}

fn opened(leases: Vec<Resumed>) -> Event {
    Event::Opened { session_id: "secret".to_owned(), leases }
}

fn ping(renewed_age: Duration) -> Event {
    Event::Ping { ping_no: 1, renewed_age }
}

/// A session that is open at time 0 and has answered a ping.
fn open_session(slots_total: usize) -> Session {
    let mut session = Session::new(TIMING, slots_total, 2);
    session.handle(at(0), 0.0, Event::Tick);
    session.handle(at(0), 0.0, opened(vec![]));
    session.handle(at(0), 0.0, ping(at(0)));
    session
}

fn running(may_start: bool) -> Control {
    Control { may_start, ..Control::default() }
}
