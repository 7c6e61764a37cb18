//! A database of one measurement, in the benchmark's private PostgreSQL.
//!
//! PostgreSQL runs as in production: every commit is synced to the disk. What the API
//! does not show (whose session is open, who has a chat) is asked here.

use chatplane_control_plane::admin::{self, TokenKind};
use chatplane_embedded_postgres::{Durability, Postgres, Settings, Storage};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::{
    bench::Bench,
    error::{OrFailed as _, Result},
    wait::eventually,
};

/// For replicas, and floors with as many connections as they like.
const CONNECTIONS_MAX: u32 = 200;

/// How PostgreSQL is started: durable, and gone with us.
pub(crate) fn settings(bench_bin_dir: Option<std::path::PathBuf>) -> Settings {
    Settings {
        storage: Storage::Temporary,
        durability: Durability::Durable,
        bin_dir: bench_bin_dir,
        max_connections: CONNECTIONS_MAX,
    }
}

/// A database with the current schema, a user, and tokens.
pub(crate) struct Database {
    name: String,
    url: String,
    pub(crate) user_token: String,
    pub(crate) worker_token: String,
    looks: PgConnection,
}

impl Database {
    pub(crate) async fn create(bench: &Bench<'_>) -> Result<Self> {
        let name = bench.new_name();
        run(bench.postgres, "postgres", format!("create database {name}")).await?;
        let url = bench.postgres.url(&name);
        let admin = admin::connect(&url).await.or_failed("bring the schema up to date")?;
        let user = admin.create_user("bench", false).await.or_failed("create a user")?;
        let user_token = admin.create_token(TokenKind::User(user)).await.or_failed("create a token")?;
        let worker_token = admin.create_token(TokenKind::Worker).await.or_failed("create a token")?;
        admin.close().await;
        let looks = connect(&url).await?;
        Ok(Self { name, url, user_token, worker_token, looks })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Removes it, with whoever is still connected.
    pub(crate) async fn remove(self, bench: &Bench<'_>) -> Result<()> {
        // The server notices that it is gone, should it go without a word.
        let _ = self.looks.close().await;
        run(bench.postgres, "postgres", format!("drop database {} with (force)", self.name)).await
    }

    /// Waits until so many workers have an open session.
    pub(crate) async fn wait_for_sessions(&mut self, count: i64) -> Result<()> {
        let what = format!("{count} workers have a session");
        eventually(&what, async || {
            let open = "select count(*) from sessions where close_time is null";
            let open: i64 =
                sqlx::query_scalar(open).fetch_one(&mut self.looks).await.or_failed("count sessions")?;
            Ok((open == count).then_some(()))
        })
        .await
    }

    /// The name of the worker that has a chat.
    pub(crate) async fn holder(&mut self, chat: &str) -> Result<Option<String>> {
        let chat: Uuid = chat.parse().or_failed("read a chat's id")?;
        let holder = "select s.worker_name from chats c join sessions s on s.session_id = c.session_id
                      where c.chat_id = $1 and c.leased";
        sqlx::query_scalar(holder)
            .bind(chat)
            .fetch_optional(&mut self.looks)
            .await
            .or_failed("find a chat's worker")
    }
}

/// A plain connection.
pub(crate) async fn connect(url: &str) -> Result<PgConnection> {
    PgConnection::connect(url).await.or_failed("connect to PostgreSQL")
}

async fn run(postgres: &Postgres, database: &str, statement: String) -> Result<()> {
    let mut connection = connect(&postgres.url(database)).await?;
    connection.execute(AssertSqlSafe(statement)).await.or_failed("make or remove a database")?;
    connection.close().await.or_failed("leave PostgreSQL")
}
