//! A durable write of two round trips over plain connections: a read of a row, then one
//! statement that compares the row's version, changes it, and stores a message and a
//! request id. That is what any write of a chat has to do. And other primitives of the database.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, postgres::PgListener};
use tokio::try_join;
use uuid::Uuid;

use crate::{
    bench::Bench,
    database::{Database, connect},
    error::{Error, OrFailed as _, Result},
    samples::median,
    wait::{in_time, milliseconds},
};

const TABLES: &str = "
    create table if not exists floor_chats (
        chat_id uuid primary key, version bigint not null, state text not null, update_time timestamptz not null
    );
    create table if not exists floor_messages (
        chat_id uuid, message_id bigint, content jsonb not null, primary key (chat_id, message_id)
    );
    create table if not exists floor_requests (request_id uuid primary key, result jsonb not null);";
const INSERT: &str = "insert into floor_chats values ($1, 1, 'waiting', now())";
const READ: &str = "select version, state, update_time, now() from floor_chats where chat_id = $1";
const WRITE: &str = "
    with updated as (
        update floor_chats set version = version + 1, state = 'running', update_time = now()
        where chat_id = $1 and version = $2
        returning chat_id, version
    ), message as (
        insert into floor_messages select chat_id, version, $3::jsonb from updated
    ), request as (
        insert into floor_requests select $4, $3::jsonb from updated
    )
    select version from updated";
const CHANNEL: &str = "floor";
/// About what a short message and a reply have.
const CONTENT: &str = r#"{"parts": [{"text": {"text": "How does the garden grow? Slowly, and in rows."}}]}"#;

/// A connection with a row of its own.
struct Writer {
    connection: PgConnection,
    chat: Uuid,
}

impl Writer {
    async fn new(url: &str) -> Result<Self> {
        let mut connection = connect(url).await?;
        let chat = Uuid::now_v7();
        sqlx::query(INSERT).bind(chat).execute(&mut connection).await.or_failed("insert a row")?;
        Ok(Self { connection, chat })
    }

    async fn write(&mut self) -> Result<()> {
        let read = sqlx::query(READ).bind(self.chat).fetch_one(&mut self.connection).await;
        let version: i64 = read.and_then(|row| row.try_get(0)).or_failed("read a row")?;
        let written: Option<i64> = sqlx::query_scalar(WRITE)
            .bind(self.chat)
            .bind(version)
            .bind(CONTENT)
            .bind(Uuid::now_v7())
            .fetch_optional(&mut self.connection)
            .await
            .or_failed("write a row")?;
        match written {
            Some(_) => Ok(()),
            None => Err(Error::wrong("a compare was lost that nobody else takes part in")),
        }
    }

    async fn close(self) -> Result<()> {
        self.connection.close().await.or_failed("leave PostgreSQL")
    }
}

async fn make_tables(database: &Database) -> Result<()> {
    let mut connection = connect(database.url()).await?;
    connection.execute(TABLES).await.or_failed("make the tables of a floor")?;
    connection.close().await.or_failed("leave PostgreSQL")
}

/// The median time of a write, one at a time, in milliseconds.
pub(crate) async fn write_ms(bench: &Bench<'_>, database: &Database) -> Result<f64> {
    make_tables(database).await?;
    let mut writer = Writer::new(database.url()).await?;
    let mut times = Vec::with_capacity(bench.scale.floor_events);
    for number in 0..bench.scale.warm_up + bench.scale.floor_events {
        let start = Instant::now();
        writer.write().await?;
        if number >= bench.scale.warm_up {
            times.push(milliseconds(start.elapsed()));
        }
    }
    writer.close().await?;
    median(times).ok_or_else(|| Error::wrong("nothing was written"))
}

/// The median time of reading one of these chats by its key, one at a time, in milliseconds.
pub(crate) async fn read_ms(bench: &Bench<'_>, database: &Database, chats: &[Uuid]) -> Result<f64> {
    const CHAT: &str = "select * from chats where chat_id = $1";
    let mut connection = connect(database.url()).await?;
    let mut times = Vec::with_capacity(bench.scale.floor_events);
    // Far from one another, as those of a page are.
    let scattered = chats.iter().cycle().step_by(1 + chats.len() / 7);
    for (number, chat) in scattered.take(bench.scale.warm_up + bench.scale.floor_events).enumerate() {
        let start = Instant::now();
        sqlx::query(CHAT).bind(chat).fetch_one(&mut connection).await.or_failed("read a row")?;
        if number >= bench.scale.warm_up {
            times.push(milliseconds(start.elapsed()));
        }
    }
    connection.close().await.or_failed("leave PostgreSQL")?;
    median(times).ok_or_else(|| Error::wrong("nothing was read"))
}

/// The median time from a NOTIFY to its listener, each on a connection of its own, one at a
/// time, in milliseconds.
pub(crate) async fn notify_ms(bench: &Bench<'_>, database: &Database) -> Result<f64> {
    let mut notifier = connect(database.url()).await?;
    let mut listener = PgListener::connect(database.url()).await.or_failed("connect to PostgreSQL")?;
    listener.listen(CHANNEL).await.or_failed("listen")?;
    let mut times = Vec::with_capacity(bench.scale.floor_events);
    for number in 0..bench.scale.warm_up + bench.scale.floor_events {
        let start = Instant::now();
        let notified = sqlx::query("select pg_notify($1, '')").bind(CHANNEL).execute(&mut notifier);
        let heard = in_time("a notification", listener.recv());
        let (_, heard) = try_join!(async { notified.await.or_failed("notify") }, heard)?;
        heard.or_failed("listen")?;
        if number >= bench.scale.warm_up {
            times.push(milliseconds(start.elapsed()));
        }
    }
    notifier.close().await.or_failed("leave PostgreSQL")?;
    median(times).ok_or_else(|| Error::wrong("nothing was notified"))
}

/// How many writes a second so many connections make together.
pub(crate) async fn writes_per_second(
    bench: &Bench<'_>,
    database: &Database,
    connections: usize,
) -> Result<f64> {
    make_tables(database).await?;
    let writers = try_join_all((0..connections).map(|_| Writer::new(database.url()))).await?;
    // A third to warm up, and what is written in the rest counts.
    let start = Instant::now();
    let from = start + bench.scale.floor_load / 2;
    let until = from + bench.scale.floor_load;
    let counts =
        try_join_all(writers.into_iter().map(|writer| tokio::spawn(write_until(writer, from, until))))
            .await
            .or_failed("drive PostgreSQL")?;
    let writes: u64 = counts.into_iter().sum::<Result<u64>>()?;
    Ok(per_second(writes, until - from))
}

async fn write_until(mut writer: Writer, from: Instant, until: Instant) -> Result<u64> {
    let mut count = 0;
    loop {
        writer.write().await?;
        let now = Instant::now();
        if now >= until {
            writer.close().await?;
            return Ok(count);
        }
        count += u64::from(now >= from);
    }
}

/// The time of a new connection and its first answer, in milliseconds.
pub(crate) async fn connect_ms(database: &Database) -> Result<f64> {
    let start = Instant::now();
    let mut connection = connect(database.url()).await?;
    connection.ping().await.or_failed("ask PostgreSQL")?;
    let time = milliseconds(start.elapsed());
    connection.close().await.or_failed("leave PostgreSQL")?;
    Ok(time)
}

/// A rate. Counts here stay far below 2^52.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
