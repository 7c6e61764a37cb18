//! The channels of PostgreSQL on which replicas hint at each other. Pure.
//!
//! Chats and owners are spread over shards, so that a replica hears of few that nobody
//! watches there, and of none when nobody watches at all.

use chatplane_domain::{ChatId, UserId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Of chats, and of owners: many enough to spread the hints over many replicas, and so few
/// that one replica may listen to them all. Replicas of every release agree on it.
const SHARDS: u8 = 64;

/// Which of the shards an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u8);

impl Shard {
    /// Ids begin with the time, so what spreads them is their hash.
    fn of(id: Uuid) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        Self(hash.first().copied().unwrap_or_default() % SHARDS)
    }
}

/// What a hint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Channel {
    /// These chats have changed.
    Chats(Shard),
    /// Something has changed for the watchers of all chats of these owners.
    Owners(Shard),
    /// A chat waits for a slot.
    Runnable,
    /// A replica came or left.
    Peers,
    /// A workspace agent registered or left.
    Workspaces,
}

impl Channel {
    /// Where changes of a chat are told.
    pub(crate) fn of_chat(chat: ChatId) -> Self {
        Self::Chats(Shard::of(chat.0))
    }

    /// Where changes for the watchers of an owner are told.
    pub(crate) fn of_owner(owner: UserId) -> Self {
        Self::Owners(Shard::of(owner.0))
    }

    /// Its name in the database.
    pub(super) fn name(self) -> String {
        match self {
            Self::Chats(Shard(shard)) => format!("chatplane_chats_{shard:02}"),
            Self::Owners(Shard(shard)) => format!("chatplane_owners_{shard:02}"),
            Self::Runnable => "chatplane_runnable".to_owned(),
            Self::Peers => "chatplane_peers".to_owned(),
            Self::Workspaces => "chatplane_workspaces".to_owned(),
        }
    }

    /// The channel of this name; none for one that this release does not know.
    pub(super) fn named(name: &str) -> Option<Self> {
        let shard = |digits: &str| digits.parse().ok().filter(|shard| *shard < SHARDS).map(Shard);
        match name.strip_prefix("chatplane_")? {
            "runnable" => Some(Self::Runnable),
            "peers" => Some(Self::Peers),
            "workspaces" => Some(Self::Workspaces),
            sharded => {
                let (kind, digits) = sharded.split_once('_')?;
                match kind {
                    "chats" => shard(digits).map(Self::Chats),
                    "owners" => shard(digits).map(Self::Owners),
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Channel, ChatId, SHARDS, Shard, UserId, Uuid};

    #[test]
    fn every_channel_is_known_by_its_name() {
        let sharded = (0..SHARDS).flat_map(|no| [Channel::Chats(Shard(no)), Channel::Owners(Shard(no))]);
        for channel in sharded.chain([Channel::Runnable, Channel::Peers, Channel::Workspaces]) {
            assert_eq!(Channel::named(&channel.name()), Some(channel));
        }
        for stranger in ["chatplane_chats_64", "chatplane_chats_", "chatplane_news", "chats_01", ""] {
            assert_eq!(Channel::named(stranger), None, "{stranger}");
        }
    }

    /// Replicas of every release must agree: these names never change.
    #[test]
    fn the_shard_of_an_id_is_the_first_byte_of_its_hash() {
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

        // sha256 of these 16 bytes begins with 0x49, and 0x49 % 64 = 9.
        assert_eq!(Channel::of_chat(ChatId(id)).name(), "chatplane_chats_09");
        assert_eq!(Channel::of_owner(UserId(id)).name(), "chatplane_owners_09");
    }

    #[test]
    fn ids_of_one_moment_are_spread_over_all_shards() {
        let channels: BTreeSet<_> =
            (0..2_000).map(|no| Channel::of_chat(ChatId(Uuid::from_u128(no)))).collect();

        assert_eq!(channels.len(), usize::from(SHARDS));
    }
}
