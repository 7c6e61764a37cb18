//! The reducer itself: it takes what is right, and says what is wrong.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1::{
    ActionRequired, CallId, Chat, ChatState, HistoryReset, Message, Part, PartAppend, PartKind, PartStarted,
    PendingCall, PreviewReset, PreviewTruncated, Progress, QueuedMessage, QueuedMessageRemoved, Role,
    StateChanged, StreamId, ToolResultPart, Visibility, WatchChatResponse, part, watch_chat_response::Event,
};
use chatplane_tests::fold::{Fold, Pictures};

const STREAM: StreamId = StreamId { base_version: 4, index: 0 };

fn at(cursor: u8, event: Event) -> WatchChatResponse {
    WatchChatResponse { cursor: URL_SAFE_NO_PAD.encode([cursor]), event: Some(event) }
}

fn message(role: Role, message_id: i64, revision: i64) -> Event {
    Event::Message(Message { message_id, role: role.into(), revision, ..Message::default() })
}

fn state(snapshot_version: i64, history_version: i64, queue_length: i32) -> Event {
    let state = ChatState::Running.into();
    Event::State(StateChanged { state, snapshot_version, history_version, queue_length, archived: false })
}

fn started(part: i32) -> Event {
    Event::PartStarted(PartStarted {
        stream: Some(STREAM),
        part,
        kind: PartKind::Text.into(),
        ..PartStarted::default()
    })
}

fn append(offset: i64, text: &'static str) -> Event {
    Event::PartAppend(PartAppend { stream: Some(STREAM), part: 0, offset, data: text.into() })
}

fn reset() -> Event {
    Event::PreviewReset(PreviewReset { stream: Some(STREAM) })
}

/// A fold of a chat with one message that is being answered.
fn begun() -> Fold {
    let mut fold = Fold::default();
    fold.apply(&at(1, message(Role::User, 1, 1))).expect("it is right");
    fold.apply(&at(4, state(4, 1, 0))).expect("it is right");
    fold
}

fn folded(events: impl IntoIterator<Item = WatchChatResponse>) -> Result<Fold, String> {
    let mut fold = begun();
    for event in events {
        fold.apply(&event)?;
    }
    Ok(fold)
}

fn refused(events: impl IntoIterator<Item = WatchChatResponse>) -> String {
    folded(events).expect_err("the events are wrong")
}

#[test]
fn an_answer_grows_and_its_message_replaces_it() {
    let live = [at(4, started(0)), at(4, append(0, "Hel")), at(4, append(3, "lo"))];
    let shown = folded(live.clone()).unwrap();
    assert_eq!(shown.previews[&(4, 0)].parts[0].bytes, b"Hello");

    let answered = folded(live.into_iter().chain([at(5, message(Role::Assistant, 2, 5))])).unwrap();

    assert!(answered.previews.is_empty());
    assert_eq!(answered.durable.messages.len(), 2);
}

#[test]
fn a_result_replaces_the_preview_of_its_call_alone() {
    let call = |call_index| Some(CallId { message_id: 2, call_index });
    let of_call = |index, call| {
        let stream = Some(StreamId { base_version: 4, index });
        Event::PartStarted(PartStarted { stream, call, ..PartStarted::default() })
    };
    let result = ToolResultPart { call_message_id: 2, call_index: 0, ..ToolResultPart::default() };
    let stored = Message {
        message_id: 3,
        revision: 5,
        role: Role::Tool.into(),
        parts: vec![Part { kind: Some(part::Kind::ToolResult(result)) }],
        ..Message::default()
    };

    let fold =
        folded([at(4, of_call(0, call(0))), at(4, of_call(1, call(1))), at(5, Event::Message(stored))]);

    assert_eq!(fold.unwrap().previews.into_keys().collect::<Vec<_>>(), [(4, 1)]);
}

