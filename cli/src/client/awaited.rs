//! Which of a chat's events belong to the turn of one message. Pure.
//!
//! A chat may be busy with other people's turns before and after. The turn begins where the message enters the
//! history, and is over when the chat comes to rest or the next message enters, other than one that steers.
//!
//! Whether a message steers is told by the queue that it waited in, and not by its row. A message that was
//! queued and entered between two pictures was never seen in the queue. It counts as one that steers: to show
//! the next turn too is better than to leave the awaited one in its middle, and the chat's rest ends both.

use chatplane_proto::chat::v1::{ChatState, Message, Role, watch_chat_response::Event};

use crate::client::transcript::{Outcome, Transcript};

/// The message that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// It has entered the history.
    Message { message_id: i64 },
    /// It waits.
    Queued { queued_message_id: String },
}

impl Ours {
    /// The queued message that it is.
    pub(crate) fn into_queued(self) -> Option<String> {
        match self {
            Self::Queued { queued_message_id } => Some(queued_message_id),
            Self::Message { .. } => None,
        }
    }
}

/// Where the turn of the message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The message has not been seen in the history.
    Before,
    /// The event belongs to the turn.
    Within,
    /// The event ends the turn and belongs to it.
    Last,
    /// The turn was over before this event.
    Over,
    /// The message was taken away before it was answered.
    Removed,
}

/// What is known of a queued message when it enters the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It was to join the running turn.
    ToSteer,
    /// It was to begin a turn of its own.
    InLine,
    /// Nobody has seen it wait.
    Unseen,
}

impl Waited {
    /// What the events so far have told of the queued message.
    pub(crate) fn of(queued_message_id: &str, transcript: &Transcript) -> Self {
        let seen = transcript.queue().find(|waiting| waiting.queued_message_id == queued_message_id);
        match seen {
            Some(waiting) if waiting.is_steering => Self::ToSteer,
            Some(_) => Self::InLine,
            // Nothing joins a turn that was interrupted.
            None if transcript.outcome_so_far() == Outcome::Interrupted => Self::InLine,
            None => Self::Unseen,
        }
    }
}

/// Follows the events.
pub(crate) struct Awaited {
    ours: Ours,
    entered: Option<i64>,
}

impl Awaited {
    pub(crate) fn new(ours: Ours) -> Self {
        Self { ours, entered: None }
    }

    /// The queued message that it still is.
    pub(crate) fn queued(&self) -> Option<&str> {
        match (&self.ours, self.entered) {
            (Ours::Queued { queued_message_id }, None) => Some(queued_message_id),
            _ => None,
        }
    }

    pub(crate) fn has_entered(&self) -> bool {
        self.entered.is_some()
    }

    /// Takes the next event. `waited` tells what is known of a queued message.
    pub(crate) fn see(&mut self, event: &Event, waited: impl Fn(&str) -> Waited) -> Phase {
        match (event, self.entered) {
            (Event::Message(message), None) if self.is_ours(message) => {
                self.entered = Some(message.message_id);
                Phase::Within
            }
            (Event::Message(message), Some(entered))
                if message.role() == Role::User
                    && message.covers_through == 0
                    && message.message_id > entered
                    && begins_turn(message, &waited) =>
            {
                Phase::Over
            }
            (Event::QueuedMessageRemoved(removed), None)
                if self.queued() == Some(removed.queued_message_id.as_str()) =>
            {
                Phase::Removed
            }
            (Event::HistoryReset(reset), Some(entered)) if reset.from_message_id <= entered => Phase::Removed,
            (Event::State(change), Some(_))
                if matches!(change.state(), ChatState::Waiting | ChatState::Error) =>
            {
                Phase::Last
            }
            (_, None) => Phase::Before,
            (_, Some(_)) => Phase::Within,
        }
    }

    fn is_ours(&self, message: &Message) -> bool {
        match &self.ours {
            Ours::Message { message_id } => message.message_id == *message_id,
            Ours::Queued { queued_message_id } => message.queued_message_id == *queued_message_id,
        }
    }
}

