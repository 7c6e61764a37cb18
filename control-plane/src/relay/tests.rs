use std::sync::Arc;

use chatplane_domain::{CallId, ChatId, Fence, MessageId};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    budget::Budget,
    streams::{CHAT_BYTES_MAX, CHAT_STREAMS_MAX, STREAM_BYTES_MAX, STREAM_PARTS_MAX, char_boundary},
    *,
};

const CHAT: ChatId = ChatId(Uuid::from_u128(7));

fn id(base_version: i64, index: i64) -> StreamId {
    StreamId { base_version, index }
}

fn answer(fence: i64, base_version: i64) -> StreamHeader {
    StreamHeader { id: id(base_version, 0), fence: Fence(fence), kind: StreamKind::Answer }
}

fn text() -> PartHeader {
    PartHeader { kind: PartKind::Text, tool_name: String::new() }
}

fn at(part: usize, offset: usize) -> PartOffset {
    PartOffset { part, offset }
}

fn streams() -> LiveStreams {
    LiveStreams::new(Arc::new(Budget::new(REPLICA_BYTES_MAX)))
}

fn bytes(streams: &LiveStreams, stream: StreamId, part: usize) -> Vec<u8> {
    streams.get(stream).unwrap().parts()[part].bytes().to_vec()
}

#[test]
fn an_append_is_cut_to_what_is_new_and_a_gap_is_refused() {
    let mut streams = streams();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();

    streams.append(Fence(1), id(5, 0), at(0, 0), b"abc").unwrap();
    streams.append(Fence(1), id(5, 0), at(0, 1), b"bcde").unwrap();
    streams.append(Fence(1), id(5, 0), at(0, 0), b"ab").unwrap();
    let gap = streams.append(Fence(1), id(5, 0), at(0, 6), b"x");

    assert_eq!(gap, Err(Refusal::Gap));
    assert_eq!(bytes(&streams, id(5, 0), 0), b"abcde");
}

#[test]
fn only_the_last_part_grows_and_parts_begin_in_order() {
    let mut streams = streams();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();
    streams.append(Fence(1), id(5, 0), at(0, 0), b"a").unwrap();

    let skipped = streams.begin_part(answer(1, 5), 2, text());
    streams.begin_part(answer(1, 5), 1, text()).unwrap();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();
    streams.append(Fence(1), id(5, 0), at(0, 1), b"late").unwrap();
    streams.append(Fence(1), id(5, 0), at(1, 0), b"b").unwrap();

    assert_eq!(skipped, Err(Refusal::Gap));
    assert_eq!(bytes(&streams, id(5, 0), 0), b"a");
    assert_eq!(bytes(&streams, id(5, 0), 1), b"b");
    let end = at(1, 1);
    let stream = id(5, 0);
    assert_eq!(streams.positions(Fence(1)), [LivePosition { stream, end }]);
}

#[test]
fn a_higher_fence_voids_what_lower_ones_wrote() {
    let mut streams = streams();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();

    streams.begin_part(answer(2, 9), 0, text()).unwrap();

    assert!(streams.get(id(5, 0)).is_none());
    let late = streams.append(Fence(1), id(5, 0), at(0, 0), b"late");
    assert_eq!(late, Err(Refusal::StaleFence));
    assert_eq!(streams.positions(Fence(1)), []);
}

#[test]
fn a_stream_is_begun_once_and_unknown_after_its_end() {
    let mut streams = streams();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();
    let message = MessageId(3);
    let call = StreamHeader { kind: StreamKind::Call(CallId { message, index: 0 }), ..answer(1, 5) };

    let other = streams.begin_part(call, 1, text());
    streams.close(Fence(1), id(5, 0)).unwrap();
    let closed = streams.append(Fence(1), id(5, 0), at(0, 0), b"x");

    assert_eq!(other, Err(Refusal::OtherHeader));
    assert_eq!(closed, Err(Refusal::UnknownStream));
    assert!(streams.is_empty());
}

