//! Which transactions had ended at a moment, and places in the order of changes.

use chatplane_domain::ChatId;
use uuid::Uuid;

use crate::store::Error;

/// Which transactions had ended when something was read: what they wrote was seen. It is
/// PostgreSQL's own snapshot, and as exact: a transaction that commits late is not seen
/// by it, however old its number is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedSnapshot {
    /// The horizon: every transaction below has ended.
    xmin: i64,
    /// No transaction from here on has ended.
    xmax: i64,
    /// Those between that had not ended; in order. As many as the database has connections.
    running: Vec<i64>,
}

/// A place in the order of changes: a transaction, and a chat of those it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FeedPosition {
    /// The transaction.
    pub(crate) xid: i64,
    /// The chat.
    pub(crate) chat: ChatId,
}

impl FeedSnapshot {
    /// Everything that the transactions below this one wrote, and nothing else.
    pub(crate) fn below(xid: i64) -> Self {
        Self { xmin: xid, xmax: xid, running: Vec::new() }
    }

    /// Reads PostgreSQL's text: `xmin:xmax:xid,xid`.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let number = |text: &str| text.parse::<i64>().map_err(|_| Error::RowInvalid);
        let mut fields = text.splitn(3, ':');
        let mut field = || fields.next().ok_or(Error::RowInvalid);
        let (xmin, xmax, running) = (number(field()?)?, number(field()?)?, field()?);
        let running = running.split(',').filter(|xid| !xid.is_empty()).map(number);
        let mut running = running.collect::<Result<Vec<_>, _>>()?;
        running.sort_unstable();
        Ok(Self { xmin, xmax, running })
    }

    /// A snapshot of these numbers, for tests of the pure core.
    #[cfg(test)]
    pub(crate) fn of(xmin: i64, xmax: i64, running: &[i64]) -> Self {
        Self { xmin, xmax, running: running.to_vec() }
    }

    /// Whether what this transaction wrote was seen.
    pub(crate) fn sees(&self, xid: i64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// Every transaction below has ended.
    pub(crate) fn horizon(&self) -> i64 {
        self.xmin
    }

    /// No transaction from here on has ended.
    pub(crate) fn end(&self) -> i64 {
        self.xmax
    }

    /// Whether nothing was running that had a number: whatever comes has a later one.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_empty()
    }

    pub(in crate::store) fn running(&self) -> &[i64] {
        &self.running
    }
}

impl FeedPosition {
    /// Before every chat that this transaction changed.
    pub(crate) fn before(xid: i64) -> Self {
        Self { xid, chat: ChatId(Uuid::nil()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_had_ended_and_nothing_else() {
        let snapshot = FeedSnapshot::parse("10:15:10,13").expect("it is one");

        let seen: Vec<i64> = (8..18).filter(|xid| snapshot.sees(*xid)).collect();

        assert_eq!(seen, [8, 9, 11, 12, 14]);
        assert_eq!((snapshot.horizon(), snapshot.end()), (10, 15));
        assert_eq!(FeedSnapshot::parse("10:10:").expect("it is one"), FeedSnapshot::below(10));
        for malformed in ["", "1", "1:2", "a:b:c", "1:2:x"] {
            assert!(FeedSnapshot::parse(malformed).is_err(), "{malformed}");
        }
    }
}
