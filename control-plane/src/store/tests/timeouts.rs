//! Errors of the database that pass.

use sqlx::{AssertSqlSafe, Connection as _};

use super::world::world;
use crate::store::Error;

#[tokio::test]
async fn what_the_database_ends_because_it_took_too_long_is_tried_again() {
    let world = world().await;

    for code in ["57014", "25P03", "25P04", "25P02"] {
        let raised = AssertSqlSafe(format!("do $$ begin raise exception sqlstate '{code}'; end $$"));
        let error = sqlx::query(raised).execute(&world.pool).await.expect_err("it is raised");
        assert!(matches!(Error::from(error), Error::Unavailable(_)), "{code}");
    }
    let raised = "do $$ begin raise exception sqlstate '22000'; end $$";
    let error = sqlx::query(raised).execute(&world.pool).await.expect_err("it is raised");
    assert!(matches!(Error::from(error), Error::Sql(_)));
}

#[tokio::test]
async fn what_follows_a_failure_in_its_transaction_is_tried_again() {
    let world = world().await;
    let mut connection = world.pool.acquire().await.expect("it connects");
    let mut transaction = connection.begin().await.expect("it begins");

    let failed = sqlx::query("select 1 / 0").execute(&mut *transaction).await;
    let next = sqlx::query("select 1").execute(&mut *transaction).await;

    assert!(matches!(failed.map_err(Error::from), Err(Error::Sql(_))));
    assert!(matches!(next.map_err(Error::from), Err(Error::Unavailable(_))));
}
