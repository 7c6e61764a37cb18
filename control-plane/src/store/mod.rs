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

use std::time::Duration;

use chatplane_domain::OrganizationId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) use asking::{Ask, FileFacts, ForkFacts, ModelCall, Request, ShownEntry, Target};
pub(crate) use catalog::{ModelRow, WorkspaceListing};
pub(crate) use claim::{Claim, ClaimError};
pub(crate) use connections::Connections;
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
    ActionRequired, Beside, ChatView, FileView, MessageChange, MessageView, MetadataView, PendingCall,
    QueueChange, QueuedView, SyncPage,
};

/// The one organization until identity arrives.
pub(crate) const DEFAULT_ORGANIZATION: OrganizationId =
    OrganizationId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// Bounds on every statement: what waits longer is UNAVAILABLE and tried again. The
/// third one frees the rows of a replica that was stopped in mid-transaction. And every
/// statement is written for one plan: planning a chat's read and write anew for each
/// call took a third of the database's time.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("plan_cache_mode", "force_generic_plan"),
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
    /// Connects and checks that the database can hold every text. One use of a connection
    /// takes `use_max` at most.
    ///
    /// # Errors
    ///
    /// `Unavailable`, or `Unusable` with a sentence.
    pub(crate) async fn connect(url: &str, connections_max: u32, use_max: Duration) -> Result<Self, Error> {
        let options = url.parse::<PgConnectOptions>()?.options(SETTINGS);
        let lists = options.clone().options(lists::LIST_SETTINGS);
        let connections = Connections::open(options, connections_max, use_max).await?;
        let lists = Connections::lazy(lists, connections_max.min(lists::LIST_CONNECTIONS_MAX), use_max);
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
    /// connection of its own, without timeouts: a migration takes the time it takes.
    ///
    /// # Errors
    ///
    /// `Migrate`.
    pub(crate) async fn migrate(url: &str) -> Result<(), Error> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        let migrated = sqlx::migrate!("../migrations").run(&pool).await.map_err(Error::Migrate);
        pool.close().await;
        migrated
    }

    /// Closes every connection, also where some are silent: within 2 s.
    pub(crate) async fn close(&self) {
        self.lists.close().await;
        self.connections.close().await;
    }
}
