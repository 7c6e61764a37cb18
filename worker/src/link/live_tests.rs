use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::*;

fn key(chat: u128) -> LeaseKey {
    LeaseKey { chat_id: Uuid::from_u128(chat), fence: 1 }
}

fn drain(live: &LiveStreams) -> Vec<LivePiece> {
    std::iter::from_fn(|| live.next_message()).map(|message| message.piece).collect()
}

fn append(part: usize, offset: usize, data: &str) -> LivePiece {
    LivePiece::Append { part, offset, data: Bytes::copy_from_slice(data.as_bytes()) }
}

fn started(part: usize) -> LivePiece {
    LivePiece::Started { part, kind: LivePartKind::Text }
}

fn position(stream: StreamId, part: usize, offset: usize) -> BTreeMap<LeaseKey, Vec<LivePosition>> {
    BTreeMap::from([(key(1), vec![LivePosition { stream, part, offset }])])
}

#[test]
fn what_gathers_while_the_replica_is_slow_goes_out_as_one() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    for word in ["one ", "two ", "three"] {
        stream.append(word.as_bytes());
    }

    assert_eq!(drain(&live), [started(0), append(0, 0, "one two three")]);
    stream.append(b"!");
    assert_eq!(drain(&live), [append(0, 13, "!")]);
}

#[test]
fn a_new_replica_gets_what_it_lacks_and_no_more() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    stream.append(b"first");
    stream.start_part(LivePartKind::Text);
    stream.append(b"second");
    drain(&live);

    live.resume(&BTreeMap::new());
    let all = [started(0), append(0, 0, "first"), started(1), append(1, 0, "second")];
    assert_eq!(drain(&live), all, "it has nothing");

    live.resume(&position(stream.id, 0, 3));
    assert_eq!(drain(&live), [append(0, 3, "st"), started(1), append(1, 0, "second")], "it has a beginning");

    live.resume(&position(stream.id, 1, 6));
    assert_eq!(drain(&live), [], "it has everything");
}

#[test]
fn a_committed_stream_is_closed_without_what_was_not_sent() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    stream.append(b"sent");
    drain(&live);
    stream.append(b" and not");

    stream.commit();

    assert_eq!(drain(&live), [LivePiece::Closed { abandoned: false }]);
}

#[test]
fn a_dropped_stream_is_abandoned_and_one_never_seen_is_not_mentioned() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    drain(&live);

    drop(stream);
    drop(lease.open());

    assert_eq!(drain(&live), [LivePiece::Closed { abandoned: true }]);
}

#[test]
fn a_replica_that_missed_the_end_of_a_stream_is_told_again() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    let id = stream.id;
    stream.start_part(LivePartKind::Text);
    drain(&live);
    stream.commit();
    drain(&live);

    live.resume(&position(id, 0, 0));
    assert_eq!(drain(&live), [LivePiece::Closed { abandoned: false }]);
    live.resume(&BTreeMap::new());
    assert_eq!(drain(&live), []);
}

#[test]
fn a_name_is_never_used_twice() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let mut ids = vec![lease.open().id, lease.open().id];
    lease.rebase(7);
    ids.push(lease.open().id);
    lease.rebase(9);
    ids.push(lease.open().id);
    lease.rebase(8);
    ids.push(lease.open().id);

    let names: Vec<(i64, i64)> = ids.iter().map(|id| (id.base_version, id.index)).collect();
    assert_eq!(names, [(7, 0), (7, 1), (7, 2), (9, 0), (9, 1)]);
}

#[test]
fn nothing_is_sent_for_a_lost_lease() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);

    live.forget(key(1));
    stream.append(b"late");
    drop((stream, lease));

    assert_eq!(drain(&live), []);
}

#[test]
fn an_ended_lease_leaves_nothing_behind() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    drain(&live);
    stream.commit();
    drop(lease);

    assert_eq!(drain(&live), [LivePiece::Closed { abandoned: false }]);
    assert!(live.book().leases.is_empty());
}

