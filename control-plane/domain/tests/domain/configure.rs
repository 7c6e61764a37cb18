//! ConfigureChat: settings that the next model call uses.

use chatplane_domain::{
    CallKind, Chat, Command, ConfigureChat, Effect, Effort, Fence, JournalId, MessageId, NextStep, Rejection,
    State, WorkspaceId,
};
use uuid::Uuid;

use crate::{
    fixtures::{accepted, answer, inserted, refused, session, write},
    states::{EXISTING, chat_in},
};

fn everything() -> ConfigureChat {
    ConfigureChat {
        model: Some("another".to_owned()),
        effort: Some(Effort::High),
        workspace: Some(Some(workspace())),
        client_tools: Some(vec!["open_page".to_owned()]),
        system_prompt: None,
    }
}

fn prompt() -> Command {
    Command::ConfigureChat(ConfigureChat {
        system_prompt: Some("Be kind.".to_owned()),
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
    });
    let calling = accepted(&chat, write(&chat, calling)).chat;

    let taken_away = ConfigureChat { workspace: Some(None), ..ConfigureChat::default() };
    let configured = accepted(&calling, Command::ConfigureChat(taken_away)).chat;

    assert_eq!(configured.state(), State::Running);
    assert_eq!(configured.open_calls[0].workspace, Some(workspace()));
    assert_eq!(configured.open_calls[0].journal, Some(journal));
}
