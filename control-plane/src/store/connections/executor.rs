//! Single statements: each is a use of any connection.

use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::Connections;

/// A statement on any connection. Its rows are read to their end before the first is seen,
/// so the connection is not held up by who reads them.
impl<'c> Executor<'c> for &'_ Connections {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        let rows = async move {
            let rows: Vec<_> = connections
                .with(async |connection: &mut PgConnection| connection.fetch_many(query).try_collect().await)
                .await?;
            Ok::<_, sqlx::Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        Box::pin(async move {
            connections
                .with(async |connection: &mut PgConnection| connection.fetch_optional(query).await)
                .await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let connections = self.clone();
        Box::pin(async move {
            connections
                .with(async |connection: &mut PgConnection| connection.prepare_with(sql, parameters).await)
                .await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        let connections = self.clone();
        Box::pin(async move {
            connections.with(async |connection: &mut PgConnection| connection.describe(sql).await).await
        })
    }
}