#[test]
fn streams_take_turns() {
    let live = LiveStreams::default();
    let leases = [live.lease(key(1), 1), live.lease(key(2), 1)];
    let streams: Vec<LiveStream> = leases.iter().map(LeaseStreams::open).collect();
    for stream in &streams {
        stream.start_part(LivePartKind::Text);
        stream.append(&[b'x'; 2 * APPEND_BYTES_MAX]);
    }

    let order: Vec<LeaseKey> =
        std::iter::from_fn(|| live.next_message()).map(|message| message.key).collect();

    assert_eq!(order, [key(1), key(2), key(1), key(2), key(1), key(2)]);
}

#[test]
fn a_stream_keeps_no_more_than_its_bound() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::ToolOutput {
        tool_name: "run".to_owned(),
        call: crate::step::CallId { message_id: 1, index: 0 },
    });
    for _ in 0..64 {
        stream.append(&[0; APPEND_BYTES_MAX]);
    }

    let sent: usize = drain(&live)
        .iter()
        .map(|piece| if let LivePiece::Append { data, .. } = piece { data.len() } else { 0 })
        .sum();

    assert!((LIVE_STREAM_BYTES_MAX..LIVE_STREAM_BYTES_MAX + APPEND_BYTES_MAX).contains(&sent), "{sent}");
}

#[test]
fn text_is_cut_between_characters() {
    let live = LiveStreams::default();
    let lease = live.lease(key(1), 7);
    let stream = lease.open();
    stream.start_part(LivePartKind::Text);
    let text = format!("x{}", "€".repeat(APPEND_BYTES_MAX / 2));
    stream.append(text.as_bytes());

    let mut joined = String::new();
    for piece in drain(&live) {
        if let LivePiece::Append { data, .. } = piece {
            assert!(data.len() <= APPEND_BYTES_MAX);
            joined.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
    assert_eq!(joined, text);
}

/// A replica that takes a message only where it fits.
#[derive(Default)]
struct Replica {
    parts: Vec<Vec<u8>>,
}

impl Replica {
    fn take(&mut self, piece: LivePiece) {
        match piece {
            LivePiece::Started { part, .. } => {
                assert_eq!(part, self.parts.len(), "a part begins once");
                self.parts.push(Vec::new());
            }
            LivePiece::Append { part, offset, data } => {
                assert_eq!(part + 1, self.parts.len(), "only the last part grows");
                assert_eq!(offset, self.parts[part].len(), "no gap and no double");
                self.parts[part].extend_from_slice(&data);
            }
            LivePiece::Closed { .. } => {}
        }
    }

    fn position(&self, stream: StreamId) -> Option<LivePosition> {
        let part = self.parts.len().checked_sub(1)?;
        Some(LivePosition { stream, part, offset: self.parts[part].len() })
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Part,
    Append(Vec<u8>),
    Send(usize),
    Resume,
    NewReplica,
}

proptest! {
    /// Whatever is sent when, and however often the connection changes, each replica's
    /// copy is a prefix, and at rest it is the whole.
    #[test]
    fn a_replica_holds_a_gapless_prefix(
        happenings in vec(
            prop_oneof![
                Just(Happening::Part),
                vec(any::<u8>(), 0..20).prop_map(Happening::Append),
                (0_usize..4).prop_map(Happening::Send),
                Just(Happening::Resume),
                Just(Happening::NewReplica),
            ],
            1..60,
        )
    ) {
        let live = LiveStreams::default();
        let lease = live.lease(key(1), 7);
        let stream = lease.open();
        let mut written: Vec<Vec<u8>> = Vec::new();
        let mut replica = Replica::default();
        for happening in happenings {
            match happening {
                Happening::Part => {
                    written.push(Vec::new());
                    stream.start_part(LivePartKind::Text);
                }
                Happening::Append(data) => {
                    if let Some(last) = written.last_mut() {
                        last.extend_from_slice(&data);
                        stream.append(&data);
                    }
                }
                Happening::Send(count) => {
                    for _ in 0..count {
                        if let Some(message) = live.next_message() {
                            replica.take(message.piece);
                        }
                    }
                }
                Happening::Resume => {
                    let positions = replica.position(stream.id).into_iter().collect();
                    live.resume(&BTreeMap::from([(key(1), positions)]));
                }
                Happening::NewReplica => {
                    replica = Replica::default();
                    live.resume(&BTreeMap::new());
                }
            }
        }
        while let Some(message) = live.next_message() {
            replica.take(message.piece);
        }
        prop_assert_eq!(replica.parts, written);
    }
}
