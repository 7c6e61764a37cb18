//! Cursors of all chats.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chatplane_domain::{ChatId, UserId};
use uuid::Uuid;

use crate::{
    store::FeedPosition,
    watch::{ChatsCursor, ChatsWatcher, Malformed, Timing},
};

const USER: UserId = UserId(Uuid::from_u128(7));

fn cursor(xid: i64, chat: u128, told: i64) -> ChatsCursor {
    ChatsCursor { position: FeedPosition { xid, chat: ChatId(Uuid::from_u128(chat)) }, told }
}

#[test]
fn a_cursor_is_read_as_it_was_written_and_its_bytes_compare_like_it() {
    let cursors =
        [ChatsCursor::at(0), cursor(5, 1, 5), cursor(5, 2, 4), cursor(300, 1, 5), ChatsCursor::at(i64::MAX)];

    let texts = cursors.map(|cursor| cursor.encode(USER));
    let read = texts.each_ref().map(|text| ChatsCursor::decode(USER, text).expect("it is one"));

    assert_eq!(read, cursors);
    let bytes = texts.map(|text| URL_SAFE_NO_PAD.decode(text).expect("it is base64"));
    assert!(bytes.is_sorted(), "{bytes:?}");
}

#[test]
fn what_is_no_cursor_of_the_user_is_refused() {
    let good = ChatsCursor::at(9).encode(USER);
    let bytes = URL_SAFE_NO_PAD.decode(&good).expect("it is base64");
    let with = |place: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        URL_SAFE_NO_PAD.encode(bytes)
    };

    let another_layout = with(0, 9);
    let negative = with(17, 0xff);
    let told_what_comes = with(48, 10);
    let cut = good[..good.len() - 1].to_owned();
    let longer = format!("{good}AAAA");
    let huge = "A".repeat(100_000);
    for text in ["", "nonsense", "////", &another_layout, &negative, &told_what_comes, &cut, &longer, &huge] {
        assert_eq!(ChatsCursor::decode(USER, text), Err(Malformed), "{}", &text[..text.len().min(80)]);
    }

    let others = ChatsCursor::at(9).encode(UserId(Uuid::from_u128(8)));
    assert!(ChatsWatcher::resume(USER, &others, Timing::default(), Duration::ZERO).is_err());
    assert!(ChatsWatcher::resume(USER, &good, Timing::default(), Duration::ZERO).is_ok());
}
