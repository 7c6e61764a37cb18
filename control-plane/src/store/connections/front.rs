//! What stands between a replica and PostgreSQL.
//!
//! A pooler in transaction mode, such as PgBouncer, gives each transaction whatever connection to PostgreSQL is
//! free. So nothing may outlive a transaction: no setting, no prepared statement; and a statement that is
//! prepared in one message and run in the next must find the same connection. Behind a pooler each use is
//! therefore one transaction, which begins by forgetting what an earlier one has prepared on that connection,
//! and has its settings for itself. That is two round trips more for each use. Transactions of the use's own
//! become savepoints.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};

/// How a transaction begins all of whose reads are of one moment.
pub(super) const SNAPSHOT: &str = "isolation level repeatable read, read only";

/// What stands between a replica and PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nothing, or what hands each connection through whole.
    #[default]
    None,
    /// A pooler in transaction mode that knows nothing of prepared statements.
    Pooler,
}

/// How connections are used.
#[derive(Clone, Debug)]
pub(in crate::store) struct Use<'a> {
    /// What they go through.
    pub(in crate::store) front: Front,
    /// Settings that hold for each use.
    pub(in crate::store) settings: Vec<(&'a str, &'a str)>,
    /// Whether all reads of a use are of one moment behind a pooler, or the use may write.
    pub(in crate::store) reads: Reads,
    /// How long one may take.
    pub(in crate::store) use_max: Duration,
}

/// What a use's transaction is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Reads {
    /// Each statement reads what is there by then.
    Committed,
    /// All read what was there at the first, and write nothing.
    Snapshot,
}

impl Use<'_> {
    /// Settings go with the connection where it is PostgreSQL's own.
    pub(super) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        match self.front {
            Front::None => options.options(self.settings.iter().copied()),
            // PgBouncer takes no parameter that it does not know.
            Front::Pooler => options.extra_float_digits(None).statement_cache_capacity(0),
        }
    }

    /// What each use begins with.
    pub(super) fn begins(&self) -> Option<Arc<str>> {
        match self.front {
            Front::None => None,
            Front::Pooler => {
                let kind = match self.reads {
                    Reads::Committed => "",
                    Reads::Snapshot => SNAPSHOT,
                };
                let settings = self.settings.iter();
                let settings: String =
                    settings.map(|(name, value)| format!("; set local {name} = '{value}'")).collect();
                Some(format!("begin {kind}; deallocate all{settings}").into())
            }
        }
    }
}

/// Work in a transaction of its own.
pub(super) async fn in_transaction<T, E>(
    connection: &mut PgConnection,
    begins: &str,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<sqlx::Error>,
{
    let mut transaction = connection.begin_with(AssertSqlSafe(begins.to_owned())).await?;
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}
