//! What model calls are accounted for.

use std::{collections::BTreeSet, time::Duration};

use chatplane_tests::{
    DEADLINE,
    model_server::{Call, End},
};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::SHOWN_MAX;
use crate::model;

/// Between two looks at what is reported late.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The model calls that are accounted for, by number; one for each account.
pub(crate) async fn accounted(connection: &mut PgConnection) -> Vec<usize> {
    // A call that was stopped before the model had said anything has no tokens.
    let accounts: Vec<i64> =
        sqlx::query_scalar("select input_tokens from model_calls where input_tokens > 0")
            .fetch_all(connection)
            .await
            .expect("the accounts can be read");
    let number = |tokens| usize::try_from(model::number_of(tokens)).expect("the model counts from 0");
    accounts.into_iter().map(number).collect()
}

/// Each model call is accounted for at most once, and once if its answer came to its end
/// and its worker lived to say so. Workers report beside everything else what no commit
/// has stored: that is waited for.
pub(super) async fn broken(
    connection: &mut PgConnection,
    calls: &[Call],
    unreported: &BTreeSet<usize>,
) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let wrong = wrong(connection, calls, unreported).await;
        if wrong.is_empty() || Instant::now() > deadline {
            return wrong;
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn wrong(connection: &mut PgConnection, calls: &[Call], unreported: &BTreeSet<usize>) -> Vec<String> {
    let mut times = vec![0_usize; calls.len()];
    for number in accounted(connection).await {
        times[number] += 1;
    }
    let wrong = calls.iter().zip(times).filter(|(call, times)| {
        let must_be = must_be_accounted(call) && !unreported.contains(&call.request.number);
        !(usize::from(must_be)..=1).contains(times)
    });
    let lines = wrong.map(|(call, times)| {
        let Call { request, end, .. } = call;
        format!(
            "8: model call {} is accounted for {times} times; {:?}, {end:?}, after {:?}",
            request.number,
            request.purpose(),
            request.user_texts()
        )
    });
    lines.take(SHOWN_MAX).collect()
}

/// Whether a call's tokens must be accounted for: its answer was played to its end, and
/// nobody hung up before.
fn must_be_accounted(call: &Call) -> bool {
    let said = call.parts.iter().any(|part| !part.sent.is_empty());
    call.end == Some(End::Played) && said && !model::breaks_off(call)
}
