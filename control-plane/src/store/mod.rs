//! All SQL. Nobody else talks to PostgreSQL.
//!
//! A chat's execution changes through [`Store::transact`] alone: read, decide, one
//! statement that compares `snapshot_version`.

mod apply;
mod asking;
mod catalog;
mod chats;
mod claim;
mod connections;
mod content;
mod creation;
mod debug;
mod erasing;
mod feed;
mod files;
mod identity;
mod jobs;
mod journal;
mod links;
mod lists;
mod messages;
mod metadata;
mod prompts;
mod queue;
mod replicas;
mod reply;
mod retention;
mod rows;
mod search;
mod sessions;
mod settings;
mod sync;
#[cfg(test)]
mod tests;
mod transact;
mod turn;
mod views;
mod waiting;

use std::time::Duration;

use chatplane_domain::OrganizationId;
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) use asking::{Ask, FileFacts, ForkFacts, ModelCall, Request, ShownEntry, Target};
pub(crate) use catalog::{ModelRow, WorkspaceListing};
pub(crate) use claim::{Claim, ClaimError, Claimable};
pub(crate) use connections::{Connections, Front};
use connections::{Reads, Use};
pub(crate) use creation::NewChat;
pub(crate) use debug::{
    DebugAttempt, DebugPage, DebugPolicy, DebugRunView, DebugStep, DebugStepView, DebugSwitches,
    DebugSwitchesChange, HandedIn, Recorded,
};
pub(crate) use erasing::{ERASED_FILE_BYTES_MAX, ERASED_RUNS_MAX, Erased};
pub(crate) use feed::{FeedAspects, FeedEntry, FeedFrom, FeedPage, FeedPosition, FeedSnapshot};
pub(crate) use files::{FileBounds, HeldFile, NewFile, PutFile};
pub use identity::TokenKind;
pub(crate) use identity::TokenSubject;
pub(crate) use jobs::{JobAnswer, JobBounds, JobId, JobLease, TitleSource, TurnText};
pub(crate) use links::Links;
pub(crate) use lists::{ChatList, FoundAt, ListPosition, ListQuery, ListedChat};
pub(crate) use messages::{MessageBounds, MessagePage};
pub(crate) use metadata::{MetadataLocks, MetadataSnapshot, MetadataUpdate, MetadataWrite, ReadTo};
pub(crate) use prompts::PromptPage;
pub(crate) use queue::QueuePage;
pub(crate) use replicas::ReplicaRow;
pub(crate) use reply::Reply;
pub(crate) use retention::{
    DueBounds, DueChat, DuePosition, OrganizationRetention, RetentionDays, RetentionRow,
};
pub(crate) use rows::{ToolDefinition, WorkspaceRow};
pub(crate) use search::{Buckets, NoTerms, SearchTerms};
pub(crate) use sessions::{Overdue, RenewedSession, Resumed, SessionLease, SessionOpening, SessionRenewal};
pub(crate) use settings::{DeploymentPromptRow, Put, ThresholdRow, UserInstructionsRow};
pub(crate) use sync::*;
pub(crate) use transact::{Applied, Snapshot, TransactError, Transacted};
pub(crate) use turn::{TURN_ROWS_MAX, TurnBounds, TurnSettings};
pub(crate) use views::{
    ActionRequired, Beside, ChatView, FileView, LiveAt, MessageChange, MessageView, MetadataView,
    PendingCall, QueueChange, QueuedView, SyncPage,
};
pub(crate) use waiting::Waiting;

/// The one organization until identity arrives.
pub(crate) const DEFAULT_ORGANIZATION: OrganizationId =
    OrganizationId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// Bounds on every statement: what waits longer is UNAVAILABLE and tried again. The
