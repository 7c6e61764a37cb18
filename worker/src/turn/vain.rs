//! Which chats' summaries beside the turn have come to nothing.
//!
//! A turn forgets everything with its lease, and in a chat of short turns each would begin a
//! summary, pay for it and throw it away. So the process remembers the last one that was late
//! or failed. A chat that goes on elsewhere pays once more there.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use crate::step::InVain;

/// Chats that are remembered: more than a worker serves in an hour, in some 50 KiB.
const CHATS_MAX: usize = 1024;

/// What came to nothing in the chats of this process, the last used at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct VainSummaries {
    chats: Arc<Mutex<VecDeque<(Uuid, InVain)>>>,
}

impl VainSummaries {
    /// The last one of a chat.
    pub(super) fn last_of(&self, chat: Uuid) -> Option<InVain> {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        let place = chats.iter().rposition(|(known, _)| *known == chat)?;
        let found = chats.remove(place)?;
        chats.push_back(found);
        Some(found.1)
    }

    /// One has come to nothing.
    pub(super) fn remember(&self, chat: Uuid, summary: InVain) {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        chats.retain(|(known, _)| *known != chat);
        if chats.len() == CHATS_MAX {
            chats.pop_front();
        }
        chats.push_back((chat, summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHTY: InVain = InVain { context_percent: 80, summary: None };

    #[test]
    fn the_chats_that_were_asked_about_last_are_remembered_with_their_last_word() {
        let summaries = VainSummaries::default();
        let chat = |number: usize| Uuid::from_u128(number as u128);
        (0..CHATS_MAX).for_each(|number| summaries.remember(chat(number), EIGHTY));

        let later = InVain { context_percent: 90, ..EIGHTY };
        summaries.remember(chat(7), later);
        summaries.last_of(chat(0));
        summaries.remember(chat(CHATS_MAX), EIGHTY);

        assert_eq!(summaries.last_of(chat(7)), Some(later));
        assert_eq!((summaries.last_of(chat(0)), summaries.last_of(chat(1))), (Some(EIGHTY), None));
        assert_eq!(summaries.last_of(chat(CHATS_MAX)), Some(EIGHTY));
        assert_eq!(summaries.chats.lock().unwrap().len(), CHATS_MAX);
    }
}
