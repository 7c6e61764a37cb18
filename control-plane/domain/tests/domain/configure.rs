//! ConfigureChat: settings that the next model call uses.

use std::time::Duration;

use chatplane_domain::{
    CallKind, Chat, Command, ConfigureChat, Effect, Effort, Execution, Fence, JournalId, MessageId, NextStep,
    Rejection, State, WorkspaceId,
};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    fixtures::{accepted, answer, client_tool, inserted, now, refused, session, step, write},
    states::{EXISTING, chat_in},
};

fn everything() -> ConfigureChat {
    ConfigureChat {
        model: Some("another".to_owned()),
        effort: Some(Effort::High),
        workspace: Some(Some(workspace())),
        client_tools: Some(vec![client_tool("open_page")]),
        system_prompt: None,
        action_timeout: Some(Duration::from_secs(90)),
    }
}

fn prompt() -> Command {
    Command::ConfigureChat(ConfigureChat {
        system_prompt: Some(Some("Be kind.".to_owned())),
        ..ConfigureChat::default()
    })
}

fn workspace() -> WorkspaceId {
    WorkspaceId(Uuid::from_u128(5))
}

fn unanswered(state: &str) -> Chat {
    Chat { answered: false, ..chat_in(state) }
}

#[test]
fn every_setting_is_changed_and_what_is_not_named_stays() {
    let changed = accepted(&chat_in("W"), Command::ConfigureChat(everything())).chat;
    assert_eq!(changed.settings.model, "another");
    assert_eq!(changed.settings.effort, Effort::High);
    assert_eq!(changed.settings.workspace, Some(workspace()));
    assert_eq!(changed.settings.client_tools, ["open_page"]);
    assert_eq!(changed.settings.action_timeout, Duration::from_secs(90));

    let taken_away = ConfigureChat { workspace: Some(None), ..ConfigureChat::default() };
    let without = accepted(&changed, Command::ConfigureChat(taken_away)).chat;

    assert_eq!(without.settings.workspace, None);
    assert_eq!(without.settings.model, "another");
}

#[test]
fn settings_change_in_every_live_state_without_touching_the_turn() {
    for state in EXISTING.into_iter().filter(|state| !state.starts_with('X')) {
        let chat = chat_in(state);

        let configured = accepted(&chat, Command::ConfigureChat(everything()));

        assert_eq!(configured.chat.execution, chat.execution, "{state}");
        assert_eq!(configured.chat.versions.history, chat.versions.history, "{state}");
        assert_eq!(configured.chat.attempt, chat.attempt, "{state}");
        let reload = Effect::Reload(session(1), Fence(3));
        let leased = chat.live_lease().is_some();
        assert_eq!(configured.effects.contains(&reload), leased, "{state}");
    }
}

#[test]
fn the_prompt_is_replaced_while_the_chat_is_idle_and_unanswered() {
    for state in ["W", "E0"] {
        let chat = unanswered(state);

        let configured = accepted(&chat, prompt());

        let change = configured.change.as_ref().expect("the prompt is a row");
        assert_eq!(change.delete_one, Some(MessageId(1)));
        assert_eq!(inserted(&configured).len(), 1);
        assert_eq!(configured.chat.system_prompt, Some(MessageId(4)));
        assert_eq!(configured.chat.versions.history, configured.chat.versions.snapshot);
    }
}

#[test]
fn the_prompt_stays_once_the_chat_is_busy_or_answered() {
    for state in EXISTING {
        let chat = chat_in(state);
        let forbidden = Rejection::StateForbids {
            state: chat.state(),
            archived: chat.archived(),
            command: "ConfigureChat",
        };

        assert_eq!(refused(&chat, prompt()), forbidden, "{state}, answered");
        if !["W", "E0"].contains(&state) {
            assert_eq!(refused(&unanswered(state), prompt()), forbidden, "{state}");
        }
    }
}

#[test]
fn calls_already_committed_keep_their_workspace_and_journal() {
    let journal = JournalId(Uuid::from_u128(6));
    let mut chat = chat_in("L0");
    chat.settings.workspace = Some(workspace());
    let calling = chatplane_domain::HolderWrite::CommitStep(chatplane_domain::CommitStep {
        answer: Some(answer(&[CallKind::Worker])),
        next: NextStep::Continue,
        journal: Some(journal),
        summary: None,
    });
    let calling = accepted(&chat, write(&chat, calling)).chat;

    let taken_away = ConfigureChat { workspace: Some(None), ..ConfigureChat::default() };
    let configured = accepted(&calling, Command::ConfigureChat(taken_away)).chat;

    assert_eq!(configured.state(), State::Running);
    assert_eq!(configured.open_calls[0].workspace, Some(workspace()));
    assert_eq!(configured.open_calls[0].journal, Some(journal));
}

#[test]
fn a_prompt_is_taken_away_and_nothing_changes_where_there_is_none() {
    let no_prompt =
        || Command::ConfigureChat(ConfigureChat { system_prompt: Some(None), ..ConfigureChat::default() });

    let without = accepted(&unanswered("W"), no_prompt());
    let again = accepted(&without.chat, no_prompt());

    assert_eq!(without.change.as_ref().and_then(|change| change.delete_one), Some(MessageId(1)));
    assert_eq!((inserted(&without), without.chat.system_prompt), ([].as_slice(), None));
    assert_eq!((again.chat, again.change), (without.chat, None));
}

#[test]
fn definitions_of_tools_are_stored_and_their_names_are_settings() {
    let tools = ["open_page", "click"].map(client_tool).to_vec();
    let configure = |tools| {
        Command::ConfigureChat(ConfigureChat { client_tools: Some(tools), ..ConfigureChat::default() })
    };

    let configured = accepted(&chat_in("L0"), configure(tools.clone()));
    let again = accepted(&configured.chat, configure(tools.clone()));
    let none = accepted(&configured.chat, configure(Vec::new()));
    let still_none = accepted(&none.chat, configure(Vec::new()));

    let defined = |decision: &chatplane_domain::Decision| {
        decision.change.as_ref().and_then(|change| change.client_tools.clone())
    };
    assert_eq!(configured.chat.settings.client_tools, ["open_page", "click"]);
    assert_eq!(defined(&configured), Some(tools.clone()));
    assert_eq!(defined(&again), Some(tools), "the stored definitions are not read");
    assert!(again.effects.contains(&Effect::Reload(session(1), Fence(3))));
    assert_eq!((defined(&none), none.chat.settings.client_tools.len()), (Some(Vec::new()), 0));
    assert_eq!(still_none.change, None);
}

#[test]
fn a_chat_waits_for_its_client_as_long_as_its_settings_say() {
    let mut chat = chat_in("L0");
    chat.settings.action_timeout = Duration::from_secs(90);
    let waiting = step(Some(answer(&[CallKind::Client])), NextStep::Suspend);

    let suspended = accepted(&chat, write(&chat, waiting)).chat;
    let change = ConfigureChat { action_timeout: Some(Duration::from_secs(5)), ..ConfigureChat::default() };
    let configured = accepted(&suspended, Command::ConfigureChat(change)).chat;

    let deadline = now() + TimeDelta::seconds(90);
    assert_eq!(suspended.execution, Execution::Suspended { deadline });
    assert_eq!(configured.execution, suspended.execution, "what waits already keeps its deadline");
    assert_eq!(configured.settings.action_timeout, Duration::from_secs(5));
}
