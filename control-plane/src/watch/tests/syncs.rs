use std::time::Duration;

use chatplane_domain::{CallKind, ChatError, ErrorKind, MessageId, QueuedMessageId, Retry, State, Versions};
use chrono::DateTime;
use uuid::Uuid;

use super::fixtures::{CHAT, Did, Watch, answer, boundary, call, deleted, page, queued, result, user};
use crate::{
    store::{ActionRequired, PendingCall, QueuePosition, QueueThrough, RowPosition, SyncFrom, SyncPage},
    watch::{Action, End, Event, GivenUp, LiveEvent, Malformed, Timing, Watcher},
};

fn failure() -> ChatError {
    ChatError {
        kind: ErrorKind::Overloaded,
        message: String::new(),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: true,
    }
}

#[test]
fn one_sync_sends_rows_queue_retry_error_metadata_and_the_state_last() {
    let mut watch = Watch::start(Some(50));
    assert_eq!(watch.run(), [Did::Asked(SyncFrom::Start { history_limit: Some(50) })]);

    let mut whole = page(9, 7, Some(1));
    whole.chat.versions = Versions { snapshot: 9, history: 7, queue: 8, retry: 9, error: 9 };
    whole.chat.retry = Some(Retry { error: failure(), attempt: 2, next_attempt_time: DateTime::UNIX_EPOCH });
    whole.chat.last_error = Some(failure());
    whole.messages = vec![user(1, 1), answer(2, 7)];
    whole.queue = vec![queued(5, 8)];
    watch.watcher.on_page(Some(whole));

    let told = ["queued", "retry", "error", "chat", "state"].map(Did::Told);
    let mut expected = vec![Did::Message(1), Did::Message(2)];
    expected.extend(told);
    assert_eq!(watch.run(), expected);
}

#[test]
fn what_a_client_never_had_is_not_taken_back() {
    let mut watch = Watch::start(None);
    watch.run();

    let mut past = page(9, 7, None);
    past.chat.versions = Versions { retry: 5, error: 6, queue: 4, ..past.chat.versions };
    watch.watcher.on_page(Some(past));

    assert_eq!(watch.run(), [Did::Told("chat"), Did::Told("state")]);
}

#[test]
fn a_sync_asks_for_what_is_newer_and_sends_nothing_twice() {
    let mut first = page(3, 2, None);
    first.messages = vec![user(1, 1), answer(2, 2)];
    first.chat.versions.queue = 3;
    let mut watch = Watch::at(first.clone());

    watch.watcher.on_hint();

    let row = RowPosition { revision: 2, id: MessageId(2) };
    let queue = QueuePosition { revision: 3, through: QueueThrough::All };
    assert_eq!(watch.run(), [Did::Asked(SyncFrom::After { row, queue, removed_after: 3 })]);
    first.messages.clear();
    watch.watcher.on_page(Some(first));
    assert_eq!(watch.run(), []);
}

#[test]
fn a_resumed_watcher_begins_behind_its_cursor_and_resets_previews_once() {
    let mut first = page(3, 2, None);
    first.messages = vec![user(1, 1), answer(2, 2)];
    let before = Watch::at(first.clone());

    let mut watch = Watch::resume(&before.cursor);

    let row = RowPosition { revision: 2, id: MessageId(2) };
    let queue = QueuePosition { revision: 0, through: QueueThrough::All };
    assert_eq!(watch.run(), [Did::Asked(SyncFrom::After { row, queue, removed_after: 3 })]);
    first.messages.clear();
    watch.watcher.on_page(Some(first));
    assert_eq!(watch.run(), [Did::PreviewReset(None)]);
    assert_eq!(watch.cursor, before.cursor);
}

#[test]
fn hints_that_come_during_a_sync_ask_for_one_more() {
    let mut watch = Watch::at(page(3, 1, None));
    watch.watcher.on_hint();
    assert_eq!(watch.run().len(), 1);

    watch.watcher.on_hint();
    watch.watcher.on_hint();

    assert_eq!(watch.run(), [], "one sync at a time");
    watch.watcher.on_page(Some(page(3, 1, None)));
    assert_eq!(watch.run().len(), 1);
    watch.watcher.on_page(Some(page(3, 1, None)));
    assert_eq!(watch.run(), []);
}