/// Whether a user message that enters begins a turn.
fn begins_turn(message: &Message, waited: impl Fn(&str) -> Waited) -> bool {
    // One that never waited has found the chat at rest.
    message.queued_message_id.is_empty()
        || match waited(&message.queued_message_id) {
            Waited::InLine => true,
            Waited::ToSteer | Waited::Unseen => false,
        }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use chatplane_proto::chat::v1::{HistoryReset, QueuedMessage, QueuedMessageRemoved, StateChanged};

    use super::*;
    use crate::client::words::Advice;

    fn user(message_id: i64, queued: &str) -> Event {
        Event::Message(Message {
            message_id,
            role: Role::User.into(),
            queued_message_id: queued.to_owned(),
            ..Default::default()
        })
    }

    fn state(state: ChatState) -> Event {
        Event::State(StateChanged { state: state.into(), ..Default::default() })
    }

    fn queued(id: &str) -> Awaited {
        Awaited::new(Ours::Queued { queued_message_id: id.to_owned() })
    }

    #[test]
    fn the_turn_begins_with_the_message_and_ends_with_the_chats_rest() {
        let mut awaited = queued("q");
        let mut see = |event: &Event| awaited.see(event, |_| Waited::InLine);

        assert_eq!(see(&state(ChatState::Waiting)), Phase::Before);
        assert_eq!(see(&user(3, "other")), Phase::Before);
        assert_eq!(see(&user(5, "q")), Phase::Within);
        assert_eq!(see(&state(ChatState::Running)), Phase::Within);
        assert_eq!(see(&state(ChatState::Error)), Phase::Last);
    }

    #[test]
    fn the_next_message_ends_the_turn_unless_it_steers() {
        let waited = |id: &str| if id == "s" { Waited::ToSteer } else { Waited::InLine };
        let mut awaited = Awaited::new(Ours::Message { message_id: 2 });

        assert_eq!(awaited.see(&user(2, ""), waited), Phase::Within);
        assert_eq!(awaited.see(&user(4, "s"), waited), Phase::Within);
        assert_eq!(awaited.see(&user(6, "q"), waited), Phase::Over);
    }

    #[test]
    fn a_message_that_nobody_has_seen_wait_does_not_end_the_turn_before_the_chats_rest() {
        let awaited = || {
            let mut awaited = queued("q");
            assert_eq!(awaited.see(&user(2, "q"), |_| Waited::Unseen), Phase::Within);
            assert_eq!(awaited.see(&user(4, "unseen"), |_| Waited::Unseen), Phase::Within);
            awaited
        };

        assert_eq!(awaited().see(&state(ChatState::Running), |_| Waited::Unseen), Phase::Within);
        assert_eq!(awaited().see(&state(ChatState::Waiting), |_| Waited::Unseen), Phase::Last);
        assert_eq!(awaited().see(&user(6, "seen"), |_| Waited::InLine), Phase::Over);
        assert_eq!(awaited().see(&user(6, ""), |_| Waited::Unseen), Phase::Over, "it never waited");
    }

    #[test]
    fn what_is_known_of_a_queued_message_is_what_was_seen_of_it() {
        let mut transcript = Transcript::new(Advice::Operator);
        let mut see = |event| drop(transcript.apply(event, SystemTime::UNIX_EPOCH));
        for (id, steering) in [("s", true), ("q", false)] {
            let message = QueuedMessage { queued_message_id: id.to_owned(), steering, ..Default::default() };
            see(Event::QueuedMessageUpserted(message));
        }
        let known = ["s", "q", "other"].map(|id| Waited::of(id, &transcript));
        let cut = Message { message_id: 3, interrupted: true, ..Default::default() };
        transcript.apply(Event::Message(cut), SystemTime::UNIX_EPOCH);

        assert_eq!(known, [Waited::ToSteer, Waited::InLine, Waited::Unseen]);
        assert_eq!(Waited::of("other", &transcript), Waited::InLine, "the turn was interrupted");
    }

    #[test]
    fn a_message_that_is_taken_away_is_not_waited_for() {
        let removed =
            |id: &str| Event::QueuedMessageRemoved(QueuedMessageRemoved { queued_message_id: id.to_owned() });
        let reset = |from_message_id| Event::HistoryReset(HistoryReset { from_message_id });

        assert_eq!(queued("q").see(&removed("q"), |_| Waited::Unseen), Phase::Removed);
        assert_eq!(queued("q").see(&removed("other"), |_| Waited::Unseen), Phase::Before);
        let mut entered = queued("q");
        entered.see(&user(5, "q"), |_| Waited::Unseen);
        assert_eq!(entered.see(&removed("q"), |_| Waited::Unseen), Phase::Within, "it has entered");
        assert_eq!(entered.see(&reset(6), |_| Waited::Unseen), Phase::Within);
        assert_eq!(entered.see(&reset(5), |_| Waited::Unseen), Phase::Removed);
    }
}
