//! How long chats and debug data are kept.

mod leftovers;
mod sweep;

use chrono::{DateTime, Utc};

use super::{
    App, Error,
    settings::{permitted, stored},
};
use crate::{
    authz::{Action, Actor},
    store::{RetentionDays, RetentionRow},
};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// For how many days.
    pub days: RetentionDays,
    /// Grows by one with every change; 0 before the first.
    pub version: i64,
    /// When it last changed.
    pub update_time: Option<DateTime<Utc>>,
}

impl Retention {
    fn of(row: Option<RetentionRow>) -> Self {
        match row {
            Some(RetentionRow { days, version, update_time }) => {
                Self { days, version, update_time: Some(update_time) }
            }
            None => Self { days: RetentionDays::default(), version: 0, update_time: None },
        }
    }
}

impl App {
    /// Returns how long things are kept.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn get_retention(&self, actor: &Actor) -> Result<Retention, Error> {
        let (_, organization) = permitted(actor, Action::ReadSettings)?;
        Ok(Retention::of(self.inner.store.retention(organization).await?))
    }

    /// Sets how long things are kept, all of it. The next sweep goes by it.
    ///
    /// # Errors
    ///
    /// `ActionForbidden` for who is no owner, `VersionMismatch`.
    pub(crate) async fn update_retention(
        &self,
        actor: &Actor,
        days: RetentionDays,
        expected_version: Option<i64>,
    ) -> Result<Retention, Error> {
        let (user, organization) = permitted(actor, Action::WriteRetention)?;
        let put = self.inner.store.put_retention(organization, user, days, expected_version).await?;
        stored(put).map(|row| Retention::of(Some(row)))
    }
}
