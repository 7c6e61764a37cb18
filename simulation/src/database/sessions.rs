//! The rows of sessions, and what renewals and sweeps ask of them.

use std::time::Duration;

use chatplane_domain::{Chat, ChatId, Execution, Fence, INTERRUPTION_MAX, ReplicaId, SessionId};

use super::{Database, Refused};
use crate::{
    bug::Bug,
    scheduler::{LeaseKey, LeaseRow, Renewal, SettingsMark},
};

/// How long a session lives without a renewal.
pub(crate) const SESSION_TTL: Duration = Duration::from_secs(8);
/// An outage that lasts as long keeps whole sessions from being renewed.
const OUTAGE_MIN: Duration = Duration::from_secs(4);

/// The row of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRow {
    replica: ReplicaId,
    connection: i64,
    expire_time: Duration,
    is_closed: bool,
}

/// Something that a sweep may end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overdue {
    Lease(ChatId, Fence),
    Interruption(ChatId, Fence),
    Calls(ChatId),
}

pub(crate) fn lease_row(chat: &Chat) -> Option<LeaseRow> {
    let lease = chat.live_lease()?;
    Some(LeaseRow {
        key: LeaseKey { chat: chat.id, fence: lease.fence },
        interrupting: matches!(chat.execution, Execution::Interrupting { .. }),
        snapshot_version: chat.versions.snapshot,
        history_version: chat.versions.history,
        last_write_version: lease.last_write.map_or(0, |write| write.outcome.snapshot_version),
        settings: SettingsMark::of(&chat.settings),
    })
}

impl Database {
    pub(crate) fn open_session(&mut self, session: SessionId, replica: ReplicaId) {
        let expire_time = self.now + SESSION_TTL;
        let row = SessionRow { replica, connection: 1, expire_time, is_closed: false };
        self.sessions.insert(session, row);
    }

    /// Takes a session over, wherever it was, unless it is closed.
    pub(crate) fn resume_session(
        &mut self,
        session: SessionId,
        replica: ReplicaId,
    ) -> Result<(i64, Vec<LeaseRow>), Refused> {
        let expire_time = self.now + SESSION_TTL;
        let row = self.sessions.get_mut(&session).filter(|row| !row.is_closed).ok_or(Refused::SessionLost)?;
        let connection = row.connection + 1;
        *row = SessionRow { replica, connection, expire_time, is_closed: false };
        self.saw("a session that goes on elsewhere");
        Ok((connection, self.leases_of(session)))
    }

    pub(crate) fn leases_of(&self, session: SessionId) -> Vec<LeaseRow> {
        let chats = self.tables.values().map(|table| &table.chat);
        let held = chats.filter(|chat| chat.live_lease().is_some_and(|lease| lease.session == session));
        held.filter_map(lease_row).collect()
    }

    /// The sessions that were renewed, with their leases.
    pub(crate) fn renew(
        &mut self,
        replica: ReplicaId,
        renewals: &[Renewal],
    ) -> Vec<(SessionId, Vec<LeaseRow>)> {
        let mut renewed = Vec::new();
        for renewal in renewals {
            let expire_time = self.now + SESSION_TTL.saturating_sub(renewal.pong_age);
            let Some(row) = self.sessions.get_mut(&renewal.session) else { continue };
            if !row.is_closed && (row.replica, row.connection) == (replica, renewal.connection) {
                row.expire_time = expire_time;
                renewed.push((renewal.session, self.leases_of(renewal.session)));
            }
        }
        renewed
    }

    /// Closes a session whose worker is gone, where it is still this connection's.
    pub(crate) fn close_session(
        &mut self,
        session: SessionId,
        replica: ReplicaId,
        connection: i64,
    ) -> Vec<Overdue> {
        let bug = self.bug;
        let Some(row) = self.sessions.get_mut(&session) else { return Vec::new() };
        let is_its_own = (row.replica, row.connection) == (replica, connection);
        if row.is_closed || !is_its_own && bug != Some(Bug::CloseWithoutConnection) {
            return Vec::new();
        }
        row.is_closed = true;
        if !is_its_own {
            self.violate(|| format!("{session:?} was closed by a replica that does not have it"));
        }
        self.saw("a session that is closed after its grace");
        let leases = self.leases_of(session);
        leases.into_iter().map(|row| Overdue::Lease(row.key.chat, row.key.fence)).collect()
    }

    pub(crate) fn close_expired(&mut self) {
        let now = self.now;
        let expired = self.sessions.values_mut().filter(|row| !row.is_closed && row.expire_time <= now);
        let closed = expired.map(|row| row.is_closed = true).count();
        if closed > 0 {
            self.saw("a session that is closed by the clock");
        }
        let is_too_early = self.outage.is_some_and(|(begin, end)| {
            end.saturating_sub(begin) >= OUTAGE_MIN && now.saturating_sub(end) < SESSION_TTL
        });
        if closed > 0 && is_too_early {
            self.violate(|| format!("{closed} sessions were closed by the clock right after an outage"));
        }
    }

    pub(crate) fn overdue(&self) -> Vec<Overdue> {
        let chats = self.tables.values().map(|table| &table.chat);
        chats.filter_map(|chat| self.is_overdue(chat)).collect()
    }

    fn is_overdue(&self, chat: &Chat) -> Option<Overdue> {
        let now = self.clock();
        if let Some(lease) = chat.live_lease()
            && self.sessions.get(&lease.session).is_none_or(|row| row.is_closed)
            && self.bug != Some(Bug::NoSweep)
        {
            return Some(Overdue::Lease(chat.id, lease.fence));
        }
        match (&chat.execution, &chat.last_lease) {
            (Execution::Interrupting { since }, Some(lease)) if *since + INTERRUPTION_MAX <= now => {
                Some(Overdue::Interruption(chat.id, lease.fence))
            }
            (Execution::Suspended { deadline }, _) if *deadline <= now => Some(Overdue::Calls(chat.id)),
            _ => None,
        }
    }
}
