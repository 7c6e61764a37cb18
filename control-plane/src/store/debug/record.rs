//! Storing a step.

use chatplane_domain::{MessageId, OrganizationId, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::{NoContext, Timestamp, Uuid};

use super::{
    super::{Error, Store, apply::storable},
    DebugStep, HandedIn, switches,
};

/// A worker's clock that is further off than this is not believed.
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::hours(1);

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is stored, or was before.
    Stored,
    /// Nobody wants it any more.
    Unwanted,
    /// There was no such lease.
    NeverLeased,
}

/// The chat of a step, while it is locked.
struct Locked {
    organization: OrganizationId,
    owner: UserId,
    now: DateTime<Utc>,
}

/// What there is already.
struct Facts {
    /// Whether everything that the step refers to is still there.
    live: bool,
    /// Whether the step was stored before.
    known: bool,
    /// The user message that started its turn.
    trigger: Option<i64>,
    /// The run of its turn.
    run: Option<Uuid>,
}

impl Store {
    /// Stores what a model call was, once: with the other calls of its turn, whoever made
    /// them. Nothing is stored where its messages are gone, or recording is switched off.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn record_debug_step(&self, handed_in: &HandedIn) -> Result<Recorded, Error> {
        let recorded = self.connections.with(async |connection| {
            let mut transaction = connection.begin().await?;
            let recorded = record(&mut transaction, handed_in).await?;
            match recorded {
                Recorded::Stored => transaction.commit().await?,
                Recorded::Unwanted | Recorded::NeverLeased => transaction.rollback().await?,
            }
            Ok(recorded)
        });
        recorded.await
    }
}

async fn record(connection: &mut PgConnection, handed_in: &HandedIn) -> Result<Recorded, Error> {
    let Some(chat) = lock(connection, handed_in).await? else {
        return Ok(Recorded::NeverLeased);
    };
    if !switches::read(connection, chat.organization, chat.owner).await?.records() {
        return Ok(Recorded::Unwanted);
    }
    let facts = facts(connection, handed_in).await?;
    if facts.known {
        return Ok(Recorded::Stored);
    }
    if !facts.live {
        return Ok(Recorded::Unwanted);
    }
    let run = facts.run.unwrap_or_else(|| new_run_id(chat.now));
    insert(connection, handed_in, (run, facts.trigger), chat.now).await?;
    Ok(Recorded::Stored)
}

/// Keeps edits and deletions of the chat out, and other steps of it: those of a run are
/// counted. Whom an earlier lease was given to is not kept; that it was a worker is.
async fn lock(connection: &mut PgConnection, handed_in: &HandedIn) -> Result<Option<Locked>, Error> {
    let row = sqlx::query!(
        r#"select c.organization_id, c.owner_id, clock_timestamp() as "now!"
           from chats c
           where c.chat_id = $1
           and c.delete_time is null
           and $2::bigint between 1 and c.fence
           and (c.session_id = $3 or $2 < c.fence)
           and exists (
               select
               from sessions s
               where s.session_id = $3
           )
           for no key update of c"#,
        handed_in.chat.0,
        handed_in.fence.0,
        handed_in.session.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Locked {
        organization: OrganizationId(row.organization_id),
        owner: UserId(row.owner_id),
        now: row.now,
    }))
}

