//! What is left of a chat that is deleted for good.

use chatplane_domain::{Change, Command, Execution, MessageId, Versions};

use crate::{
    fixtures::accepted,
    states::{EXISTING, chat_in},
};

#[test]
fn a_deleted_chat_keeps_nothing_that_anybody_has_said_or_configured() {
    for state in ["XW", "XE0", "XE1"] {
        let mut before = chat_in(state);
        before.settings.client_tools = vec!["a_tool".to_owned()];
        before.system_prompt = Some(MessageId::FIRST);
        before.covers_through = Some(MessageId(2));
        before.last_turn_summary = "it went well".to_owned();
        before.history_bytes = 7;
        if let Execution::Error { error, .. } = &mut before.execution {
            error.detail = "the prompt was ...".to_owned();
        }

        let decision = accepted(&before, Command::DeleteChat);

        let after = &decision.chat;
        assert_eq!(decision.change, Some(Change { erased: true, ..Change::default() }), "{state}");
        assert!(decision.effects.is_empty() && after.archived(), "{state}");
        assert!(after.queue.is_empty() && after.settings.client_tools.is_empty(), "{state}");
        assert_eq!((after.system_prompt, after.covers_through, after.history_bytes), (None, None, 0));
        assert_eq!(after.last_turn_summary, "");
        assert!(after.last_error().is_none_or(|error| error.detail.is_empty()));
        // Of an error the kind stays, and our own sentence about it.
        let kind = |chat: &chatplane_domain::Chat| chat.last_error().map(|error| error.kind);
        assert_eq!(kind(after), kind(&before), "{state}");
        let snapshot = before.versions.snapshot + 1;
        assert_eq!((after.versions.snapshot, after.versions.history), (snapshot, snapshot));
    }
}

#[test]
fn deleting_moves_no_version_backwards() {
    for state in EXISTING {
        let before = chat_in(state);
        let Ok(decision) = chatplane_domain::decide(&before, Command::DeleteChat, crate::fixtures::context())
        else {
            assert!(!before.archived(), "an archived chat can be deleted: {state}");
            continue;
        };
        let numbers = |of: Versions| [of.snapshot, of.history, of.queue, of.retry, of.error];
        let (before, after) = (numbers(before.versions), numbers(decision.chat.versions));
        assert!(
            before
                .iter()
                .zip(after)
                .all(|(before, after)| *before <= after && after <= numbers(decision.chat.versions)[0])
        );
    }
}
