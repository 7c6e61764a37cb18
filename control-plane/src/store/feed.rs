//! What has changed in the chats of a user since something was read.
//!
//! Each change of a chat, or of what its owner keeps about it, writes the number of its
//! transaction beside it. Two indexes give a user's chats in the order of these numbers;
//! a snapshot says which of them had ended. See `watch::chats` for what becomes of that.
//!
//! Read this from the primary: on a standby PostgreSQL does not tell what is running.

mod snapshot;

use std::sync::LazyLock;

use chatplane_domain::{ChatId, UserId};
use uuid::Uuid;

use super::{
    ChatView, Error, Store,
    chats::{CHAT_VIEWS, ChatViewRow},
};

pub(crate) use snapshot::{FeedPosition, FeedSnapshot};

/// A page has at most this many places, which is what a watcher holds at a time: a chat
/// has some 100 KiB at the very most, and one usually.
pub(super) const FEED_PAGE_MAX: usize = 50;

/// The horizon of the snapshot in which a statement runs, as a column: what has happened
/// since is what `watch::ChatsCursor::at` resumes with.
pub(crate) const FEED_HORIZON: &str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FeedFrom {
    /// Only what has been: the snapshot.
    Present,
    /// What has changed.
    After {
        /// All that this sees is known.
        seen: FeedSnapshot,
        /// As well as the rest up to here.
        after: FeedPosition,
    },
}

/// What has changed, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FeedPage {
    /// When it was read; none when nothing has changed.
    pub(crate) snapshot: Option<FeedSnapshot>,
    /// The places.
    pub(crate) entries: Vec<FeedEntry>,
    /// The last place, behind which there may be more; none when there was no more.
    pub(crate) through: Option<FeedPosition>,
}

/// A place in the order of changes with its chat. A chat that is changed twice has one or
/// two places: one for each of its rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FeedEntry {
    /// The place.
    pub(crate) position: FeedPosition,
    /// The transaction that last changed the chat; 0 when it is older than this database.
    pub(crate) chat_xid: i64,
    /// The transaction that last changed what the user keeps about it; the same.
    pub(crate) user_xid: i64,
    /// Which transactions changed what.
    pub(crate) aspects: FeedAspects,
    /// The chat as the user sees it; none when it was deleted.
    pub(crate) chat: Option<Box<ChatView>>,
}

/// The transactions that last changed something of a chat; 0 for those that are older than
/// this database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedAspects {
    /// That created it.
    pub(crate) create: i64,
    /// That archived it or brought it back.
    pub(crate) archive: i64,
    /// Its state.
    pub(crate) state: i64,
    /// Title or labels.
    pub(crate) metadata: i64,
    /// The summary of its last turn.
    pub(crate) summary: i64,
    /// What it waits for.
    pub(crate) action: i64,
    /// What the user has read, or whether something is unread.
    pub(crate) read: i64,
    /// The user's pin.
    pub(crate) pin: i64,
}

/// Places with their chats, all of one snapshot.
pub(super) static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with candidates as materialized (
             {candidates}
         ),
         views as (
             {CHAT_VIEWS}
             where c.chat_id = any (array(select k.chat_id from candidates k))
         )
         select
             v.*,
             pg_current_snapshot()::text as feed_snapshot,
             k.xid::text::bigint as feed_xid,
             x.change_xid::text::bigint as chat_xid,
             x.create_xid::text::bigint,
             x.archive_xid::text::bigint,
             x.state_xid::text::bigint,
             x.summary_xid::text::bigint,
             x.action_xid::text::bigint,
             x.delete_time is not null as is_deleted,
             y.change_xid::text::bigint as user_xid,
             y.metadata_xid::text::bigint,
             y.read_xid::text::bigint,
             y.pin_xid::text::bigint
         from candidates k
         join views v on v.chat_id = k.chat_id
         join chats x on x.chat_id = k.chat_id
         left join chat_user_metadata y on y.chat_id = k.chat_id and y.user_id = $1
         order by k.xid, k.chat_id",
        candidates = include_str!("feed/candidates.sql"),
    )
});