#[test]
fn the_first_bytes_of_a_stream_are_kept_and_its_position_goes_on() {
    let mut streams = streams();
    streams.begin_part(answer(1, 5), 0, text()).unwrap();
    let almost = vec![b'x'; STREAM_BYTES_MAX - 1];
    streams.append(Fence(1), id(5, 0), at(0, 0), &almost).unwrap();

    // The character does not fit, and is not cut.
    let tail = "é".as_bytes();
    streams.append(Fence(1), id(5, 0), at(0, almost.len()), tail).unwrap();
    streams.begin_part(answer(1, 5), 1, text()).unwrap();
    streams.append(Fence(1), id(5, 0), at(1, 0), b"abc").unwrap();

    let live = streams.get(id(5, 0)).unwrap();
    assert!(live.truncated());
    assert_eq!(live.parts().len(), 1);
    assert_eq!(live.parts()[0].bytes().len(), almost.len());
    assert_eq!(streams.positions(Fence(1))[0].end, at(1, 3));
}

#[test]
fn streams_parts_and_bytes_of_a_chat_are_bounded() {
    let mut streams = streams();
    for part in 0..=STREAM_PARTS_MAX {
        streams.begin_part(answer(1, 5), part, text()).unwrap();
    }
    let live = streams.get(id(5, 0)).unwrap();
    assert_eq!((live.parts().len(), live.truncated()), (STREAM_PARTS_MAX, true));

    let chunk = vec![b'x'; STREAM_BYTES_MAX];
    for base in 0..8 {
        let stream = answer(1, 100 + base);
        streams.begin_part(stream, 0, text()).unwrap();
        streams.append(Fence(1), stream.id, at(0, 0), &chunk).unwrap();
    }
    let kept: usize = streams.iter().flat_map(LiveStream::parts).map(|part| part.bytes().len()).sum();
    assert_eq!(kept, CHAT_BYTES_MAX);

    let mut refused = 0;
    for base in 0..300 {
        refused += i32::from(streams.begin_part(answer(1, 1000 + base), 0, text()).is_err());
    }
    assert_eq!(refused, 300 - (CHAT_STREAMS_MAX as i32 - 9));
}

#[test]
fn bytes_return_to_the_replica_when_a_stream_ends() {
    let budget = Arc::new(Budget::new(10));
    let mut streams = LiveStreams::new(Arc::clone(&budget));
    streams.begin_part(answer(1, 5), 0, text()).unwrap();
    streams.append(Fence(1), id(5, 0), at(0, 0), b"0123456789abc").unwrap();
    assert!(streams.get(id(5, 0)).unwrap().truncated());

    streams.end_lease(Fence(1));

    streams.begin_part(answer(2, 9), 0, text()).unwrap();
    streams.append(Fence(2), id(9, 0), at(0, 0), b"0123456789").unwrap();
    assert!(!streams.get(id(9, 0)).unwrap().truncated());
}

#[tokio::test]
async fn a_watcher_is_woken_and_a_chat_is_forgotten_when_nobody_needs_it() {
    let relay = Relay::default();
    let mut watched = relay.watch(CHAT).unwrap();
    assert_eq!(lock(&relay.chats).len(), 1);

    relay.begin_part(CHAT, answer(1, 5), 0, text()).unwrap();
    relay.append(CHAT, Fence(1), id(5, 0), at(0, 0), b"abc").unwrap();
    watched.changed().await;
    assert_eq!(watched.read(|streams| bytes(streams, id(5, 0), 0)), b"abc");

    drop(watched);
    assert_eq!(lock(&relay.chats).len(), 1, "a stream is alive");
    relay.close(CHAT, Fence(1), id(5, 0)).unwrap();
    assert_eq!(lock(&relay.chats).len(), 0);
    assert_eq!(relay.append(CHAT, Fence(1), id(5, 0), at(0, 3), b"d"), Err(Refusal::UnknownStream));
    relay.begin_part(CHAT, answer(1, 5), 1, text()).unwrap_err();
    assert_eq!(lock(&relay.chats).len(), 0, "a refused piece leaves nothing behind");
}

