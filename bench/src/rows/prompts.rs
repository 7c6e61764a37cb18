//! Row 13: what a user wrote in one chat, among many long ones.
//!
//! The statement of `ListPrompts`, word for word, over a plain connection with the settings that
//! replicas have: its time and its pages are PostgreSQL's own, from `explain`. Once more with the
//! index dropped, in a transaction that is rolled back. The floor is a table that holds nothing but
//! that chat's prompts, read along its primary key.
//!
//! Rows lie as chats that run at the same time leave them: a message of each chat, then the next of
//! each. One message in [`PROMPT_EVERY`] is a user's: an agent has many steps in a turn, and each
//! step two rows or more.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::{
    bench::Bench,
    database::connect,
    error::{Error, OrFailed as _, Result},
    measure::{PROMPTS_BUFFERS, PROMPTS_TIME},
    report::table::number,
    samples::median,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

/// The statement that is measured.
const QUERY: &str = include_str!("../../../control-plane/src/store/list_prompts.sql");
/// The newest prompts that are asked for, which is what a client gets that does not say.
const LIMIT: i64 = 500;
/// Above all ids, so that the newest are read.
const BEFORE: i64 = 9_007_199_254_740_991;
/// More than they have, so that none is left out.
const BYTES_MAX: i64 = 2 * 1024 * 1024;
/// One message of a user in so many.
const PROMPT_EVERY: i64 = 160;
/// Reads that nobody counts: they bring the pages into memory.
const WARM_UP: usize = 3;

/// As replicas set it: one plan for each statement.
const SETTINGS: &str = "set plan_cache_mode = force_generic_plan";
/// The chats, each like the one that there is.
const CHATS: &str = "
    insert into chats
    select made.*
    from chats c
    cross join unnest($2::uuid[]) as chat
    cross join lateral jsonb_populate_record(c, jsonb_build_object(
        'chat_id', chat, 'root_chat_id', chat, 'next_message_id', $3::bigint + 1
    )) as made
    where c.chat_id = $1";
/// Their titles.
const METADATA: &str = "
    insert into chat_metadata
    select made.*
    from chat_metadata m
    cross join unnest($2::uuid[]) as chat
    cross join lateral jsonb_populate_record(m, jsonb_build_object('chat_id', chat)) as made
    where m.chat_id = $1";
/// Their messages, made from the one that a user wrote there.
const MESSAGES: &str = "
    insert into messages
    select made.*
    from messages m
    cross join generate_series(1, $3::bigint) as n (number)
    cross join unnest($2::uuid[]) as chat
    cross join lateral jsonb_populate_record(m, case
        when number % $4::bigint = 1 then jsonb_build_object('chat_id', chat, 'id', number, 'revision', number)
        when number % 2 = 0 then jsonb_build_object(
            'chat_id', chat, 'id', number, 'revision', number, 'role', 'assistant', 'created_by', null,
            'usage', '{\"input_tokens\": 10, \"output_tokens\": 5}'::jsonb
        )
        else jsonb_build_object(
            'chat_id', chat, 'id', number, 'revision', number, 'role', 'tool', 'created_by', null
        )
    end) as made
    where m.chat_id = $1 and m.role = 'user'
    order by number, chat";
const FLOOR_TABLE: &str = "
    create table floor_prompts (id bigint primary key, content jsonb not null, create_time timestamptz not null)";
const FLOOR_ROWS: &str = "
    insert into floor_prompts
    select id, content, create_time from messages where chat_id = $1 and role = 'user' order by id";
const FLOOR_QUERY: &str = "select id, content, create_time from floor_prompts order by id desc limit $1";

/// What one reading has taken.
struct Read {
    ms: f64,
    buffers: f64,
    rows: f64,
}

/// What many have.
struct Reads {
    times: Vec<f64>,
    /// Of the last one, when all pages were in memory and all hints were set.
    buffers: f64,
    rows: f64,
}

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let stack = Stack::start(bench, None).await?;
    let mut client = stack.client().await?;
    let template = client.create_chat("How does the garden grow?").await?;
    let mut connection = connect(stack.database.url()).await?;
    let chat = fill(bench, &mut connection, &template).await?;
    let client_ms = {
        let mut times = Vec::new();
        for _ in 0..bench.scale.prompt_reads {
            let start = std::time::Instant::now();
            client.prompts(&chat.to_string()).await?;
            times.push(milliseconds(start.elapsed()));
        }
        median(times).unwrap_or_default()
    };
    let call = format!("prompts ('{chat}', {BEFORE}, {LIMIT}, {BYTES_MAX})");
    prepare(&mut connection, QUERY).await?;
    let with_index = read(&mut connection, &call, bench.scale.prompt_reads).await?;
    let without_index =
        read_without_index(&mut connection, &call, bench.scale.prompt_reads_without_index).await?;
    let floor = read_floor(bench, &mut connection, chat).await?;
    connection.close().await.or_failed("leave PostgreSQL")?;
    stack.end().await?;
    Ok(readings(with_index, &without_index, &floor, client_ms))
}

