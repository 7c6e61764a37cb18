//! One PostgreSQL per test binary, one database per test, copied from a template.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use chatplane_control_plane::admin;
use chatplane_embedded_postgres::{Postgres, Settings};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{Mutex, OnceCell};

use crate::wait::DEADLINE;

static POSTGRES: OnceLock<std::sync::Mutex<Postgres>> = OnceLock::new();
static TEMPLATE: OnceCell<()> = OnceCell::const_new();
/// PostgreSQL copies a template for one session at a time.
static COPYING: Mutex<()> = Mutex::const_new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Between two looks whether the server has stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

const TEMPLATE_NAME: &str = "chatplane_template";

/// A database of this test alone.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// A fresh database with the current schema.
    ///
    /// # Panics
    ///
    /// With the launcher's sentence, when no PostgreSQL is installed.
    pub async fn create() -> Self {
        let maintenance = url("postgres").await;
        TEMPLATE.get_or_init(|| make_template(&maintenance)).await;
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let _copying = COPYING.lock().await;
        run(&maintenance, format!("create database {name} template {TEMPLATE_NAME}")).await;
        let url = url(&name).await;
        Self { name, url }
    }

    /// Where roles find it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same for who comes over a proxy, which listens on this address of the loopback.
    #[must_use]
    pub fn url_at(&self, address: std::net::SocketAddr) -> String {
        format!("postgres://chatplane@{address}/{}?sslmode=disable", self.name)
    }

    /// The server's socket.
    ///
    /// # Panics
    ///
    /// When the server is not there.
    pub async fn socket(&self) -> PathBuf {
        let socket = || server().socket_dir().join(".s.PGSQL.5432");
        tokio::task::spawn_blocking(socket).await.expect("a path is read")
    }

    /// A connection for what the API does not show.
    ///
    /// # Panics
    ///
    /// When the database cannot be reached.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the test's database answers")
    }
}

/// Crashes the server: kill -9, as if the machine had lost power.
///
/// # Panics
///
/// When the thread that does it panics.
pub async fn crash_postgres() {
    tokio::task::spawn_blocking(|| server().kill()).await.expect("a kill does not panic");
}

/// Stops the server as `pg_ctl stop -m immediate` does: its sessions break, nothing is written
/// out, and the next start recovers.
///
/// # Panics
///
/// When it does not stop.
pub async fn stop_postgres_immediately() {
    tokio::task::spawn_blocking(|| {
        let server = server();
        let pid = || server.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid() {
            kill_process(pid, Signal::QUIT).expect("the server is ours");
        }
        let deadline = Instant::now() + DEADLINE;
        while pid().is_some() {
            assert!(Instant::now() < deadline, "PostgreSQL stops");
            thread::sleep(LOOK_AGAIN);
        }
    })
    .await
    .expect("PostgreSQL stops");
}

/// Starts the server, with what it had committed; one that runs is stopped in order first.
///
/// # Panics
///
/// When it does not come back.
pub async fn restart_postgres() {
    tokio::task::spawn_blocking(|| server().restart().expect("PostgreSQL starts again"))
        .await
        .expect("a start does not panic");
}

fn server() -> std::sync::MutexGuard<'static, Postgres> {
    let postgres = POSTGRES.get_or_init(|| {
        let settings = Settings { max_connections: 300, ..Settings::temporary() };
        match Postgres::start(settings) {
            Ok(postgres) => std::sync::Mutex::new(postgres),
            Err(error) => panic!("{error}"),
        }
    });
    postgres.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn url(database: &str) -> String {
    let database = database.to_owned();
    tokio::task::spawn_blocking(move || server().url(&database)).await.expect("PostgreSQL starts")
}

async fn make_template(maintenance: &str) {
    run(maintenance, format!("create database {TEMPLATE_NAME} encoding 'UTF8' template template0")).await;
    let admin = admin::connect(&url(TEMPLATE_NAME).await).await.expect("the migrations apply");
    admin.close().await;
}

async fn run(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.expect("PostgreSQL answers");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("the statement is right");
    connection.close().await.expect("the connection closes");
}