/// A worker that takes a turn over knows some message of it, and not always the one that
/// started it: steering extends a turn, and a summary hides it. So the start is looked up here,
/// and is the same whoever asks. What no message has started is of one run as far as one lease
/// goes.
async fn facts(connection: &mut PgConnection, handed_in: &HandedIn) -> Result<Facts, Error> {
    let HandedIn { trigger, run_history_tip, step, .. } = handed_in;
    let referred = [*trigger, *run_history_tip, step.assistant_message, step.history_tip];
    let referred: Vec<i64> = referred.into_iter().flatten().map(|id| id.0).collect();
    let row = sqlx::query!(
        r#"with turn as (
               select m.id
               from messages m
               where m.chat_id = $1
               and m.id <= $5
               and m.role = 'user'
               and m.visibility in ('user', 'both')
               and m.covers_through is null
               and not m.deleted
               and not exists (
                   select
                   from queued_messages q
                   where q.chat_id = m.chat_id
                   and q.queued_message_id = m.queued_message_id
                   and q.steering
               )
               order by m.id desc
               limit 1
           )
           select
               (select turn.id from turn) as trigger,
               not exists (
                   select
                   from unnest($2::bigint[]) as r (id)
                   where not exists (
                       select
                       from messages m
                       where m.chat_id = $1
                       and m.id = r.id
                       and not m.deleted
                   )
               ) as "live!",
               exists (
                   select
                   from debug_steps s
                   where s.chat_id = $1
                   and s.fence = $3
                   and s.model_call = $4
               ) as "known!",
               case when exists (select from turn) then (
                   select r.run_id
                   from debug_runs r
                   where r.chat_id = $1
                   and r.trigger_message_id = (select turn.id from turn)
               ) else (
                   select r.run_id
                   from debug_steps s
                   join debug_runs r
                       on r.chat_id = s.chat_id
                       and r.run_id = s.run_id
                   where s.chat_id = $1
                   and s.fence = $3
                   and r.trigger_message_id is null
                   limit 1
               ) end as run_id"#,
        handed_in.chat.0,
        &referred,
        handed_in.fence.0,
        handed_in.model_call,
        trigger.map(|id| id.0),
    )
    .fetch_one(connection)
    .await?;
    Ok(Facts { live: row.live, known: row.known, trigger: row.trigger, run: row.run_id })
}

async fn insert(
    connection: &mut PgConnection,
    handed_in: &HandedIn,
    (run, trigger): (Uuid, Option<i64>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let HandedIn { chat, fence, model_call, run_history_tip, step, .. } = handed_in;
    let id = |message: Option<MessageId>| message.map(|id| id.0);
    let (start_time, end_time) = times(step, now);
    sqlx::query_file!(
        "src/store/debug/insert_step.sql",
        chat.0,
        run,
        trigger,
        id(*run_history_tip),
        start_time,
        end_time,
        fence.0,
        model_call,
        id(step.assistant_message),
        id(step.history_tip),
        step.model,
        text(&step.request_json),
        text(&step.response_json),
        step.truncated,
        json!(step.usage),
        storable(json!(step.attempts)),
        step.error.as_ref().map(|error| storable(json!(error))),
        step.first_token_ms,
        step.duration_ms,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// When a call began and ended. A step is handed in when it is over, so a clock that says
/// something quite different is wrong, and the database's own counts.
fn times(step: &DebugStep, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let duration = TimeDelta::try_milliseconds(step.duration_ms).unwrap_or_default();
    let told = step.start_time.checked_add_signed(duration);
    match told.filter(|end| now.signed_duration_since(end).abs() <= CLOCK_SKEW_MAX) {
        Some(end) => (step.start_time, end.min(now)),
        None => (now.checked_sub_signed(duration).unwrap_or(now), now),
    }
}

/// A piece that was cut may hold what is escaped in JSON.
fn text(json: &str) -> String {
    json.replace('\0', "\u{fffd}")
}

/// Runs are listed by their ids, so these are of one clock, whatever replica makes them.
fn new_run_id(now: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use chatplane_domain::Usage;

    use super::*;

    fn step(start_time: DateTime<Utc>, duration_ms: i64) -> DebugStep {
        DebugStep {
            assistant_message: None,
            history_tip: None,
            model: String::new(),
            request_json: String::new(),
            response_json: String::new(),
            truncated: false,
            usage: Usage::default(),
            attempts: Vec::new(),
            error: None,
            start_time,
            first_token_ms: 0,
            duration_ms,
        }
    }

    #[test]
    fn a_worker_whose_clock_is_wrong_is_not_believed() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("it is a time");
        let (second, day) = (TimeDelta::seconds(1), TimeDelta::days(1));

        assert_eq!(times(&step(now - second * 3, 1000), now), (now - second * 3, now - second * 2));
        assert_eq!(times(&step(now, 1000), now), (now, now));
        assert_eq!(times(&step(now - day, 1000), now), (now - second, now));
        assert_eq!(times(&step(now + day, 1000), now), (now - second, now));
        assert_eq!(times(&step(now, i64::MAX), now).1, now);
    }

    #[test]
    fn a_later_run_has_a_higher_id() {
        let first = DateTime::from_timestamp_millis(1_800_000_000_000).expect("it is a time");
        let second = DateTime::from_timestamp_millis(1_800_000_000_001).expect("it is a time");

        assert!(new_run_id(first) < new_run_id(second));
    }
}
