//! A PostgreSQL for this crate's own tests: one server, a database per test.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use chatplane_embedded_postgres::{Postgres, Settings};
use sqlx::{Connection, Executor, PgConnection};

use crate::store::Store;

static POSTGRES: OnceLock<Mutex<Postgres>> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of a fresh database with the current schema.
pub(crate) async fn database() -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{number}");
    let mut connection = PgConnection::connect(&url("postgres").await).await.expect("PostgreSQL answers");
    let create = format!("create database {name} encoding 'UTF8' template template0");
    connection.execute(sqlx::AssertSqlSafe(create)).await.expect("the database is new");
    let url = url(&name).await;
    Store::migrate(&url).await.expect("the migrations apply");
    url
}

async fn url(database: &str) -> String {
    let database = database.to_owned();
    let started = tokio::task::spawn_blocking(move || {
        let postgres = POSTGRES.get_or_init(|| match Postgres::start(Settings::temporary()) {
            Ok(postgres) => Mutex::new(postgres),
            Err(error) => panic!("{error}"),
        });
        postgres.lock().unwrap_or_else(PoisonError::into_inner).url(&database)
    });
    started.await.expect("PostgreSQL starts")
}
