//! What an edit of message k deletes: with C = k − 1, a run with all its steps when what
//! started it, or the tip of the history, or of any step the answer or the tip, is strictly
//! greater than C. What is equal, lower or none preserves it.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::Stage;

/// A value around C.
#[derive(Clone, Copy, Debug)]
enum At {
    Null,
    Below,
    Equal,
    Above,
    FarAbove,
}

impl At {
    fn of(self, c: i64) -> Option<i64> {
        match self {
            Self::Null => None,
            Self::Below => Some(c - 1),
            Self::Equal => Some(c),
            Self::Above => Some(c + 1),
            Self::FarAbove => Some(c + 100),
        }
    }
}

use At::{Above, Below, Equal, FarAbove, Null};

/// A run, and whether it is to stay.
struct Case {
    name: &'static str,
    trigger: At,
    tip: At,
    /// Answer and tip of each.
    steps: &'static [(At, At)],
    stays: bool,
}

const fn case(name: &'static str, run: (At, At), steps: &'static [(At, At)], stays: bool) -> Case {
    Case { name, trigger: run.0, tip: run.1, steps, stays }
}

const CASES: &[Case] = &[
    case("all none, without steps", (Null, Null), &[], true),
    case("all none", (Null, Null), &[(Null, Null)], true),
    case("trigger below", (Below, Null), &[(Null, Null)], true),
    case("trigger at", (Equal, Null), &[(Null, Null)], true),
    case("trigger above", (Above, Null), &[(Null, Null)], false),
    case("trigger above, without steps", (FarAbove, Null), &[], false),
    case("tip below", (Null, Below), &[(Null, Null)], true),
    case("tip at", (Null, Equal), &[(Null, Null)], true),
    case("tip above", (Null, Above), &[(Null, Null)], false),
    case("tip above, without steps", (Null, FarAbove), &[], false),
    case("answer below", (Null, Null), &[(Below, Null)], true),
    case("answer at", (Null, Null), &[(Equal, Null)], true),
    case("answer above", (Null, Null), &[(Above, Null)], false),
    case("step's tip below", (Null, Null), &[(Null, Below)], true),
    case("step's tip at", (Null, Null), &[(Null, Equal)], true),
    case("step's tip above", (Null, Null), &[(Null, Above)], false),
    case("all at or below", (Null, Equal), &[(Equal, Below), (Below, Equal)], true),
    case("mixed steps, the first above", (Null, Below), &[(Above, Equal), (Equal, Below)], false),
    case("mixed steps, the last above", (Null, Below), &[(Below, Below), (Null, Null), (Null, Above)], false),
    case("mixed steps, the tip above and the answer below", (Null, Below), &[(Below, FarAbove)], false),
    case("run above, steps below", (Null, Above), &[(Below, Below), (Equal, Equal)], false),
];

async fn insert(connection: &mut PgConnection, chat: Uuid, run: (&Case, i64), c: i64) -> Uuid {
    let (case, number) = run;
    let run_id = Uuid::now_v7();
    sqlx::query(
        "insert into debug_runs (chat_id, run_id, trigger_message_id, history_tip_message_id, start_time, end_time) \
         values ($1, $2, $3, $4, now(), now())",
    )
    .bind(chat)
    .bind(run_id)
    .bind(case.trigger.of(c))
    .bind(case.tip.of(c))
    .execute(&mut *connection)
    .await
    .expect(case.name);
    for (step, (answer, tip)) in (1_i32..).zip(case.steps) {
        sqlx::query(
            "insert into debug_steps ( \
                 chat_id, run_id, step, fence, model_call, assistant_message_id, history_tip_message_id, model, \
                 request, response, truncated, usage, attempts, start_time, first_token_ms, duration_ms \
             ) \
             values ($1, $2, $3, $4, $5, $6, $7, 'test', '', '', false, '{}', '[]', now(), 0, 0)",
        )
        .bind(chat)
        .bind(run_id)
        .bind(step)
        .bind(number)
        .bind(i64::from(step))
        .bind(answer.of(c))
        .bind(tip.of(c))
        .execute(&mut *connection)
        .await
        .expect(case.name);
    }
    run_id
}

/// How many steps each run has.
async fn left(connection: &mut PgConnection, chat: Uuid) -> BTreeMap<Uuid, i64> {
    let sql = "select r.run_id, (select count(*) from debug_steps s where s.run_id = r.run_id) \
               from debug_runs r where r.chat_id = $1";
    let rows = sqlx::query(sql).bind(chat).fetch_all(connection).await.expect("it answers");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn an_edit_deletes_what_was_recorded_above_the_message_before_it_and_nothing_else() {
    let mut stage = Stage::new().await;
    let (edited, users) = stage.chat(5).await;
    let (untouched, _) = stage.chat(5).await;
    let target = users[3];
    let c = target - 1;
    let chats: [Uuid; 2] = [&edited, &untouched].map(|chat| chat.parse().expect("it is a UUID"));
    let mut connection = stage.connection().await;
    let mut runs = BTreeMap::new();
    for (number, case) in (1_i64..).zip(CASES) {
        runs.insert(insert(&mut connection, chats[0], (case, number), c).await, case);
        insert(&mut connection, chats[1], (case, number), c).await;
    }

    stage.edit(&edited, target).await;

    let left_over = left(&mut connection, chats[0]).await;
    for (run, case) in &runs {
        let steps = case.stays.then(|| i64::try_from(case.steps.len()).expect("few"));
        assert_eq!(left_over.get(run).copied(), steps, "{}", case.name);
    }
    assert_eq!(left(&mut connection, chats[1]).await.len(), CASES.len(), "another chat's stay");
    let orphans = "select count(*) from debug_steps s where s.chat_id = $1 \
                   and not exists (select from debug_runs r where r.run_id = s.run_id)";
    let orphans: i64 =
        sqlx::query_scalar(orphans).bind(chats[0]).fetch_one(&mut connection).await.expect("it answers");
    assert_eq!(orphans, 0);
}
