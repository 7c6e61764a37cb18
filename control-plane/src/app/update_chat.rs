//! Changing what a chat is called, and where its reader keeps it.
//!
//! None of this is execution: it is decided from rows that nobody else changes meanwhile,
//! and no worker hears of it.

use std::collections::BTreeMap;

use chatplane_domain::ChatId;

use super::{App, Call, Error};
use crate::{
    authz::{self, Action, Resource},
    limits::{labels, metadata::PINS_MAX},
    store::{ChatView, MetadataLocks, MetadataSnapshot, MetadataUpdate, MetadataWrite},
};

/// The command's name in a refusal.
const COMMAND: &str = "UpdateChat";

/// What is to change of a chat's metadata; what is none stays.
#[derive(Clone, Debug)]
pub(crate) struct UpdateChat {
    /// The chat.
    pub chat: ChatId,
    /// Its title.
    pub title: Option<String>,
    /// Its labels.
    pub labels: Option<LabelChange>,
    /// The caller's pin: a place from 1, or 0 for none.
    pub pin_order: Option<usize>,
    /// The version that the caller has read.
    pub expected_version: Option<i64>,
}

/// A change of labels.
#[derive(Clone, Debug)]
pub(crate) enum LabelChange {
    /// These are all.
    Replace(BTreeMap<String, String>),
    /// The others stay.
    Edit {
        /// Those to add or change.
        set: BTreeMap<String, String>,
        /// Keys of those to remove.
        remove: Vec<String>,
    },
}

impl App {
    /// Changes title, labels, or the caller's pin of a chat.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `VersionMismatch`, `StateForbids`, `FieldInvalid`, `LimitExceeded`,
    /// `RequestIdReused`.
    pub(crate) async fn update_chat(&self, call: &Call, update: UpdateChat) -> Result<ChatView, Error> {
        let (viewer, _) = call.user()?;
        let locks = match update.pin_order {
            Some(_) => MetadataLocks::Pins,
            None => MetadataLocks::Chat,
        };
        let asked = MetadataUpdate { chat: update.chat, viewer, locks, request: call.request.as_ref() };
        let authorize = |chat: &ChatView| {
            authz::may(&call.actor, Action::WriteChat, Resource::Chat(chat.owner_id))
                .map_err(Error::chat_denied)
        };
        let updated = self.inner.store.update_metadata(asked, authorize, |now| update.decide(now)).await?;
        if updated.has_changed {
            self.inner.hub.chat_changed(update.chat);
            self.inner.hub.owner_changed(updated.chat.owner_id);
        }
        Ok(updated.chat)
    }
}

impl UpdateChat {
    fn decide(&self, now: &MetadataSnapshot) -> Result<MetadataWrite, Error> {
        let version = now.chat.metadata.metadata_version;
        if self.expected_version.is_some_and(|expected| expected != version) {
            return Err(Error::VersionMismatch { version });
        }
        let labels = self.labels.as_ref().map(|change| change.applied(&now.chat.metadata.labels));
        Ok(MetadataWrite {
            title: self.title.clone(),
            labels: labels.transpose()?,
            pins: self.pin_order.map(|place| pins(now, place)).transpose()?,
        })
    }
}

impl LabelChange {
    fn applied(&self, now: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
        let (set, remove) = match self {
            Self::Replace(all) => return Ok(all.clone()),
            Self::Edit { set, remove } => (set, remove),
        };
        let mut labels = now.clone();
        labels.retain(|key, _| !remove.contains(key));
        labels.extend(set.clone());
        if labels.len() > labels::COUNT_MAX {
            let description = format!(
                "a chat has at most {} labels, and would have {}; name some in remove_labels",
                labels::COUNT_MAX,
                labels.len()
            );
            return Err(Error::invalid("set_labels", description));
        }
        Ok(labels)
    }
}

/// The caller's pinned chats, once this one has its place among them.
fn pins(now: &MetadataSnapshot, place: usize) -> Result<Vec<ChatId>, Error> {
    let chat = &now.chat;
    if place > 0 {
        if chat.parent_chat_id.is_some() {
            return Err(Error::invalid("pin_order", "a child cannot be pinned; pin its root"));
        }
        if chat.archived {
            return Err(Error::StateForbids { state: chat.state, archived: true, command: COMMAND });
        }
        if now.pins.len() >= PINS_MAX && !now.pins.contains(&chat.chat_id) {
            let sentence =
                format!("you have {PINS_MAX} pinned chats, which is the most; take a pin off first");
            return Err(Error::LimitExceeded(sentence));
        }
    }
    Ok(placed(&now.pins, chat.chat_id, place))
}

/// A list of pins after one of them was given a place: 0 takes it out, a new one goes to
/// the end, and one that is there moves, at most to the end.
fn placed(pins: &[ChatId], chat: ChatId, place: usize) -> Vec<ChatId> {
    let mut placed: Vec<ChatId> = pins.iter().copied().filter(|&pinned| pinned != chat).collect();
    let was_pinned = placed.len() < pins.len();
    match place.checked_sub(1) {
        None => {}
        Some(index) if was_pinned => placed.insert(index.min(placed.len()), chat),
        Some(_) => placed.push(chat),
    }
    placed
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn chat(number: u128) -> ChatId {
        ChatId(Uuid::from_u128(number))
    }

    /// What becomes of chats 1, 2 and 3, pinned in this order.
    fn after(number: u128, place: usize) -> Vec<u128> {
        let pins = [1, 2, 3].map(chat);
        placed(&pins, chat(number), place).into_iter().map(|chat| chat.0.as_u128()).collect()
    }

    #[test]
    fn zero_takes_a_pin_off_and_the_others_move_up() {
        assert_eq!(after(2, 0), [1, 3]);
        assert_eq!(after(7, 0), [1, 2, 3]);
    }

    #[test]
    fn a_new_pin_goes_to_the_end_whatever_its_place() {
        assert_eq!(after(7, 1), [1, 2, 3, 7]);
        assert_eq!(after(7, 100), [1, 2, 3, 7]);
    }

    #[test]
    fn a_pin_that_is_there_goes_to_its_place_and_the_others_make_room() {
        assert_eq!(after(3, 1), [3, 1, 2]);
        assert_eq!(after(1, 2), [2, 1, 3]);
        assert_eq!(after(2, 2), [1, 2, 3]);
        assert_eq!(after(1, 3), [2, 3, 1]);
        assert_eq!(after(1, usize::MAX), [2, 3, 1]);
    }

    #[test]
    fn labels_are_replaced_set_and_removed_and_never_more_than_there_may_be() {
        let all = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let now = all(&[("a", "1"), ("b", "2")]);
        let some = |set: &[(&str, &str)], remove: &[&str]| LabelChange::Edit {
            set: all(set),
            remove: remove.iter().map(|&key| key.to_owned()).collect(),
        };
        let many = (0..labels::COUNT_MAX - 1).map(|number| (format!("k{number}"), "v".to_owned())).collect();
        let many = LabelChange::Edit { set: many, remove: Vec::new() };
        let applied = |change: LabelChange| change.applied(&now).expect("there is room");

        assert_eq!(applied(LabelChange::Replace(all(&[("c", "3")]))), all(&[("c", "3")]));
        assert_eq!(applied(LabelChange::Replace(all(&[]))), all(&[]));
        assert_eq!(applied(some(&[("b", "x"), ("c", "3")], &["a", "z"])), all(&[("b", "x"), ("c", "3")]));
        assert!(matches!(many.applied(&now), Err(Error::FieldInvalid(_))));
    }
}
