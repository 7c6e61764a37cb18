//! What single watchers do, told one by one.

use std::time::Duration;

use chatplane_domain::{ChatId, UserId};
use uuid::Uuid;

use super::database::{Database, Write, chat};
use crate::{
    store::{FeedFrom, FeedPage},
    watch::{ChatChange, ChatsAction, ChatsCursor, ChatsEmitted, ChatsEvent, ChatsWatcher, GivenUp, Timing},
};

const USER: UserId = UserId(Uuid::max());
const NOW: Duration = Duration::ZERO;

fn start() -> ChatsWatcher {
    ChatsWatcher::start(USER, Timing::default(), NOW)
}

fn resume(cursor: &str) -> ChatsWatcher {
    ChatsWatcher::resume(USER, cursor, Timing::default(), NOW).expect("it is a cursor")
}

/// Everything that the watcher has to say now.
fn said(watcher: &mut ChatsWatcher, database: &Database) -> Vec<ChatsEmitted> {
    let mut said = Vec::new();
    loop {
        match watcher.poll(NOW) {
            ChatsAction::Emit(emitted) => said.push(emitted),
            ChatsAction::Read(from) => watcher.on_page(database.feed(&from)),
            ChatsAction::Wait(_) => return said,
            ChatsAction::CursorExpired => panic!("the cursor is of this database"),
        }
    }
}

fn hinted(watcher: &mut ChatsWatcher, database: &Database) -> Vec<ChatsEmitted> {
    watcher.on_hint();
    said(watcher, database)
}

fn changes(emitted: &[ChatsEmitted]) -> Vec<(ChatId, Vec<ChatChange>)> {
    let changed = |emitted: &ChatsEmitted| match &emitted.event {
        ChatsEvent::Changed { chat, changes } => Some((chat.chat_id, changes.clone())),
        ChatsEvent::Deleted(_) | ChatsEvent::Progress => None,
    };
    emitted.iter().filter_map(changed).collect()
}

#[test]
fn a_watcher_begins_with_progress_and_the_present() {
    let mut database = Database::new(10);
    database.apply(chat(0), Write::Create);
    let mut watcher = start();

    let first = said(&mut watcher, &database);
    database.apply(chat(0), Write::State);
    let then = hinted(&mut watcher, &database);

    assert_eq!(first.iter().map(|emitted| &emitted.event).collect::<Vec<_>>(), [&ChatsEvent::Progress]);
    assert_eq!(changes(&then), [(chat(0), vec![ChatChange::State])]);
}

#[test]
fn a_transaction_that_ends_late_is_told_and_what_is_known_is_not_told_again() {
    let mut database = Database::new(10);
    (0..2).for_each(|number| database.apply(chat(number), Write::Create));
    let mut watcher = start();
    said(&mut watcher, &database);

    let late = database.begin();
    database.write(late, chat(0), Write::State);
    database.apply(chat(1), Write::Metadata);
    let early = hinted(&mut watcher, &database);
    let in_between = hinted(&mut watcher, &database);
    database.commit(late);
    let in_the_end = hinted(&mut watcher, &database);

    assert_eq!(changes(&early), [(chat(1), vec![ChatChange::Metadata])]);
    assert_eq!(changes(&in_between), []);
    assert_eq!(changes(&in_the_end), [(chat(0), vec![ChatChange::State])]);
    // The cursor did not pass what was running: who comes back with it misses nothing.
    let cursor = ChatsCursor::decode(USER, &early[0].cursor).expect("it is one");
    assert_eq!(cursor, ChatsCursor::at(late));
    let repeated = said(&mut resume(&early[0].cursor), &database);
    assert_eq!(
        changes(&repeated),
        [(chat(0), vec![ChatChange::State]), (chat(1), vec![ChatChange::Metadata])]
    );
}

#[test]
fn a_stream_that_is_cut_in_a_page_knows_what_changed_before_the_place_of_its_chat() {
    let mut database = Database::new(10);
    (0..2).for_each(|number| database.apply(chat(number), Write::Create));
    let mut watcher = start();
    said(&mut watcher, &database);

    database.apply(chat(1), Write::Action);
    database.apply(chat(0), Write::State);
    database.apply(chat(1), Write::Touch);
    let told = hinted(&mut watcher, &database);
    let after_the_first = said(&mut resume(&told[0].cursor), &database);

    assert_eq!(changes(&told[..1]), [(chat(0), vec![ChatChange::State])]);
    assert_eq!(changes(&after_the_first), [(chat(1), vec![ChatChange::ActionRequired])]);
}

