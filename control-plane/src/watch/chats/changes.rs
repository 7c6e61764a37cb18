//! What of a chat changed since it was last told.

use crate::store::{FeedAspects, FeedEntry, FeedSnapshot};

/// What of a chat changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChatChange {
    /// None of the others: its queue, its model, who has it.
    Other,
    /// The chat was created.
    Created,
    /// The chat was archived.
    Archived,
    /// The chat was brought back.
    Unarchived,
    /// Its state.
    State,
    /// Title or labels.
    Metadata,
    /// The summary of the last turn.
    Summary,
    /// What it waits for.
    ActionRequired,
    /// What its owner has read, or there is something unread.
    ReadState,
    /// Its owner's pin.
    Pin,
}

/// What changed of a chat since everything was told that `told` sees.
pub(super) fn changes(entry: &FeedEntry, archived: bool, told: &FeedSnapshot) -> Vec<ChatChange> {
    let FeedAspects { create, archive, state, metadata, summary, action, read, pin } = entry.aspects;
    let is_new = !told.sees(create);
    // What the creation wrote with the rest of a new chat is no change of it.
    let changed = |xid: i64| !(told.sees(xid) || is_new && xid == create);
    let archived = if archived { ChatChange::Archived } else { ChatChange::Unarchived };
    let all = [
        (is_new, ChatChange::Created),
        (changed(archive), archived),
        (changed(state), ChatChange::State),
        (changed(metadata), ChatChange::Metadata),
        (changed(summary), ChatChange::Summary),
        (changed(action), ChatChange::ActionRequired),
        (changed(read), ChatChange::ReadState),
        (changed(pin), ChatChange::Pin),
    ];
    let listed: Vec<ChatChange> =
        all.into_iter().filter_map(|(is_listed, change)| is_listed.then_some(change)).collect();
    if listed.is_empty() { vec![ChatChange::Other] } else { listed }
}