proptest! {
    /// Resends from anywhere, in pieces of any size, give the same bytes.
    #[test]
    fn resending_from_any_position_changes_nothing(
        whole in proptest::collection::vec(any::<u8>(), 1..200),
        sends in proptest::collection::vec((any::<prop::sample::Index>(), 1_usize..50), 1..60),
    ) {
        let mut streams = streams();
        let tool = PartHeader { kind: PartKind::ToolOutput, tool_name: "execute".to_owned() };
        streams.begin_part(answer(1, 5), 0, tool).unwrap();
        for (from, length) in sends {
            let from = from.index(whole.len());
            let to = (from + length).min(whole.len());
            let had = bytes(&streams, id(5, 0), 0).len();
            let taken = streams.append(Fence(1), id(5, 0), at(0, from), &whole[from..to]);
            prop_assert_eq!(taken, if from > had { Err(Refusal::Gap) } else { Ok(()) });
            let has = bytes(&streams, id(5, 0), 0);
            prop_assert_eq!(&has[..], &whole[..has.len()]);
            prop_assert_eq!(has.len(), if from > had { had } else { had.max(to) });
        }
    }

    #[test]
    fn text_is_cut_at_character_boundaries(text in "\\PC{0,40}", max in 0_usize..100) {
        let end = char_boundary(text.as_bytes(), max);
        prop_assert!(text.is_char_boundary(end));
        prop_assert!(end <= max && end + 4 > max.min(text.len()));
    }

    #[test]
    fn what_is_no_text_is_cut_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), max in 0_usize..50) {
        let end = char_boundary(&bytes, max);
        prop_assert!(end <= max.min(bytes.len()));
    }
}

#[test]
fn what_is_followed_is_written_while_no_session_of_this_replica_writes_and_goes_when_it_is_left() {
    let relay = Relay::default();
    let watched = relay.watch(CHAT).unwrap();
    let elsewhere = |data: &'static [u8], offset| {
        relay.write_followed(CHAT, |live| {
            live.begin_part(answer(1, 5), 0, text())?;
            live.append(Fence(1), id(5, 0), at(0, offset), data)
        })
    };
    assert_eq!(elsewhere(b"ab", 0), Err(Refusal::NotFollowed));
    assert_eq!(relay.follow(CHAT, Fence(1)), []);
    assert_eq!(elsewhere(b"ab", 0), Ok(()));

    // The session comes here, and leaves again.
    relay.append(CHAT, Fence(1), id(5, 0), at(0, 2), b"c").unwrap();
    assert_eq!(elsewhere(b"d", 3), Err(Refusal::NotFollowed));
    relay.unfollow(CHAT, Fence(1));
    assert_eq!(watched.read(|live| bytes(live, id(5, 0), 0)), b"abc");
    assert_eq!(relay.follow(CHAT, Fence(1))[0].end, at(0, 3));
    relay.end_lease(CHAT, Fence(1));
    assert_eq!(elsewhere(b"d", 3), Ok(()));
    relay.unfollow(CHAT, Fence(1));

    assert!(watched.read(LiveStreams::is_empty));
}

#[test]
fn a_lease_that_ends_here_goes_although_an_earlier_one_is_said_to_be_followed() {
    let relay = Relay::default();
    let watched = relay.watch(CHAT).unwrap();
    relay.begin_part(CHAT, answer(2, 8), 0, text()).unwrap();
    // A page that was read before the chat came here arrives late.
    let _ = relay.follow(CHAT, Fence(1));

    relay.end_lease(CHAT, Fence(2));
    relay.unfollow(CHAT, Fence(1));

    assert!(watched.read(LiveStreams::is_empty));
}

#[test]
fn what_a_former_holder_still_does_leaves_what_is_followed_of_the_next_one() {
    let relay = Relay::default();
    let watched = relay.watch(CHAT).unwrap();
    relay.begin_part(CHAT, answer(1, 5), 0, text()).unwrap();
    let elsewhere = |data: &'static [u8], offset| {
        relay.write_followed(CHAT, |live| {
            live.begin_part(answer(2, 8), 0, text())?;
            live.append(Fence(2), id(8, 0), at(0, offset), data)
        })
    };

    // Another worker has taken the chat elsewhere; the one that is here has not heard of it.
    assert_eq!(relay.follow(CHAT, Fence(2)), []);
    relay.append(CHAT, Fence(1), id(5, 0), at(0, 0), b"late").unwrap();
    assert_eq!(elsewhere(b"ab", 0), Ok(()));
    // Its write was committed, and it closes its stream; its lease ends.
    let _ = relay.close(CHAT, Fence(1), id(5, 0));
    assert_eq!(elsewhere(b"cd", 2), Ok(()));
    relay.end_lease(CHAT, Fence(1));
    let _ = relay.resume(CHAT, Fence(1));
    assert_eq!(elsewhere(b"ef", 4), Ok(()));

    assert_eq!(watched.read(|live| bytes(live, id(8, 0), 0)), b"abcdef");
}