#[derive(sqlx::FromRow)]
struct FeedRow {
    #[sqlx(flatten)]
    view: ChatViewRow,
    feed_snapshot: String,
    feed_xid: i64,
    chat_xid: i64,
    create_xid: i64,
    archive_xid: i64,
    state_xid: i64,
    summary_xid: i64,
    action_xid: i64,
    is_deleted: bool,
    // Each chat has a row of its owner's; one without is told all the same.
    user_xid: Option<i64>,
    metadata_xid: Option<i64>,
    read_xid: Option<i64>,
    pin_xid: Option<i64>,
}

impl FeedRow {
    fn entry(self, snapshot: &FeedSnapshot) -> Result<FeedEntry, Error> {
        // A row that is read was written before: a later number is of a database from whose
        // backup this one was made.
        let known = |xid: i64| if xid < snapshot.end() { xid } else { 0 };
        let known_or_none = |xid: Option<i64>| known(xid.unwrap_or_default());
        let chat = ChatId(self.view.chat_id);
        let view = if self.is_deleted { None } else { Some(Box::new(self.view.view()?)) };
        Ok(FeedEntry {
            position: FeedPosition { xid: self.feed_xid, chat },
            chat_xid: known(self.chat_xid),
            user_xid: known_or_none(self.user_xid),
            aspects: FeedAspects {
                create: known(self.create_xid),
                archive: known(self.archive_xid),
                state: known(self.state_xid),
                metadata: known_or_none(self.metadata_xid),
                summary: known(self.summary_xid),
                action: known(self.action_xid),
                read: known_or_none(self.read_xid),
                pin: known_or_none(self.pin_xid),
            },
            chat: view,
        })
    }
}

impl Store {
    /// What has changed in a user's chats.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn feed(&self, owner: UserId, from: &FeedFrom) -> Result<FeedPage, Error> {
        let (seen, after) = match from {
            FeedFrom::Present => {
                let snapshot = Some(self.feed_present().await?);
                return Ok(FeedPage { snapshot, entries: Vec::new(), through: None });
            }
            FeedFrom::After { seen, after } => (seen, after),
        };
        let rows: Vec<FeedRow> = sqlx::query_as(PAGE.as_str())
            .bind(owner.0)
            .bind(after.xid)
            .bind(after.chat.0)
            .bind(seen.end())
            .bind(seen.running())
            .bind(i64::try_from(FEED_PAGE_MAX).expect("a page is small"))
            .fetch_all(&self.connections)
            .await?;
        let snapshot = rows.first().map(|row| FeedSnapshot::parse(&row.feed_snapshot)).transpose()?;
        let Some(snapshot) = snapshot else {
            return Ok(FeedPage { snapshot: None, entries: Vec::new(), through: None });
        };
        let is_full = rows.len() >= FEED_PAGE_MAX;
        let entries = rows.into_iter().map(|row| row.entry(&snapshot)).collect::<Result<Vec<_>, _>>()?;
        let through = entries.last().map(|entry| entry.position).filter(|_| is_full);
        Ok(FeedPage { snapshot: Some(snapshot), entries, through })
    }

    async fn feed_present(&self) -> Result<FeedSnapshot, Error> {
        let text = sqlx::query_scalar!("select pg_current_snapshot()::text as \"snapshot!\"")
            .fetch_one(&self.connections)
            .await?;
        FeedSnapshot::parse(&text)
    }

    /// Of some owners, those whose chats have changed since a snapshot, or all when there is
    /// none; with the snapshot to ask from the next time.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn owners_with_news(
        &self,
        owners: &[UserId],
        seen: Option<&FeedSnapshot>,
    ) -> Result<(FeedSnapshot, Vec<UserId>), Error> {
        let owners: Vec<Uuid> = owners.iter().map(|owner| owner.0).collect();
        let row = sqlx::query_file!(
            "src/store/feed/owners.sql",
            &owners,
            seen.map(FeedSnapshot::end),
            seen.map(FeedSnapshot::running).unwrap_or_default(),
        )
        .fetch_one(&self.connections)
        .await?;
        Ok((FeedSnapshot::parse(&row.snapshot)?, row.owners.into_iter().map(UserId).collect()))
    }
}
