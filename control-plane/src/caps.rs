//! Caps: how many chats of one owner, or of one organization, run at a time.
//!
//! They are soft: what runs is counted right before the write that gives a lease, and writes of other chats
//! may give leases meanwhile. So a cap may be passed by one for each write that is under way at the same
//! time. A write counts and gives within one use of a connection, so these are bounded by the connections
//! to the database of all replicas.

use serde::Deserialize;

/// How many chats may run at a time; none: as many as there are slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of one owner.
    pub owner_running_max: Option<i64>,
    /// Of one organization.
    pub organization_running_max: Option<i64>,
}

/// How many chats run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Running {
    /// Of the chat's owner.
    pub(crate) owner: i64,
    /// Of its organization.
    pub(crate) organization: i64,
}

impl Caps {
    /// Whether there are any.
    #[must_use]
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }

    /// Whether one more may run beside these. Where they were not counted, none may.
    #[must_use]
    pub(crate) fn allow(self, running: Option<Running>) -> bool {
        let below = |count: i64, max: Option<i64>| max.is_none_or(|max| count < max);
        match running {
            Some(Running { owner, organization }) => {
                below(owner, self.owner_running_max) && below(organization, self.organization_running_max)
            }
            None => !self.any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Caps, Running};

    #[test]
    fn one_more_runs_where_both_caps_have_room() {
        let caps = Caps { owner_running_max: Some(2), organization_running_max: Some(3) };
        let allow = |owner, organization| caps.allow(Some(Running { owner, organization }));

        assert_eq!([allow(1, 2), allow(2, 2), allow(1, 3)], [true, false, false]);
        assert!(!caps.allow(None), "what was not counted is not given away");
        assert!(Caps::default().allow(None));
    }
}
