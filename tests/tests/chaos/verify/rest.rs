//! Waiting until every chat is done with all that it was given.

use std::time::Duration;

use chatplane_tests::Database;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::users::User;

/// So long after the last fault every chat is at rest.
pub(crate) const REST_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Chats that go on, or wait for a user.
const RESTLESS: &str = "
select c.chat_id::text, c.state, format(
    'chat %s is %s: leased %s to %s, fence %s, attempt %s, queue %s, open calls %s, waits since %s, last write %s',
    c.chat_id, c.state, c.leased,
    (select format('%s (closed %s, expires %s)', s.worker_name, s.close_time, s.expire_time)
     from sessions s where s.session_id = c.session_id),
    c.fence, c.attempt, c.queue_length, c.open_call_count, c.runnable_since, c.last_write
)
from chats c
where c.state not in ('waiting', 'error')
order by c.chat_id";

/// Waits for rest, and hands in what chats wait for. Answers what never came to rest.
pub(crate) async fn come_to_rest(database: &Database, user: &mut User, deadline: Instant) -> Vec<String> {
    let mut connection = database.connection().await;
    loop {
        let restless = restless(&mut connection).await;
        if restless.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return restless.into_iter().map(|(_, _, chat)| format!("rest: {chat}")).collect();
        }
        for (chat, state, _) in restless {
            if state == "suspended" {
                user.submit(&chat).await;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn restless(connection: &mut PgConnection) -> Vec<(String, String, String)> {
    sqlx::query_as(RESTLESS).fetch_all(connection).await.expect("the chats can be read")
}