/// third one frees the rows of a replica that was stopped in mid-transaction. And every
/// statement is written for one plan: planning a chat's read and write anew for each
/// call took a third of the database's time. And no warning is sent where nothing was begun that
/// a connection is to forget.
const SETTINGS: [(&str, &str); 5] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("client_min_messages", "error"),
];

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer; the caller may try again.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A row is stored that this release does not understand.
    #[error("content version {version} is unknown to this release")]
    ContentVersion {
        /// The version.
        version: i16,
    },
    /// A message's content is not what its version says.
    #[error("the content of a message is malformed")]
    ContentMalformed,
    /// A row breaks an invariant.
    #[error("a row is invalid")]
    RowInvalid,
    /// A name is taken.
    #[error("the name is taken")]
    NameTaken,
    /// The database is not usable.
    #[error("{0}")]
    Unusable(String),
    /// The database refused a statement.
    #[error("a statement failed")]
    Sql(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// SQLSTATEs of what will pass: connection (08), resources (53), shutting down or
/// starting up (57P), a timeout or a cancel (57014), a lock that is held (55P03), a
/// deadlock or a lost race (40), a standby after a failover (25006), a transaction that
/// took too long (25P03, 25P04) or has failed before (25P02), a plan that a migration made
/// stale (0A000).
fn passes(code: &str) -> bool {
    ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
        || ["57014", "55P03", "25006", "25P02", "25P03", "25P04", "0A000"].contains(&code)
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let unavailable = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(database) => database.code().is_some_and(|code| passes(&code)),
            _ => false,
        };
        if unavailable { Self::Unavailable(error) } else { Self::Sql(error) }
    }
}

/// How the database is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Database<'a> {
    /// Where it is.
    pub(crate) url: &'a str,
    /// Where lists are read; none: there, too. It may be behind.
    pub(crate) read_url: Option<&'a str>,
    /// Connections at most, beside a few for lists.
    pub(crate) connections_max: u32,
    /// How long one use of a connection may take.
    pub(crate) use_max: Duration,
    /// What stands before it.
    pub(crate) front: Front,
}

impl<'a> Database<'a> {
    /// A database that nothing stands before.
    pub(crate) fn at(url: &'a str, connections_max: u32, use_max: Duration) -> Self {
        Self { url, read_url: None, connections_max, use_max, front: Front::None }
    }
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    connections: Connections,
    /// For lists, which are planned differently.
    lists: Connections,
    /// What new texts are filed under.
    buckets: Arc<Buckets>,
}

impl Store {
    /// Connects and checks that the database can hold every text.
    ///
    /// # Errors
    ///
    /// `Unavailable`, or `Unusable` with a sentence.
    pub(crate) async fn connect(database: Database<'_>) -> Result<Self, Error> {
        let Database { url, read_url, connections_max, use_max, front } = database;
        let writes = Use { front, settings: SETTINGS.to_vec(), reads: Reads::Committed, use_max };
        let settings = [&SETTINGS[..], &lists::LIST_SETTINGS].concat();
        let lists = Use { front, settings, reads: Reads::Snapshot, use_max };
        let connections = Connections::open(url.parse()?, connections_max, &writes).await?;
        let list_connections_max = connections_max.min(lists::LIST_CONNECTIONS_MAX);
        let lists = Connections::lazy(read_url.unwrap_or(url).parse()?, list_connections_max, &lists);
        let store = Self { connections, lists, buckets: Arc::default() };
        let encoding = sqlx::query_scalar!("select current_setting('server_encoding') as \"encoding!\"")
            .fetch_one(&store.connections)
            .await?;
        if encoding != "UTF8" {
            return Err(Error::Unusable(format!(
                "the database's encoding is {encoding}; create it with ENCODING 'UTF8'"
            )));
        }
        Ok(store)
    }

    /// Brings the schema up to date; any number of replicas may do so at once. On a
    /// connection of its own, without timeouts: a migration takes the time it takes. A schema
    /// of the next release is left as it is: during an upgrade this replica may start again on it.
    ///
    /// # Errors
    ///
    /// `Migrate`.
    pub(crate) async fn migrate(url: &str) -> Result<(), Error> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        let mut migrator = sqlx::migrate!("../migrations");
        migrator.set_ignore_missing(true);
        let migrated = migrator.run(&pool).await.map_err(Error::Migrate);
        pool.close().await;
        migrated
    }

    /// Closes every connection, also where some are silent: within 2 s.
    pub(crate) async fn close(&self) {
        self.lists.close().await;
        self.connections.close().await;
    }
}
