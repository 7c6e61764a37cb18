//! What the chat alone says about a call.

use chatplane_domain::{
    CallId, ChatId, Effort, Execution, Fence, Lease, MessageId, OrganizationId, SessionId, Settings, UserId,
    Versions,
};
use chrono::DateTime;
use uuid::Uuid;

use super::*;

const SESSION: SessionId = SessionId(Uuid::from_u128(1));
const CALL: CallId = CallId { message: MessageId(4), index: 1 };

fn open(kind: CallKind) -> OpenCall {
    OpenCall {
        id: CALL,
        tool_name: "read_file".to_owned(),
        kind,
        workspace: Some(WorkspaceId(Uuid::from_u128(2))),
        journal: None,
    }
}

fn chat() -> Chat {
    Chat {
        id: ChatId(Uuid::from_u128(3)),
        organization: OrganizationId(Uuid::nil()),
        owner: UserId(Uuid::nil()),
        settings: Settings {
            model: "model".to_owned(),
            effort: Effort::Medium,
            workspace: None,
            client_tools: Vec::new(),
            client_tools_version: 1,
            action_timeout: chatplane_domain::ACTION_TIMEOUT_DEFAULT,
        },
        execution: Execution::Leased,
        versions: Versions { snapshot: 9, history: 8, ..Versions::default() },
        queue: Vec::new(),
        open_calls: vec![open(CallKind::Worker)],
        attempt: 1,
        retry: None,
        last_lease: Some(Lease { fence: Fence(5), session: SESSION, last_write: None }),
        next_message_id: MessageId(5),
        system_prompt: None,
        answered: true,
        history_bytes: 0,
        covers_through: None,
        compact_requested: false,
        last_turn_summary: String::new(),
    }
}

fn call() -> CallTool {
    CallTool {
        session: SESSION,
        chat: ChatId(Uuid::from_u128(3)),
        fence: Fence(5),
        history_version: 8,
        call: CALL,
        tool_name: "read_file".to_owned(),
        arguments_json: "{}".to_owned(),
    }
}

fn field(error: &Error) -> Option<&str> {
    match error {
        Error::FieldInvalid(violations) => violations.first().map(|violation| violation.field.as_str()),
        _ => None,
    }
}

#[test]
fn the_holder_may_run_an_open_call() {
    let chat = chat();

    for look in [Look::First, Look::Again] {
        assert_eq!(verdict(&chat, &call(), look).unwrap(), Verdict::Run(&open(CallKind::Worker)));
    }
}

#[test]
fn another_fence_another_session_or_no_lease_is_lease_lost_before_anything_else() {
    let runnable = Chat { execution: Execution::Runnable { since: DateTime::UNIX_EPOCH }, ..chat() };
    let stale = CallTool { history_version: 1, ..call() };
    let cases = [
        (chat(), CallTool { fence: Fence(4), ..stale.clone() }),
        (chat(), CallTool { fence: Fence(6), ..stale.clone() }),
        (chat(), CallTool { session: SessionId(Uuid::nil()), ..stale.clone() }),
        (runnable, stale),
    ];

    for (chat, call) in cases {
        for look in [Look::First, Look::Again] {
            let error = verdict(&chat, &call, look).unwrap_err();
            assert!(matches!(error, Error::LeaseLost), "{error:?}");
        }
    }
}

#[test]
fn an_older_history_is_superseded_at_the_first_look_only() {
    let chat = chat();
    let stale = CallTool { history_version: 7, ..call() };

    assert!(matches!(verdict(&chat, &stale, Look::First), Err(Error::Superseded)));
    assert!(matches!(verdict(&chat, &stale, Look::Again), Ok(Verdict::Run(_))));
}

#[test]
fn a_call_that_is_not_open_is_refused_and_one_that_was_open_is_superseded() {
    let settled = Chat { open_calls: Vec::new(), ..chat() };

    let first = verdict(&settled, &call(), Look::First).unwrap_err();
    let again = verdict(&settled, &call(), Look::Again).unwrap_err();

    assert_eq!(field(&first), Some("call"));
    assert!(matches!(again, Error::Superseded), "{again:?}");
}

#[test]
fn a_call_of_another_kind_or_name_is_refused() {
    for kind in [CallKind::Client, CallKind::Approval, CallKind::Child] {
        let chat = Chat { open_calls: vec![open(kind)], ..chat() };
        assert_eq!(field(&verdict(&chat, &call(), Look::First).unwrap_err()), Some("call"), "{kind:?}");
    }
    let renamed = CallTool { tool_name: "rm".to_owned(), ..call() };
    assert_eq!(field(&verdict(&chat(), &renamed, Look::First).unwrap_err()), Some("tool_name"));
}

#[test]
fn nothing_starts_once_the_user_has_interrupted() {
    let chat = Chat { execution: Execution::Interrupting { since: DateTime::UNIX_EPOCH }, ..chat() };

    for look in [Look::First, Look::Again] {
        let verdict = verdict(&chat, &call(), look).unwrap();
        assert_eq!(verdict, Verdict::Answer(ToolEnd::error(SyntheticReason::Interrupted.sentence())));
    }
}