#[test]
fn a_summary_is_replaced_by_no_row_and_a_boundary_replaces_no_answer() {
    let stream = Some(StreamId { base_version: 4, index: 1 });
    let kind = PartKind::Summary.into();
    let summary = Event::PartStarted(PartStarted { stream, kind, ..PartStarted::default() });
    let Event::Message(answered) = message(Role::Assistant, 3, 5) else { unreachable!("it is a message") };
    let boundary = Event::Message(Message { message_id: 2, covers_through: 1, ..answered.clone() });
    let shown = [at(4, started(0)), at(4, summary), at(5, boundary)];

    let summarized = folded(shown.clone()).unwrap();
    let told = folded(shown.into_iter().chain([at(6, Event::Message(answered)), at(7, state(5, 5, 0))]));

    assert_eq!(summarized.previews.into_keys().collect::<Vec<_>>(), [(4, 0), (4, 1)]);
    assert_eq!(told.unwrap().previews.into_keys().collect::<Vec<_>>(), [(4, 1)]);
}

#[test]
fn what_only_the_model_sees_is_not_shown() {
    let Event::Message(summary) = message(Role::User, 2, 5) else { unreachable!("it is a message") };
    let hidden = Message { visibility: Visibility::Model.into(), ..summary };
    assert!(refused([at(5, Event::Message(hidden))]).contains("for the model alone"));
}

#[test]
fn a_suspended_chat_tells_what_it_waits_for_before_each_of_its_states() {
    let Event::State(running) = state(5, 1, 0) else { unreachable!("it is a state") };
    let suspended = |snapshot_version| {
        let state = ChatState::Suspended.into();
        Event::State(StateChanged { state, snapshot_version, ..running })
    };
    let required = ActionRequired {
        calls: vec![PendingCall::default()],
        deadline: Some(prost_types::Timestamp::default()),
    };
    let told = || Event::ActionRequired(required.clone());
    let waits = [at(5, told()), at(6, suspended(5))];

    assert!(refused([at(5, suspended(5))]).contains("was not told"));
    let again = waits.clone().into_iter().chain([at(7, suspended(6))]);
    assert!(refused(again).contains("was not told"));
    let nothing = ActionRequired { calls: Vec::new(), ..required.clone() };
    assert!(refused([at(5, Event::ActionRequired(nothing))]).contains("nothing is required"));
    let fold = folded(waits.clone()).unwrap();
    assert_eq!(fold.durable.action_required, Some(required.clone()));
    let fold = folded(waits.into_iter().chain([at(7, state(6, 1, 0))])).unwrap();
    assert_eq!(fold.durable.action_required, None);
}

#[test]
fn cursors_grow_with_durable_events_and_stay_with_live_ones() {
    assert!(refused([at(4, message(Role::User, 2, 5))]).contains("does not grow"));
    assert!(refused([at(3, message(Role::User, 2, 5))]).contains("does not grow"));
    assert!(refused([at(5, Event::Progress(Progress {}))]).contains("moves with a live event"));
    let none = WatchChatResponse { cursor: String::new(), event: Some(Event::Progress(Progress {})) };
    assert!(refused([none]).contains("without a cursor"));
    folded([at(4, Event::Progress(Progress {}))]).unwrap();
}

#[test]
fn a_message_comes_once_unless_it_was_reset() {
    let again = at(5, message(Role::User, 1, 1));
    assert!(refused([again.clone()]).contains("comes twice"));

    let from = Event::HistoryReset(HistoryReset { from_message_id: 1 });
    let fold = folded([at(5, from), at(6, message(Role::User, 1, 1))]).unwrap();

    assert_eq!(fold.durable.messages.len(), 1);
}

#[test]
fn a_gap_a_double_and_a_cut_character_in_a_preview_are_seen() {
    let grown = [at(4, started(0)), at(4, append(0, "ab"))];
    let then = |event| refused(grown.clone().into_iter().chain([at(4, event)]));

    assert!(then(append(3, "x")).contains("follows 2 bytes"));
    assert!(then(append(1, "x")).contains("follows 2 bytes"));
    assert!(then(started(2)).contains("part 2"));
    assert!(then(started(0)).contains("part 0"));
    let half =
        PartAppend { stream: Some(STREAM), part: 0, offset: 2, data: "é".as_bytes()[..1].to_vec().into() };
    assert!(then(Event::PartAppend(half)).contains("a character is cut"));
    assert!(refused([at(4, append(0, "x"))]).contains("was not begun"));
}

