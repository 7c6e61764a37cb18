//! The order of a queue: steering messages stand before ordinary ones, a promoted
//! one before all.

use crate::{Queued, QueuedMessageId};

/// Room between two neighbours, so that most moves touch one row.
const GAP: i64 = 1 << 20;

/// Where a queued message is.
pub(crate) fn find(queue: &[Queued], id: QueuedMessageId) -> Option<usize> {
    queue.iter().position(|queued| queued.id == id)
}

/// Adds a message behind all others of its kind.
pub(crate) fn push(queue: &mut Vec<Queued>, queued: Queued) -> Queued {
    let id = queued.id;
    let index = if queued.steering {
        queue.iter().rposition(|other| other.steering).map_or(0, |last| last + 1)
    } else {
        queue.len()
    };
    insert(queue, index, queued);
    let index = find(queue, id).expect("the message was just inserted");
    queue[index].clone()
}

/// Moves a message to the place with this index, clamped.
pub(crate) fn move_to(queue: &mut Vec<Queued>, from: usize, to: usize) {
    let to = to.min(queue.len() - 1);
    if from != to {
        let queued = queue.remove(from);
        insert(queue, to, queued);
    }
}

/// Inserts at an index; where neighbours leave no room, everybody gets a new position.
fn insert(queue: &mut Vec<Queued>, index: usize, mut queued: Queued) {
    let before = index.checked_sub(1).map(|previous| queue[previous].position);
    let after = queue.get(index).map(|next| next.position);
    let position = match (before, after) {
        (None, None) => Some(GAP),
        (Some(before), None) => before.checked_add(GAP),
        (None, Some(after)) => after.checked_sub(GAP),
        (Some(before), Some(after)) => {
            let middle = before + (after - before) / 2;
            (middle > before && middle < after).then_some(middle)
        }
    };
    queued.position = position.unwrap_or(0);
    queue.insert(index, queued);
    if position.is_none() {
        for (place, queued) in (1_i64..).zip(queue.iter_mut()) {
            queued.position = place * GAP;
        }
    }
}
