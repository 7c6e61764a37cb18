//! What must hold of all rows when everything is at rest.

mod promises;
mod rows;

use std::time::Duration;

use chatplane_tests::{DEADLINE, Database, model_server::Call};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::{model, records::Recorded};

/// Between two looks at what is reported late.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many lines of one rule are shown: enough to see what is wrong.
const SHOWN_MAX: usize = 10;

/// Every rule that is broken, with the rows that break it.
pub(crate) async fn broken(database: &Database, recorded: &Recorded, calls: &[Call]) -> Vec<String> {
    let mut connection = database.connection().await;
    let mut found = Vec::new();
    let deleted = recorded.deleted.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    sqlx::query("select set_config('soak.deleted', $1, false)")
        .bind(deleted)
        .execute(&mut connection)
        .await
        .expect("the setting can be made");
    for (rule, query) in rows::RULES {
        let lines: Vec<String> = sqlx::query_scalar(query)
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("the query of {rule:?} is right: {error}"));
        found.extend(lines.into_iter().take(SHOWN_MAX).map(|line| format!("{rule}: {line}")));
    }
    found.extend(promises::broken(&mut connection, recorded).await);
    found.extend(accounts(&mut connection, calls).await);
    found
}

/// Each model call is accounted for at most once, and once if its answer came to its end.
/// Workers report beside everything else what no commit has stored: that is waited for.
async fn accounts(connection: &mut PgConnection, calls: &[Call]) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let wrong = wrong_accounts(connection, calls).await;
        if wrong.is_empty() || Instant::now() > deadline {
            return wrong;
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn wrong_accounts(connection: &mut PgConnection, calls: &[Call]) -> Vec<String> {
    // A call that was stopped before the model had said anything has no tokens.
    let accounted: Vec<i64> =
        sqlx::query_scalar("select input_tokens from model_calls where input_tokens > 0")
            .fetch_all(connection)
            .await
            .expect("the accounts can be read");
    let mut times = vec![0_usize; calls.len()];
    for input_tokens in accounted {
        let number = usize::try_from(model::number_of(input_tokens)).expect("the model counts from 0");
        times[number] += 1;
    }
    let wrong = calls.iter().zip(times).filter(|(call, times)| {
        let least = usize::from(model::must_be_accounted(call));
        !(least..=1).contains(times)
    });
    let lines = wrong.map(|(call, times)| {
        let Call { request, end, .. } = call;
        format!("8: model call {} ({end:?}) is accounted for {times} times", request.number)
    });
    lines.take(SHOWN_MAX).collect()
}

/// What a run was made of.
pub(crate) async fn summary(database: &Database) -> String {
    const COUNTS: &str = r#"
select format(
    '%s chats, %s writes, %s messages of which %s deleted; %s summaries by themselves, %s asked for, %s contexts '
        'cleared; %s queued; %s calls of which %s of clients; %s model calls; %s chats in error',
    (select count(*) from chats),
    (select sum(snapshot_version) from chats),
    count(*),
    count(*) filter (where m.deleted),
    count(*) filter (where m.content #>> '{parts,0,arguments_json}' like '{"source":"automatic"%'),
    count(*) filter (where m.content #>> '{parts,0,arguments_json}' like '{"source":"manual"%'),
    count(*) filter (where m.role = 'assistant' and m.content #>> '{parts,0,tool_name}' = 'context_cleared'),
    (select count(*) from queued_messages),
    (select count(*) from calls),
    (select count(*) from calls where kind = 'client'),
    (select count(*) from model_calls),
    (select count(*) from chats where state = 'error')
)
from messages m"#;
    let mut connection = database.connection().await;
    sqlx::query_scalar(COUNTS).fetch_one(&mut connection).await.expect("the rows can be counted")
}
