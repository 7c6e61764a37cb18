//! Which kinds of changes lie between two moments of a chat.

use std::collections::BTreeSet;

use chatplane_proto::chat::v1::ChatChange;

use crate::{
    check::Place,
    journal::{History, Version},
};

/// A kind of change, and the fields that it is about.
type Aspect = (ChatChange, &'static [&'static str]);

const OF_CHAT: [Aspect; 3] = [
    (ChatChange::State, &["state"]),
    (ChatChange::Summary, &["last_turn_summary"]),
    (ChatChange::ActionRequired, &["open_call_count", "action_deadline_us"]),
];
const OF_METADATA: [Aspect; 1] = [(ChatChange::Metadata, &["title", "labels"])];
const OF_USER: [Aspect; 2] =
    [(ChatChange::ReadState, &["read_message_id", "has_unread"]), (ChatChange::Pin, &["pin_order"])];

/// The kinds of what changed from one place to another; none before is before the creation.
pub(crate) fn between(history: &History, from: Option<Place>, to: Place) -> BTreeSet<ChatChange> {
    let begin = from.unwrap_or_default();
    let mut kinds = changed(history, to, |row, place, _| match row {
        Row::Chat => place > begin.chat,
        Row::Metadata => place > begin.metadata,
        Row::User => place > begin.user,
    });
    if from.is_none() {
        kinds.insert(ChatChange::Created);
    }
    kinds
}

/// The kinds of what transactions from this one on had changed at a place.
pub(crate) fn since(history: &History, xid: i64, to: Place) -> BTreeSet<ChatChange> {
    let mut kinds = changed(history, to, |_, _, version| version.xid >= xid);
    if history.chat.first().is_some_and(|created| created.xid >= xid) {
        kinds.insert(ChatChange::Created);
    }
    kinds
}

/// A row that a picture is made of.
#[derive(Clone, Copy, Debug)]
enum Row {
    Chat,
    Metadata,
    User,
}

/// The kinds of the changes up to a place that are counted; a row's first version is none.
fn changed(
    history: &History,
    to: Place,
    is_counted: impl Fn(Row, usize, &Version) -> bool,
) -> BTreeSet<ChatChange> {
    let is_archived = history.chat[to.chat].said["archived"] == true;
    let archived = if is_archived { ChatChange::Archived } else { ChatChange::Unarchived };
    let of_archive: Aspect = (archived, &["archived"]);
    let of_chat: Vec<_> = OF_CHAT.into_iter().chain([of_archive]).collect();
    let rows: [(Row, &[Version], usize, &[Aspect]); 3] = [
        (Row::Chat, &history.chat, to.chat, &of_chat),
        (Row::Metadata, &history.metadata, to.metadata, &OF_METADATA),
        (Row::User, &history.user, to.user, &OF_USER),
    ];
    let mut kinds = BTreeSet::new();
    for (row, versions, last, aspects) in rows {
        for place in (1..=last).filter(|place| is_counted(row, *place, &versions[*place])) {
            let (before, after) = (&versions[place - 1].said, &versions[place].said);
            let differing =
                aspects.iter().filter(|(_, fields)| fields.iter().any(|it| before[*it] != after[*it]));
            kinds.extend(differing.map(|(kind, _)| *kind));
        }
    }
    kinds
}