#[test]
fn rows_deleted_one_after_another_are_one_reset_across_pages() {
    let mut watch = Watch::at(page(3, 1, None));
    let mut first = page(9, 9, None);
    first.messages = vec![deleted(6, 5), deleted(7, 5), deleted(2, 9)];
    first.more = true;
    let mut second = page(9, 9, None);
    second.messages = vec![deleted(3, 9), user(10, 9)];

    let asked = watch.sync(first);
    watch.watcher.on_page(Some(second));

    let Did::Asked(SyncFrom::After { row, .. }) = asked[0] else { panic!("{asked:?}") };
    assert_eq!(row, RowPosition { revision: 9, id: MessageId(2) });
    assert_eq!(watch.run(), [Did::HistoryReset(2), Did::Message(10), Did::Told("state")]);
}

#[test]
fn a_boundary_that_an_edit_spares_comes_again_behind_the_reset() {
    let mut first = page(9, 9, None);
    first.messages = vec![user(2, 5), boundary(7, 6)];
    let mut watch = Watch::at(first);
    let mut edited = page(10, 10, None);
    edited.messages = vec![deleted(5, 10), deleted(6, 10), boundary(7, 10), deleted(9, 10), user(11, 10)];

    let expected =
        [Did::HistoryReset(5), Did::Message(7), Did::HistoryReset(9), Did::Message(11), Did::Told("state")];
    assert_eq!(watch.sync(edited), expected);
}

#[test]
fn the_rest_of_the_chat_waits_for_the_last_page() {
    let mut watch = Watch::start(None);
    watch.run();
    let mut first = page(9, 9, Some(1));
    first.messages = vec![user(1, 1)];
    first.more = true;
    let stream = super::fixtures::stream(9, 0, 1, crate::relay::StreamKind::Answer);
    watch.write(stream, 0, "live");

    watch.watcher.on_page(Some(first));
    assert!(matches!(
        watch.run()[..],
        [Did::Message(1), Did::Asked(SyncFrom::After { removed_after: 9, .. })]
    ));
    let mut second = page(9, 9, Some(1));
    second.messages = vec![user(2, 9)];
    watch.watcher.on_page(Some(second));

    let live = [Did::Started(stream.id, 0), Did::Append(stream.id, 0, "live".to_owned())];
    let mut expected = vec![Did::Message(2), Did::Told("chat"), Did::Told("state")];
    expected.extend(live);
    assert_eq!(watch.run(), expected);
}

#[test]
fn a_watcher_cut_in_its_first_picture_is_told_of_no_earlier_removals() {
    let mut watch = Watch::start(None);
    watch.run();
    let mut first = page(9, 9, None);
    first.messages = vec![user(1, 1)];
    first.more = true;
    watch.watcher.on_page(Some(first));
    watch.run();

    let mut resumed = Watch::resume(&watch.cursor);

    assert!(matches!(resumed.run()[..], [Did::Asked(SyncFrom::After { removed_after: 9, .. })]));
}

#[test]
fn a_queue_that_takes_two_pages_is_read_on_from_its_last_entry() {
    let mut watch = Watch::start(None);
    watch.run();
    let mut first = page(9, 1, None);
    first.chat.versions.queue = 9;
    first.queue = vec![queued(5, 4)];
    first.more = true;
    watch.watcher.on_page(Some(first));

    let did = watch.run();

    let through = QueueThrough::Entry(QueuedMessageId(Uuid::from_u128(5)));
    let Did::Asked(SyncFrom::After { queue, .. }) = did[1] else { panic!("{did:?}") };
    assert_eq!(queue, QueuePosition { revision: 4, through });
}

#[test]
fn a_change_of_the_model_updates_the_chat() {
    let mut watch = Watch::at(page(3, 1, None));
    let mut changed = page(4, 1, None);
    changed.chat.model = "another".to_owned();

    assert_eq!(watch.sync(changed.clone()), [Did::Told("chat"), Did::Told("state")]);

    let mut resumed = Watch::resume(&watch.cursor);
    resumed.run();
    resumed.watcher.on_page(Some(changed.clone()));
    assert_eq!(resumed.run(), [Did::PreviewReset(None)]);
    changed.chat.metadata.metadata_version += 1;
    assert_eq!(resumed.sync(changed), [Did::Told("chat")]);
}

#[test]
fn a_suspended_chat_says_what_it_waits_for_just_before_each_state() {
    let mut watch = Watch::at(page(3, 3, Some(1)));

    assert_eq!(watch.sync(suspended(4, &[0, 1])), [Did::Told("action"), Did::Told("state")]);
    let mut settled = suspended(5, &[1]);
    settled.messages = vec![result(4, 5, call(0))];
    assert_eq!(watch.sync(settled), [Did::Message(4), Did::Told("action"), Did::Told("state")]);
    assert_eq!(watch.sync(suspended(5, &[1])), [], "nothing has changed");
    assert_eq!(watch.sync(page(6, 6, None)), [Did::Told("state")]);
}

