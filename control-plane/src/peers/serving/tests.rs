use chatplane_domain::{ChatId, Fence};
use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::relay::{LivePosition, PartHeader, PartKind, StreamHeader, StreamKind};

const CHAT: ChatId = ChatId(Uuid::from_u128(7));
const ANSWER: StreamId = StreamId { base_version: 5, index: 0 };
const SUMMARY: StreamId = StreamId { base_version: 5, index: 1 };

fn header(id: StreamId, kind: StreamKind) -> StreamHeader {
    StreamHeader { id, fence: Fence(1), kind }
}

fn text() -> PartHeader {
    PartHeader { kind: PartKind::Text, tool_name: String::new() }
}

fn at(part: usize, offset: usize) -> PartOffset {
    PartOffset { part, offset }
}

fn asks(no: i64, chat: ChatId, positions: Vec<LivePosition>, resumes: bool) -> Subscribe {
    Subscribe { no: SubscriptionNo(no), chat, fence: Fence(1), positions, resumes }
}

fn has(stream: StreamId, part: usize, offset: usize) -> LivePosition {
    LivePosition { stream, end: at(part, offset) }
}

fn write(relay: &Relay, chat: ChatId, offset: usize, data: &str) {
    relay.begin_part(chat, header(ANSWER, StreamKind::Answer), 0, text()).unwrap();
    relay.append(chat, Fence(1), ANSWER, at(0, offset), data.as_bytes()).unwrap();
}

fn pieces(serving: &mut Serving) -> Vec<LivePiece> {
    std::iter::from_fn(|| serving.next()).map(|(_, piece)| piece).collect()
}

fn append(offset: usize, data: &str) -> LivePiece {
    LivePiece::PartAppend { stream: ANSWER, at: at(0, offset), data: Bytes::copy_from_slice(data.as_bytes()) }
}

fn started() -> LivePiece {
    LivePiece::PartStarted { stream: header(ANSWER, StreamKind::Answer), part: 0, header: text() }
}

#[test]
fn a_late_joiner_gets_the_bytes_so_far_and_then_what_is_new() {
    let relay = Relay::default();
    write(&relay, CHAT, 0, "Once upon");
    let mut serving = Serving::new(relay.clone());

    serving.subscribe(&asks(1, CHAT, Vec::new(), false));
    assert_eq!(pieces(&mut serving), [started(), append(0, "Once upon")]);
    assert!(serving.news().now_or_never().is_none());
    write(&relay, CHAT, 9, " a time");

    assert!(serving.news().now_or_never().is_some());
    assert_eq!(pieces(&mut serving), [append(9, " a time")]);
}

#[test]
fn a_subscriber_gets_what_it_does_not_have() {
    let relay = Relay::default();
    write(&relay, CHAT, 0, "Once upon");
    let mut serving = Serving::new(relay.clone());

    serving.subscribe(&asks(1, CHAT, vec![has(ANSWER, 0, 5)], false));

    assert_eq!(pieces(&mut serving), [append(5, "upon")]);
}

#[test]
fn a_subscriber_that_has_more_waits_until_the_worker_has_sent_it_here_too() {
    let relay = Relay::default();
    let mut serving = Serving::new(relay.clone());
    serving.subscribe(&asks(1, CHAT, vec![has(ANSWER, 0, 9)], false));
    assert_eq!(pieces(&mut serving), []);

    write(&relay, CHAT, 0, "Once");
    assert!(serving.news().now_or_never().is_some());
    assert_eq!(pieces(&mut serving), []);
    write(&relay, CHAT, 4, " upon a time");

    assert!(serving.news().now_or_never().is_some());
    assert_eq!(pieces(&mut serving), [append(9, " a time")]);
}

#[test]
fn what_was_closed_while_the_link_was_down_is_closed_for_whoever_had_it_from_here() {
    let relay = Relay::default();
    write(&relay, CHAT, 0, "Once");
    let positions = vec![has(ANSWER, 0, 4), has(SUMMARY, 0, 1)];
    let mut resuming = Serving::new(relay.clone());
    let mut joining = Serving::new(relay.clone());

    resuming.subscribe(&asks(1, CHAT, positions.clone(), true));
    joining.subscribe(&asks(1, CHAT, positions, false));

    assert_eq!(pieces(&mut resuming), [LivePiece::StreamClosed(SUMMARY)]);
    // Its worker may be about to send it.
    assert_eq!(pieces(&mut joining), []);
}

#[test]
fn a_stream_that_closes_is_said_once_and_a_lease_that_ends_ends_the_subscription() {
    let relay = Relay::default();
    write(&relay, CHAT, 0, "Once");
    let mut serving = Serving::new(relay.clone());
    serving.subscribe(&asks(1, CHAT, Vec::new(), false));
    pieces(&mut serving);

    relay.close(CHAT, Fence(1), ANSWER).unwrap();
    assert!(serving.news().now_or_never().is_some());
    assert_eq!(pieces(&mut serving), [LivePiece::StreamClosed(ANSWER)]);
    relay.end_lease(CHAT, Fence(1));
    assert!(serving.news().now_or_never().is_some());

    assert_eq!(pieces(&mut serving), [LivePiece::LeaseEnded]);
    assert!(serving.subscriptions.is_empty());
}

#[test]
fn a_lease_of_another_worker_is_no_part_of_the_subscription() {
    let relay = Relay::default();
    let mut serving = Serving::new(relay.clone());
    serving.subscribe(&asks(1, CHAT, Vec::new(), false));

    let newer = StreamHeader { fence: Fence(2), ..header(ANSWER, StreamKind::Answer) };
    relay.begin_part(CHAT, newer, 0, text()).unwrap();

    assert_eq!(pieces(&mut serving), [LivePiece::LeaseEnded]);
}

#[test]
fn busy_chats_take_turns_in_pieces_of_a_bounded_size() {
    let relay = Relay::default();
    let busy = ChatId(Uuid::from_u128(8));
    write(&relay, busy, 0, &"x".repeat(3 * PIECE_BYTES_MAX));
    write(&relay, CHAT, 0, "hello");
    let mut serving = Serving::new(relay.clone());

    serving.subscribe(&asks(1, busy, Vec::new(), false));
    serving.subscribe(&asks(2, CHAT, Vec::new(), false));
    let served: Vec<_> = std::iter::from_fn(|| serving.next()).collect();

    let numbers: Vec<i64> = served.iter().map(|(no, _)| no.0).collect();
    assert_eq!(numbers, [1, 2, 1, 2, 1, 1]);
    let large = |piece: &LivePiece| matches!(piece, LivePiece::PartAppend { data, .. } if data.len() > PIECE_BYTES_MAX);
    assert!(!served.iter().any(|(_, piece)| large(piece)));
}

#[test]
fn a_subscription_that_was_ended_has_no_news_and_watches_no_more() {
    let relay = Relay::default();
    write(&relay, CHAT, 0, "Once");
    let mut serving = Serving::new(relay.clone());
    serving.subscribe(&asks(1, CHAT, Vec::new(), false));
    pieces(&mut serving);

    serving.unsubscribe(SubscriptionNo(1));
    write(&relay, CHAT, 4, " upon");

    assert!(serving.news().now_or_never().is_none());
    assert_eq!(pieces(&mut serving), []);
    assert!(serving.waiting.is_empty());
}