#[test]
fn a_long_absence_comes_in_pages_and_a_chat_that_moves_meanwhile_comes_once() {
    let mut database = Database::new(3);
    let mut watcher = start();
    let cursor = said(&mut watcher, &database).remove(0).cursor;
    (0..8).for_each(|number| database.apply(chat(number), Write::Create));

    let mut watcher = resume(&cursor);
    let mut reads = 0;
    let mut told = Vec::new();
    loop {
        match watcher.poll(NOW) {
            ChatsAction::Emit(emitted) => told.push(emitted),
            ChatsAction::Read(from) => {
                watcher.on_page(database.feed(&from));
                reads += usize::from(matches!(from, FeedFrom::After { .. }));
                if reads == 2 {
                    database.apply(chat(7), Write::Archive);
                }
            }
            ChatsAction::Wait(_) => break,
            ChatsAction::CursorExpired => panic!("the cursor is of this database"),
        }
    }
    let later = hinted(&mut watcher, &database);

    let chats: Vec<ChatId> = changes(&told).into_iter().map(|(chat, _)| chat).collect();
    assert_eq!(chats, (0..8).map(chat).collect::<Vec<_>>());
    assert_eq!(changes(&told)[7].1, [ChatChange::Created, ChatChange::Archived]);
    assert_eq!(reads, 4, "the place that the chat has left is passed, too");
    assert_eq!(later, []);
}

#[test]
fn a_deleted_chat_is_told_as_such() {
    let mut database = Database::new(10);
    database.apply(chat(0), Write::Create);
    let mut watcher = start();
    said(&mut watcher, &database);

    database.apply(chat(0), Write::Delete);
    let told = hinted(&mut watcher, &database);

    assert_eq!(
        told.into_iter().map(|emitted| emitted.event).collect::<Vec<_>>(),
        [ChatsEvent::Deleted(chat(0))]
    );
}

#[test]
fn a_cursor_that_is_ahead_of_the_database_has_expired_and_nothing_is_said_before() {
    let database = Database::new(10);
    let mut watcher = resume(&ChatsCursor::at(101).encode(USER));

    let ChatsAction::Read(from) = watcher.poll(NOW) else { panic!("it looks first") };
    watcher.on_page(database.feed(&from));

    assert_eq!(watcher.poll(NOW), ChatsAction::CursorExpired);
    let mut watcher = resume(&ChatsCursor::at(100).encode(USER));
    assert_eq!(said(&mut watcher, &database).len(), 1);
}

#[test]
fn a_silent_watcher_says_progress_with_its_cursor() {
    let database = Database::new(10);
    let mut watcher = start();
    let first = said(&mut watcher, &database).remove(0);
    let interval = Timing::default().progress_interval;

    assert_eq!(watcher.poll(NOW), ChatsAction::Wait(interval));
    assert_eq!(watcher.poll(interval), ChatsAction::Emit(first));
    assert_eq!(watcher.poll(interval), ChatsAction::Wait(interval * 2));
}

#[test]
fn a_read_that_fails_is_tried_again_later_and_not_for_ever() {
    let mut database = Database::new(10);
    let mut watcher = start();
    said(&mut watcher, &database);
    database.apply(chat(0), Write::Create);
    watcher.on_hint();
    let timing = Timing::default();

    let ChatsAction::Read(from) = watcher.poll(NOW) else { panic!("it looks") };
    assert_eq!(watcher.on_read_failed(NOW), Ok(()));
    assert_eq!(watcher.poll(NOW), ChatsAction::Wait(timing.sync_delay_min));
    assert_eq!(watcher.poll(timing.sync_delay_min), ChatsAction::Read(from.clone()));
    assert_eq!(watcher.on_read_failed(timing.sync_delay_min), Ok(()));
    let ChatsAction::Wait(until) = watcher.poll(timing.sync_delay_min) else { panic!("it waits") };
    assert_eq!(until, timing.sync_delay_min * 3);
    assert_eq!(watcher.on_read_failed(timing.sync_failure_max), Err(GivenUp));

    let ChatsAction::Read(again) = watcher.poll(timing.sync_failure_max * 2) else { panic!("it looks") };
    watcher.on_page(database.feed(&again));
    assert_eq!(changes(&said(&mut watcher, &database)), [(chat(0), vec![ChatChange::Created])]);
}

#[test]
fn nothing_new_leaves_everything_as_it_is() {
    let database = Database::new(10);
    let mut watcher = start();
    said(&mut watcher, &database);
    watcher.on_hint();

    let ChatsAction::Read(from) = watcher.poll(NOW) else { panic!("it looks") };
    watcher.on_page(FeedPage { snapshot: None, entries: Vec::new(), through: None });

    assert!(matches!(watcher.poll(NOW), ChatsAction::Wait(_)));
    watcher.on_hint();
    assert_eq!(watcher.poll(NOW), ChatsAction::Read(from), "it looks from the same place");
}
