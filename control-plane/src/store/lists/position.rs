//! Where a page of chats begins: what a page token says.

use chatplane_domain::ChatId;
use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    limits::metadata::PINS_MAX,
    store::search::{SEARCH_CHATS_MAX, SearchPosition},
};

/// Where a page begins: behind what was listed before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListPosition {
    /// In a list that is no search.
    Listed(ListedPosition),
    /// Within what was found.
    Search(SearchPosition),
}

/// Where a page of a list begins that is no search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedPosition {
    /// When the first page was read: what has changed since is on none after it.
    pub begin_time: DateTime<Utc>,
    /// What was pinned then, in its order. It comes before the rest and is no part of it,
    /// wherever it is pinned by now: who pins a chat while they page neither loses one nor
    /// sees one twice.
    #[serde(with = "packed")]
    pub pinned: Vec<Uuid>,
    /// How many of these were listed, or did not pass the filter.
    pub pinned_done: usize,
    /// When the last chat of the rest changed, and which it is; none before the first.
    pub last: Option<(DateTime<Utc>, ChatId)>,
}

impl ListPosition {
    /// Whether a page can have ended there, for one who made it up.
    pub(crate) fn is_possible(&self) -> bool {
        // Other times are none that PostgreSQL takes.
        let is_possible = |time: DateTime<Utc>| (1970..=9999).contains(&time.year());
        match self {
            Self::Listed(ListedPosition { begin_time, pinned, pinned_done, last }) => {
                is_possible(*begin_time)
                    && pinned.len() <= PINS_MAX
                    && *pinned_done <= pinned.len()
                    && last.is_none_or(|(time, _)| is_possible(time))
            }
            Self::Search(position) => position.shown.len() <= SEARCH_CHATS_MAX,
        }
    }
}

/// Ids as a token names them: their bytes one after another, since there may be many.
pub(in crate::store) mod packed {
    use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use uuid::Uuid;

    pub(in crate::store) fn serialize<S: Serializer>(ids: &[Uuid], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        serializer.serialize_str(&BASE64_STANDARD_NO_PAD.encode(bytes))
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Uuid>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let (ids, rest) = bytes.as_chunks::<16>();
        if rest.is_empty() {
            Ok(ids.iter().map(|id| Uuid::from_bytes(*id)).collect())
        } else {
            Err(D::Error::custom("an id has 16 bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_out_of_a_token_as_they_went_in_and_cut_ones_do_not() {
        for count in [0, 1, 100] {
            let pinned: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
            let position = ListedPosition {
                begin_time: DateTime::UNIX_EPOCH,
                pinned_done: pinned.len(),
                pinned,
                last: Some((DateTime::UNIX_EPOCH, ChatId(Uuid::nil()))),
            };
            let position = ListPosition::Listed(position);
            let token = serde_json::to_string(&position).expect("it is plain");

            assert_eq!(serde_json::from_str::<ListPosition>(&token).ok(), Some(position));
            let cut = token.replace("\"pinned\":\"", "\"pinned\":\"AAAA");
            assert!(serde_json::from_str::<ListPosition>(&cut).is_err());
        }
    }

    #[test]
    fn a_position_beyond_what_can_be_pinned_is_none() {
        let at = |pinned: usize, pinned_done| {
            ListPosition::Listed(ListedPosition {
                begin_time: DateTime::UNIX_EPOCH,
                pinned: vec![Uuid::nil(); pinned],
                pinned_done,
                last: None,
            })
        };

        assert!(at(PINS_MAX, PINS_MAX).is_possible());
        assert!(!at(PINS_MAX + 1, 0).is_possible());
        assert!(!at(1, 2).is_possible());
    }
}
