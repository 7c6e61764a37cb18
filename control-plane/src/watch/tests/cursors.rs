use chatplane_domain::{ChatId, MessageId, QueuedMessageId};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    store::{QueuePosition, QueueThrough, RowPosition},
    watch::cursor::{Cursor, Malformed, Position},
};

const CHAT: ChatId = ChatId(Uuid::from_u128(0x0123_4567));

fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![0_i64..5, 0_i64..100_000, 0_i64..=i64::MAX]
}

fn positions() -> impl Strategy<Value = Position> {
    let through = prop_oneof![
        Just(QueueThrough::All),
        any::<u128>().prop_map(|id| QueueThrough::Entry(QueuedMessageId(Uuid::from_u128(id)))),
    ];
    (proptest::array::uniform9(numbers()), through).prop_map(|(numbers, through)| {
        let [row, id, queue, retry, error, metadata, settings, action, snapshot] = numbers;
        Position {
            row: RowPosition { revision: row, id: MessageId(id) },
            queue: QueuePosition { revision: queue, through },
            retry,
            error,
            metadata,
            settings,
            action,
            snapshot,
        }
    })
}

fn cursor(position: Position, settings: u64, queue_reading: u64) -> Cursor {
    let queue_reading = match position.queue.through {
        QueueThrough::Entry(_) => queue_reading,
        QueueThrough::All => 0,
    };
    let mut cursor = Cursor::start(CHAT);
    cursor.position = position;
    cursor.begun = if position.snapshot == 0 { 7 } else { 0 };
    cursor.settings = settings;
    cursor.queue_reading = queue_reading;
    cursor
}

fn bytes(cursor: &Cursor) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(cursor.encode()).unwrap()
}

proptest! {
    #[test]
    fn a_cursor_is_read_as_it_was_written(
        position in positions(), settings: u64, queue_reading: u64,
    ) {
        let cursor = cursor(position, settings, queue_reading);
        prop_assert_eq!(Cursor::decode(CHAT, &cursor.encode()), Ok(cursor));
    }

    #[test]
    fn the_bytes_of_cursors_compare_like_their_positions(
        left in positions(), right in positions(), settings: u64,
    ) {
        prop_assume!(left != right);
        let bytes = |position| bytes(&cursor(position, settings, 7));
        prop_assert_eq!(bytes(left).cmp(&bytes(right)), left.cmp(&right));
    }

    #[test]
    fn a_text_that_nobody_was_given_is_refused_without_panic(text in "[A-Za-z0-9_-]{0,80}|\\PC{0,20}") {
        if let Ok(cursor) = Cursor::decode(CHAT, &text) {
            prop_assert_eq!(cursor.encode(), text);
        }
    }

    #[test]
    fn a_cursor_with_a_byte_changed_is_refused_or_is_another(
        position in positions(), at: prop::sample::Index, to: u8,
    ) {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let cursor = cursor(position, 3, 5);
        let mut changed = bytes(&cursor);
        let at = at.index(changed.len());
        // Another layout is read otherwise.
        prop_assume!(at > 0 && changed[at] != to);
        changed[at] = to;
        let changed = URL_SAFE_NO_PAD.encode(changed);
        if let Ok(other) = Cursor::decode(CHAT, &changed) { prop_assert_eq!(other.encode(), changed) }
    }
}

#[test]
fn a_cursor_of_the_release_before_is_read_and_stands_before_what_follows_it() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let [row, queue, others] = [[1, 5, 1, 2], [1, 4, 1, 0], [1, 3, 1, 1]];
    let (chat, settings, snapshot, digest) = ([0x01, 0x23, 0x45, 0x67], [1, 5], [1, 9], [7; 8]);
    // The number of what is required was not there, between settings and snapshot.
    let before = [&[1][..], &chat, &row, &queue, &others, &settings, &snapshot, &digest].concat();

    let read = Cursor::decode(CHAT, &URL_SAFE_NO_PAD.encode(&before)).unwrap();

    let position = Position {
        row: RowPosition { revision: 5, id: MessageId(2) },
        queue: QueuePosition { revision: 4, through: QueueThrough::All },
        retry: 0,
        error: 3,
        metadata: 1,
        settings: 5,
        action: 0,
        snapshot: 9,
    };
    assert_eq!((read.position, read.settings), (position, u64::from_be_bytes(digest)));
    assert!(before < bytes(&read));
}

#[test]
fn a_cursor_of_another_chat_is_refused() {
    let text = Cursor::start(ChatId(Uuid::from_u128(0x89ab))).encode();
    assert_eq!(Cursor::decode(CHAT, &text), Err(Malformed));
}
