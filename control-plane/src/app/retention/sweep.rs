//! The sweep of what was kept for long enough.
//!
//! Every replica sweeps. What is found is a proposal: each chat is decided on anew from what
//! it is then, in the write that compares it, so that two replicas do a thing once, and a
//! chat that somebody has come back to stays. Files that no chat is linked to, what is left of
//! deleted chats, and sessions that ended go whatever the settings are: see `leftovers`.

use chatplane_domain::{Command, Context, decide};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Error, chain, dispatch::Failure},
    store::{
        Ask, DueBounds, DueChat, DuePosition, ERASED_RUNS_MAX, OrganizationRetention, Snapshot, Transacted,
    },
};

/// Chats that are looked at together.
const CHATS_MAX: i64 = 50;

/// What becomes of a chat that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Archive,
    Delete,
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Swept {
    archived: u64,
    deleted: u64,
    debug_runs: u64,
    files: u64,
    sessions: u64,
}

impl App {
    /// Archives and deletes what was kept for long enough, until `stop`.
    pub(in crate::app) async fn sweep_retention(self, stop: CancellationToken) {
        let mut due = time::interval(self.inner.limits.retention_sweep_interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let mut swept = Swept::default();
            let by_settings = self.sweep_all(&mut swept, &stop).await;
            let leftovers = self.erase_leftovers(&stop).await;
            let files = self.sweep_files(&mut swept.files, &stop).await;
            let sessions = self.forget_sessions(&mut swept.sessions, &stop).await;
            for error in [by_settings, leftovers, files, sessions].into_iter().filter_map(Result::err) {
                tracing::warn!(cause = %chain(&error), "a sweep of what is old failed; the next one goes on");
            }
            if swept != Swept::default() {
                let Swept { archived, deleted, debug_runs, files, sessions } = swept;
                tracing::info!(
                    archived,
                    deleted,
                    debug_runs,
                    files,
                    sessions,
                    "what was kept for long enough is gone"
                );
            }
        }
    }

    async fn sweep_all(&self, swept: &mut Swept, stop: &CancellationToken) -> Result<(), Failure> {
        for retention in self.in_time(self.inner.store.retentions()).await? {
            let OrganizationRetention { organization, days, now } = retention;
            if let Some(before) = before(now, days.auto_archive) {
                let due = DueBounds { organization, before, after: DuePosition::START, limit: CHATS_MAX };
                swept.archived += self.sweep_chats(Act::Archive, due, stop).await?;
            }
            if let Some(before) = before(now, days.delete_archived) {
                let due = DueBounds { organization, before, after: DuePosition::START, limit: CHATS_MAX };
                swept.deleted += self.sweep_chats(Act::Delete, due, stop).await?;
            }
            if let Some(before) = before(now, days.delete_debug) {
                swept.debug_runs += self.sweep_debug_runs(retention, before, stop).await?;
            }
        }
        Ok(())
    }

    /// Goes through the chats that are due, once: one that cannot be written does not keep
    /// the others.
    async fn sweep_chats(
        &self,
        act: Act,
        mut due: DueBounds,
        stop: &CancellationToken,
    ) -> Result<u64, Failure> {
        let store = &self.inner.store;
        let mut done = 0;
        loop {
            let chats = match act {
                Act::Archive => self.in_time(store.inactive_chats(due)).await?,
                Act::Delete => self.in_time(store.chats_to_delete(due)).await?,
            };
            for chat in &chats {
                if stop.is_cancelled() {
                    return Ok(done);
                }
                done += u64::from(self.sweep_chat(act, chat, due.before).await);
            }
            match chats.last() {
                Some(last) if i64::try_from(chats.len()).is_ok_and(|found| found == due.limit) => {
                    due.after = last.position();
                }
                Some(_) | None => return Ok(done),
            }
        }
    }

    /// Archives or deletes a chat, if it still is due. Answers whether it was done here.
    async fn sweep_chat(&self, act: Act, due: &DueChat, before: DateTime<Utc>) -> bool {
        let chat_id = due.chat;
        let limit = self.inner.scheduler.limits().statement_timeout;
        match time::timeout(limit, self.act_on_due(act, due, before)).await {
            Ok(Ok(())) => true,
            // Another replica was faster, or somebody has come back to it.
            Ok(Err(Error::Superseded | Error::StateForbids { .. } | Error::ChatNotFound)) => false,
            Ok(Err(Error::Internal(error))) => {
                tracing::error!(%chat_id, cause = %chain(&error), "a chat that is old could not be swept");
                false
            }
            Ok(Err(error)) => {
                let cause = chain(&error);
                tracing::warn!(%chat_id, %cause, "a chat that is old could not be swept; the next sweep tries");
                false
            }
            Err(_) => {
                tracing::warn!(%chat_id, "a chat that is old could not be swept in time; the next sweep tries");
                false
            }
        }
    }

    async fn act_on_due(&self, act: Act, due: &DueChat, before: DateTime<Utc>) -> Result<(), Error> {
        let ask = Ask {
            viewer: Some(due.owner),
            left_alone_since: (act == Act::Archive).then_some(before),
            files_kept: self.inner.limits.unlinked_file_kept,
            ..Ask::default()
        };
        let decision = |snapshot: &Snapshot| {
            if !is_due(act, snapshot, before) {
                return Err(Error::Superseded);
            }
            let command = match act {
                Act::Archive => Command::ArchiveChat,
                Act::Delete => Command::DeleteChat,
            };
            let queue_max = self.inner.limits.queue_max;
            let context = Context { now: snapshot.now, queue_max, lease_offer: None };
            Ok(decide(&snapshot.chat, command, context)?)
        };
        let transacted = self.inner.store.transact(due.chat, &ask, |_| Ok(()), decision).await?;
        if let Transacted::Applied(applied) = transacted {
            self.after_commit(&applied, None).await;
        }
        Ok(())
    }

    async fn sweep_debug_runs(
        &self,
        retention: OrganizationRetention,
        before: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<u64, Failure> {
        let store = &self.inner.store;
        let mut done = 0;
        while !stop.is_cancelled() {
            let deleted = store.delete_debug_runs(retention.organization, before, ERASED_RUNS_MAX);
            let deleted = self.in_time(deleted).await?;
            done += deleted;
            if i64::try_from(deleted).is_ok_and(|deleted| deleted < ERASED_RUNS_MAX) {
                break;
            }
        }
        Ok(done)
    }
}

/// Whether a chat is still due, by what its decision is made from.
fn is_due(act: Act, snapshot: &Snapshot, before: DateTime<Utc>) -> bool {
    let beside = &snapshot.beside;
    match act {
        Act::Archive => snapshot.left_alone == Some(true),
        Act::Delete => beside.archive_time.unwrap_or(beside.update_time) < before,
    }
}

/// What happened before this moment was kept for long enough; none where all is kept.
fn before(now: DateTime<Utc>, days: i32) -> Option<DateTime<Utc>> {
    if days < 1 {
        return None;
    }
    now.checked_sub_signed(TimeDelta::days(i64::from(days)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_no_days_is_kept_for_ever() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("it is a time");

        assert_eq!(before(now, 0), None);
        assert_eq!(before(now, 2), Some(now - TimeDelta::hours(48)));
        assert!(before(now, 36_500).is_some());
    }
}