#[test]
fn a_watcher_cut_before_the_state_is_told_the_rest() {
    let mut watch = Watch::at(page(3, 3, Some(1)));
    watch.watcher.on_hint();
    watch.run();
    watch.watcher.on_page(Some(suspended(4, &[0])));
    let Action::Emit(required) = watch.watcher.poll(&watch.live, watch.now) else { panic!("it is told") };

    let mut resumed = Watch::resume(&required.cursor);
    resumed.run();
    resumed.watcher.on_page(Some(suspended(4, &[0])));

    assert_eq!(resumed.run(), [Did::Told("state"), Did::PreviewReset(None)]);
}

/// A page of a chat that waits for these calls.
fn suspended(snapshot: i64, calls: &[i32]) -> SyncPage {
    let mut page = page(snapshot, snapshot, None);
    page.chat.state = State::Suspended;
    page.open_calls = calls.iter().map(|index| call(*index)).collect();
    let pending = page.open_calls.iter().map(|id| PendingCall {
        id: *id,
        tool_name: "ask".to_owned(),
        kind: CallKind::Client,
    });
    page.chat.action_required =
        Some(ActionRequired { calls: pending.collect(), deadline: DateTime::UNIX_EPOCH });
    page
}

#[test]
fn the_end_of_a_turn_updates_the_chat_with_what_it_came_to() {
    let mut watch = Watch::at(page(3, 1, Some(1)));
    let mut ended = page(4, 4, None);
    ended.messages = vec![answer(2, 4)];
    ended.chat.last_turn_summary = "It is done.".to_owned();

    assert_eq!(watch.sync(ended), [Did::Message(2), Did::Told("chat"), Did::Told("state")]);
}

#[test]
fn a_cursor_ahead_of_the_database_has_expired() {
    let cursor = Watch::at(page(9, 1, None)).cursor;
    let mut watch = Watch::resume(&cursor);
    watch.run();

    watch.watcher.on_page(Some(page(8, 1, None)));

    let action = watch.watcher.poll(&watch.live, watch.now);
    assert_eq!(action, Action::End(End::CursorExpired));
}

#[test]
fn a_chat_that_is_gone_ends_the_watch() {
    let mut watch = Watch::start(None);
    watch.run();

    watch.watcher.on_page(None);

    let action = watch.watcher.poll(&watch.live, watch.now);
    assert_eq!(action, Action::End(End::ChatNotFound));
}

#[test]
fn a_text_that_is_no_cursor_is_refused() {
    let resumed = Watcher::resume(CHAT, "AAAA", Timing::default(), Duration::ZERO);
    assert_eq!(resumed.unwrap_err(), Malformed);
}

#[test]
fn silence_is_broken_by_progress_with_the_same_cursor() {
    let mut watch = Watch::at(page(3, 1, None));
    let cursor = watch.cursor.clone();
    let Action::Wait(until) = watch.watcher.poll(&watch.live, watch.now) else { panic!("nothing is due") };
    assert_eq!(until, watch.now + Timing::default().progress_interval);

    watch.now = until;

    let action = watch.watcher.poll(&watch.live, watch.now);
    let Action::Emit(emitted) = action else { panic!("{action:?}") };
    assert_eq!(emitted.event, Event::Live(LiveEvent::Progress));
    assert_eq!(emitted.cursor, cursor);
    assert_eq!(watch.run(), []);
}

#[test]
fn a_sync_that_fails_is_repeated_ever_slower_until_it_is_given_up() {
    let mut watch = Watch::at(page(3, 1, None));
    watch.watcher.on_hint();
    assert_eq!(watch.run().len(), 1);
    let began = watch.now;
    let mut delays = Vec::new();

    while watch.watcher.on_sync_failed(watch.now) != Err(GivenUp) {
        assert!(!matches!(watch.run()[..], [.., Did::Asked(_)]));
        let failed = watch.now;
        while !matches!(watch.run()[..], [.., Did::Asked(_)]) {
            watch.now += Duration::from_millis(250);
        }
        delays.push((watch.now - failed).as_millis());
    }

    assert_eq!(delays[..6], [250, 500, 1000, 2000, 4000, 5000]);
    assert_eq!(watch.now - began, Duration::from_millis(62_750));
}
