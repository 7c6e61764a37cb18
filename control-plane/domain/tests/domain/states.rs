//! The 15 rows of the state table: their names, and a chat in each.

use chatplane_domain::{
    CallId, CallKind, Chat, ChatId, Effort, ErrorKind, Execution, Fence, LastWrite, Lease, MessageId,
    OpenCall, OrganizationId, Queued, Settings, State, Versions, WriteOutcome,
};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::fixtures::{ACTION_TIMEOUT, chat_error, now, queued_id, session, user};

/// All states in which a chat exists; the fifteenth row is `-`, no chat.
pub(crate) const EXISTING: [&str; 14] =
    ["W", "E0", "E1", "R0", "R1", "L0", "L1", "I0", "I1", "S0", "S1", "XW", "XE0", "XE1"];

/// The short name of the state that a chat is in.
///
/// Panics where the chat is in none of the table's rows, or carries something that
/// its state cannot have.
pub(crate) fn short(chat: &Chat) -> &'static str {
    let leased = chat.live_lease().is_some();
    let queued = !chat.queue.is_empty();
    let name = match (chat.state(), queued, leased, chat.archived()) {
        (State::Waiting, false, false, false) => "W",
        (State::Error, false, false, false) => "E0",
        (State::Error, true, false, false) => "E1",
        (State::Running, false, false, false) => "R0",
        (State::Running, true, false, false) => "R1",
        (State::Running, false, true, false) => "L0",
        (State::Running, true, true, false) => "L1",
        (State::Interrupting, false, true, false) => "I0",
        (State::Interrupting, true, true, false) => "I1",
        (State::Suspended, false, false, false) => "S0",
        (State::Suspended, true, false, false) => "S1",
        (State::Waiting, false, false, true) => "XW",
        (State::Error, false, false, true) => "XE0",
        (State::Error, true, false, true) => "XE1",
        invalid => panic!("no row of the state table: {invalid:?}"),
    };
    check_what_the_state_carries(chat, name);
    name
}

fn check_what_the_state_carries(chat: &Chat, name: &str) {
    let state = chat.state();
    let idle = matches!(state, State::Waiting | State::Error);
    if idle {
        assert_eq!(chat.open_calls, [], "an idle chat has no open calls: {name}");
    }
    if idle || state == State::Interrupting {
        let steering = chat.queue.iter().any(|queued| queued.steering);
        assert!(!steering, "steering messages become ordinary in {name}");
    }
    if state == State::Suspended {
        assert!(!chat.open_calls.is_empty(), "a suspended chat waits for calls");
        let worker = chat.open_calls.iter().any(|call| call.kind == CallKind::Worker);
        assert!(!worker, "nobody runs a worker's call of a suspended chat");
    }
    if chat.compact_requested {
        assert!(matches!(state, State::Running | State::Interrupting), "nobody compacts in {name}");
    }
    if chat.retry.is_some() {
        assert_eq!(chat.execution, Execution::Leased, "only a holder retries");
    }
    assert_eq!(chat.last_error().is_some(), state == State::Error);
}

/// A chat in this state, with one queued message where the name ends in 1.
///
/// Its history: prompt 1, question 2, answer 3; in S the answer has an open call of
/// a client. It was leased three times, the last time by session 1, which wrote
/// twice.
pub(crate) fn chat_in(name: &str) -> Chat {
    let archived = name.starts_with('X');
    let error = chat_error(ErrorKind::Overloaded);
    let since = now() - TimeDelta::seconds(1);
    let execution = match name.trim_start_matches('X').trim_end_matches(['0', '1']) {
        "W" => Execution::Waiting { archived },
        "E" => Execution::Error { error, archived },
        "R" => Execution::Runnable { since },
        "L" => Execution::Leased,
        "I" => Execution::Interrupting { since },
        "S" => Execution::Suspended { deadline: now() + TimeDelta::seconds(60) },
        other => panic!("no such state: {other}"),
    };
    let mut chat = Chat { execution, ..quiet_chat() };
    if name.ends_with('1') {
        push(&mut chat, 1, false);
    }
    if name.starts_with('S') {
        chat.open_calls = vec![open_call(0, CallKind::Client)];
    }
    assert_eq!(short(&chat), name);
    chat
}

fn quiet_chat() -> Chat {
    Chat {
        id: ChatId(Uuid::from_u128(1)),
        organization: OrganizationId(Uuid::from_u128(2)),
        owner: user(),
        settings: Settings {
            model: "demo".to_owned(),
            effort: Effort::Unspecified,
            workspace: None,
            client_tools: Vec::new(),
            client_tools_version: 1,
            action_timeout: ACTION_TIMEOUT,
        },
        execution: Execution::Waiting { archived: false },
        versions: Versions { snapshot: 10, history: 8, queue: 3, retry: 0, error: 4 },
        queue: Vec::new(),
        open_calls: Vec::new(),
        attempt: 1,
        retry: None,
        last_lease: Some(Lease { fence: Fence(3), session: session(1), last_write: Some(last_write()) }),
        next_message_id: MessageId(4),
        system_prompt: Some(MessageId(1)),
        answered: true,
        history_bytes: 100,
        covers_through: None,
        compact_requested: false,
        last_turn_summary: "so far so good".to_owned(),
    }
}

/// The last write of every fixture's lease.
pub(crate) fn last_write() -> LastWrite {
    LastWrite {
        write_no: 2,
        outcome: WriteOutcome {
            snapshot_version: 8,
            history_version: 8,
            disposition: chatplane_domain::Disposition::Continues,
            first_message_id: MessageId(3),
            boundary: 0,
            committed: 1,
            added: 0,
        },
    }
}

/// Puts a message behind all others, as the store would have read it.
pub(crate) fn push(chat: &mut Chat, number: i64, steering: bool) {
    let queued = Queued {
        id: queued_id(u128::try_from(number).expect("test messages count from 1")),
        position: number * 100,
        steering,
        created_by: user(),
        model: None,
        fallback_model: None,
        effort: None,
        content_bytes: 9,
    };
    chat.queue.push(queued);
}

pub(crate) fn call_id(index: i32) -> CallId {
    CallId { message: MessageId(3), index }
}

pub(crate) fn open_call(index: i32, kind: CallKind) -> OpenCall {
    OpenCall { id: call_id(index), tool_name: "read_file".to_owned(), kind, workspace: None, journal: None }
}

/// Opens calls of the last answer, in the states that can have them.
pub(crate) fn with_calls(mut chat: Chat, kinds: &[CallKind]) -> Chat {
    let worker = kinds.contains(&CallKind::Worker);
    let possible = match chat.state() {
        State::Running | State::Interrupting => true,
        State::Suspended => !worker,
        State::Waiting | State::Error => false,
    };
    if possible {
        let calls = (0_i32..).zip(kinds);
        chat.open_calls = calls.map(|(index, kind)| open_call(index, *kind)).collect();
    }
    chat
}

/// A second queued message, in the states that have one.
pub(crate) fn with_two_queued(mut chat: Chat) -> Chat {
    if !chat.queue.is_empty() {
        push(&mut chat, 2, false);
    }
    chat
}
