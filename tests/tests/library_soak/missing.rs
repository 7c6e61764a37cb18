//! What has not come to pass. Nothing is proven by a day on which nothing happened.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_proto::chat::v1::ChatChange;

use crate::{
    transcript::{Shared, Told, locked},
    user::{Desk, Operation, refused},
};

/// Every kind of change: each must be told.
const KINDS: [ChatChange; 10] = [
    ChatChange::Unspecified,
    ChatChange::Created,
    ChatChange::Archived,
    ChatChange::Unarchived,
    ChatChange::State,
    ChatChange::Metadata,
    ChatChange::Summary,
    ChatChange::ActionRequired,
    ChatChange::ReadState,
    ChatChange::Pin,
];

/// What nobody did, nobody was refused, or nobody was told.
pub(crate) fn missing<'a>(
    desks: impl Iterator<Item = &'a Desk>,
    transcripts: impl Iterator<Item = &'a Shared>,
) -> Vec<String> {
    let tally: BTreeMap<String, usize> = desks.flat_map(Desk::counted).collect();
    let done = Operation::ALL.map(|operation| format!("{operation:?}"));
    let refused = Operation::REFUSED.map(|(operation, reason)| refused(operation, reason));
    let mut missing: Vec<String> =
        done.into_iter().chain(refused).filter(|what| !tally.contains_key(what)).collect();
    let (mut told, mut is_deletion_told) = (BTreeSet::new(), false);
    for transcript in transcripts {
        for event in &locked(transcript).told {
            match event {
                Told::Changed { changes, .. } => told.extend(changes.iter().copied()),
                Told::Deleted(_) => is_deletion_told = true,
            }
        }
    }
    missing.extend(KINDS.iter().filter(|kind| !told.contains(*kind)).map(|kind| format!("{kind:?}")));
    if !is_deletion_told {
        missing.push("a deletion by retention".to_owned());
    }
    missing.iter_mut().for_each(|what| *what = format!("this never came to pass: {what}"));
    missing
}