fn readings(with_index: Reads, without_index: &Reads, floor: &Reads, client_ms: f64) -> Vec<Reading> {
    let notes = vec![
        format!("{} prompts are returned", number(with_index.rows)),
        format!(
            "without the index {} ms and {} buffers",
            number(median(without_index.times.clone()).unwrap_or_default()),
            number(without_index.buffers)
        ),
        format!("a client of ListPrompts waits {} ms", number(client_ms)),
        "floor: a table of these prompts alone, read along its primary key".to_owned(),
    ];
    let time = Reading {
        measure: &PROMPTS_TIME,
        figures: with_index.times,
        floor: median(floor.times.clone()),
        tolerance: 0.0,
        notes,
    };
    let buffers = Reading {
        measure: &PROMPTS_BUFFERS,
        figures: vec![with_index.buffers],
        floor: Some(floor.buffers),
        tolerance: 0.0,
        notes: Vec::new(),
    };
    vec![time, buffers]
}

/// Makes chats with messages, and answers one in their middle.
async fn fill(bench: &Bench<'_>, connection: &mut PgConnection, template: &str) -> Result<Uuid> {
    let template: Uuid = template.parse().or_failed("read a chat's id")?;
    let chats: Vec<Uuid> = (0..bench.scale.prompt_chats).map(|_| Uuid::now_v7()).collect();
    let messages = bench.scale.prompt_messages;
    let made = sqlx::query(CHATS).bind(template).bind(&chats).bind(messages).execute(&mut *connection).await;
    made.or_failed("make chats")?;
    let made = sqlx::query(METADATA).bind(template).bind(&chats).execute(&mut *connection).await;
    made.or_failed("make titles")?;
    let rows = sqlx::query(MESSAGES).bind(template).bind(&chats).bind(messages).bind(PROMPT_EVERY);
    rows.execute(&mut *connection).await.or_failed("make messages")?;
    connection.execute("vacuum (analyze)").await.or_failed("vacuum")?;
    let middle = chats.get(chats.len() / 2).copied();
    middle.ok_or_else(|| Error::wrong("no chat was made"))
}

async fn prepare(connection: &mut PgConnection, query: &str) -> Result<()> {
    connection.execute(SETTINGS).await.or_failed("set up a connection")?;
    let statement = AssertSqlSafe(format!("prepare prompts as {query}"));
    connection.execute(statement).await.map(|_| ()).or_failed("prepare a statement")
}

async fn read(connection: &mut PgConnection, call: &str, count: usize) -> Result<Reads> {
    let mut reads = Vec::with_capacity(count);
    for number in 0..WARM_UP + count {
        let read = explain(connection, call).await?;
        if number >= WARM_UP {
            reads.push(read);
        }
    }
    let last = reads.last().ok_or_else(|| Error::wrong("nothing was read"))?;
    Ok(Reads { buffers: last.buffers, rows: last.rows, times: reads.iter().map(|read| read.ms).collect() })
}

/// Nobody but us looks meanwhile: dropping an index keeps everybody else from the table.
async fn read_without_index(connection: &mut PgConnection, call: &str, count: usize) -> Result<Reads> {
    connection.execute("begin").await.or_failed("begin a transaction")?;
    connection.execute("drop index messages_prompts").await.or_failed("drop an index")?;
    let reads = read(connection, call, count).await;
    connection.execute("rollback").await.or_failed("roll back")?;
    reads
}

async fn read_floor(bench: &Bench<'_>, connection: &mut PgConnection, chat: Uuid) -> Result<Reads> {
    connection.execute(FLOOR_TABLE).await.or_failed("make the table of a floor")?;
    sqlx::query(FLOOR_ROWS)
        .bind(chat)
        .execute(&mut *connection)
        .await
        .or_failed("fill the table of a floor")?;
    connection.execute("vacuum (analyze) floor_prompts").await.or_failed("vacuum")?;
    connection.execute("deallocate prompts").await.or_failed("forget a statement")?;
    prepare(connection, FLOOR_QUERY).await?;
    read(connection, &format!("prompts ({LIMIT})"), bench.scale.prompt_reads).await
}

/// Runs a prepared statement and asks what it took. The clock is not asked for each row.
async fn explain(connection: &mut PgConnection, call: &str) -> Result<Read> {
    let statement = format!("explain (analyze, buffers, timing off, format json) execute {call}");
    let explained: Value = sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await
        .or_failed("explain a statement")?;
    let figure = |place: &str| explained.pointer(place).and_then(Value::as_f64);
    let hit = figure("/0/Plan/Shared Hit Blocks").zip(figure("/0/Plan/Shared Read Blocks"));
    match (figure("/0/Execution Time"), hit, figure("/0/Plan/Actual Rows")) {
        (Some(ms), Some((hit, read)), Some(rows)) => Ok(Read { ms, buffers: hit + read, rows }),
        _ => Err(Error::wrong("PostgreSQL explained a statement in another way than is known")),
    }
}