#[test]
fn a_preview_is_reset_once_and_grows_no_more_when_it_is_cut() {
    let cut = || Event::PreviewTruncated(PreviewTruncated { stream: Some(STREAM) });
    assert!(refused([at(4, reset())]).contains("was not shown"));
    assert!(refused([at(4, started(0)), at(4, reset()), at(4, reset())]).contains("was not shown"));
    assert!(refused([at(4, started(0)), at(4, cut()), at(4, append(0, "x"))]).contains("part 0 grows"));
    assert!(refused([at(4, started(0)), at(4, cut()), at(4, cut())]).contains("cut twice"));
}

#[test]
fn a_preview_beside_what_replaces_it_is_seen() {
    let answered = || at(5, message(Role::Assistant, 2, 5));
    assert!(refused([answered(), at(5, started(0))]).contains("behind the message"));
    assert!(refused([at(4, started(0)), at(5, state(5, 5, 0))]).contains("outlives history"));
    let early = StreamId { base_version: 9, index: 0 };
    let early = Event::PartStarted(PartStarted { stream: Some(early), ..PartStarted::default() });
    assert!(refused([at(4, early)]).contains("begins after snapshot"));
}

#[test]
fn after_a_reconnect_previews_begin_anew_behind_one_reset() {
    let mut fold = folded([at(4, started(0)), at(4, append(0, "old"))]).unwrap();
    fold.reconnected();
    let all = at(4, Event::PreviewReset(PreviewReset { stream: None }));
    assert!(fold.clone().apply(&at(4, started(0))).is_err());

    fold.apply(&all).unwrap();
    fold.apply(&at(4, started(0))).unwrap();
    fold.apply(&at(4, append(0, "new"))).unwrap();

    assert_eq!(fold.previews[&(4, 0)].parts[0].bytes, b"new");
    assert!(fold.apply(&all).is_err(), "one reset is enough");
}

#[test]
fn a_complete_picture_is_checked_against_what_was_told() {
    assert!(refused([at(5, state(5, 1, 1))]).contains("a queue of 1"));
    assert!(refused([at(5, state(4, 1, 0))]).contains("after snapshot 4"));
    assert!(
        refused([at(5, message(Role::User, 2, 5)), at(6, state(5, 1, 0))]).contains("newer than history")
    );

    let queued = QueuedMessage { queued_message_id: "q".to_owned(), ..QueuedMessage::default() };
    let removed = QueuedMessageRemoved { queued_message_id: "q".to_owned() };
    let fold = folded([
        at(5, Event::QueuedMessageUpserted(queued)),
        at(6, state(5, 1, 1)),
        at(7, Event::QueuedMessageRemoved(removed)),
        at(8, state(6, 1, 0)),
    ]);

    assert!(fold.unwrap().durable.queue.is_empty());
}

#[test]
fn at_rest_a_fold_is_compared_with_the_chat() {
    let mut fold = begun();
    let chat =
        Chat { state: ChatState::Running.into(), snapshot_version: 4, history_version: 1, ..Chat::default() };
    let updated = chatplane_proto::chat::v1::ChatUpdated { chat: Some(chat.clone()) };
    fold.apply(&at(5, Event::ChatUpdated(updated))).unwrap();
    let message = fold.durable.messages[&1].clone();
    // What lies before the first row it ever got, it cannot know.
    let earlier = Message { message_id: 0, ..message.clone() };

    fold.matches(&chat, &[earlier, message.clone()], &[]).unwrap();

    assert!(fold.matches(&chat, &[], &[]).unwrap_err().contains("messages differ"));
    let moved = Chat { snapshot_version: 5, ..chat };
    assert!(fold.matches(&moved, &[message], &[]).unwrap_err().contains("state differ"));
}

#[test]
fn folds_with_one_cursor_are_compared_from_the_first_row_that_both_got() {
    let mut pictures = Pictures::default();
    let long = folded([at(5, message(Role::User, 2, 5))]).unwrap();
    let mut short = long.clone();
    short.durable.messages.remove(&1);
    short.durable.first_message_id = Some(2);

    pictures.compare(&short).unwrap();
    pictures.compare(&long).unwrap();
    pictures.compare(&short).unwrap();

    let mut wrong = long;
    wrong.durable.messages.remove(&2);
    assert!(pictures.compare(&wrong).unwrap_err().contains("folds at the same cursor"));
}
