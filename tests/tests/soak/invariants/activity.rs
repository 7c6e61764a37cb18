//! What a run was made of. Nothing is proven by a storm in which nothing came to pass.

use sqlx::PgConnection;

use crate::{
    audience::RESUMED,
    records::Tally,
    storm::{INTERRUPTED_WORK, Operation},
};

/// What must have come to pass, and how often it did. What is copied did not happen in the copy.
const COUNTS: [(&str, &str); 10] = [
    ("turns that were stopped while a worker ran them", STOPPED),
    ("leases that were taken from dead workers", TAKEN_AWAY),
    ("answers that were kept as far as they came", INTERRUPTED_ANSWERS),
    ("messages that were steered into a running turn", STEERED),
    ("messages that entered from a queue", ENTERED),
    ("automatic summaries", AUTOMATIC_SUMMARIES),
    ("manual summaries", MANUAL_SUMMARIES),
    ("cleared contexts", CLEARED_CONTEXTS),
    ("calls that clients settled", SETTLED_BY_CLIENTS),
    ("calls that workers settled", SETTLED_BY_WORKERS),
];

const STOPPED: &str =
    "select count(*) from soak_events where what = 'a turn is stopped while a worker runs it'";

const TAKEN_AWAY: &str = "select count(*) from soak_events where what = 'a lease is taken away'";

const INTERRUPTED_ANSWERS: &str = "
select count(*)
from messages m
join soak_inserted i using (chat_id, id)
where m.interrupted
and i.revision > 1";

/// Steering messages that came with what a worker or a client handed in. One that is promoted
/// enters behind what the control plane says of open calls, if behind anything.
const STEERED: &str = "
select count(*)
from queued_messages q
join messages m using (chat_id, queued_message_id)
join soak_inserted i on i.chat_id = m.chat_id and i.id = m.id
where q.steering
and exists (
    select
    from messages before
    join soak_inserted b on b.chat_id = before.chat_id and b.id = before.id
    where before.chat_id = m.chat_id
    and b.revision = i.revision
    and before.covers_through is null
    and (
        (before.role = 'assistant' and not before.interrupted)
        or (before.role = 'tool' and before.content #> '{parts,0,synthetic_reason}' is null)
    )
)";

const ENTERED: &str =
    "select count(*) from queued_messages q join messages m using (chat_id, queued_message_id)";

macro_rules! boundaries {
    ($what:literal) => {
        concat!(
            "
select count(*)
from messages m
join soak_inserted i using (chat_id, id)
where m.role = 'assistant'
and m.covers_through is not null
and i.revision > 1
and ",
            $what
        )
    };
}

const AUTOMATIC_SUMMARIES: &str =
    boundaries!(r#"m.content #>> '{parts,0,arguments_json}' like '{"source":"automatic"%'"#);

const MANUAL_SUMMARIES: &str =
    boundaries!(r#"m.content #>> '{parts,0,arguments_json}' like '{"source":"manual"%'"#);

const CLEARED_CONTEXTS: &str = boundaries!("m.content #>> '{parts,0,tool_name}' = 'context_cleared'");

macro_rules! settled_calls {
    ($kind:literal) => {
        concat!(
            "
select count(*)
from calls c
join messages r
    on r.chat_id = c.chat_id
    and r.role = 'tool'
    and (r.content #>> '{parts,0,call_message_id}')::bigint = c.message_id
    and (r.content #>> '{parts,0,call_index}')::bigint = c.call_index
where r.content #> '{parts,0,synthetic_reason}' is null
and c.kind = '",
            $kind,
            "'"
        )
    };
}

const SETTLED_BY_CLIENTS: &str = settled_calls!("client");

const SETTLED_BY_WORKERS: &str = settled_calls!("worker");

/// How often each of it came to pass.
pub(super) async fn counted(connection: &mut PgConnection, tally: &Tally) -> Vec<(String, i64)> {
    let mut counted: Vec<(String, i64)> = Vec::new();
    for (what, query) in COUNTS {
        let count = sqlx::query_scalar(query).fetch_one(&mut *connection).await;
        let count = count.unwrap_or_else(|error| panic!("the query of {what:?} is right: {error}"));
        counted.push((what.to_owned(), count));
    }
    let operations = Operation::ALL.map(|operation| format!("{operation:?}"));
    for what in operations.into_iter().chain([INTERRUPTED_WORK.to_owned(), RESUMED.to_owned()]) {
        let times = tally.times(&what);
        counted.push((what, i64::try_from(times).expect("a run ends")));
    }
    counted
}

/// How large it all has become.
pub(super) async fn totals(connection: &mut PgConnection) -> String {
    const TOTALS: &str = "
select format(
    '%s chats of which %s in error, %s writes, %s messages of which %s deleted, %s queued, %s calls, %s model calls',
    (select count(*) from chats),
    (select count(*) from chats where state = 'error'),
    (select sum(snapshot_version) from chats),
    count(*),
    count(*) filter (where m.deleted),
    (select count(*) from queued_messages),
    (select count(*) from calls),
    (select count(*) from model_calls)
)
from messages m";
    sqlx::query_scalar(TOTALS).fetch_one(connection).await.expect("the rows can be counted")
}
