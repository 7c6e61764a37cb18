//! Which of a chat's events belong to the turn of one message. Pure.
//!
//! A chat may be busy with other people's turns before and after. The turn begins where the message enters the
//! history, and is over when the chat comes to rest or the next message enters, other than one that steers.

use chatplane_proto::chat::v1::{ChatState, Message, Role, watch_chat_response::Event};

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

    /// Takes the next event. `is_steering` says of a queued message whether it joins the running turn.
    pub(crate) fn see(&mut self, event: &Event, is_steering: impl Fn(&str) -> bool) -> Phase {
        match (event, self.entered) {
            (Event::Message(message), None) if self.is_ours(message) => {
                self.entered = Some(message.message_id);
                Phase::Within
            }
            (Event::Message(message), Some(entered))
                if message.role() == Role::User
                    && message.covers_through == 0
                    && message.message_id > entered
                    && !is_steering(&message.queued_message_id) =>
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

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::{HistoryReset, QueuedMessageRemoved, StateChanged};

    use super::*;

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
        let mut see = |event: &Event| awaited.see(event, |_| false);

        assert_eq!(see(&state(ChatState::Waiting)), Phase::Before);
        assert_eq!(see(&user(3, "other")), Phase::Before);
        assert_eq!(see(&user(5, "q")), Phase::Within);
        assert_eq!(see(&state(ChatState::Running)), Phase::Within);
        assert_eq!(see(&state(ChatState::Error)), Phase::Last);
    }

    #[test]
    fn the_next_message_ends_the_turn_unless_it_steers() {
        let mut awaited = Awaited::new(Ours::Message { message_id: 2 });

        assert_eq!(awaited.see(&user(2, ""), |_| false), Phase::Within);
        assert_eq!(awaited.see(&user(4, "s"), |id| id == "s"), Phase::Within);
        assert_eq!(awaited.see(&user(6, "q"), |id| id == "s"), Phase::Over);
    }

    #[test]
    fn a_message_that_is_taken_away_is_not_waited_for() {
        let removed =
            |id: &str| Event::QueuedMessageRemoved(QueuedMessageRemoved { queued_message_id: id.to_owned() });
        let reset = |from_message_id| Event::HistoryReset(HistoryReset { from_message_id });

        assert_eq!(queued("q").see(&removed("q"), |_| false), Phase::Removed);
        assert_eq!(queued("q").see(&removed("other"), |_| false), Phase::Before);
        let mut entered = queued("q");
        entered.see(&user(5, "q"), |_| false);
        assert_eq!(entered.see(&removed("q"), |_| false), Phase::Within, "it has entered");
        assert_eq!(entered.see(&reset(6), |_| false), Phase::Within);
        assert_eq!(entered.see(&reset(5), |_| false), Phase::Removed);
    }
}
