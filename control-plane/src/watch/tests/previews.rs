use super::fixtures::{Did, Watch, answer, boundary, call, page, result, stream, user};
use crate::relay::{
    PartHeader, PartKind, PartOffset, STREAM_BYTES_MAX, StreamHeader,
    StreamKind::{Answer, Call, Summary},
};

fn appended(header: StreamHeader, text: &str) -> Did {
    Did::Append(header.id, 0, text.to_owned())
}

fn started(header: StreamHeader) -> Did {
    Did::Started(header.id, 0)
}

#[test]
fn an_answer_is_shown_as_it_grows_and_replaced_by_its_message_without_a_reset() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);

    watch.write(live, 0, "Hel");
    assert_eq!(watch.run(), [started(live), appended(live, "Hel")]);
    watch.write(live, 3, "lo");
    assert_eq!(watch.run(), [appended(live, "lo")]);
    let mut committed = page(3, 3, None);
    committed.messages = vec![answer(2, 3)];

    assert_eq!(watch.sync(committed), [Did::Message(2), Did::Told("state")]);
}

#[test]
fn an_answer_that_ends_without_a_commit_is_reset_once_before_the_picture_is_complete() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "lost");
    watch.run();

    let not_leased = watch.sync(page(3, 1, None));

    assert_eq!(not_leased, [Did::PreviewReset(Some(live.id)), Did::Told("state")]);
    watch.write(live, 4, "late");
    assert_eq!(watch.run(), []);
    assert_eq!(watch.sync(page(4, 1, Some(2))), [Did::Told("state")]);
}

#[test]
fn an_answer_to_a_history_that_was_edited_is_reset() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "void");
    watch.run();

    let mut edited = page(3, 3, Some(1));
    edited.messages = vec![super::fixtures::deleted(1, 3), user(2, 3)];

    let expected =
        [Did::HistoryReset(1), Did::Message(2), Did::PreviewReset(Some(live.id)), Did::Told("state")];
    assert_eq!(watch.sync(edited), expected);
}

#[test]
fn a_stream_that_began_after_the_picture_is_held_and_asks_for_one_sync() {
    let mut watch = Watch::at(page(2, 1, None));
    let live = stream(4, 0, 1, Answer);

    watch.write(live, 0, "early");

    assert!(matches!(watch.run()[..], [Did::Asked(_)]));
    watch.watcher.on_page(Some(page(3, 1, None)));
    assert_eq!(watch.run(), [Did::Told("state")], "it is asked for once");
    assert_eq!(watch.sync(page(4, 1, Some(1))), [Did::Told("state"), started(live), appended(live, "early")]);
}

#[test]
fn a_newer_answer_takes_back_an_older_one() {
    let mut watch = Watch::at(page(5, 1, Some(1)));
    let old = stream(2, 0, 1, Answer);
    let new = stream(5, 0, 1, Answer);
    watch.write(old, 0, "old");
    assert_eq!(watch.run().len(), 2);

    watch.write(new, 0, "new");

    assert_eq!(watch.run(), [Did::PreviewReset(Some(old.id)), started(new), appended(new, "new")]);
}

#[test]
fn a_stream_closed_before_its_commit_is_seen_stays_until_the_commit() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "done");
    watch.run();

    watch.live.close(live.fence, live.id).unwrap();

    assert!(matches!(watch.run()[..], [Did::Asked(_)]));
    let mut committed = page(3, 3, None);
    committed.messages = vec![answer(2, 3)];
    watch.watcher.on_page(Some(committed));
    assert_eq!(watch.run(), [Did::Message(2), Did::Told("state")]);
}

#[test]
fn a_stream_given_up_is_reset_by_a_sync_that_began_after_it_was_closed() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "given up");
    watch.watcher.on_hint();
    assert!(matches!(watch.run()[..], [Did::Asked(_), ..]));

    watch.live.close(live.fence, live.id).unwrap();

    // The sync that was under way may be older than the commit.
    watch.watcher.on_page(Some(page(2, 1, Some(1))));
    assert!(matches!(watch.run()[..], [Did::Asked(_)]));
    watch.watcher.on_page(Some(page(2, 1, Some(1))));
    assert_eq!(watch.run(), [Did::PreviewReset(Some(live.id))]);
}

#[test]
fn a_calls_output_is_shown_until_its_result_is_stored() {
    let mut open = page(3, 3, Some(1));
    open.open_calls = vec![call(0), call(1)];
    let mut watch = Watch::at(open);
    let first = stream(3, 0, 1, Call(call(0)));
    let second = stream(3, 1, 1, Call(call(1)));
    watch.write(first, 0, "one");
    watch.write(second, 0, "two");
    assert_eq!(watch.run().len(), 4);

    let mut stored = page(4, 4, Some(1));
    stored.open_calls = vec![call(1)];
    stored.messages = vec![result(3, 4, call(0))];

    assert_eq!(watch.sync(stored), [Did::Message(3), Did::Told("state")]);
    watch.write(first, 3, " late");
    watch.write(second, 3, " more");
    assert_eq!(watch.run(), [appended(second, " more")]);
}

#[test]
fn a_joiner_is_shown_no_call_whose_result_is_older_than_its_cursor() {
    let mut watch = Watch::at(page(4, 4, Some(1)));
    watch.write(stream(3, 0, 1, Call(call(0))), 0, "settled");

    assert_eq!(watch.run(), []);
}

#[test]
fn streams_of_an_ended_lease_are_not_shown() {
    let mut watch = Watch::at(page(5, 1, Some(2)));
    watch.write(stream(3, 0, 1, Answer), 0, "an earlier holder");

    assert_eq!(watch.run(), []);
}

#[test]
fn live_events_go_on_while_the_database_is_away() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.watcher.on_hint();
    watch.run();
    watch.watcher.on_sync_failed(watch.now).unwrap();

    watch.write(live, 0, "on");

    assert_eq!(watch.run(), [started(live), appended(live, "on")]);
}

#[test]
fn a_late_joiner_gets_large_appends_cut_between_characters() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    let text = format!("a{}", "€".repeat(100_000));
    watch.write(live, 0, &text);

    let did = watch.run();

    let lengths: Vec<usize> = did
        .iter()
        .filter_map(|did| match did {
            Did::Append(_, _, text) => Some(text.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [262_144, 300_001 - 262_144]);
}

#[test]
fn a_character_is_shown_when_it_is_whole() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "x");
    let append = |watch: &mut Watch, offset, bytes: &[u8]| {
        watch.live.append(live.fence, live.id, PartOffset { part: 0, offset }, bytes).unwrap();
    };
    append(&mut watch, 1, &"é".as_bytes()[..1]);
    assert_eq!(watch.run(), [started(live), appended(live, "x")]);

    append(&mut watch, 2, &"é".as_bytes()[1..]);

    assert_eq!(watch.run(), [appended(live, "é")]);
}

#[test]
fn a_stream_that_is_cut_says_so_once_after_what_is_kept() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, &"x".repeat(STREAM_BYTES_MAX));
    assert_eq!(watch.run().len(), 1 + STREAM_BYTES_MAX / 262_144);

    watch.write(live, STREAM_BYTES_MAX, "beyond");
    let part = PartHeader { kind: PartKind::Text, tool_name: String::new() };
    watch.live.begin_part(live, 1, part).unwrap();

    assert_eq!(watch.run(), [Did::Truncated(live.id)]);
}

#[test]
fn busy_streams_take_turns() {
    let mut open = page(3, 3, Some(1));
    open.open_calls = vec![call(0), call(1)];
    let mut watch = Watch::at(open);
    let streams = [stream(3, 0, 1, Call(call(0))), stream(3, 1, 1, Call(call(1)))];
    for header in streams {
        watch.write(header, 0, &"x".repeat(600_000));
    }

    let order: Vec<usize> = watch
        .run()
        .iter()
        .filter_map(|did| match did {
            Did::Append(id, ..) => streams.iter().position(|header| header.id == *id),
            _ => None,
        })
        .collect();

    assert_eq!(order, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_summary_is_shown_beside_the_answers_until_its_worker_closes_it() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let first = stream(2, 0, 1, Answer);
    let summary = stream(2, 1, 1, Summary);
    watch.write(first, 0, "first");
    watch.write(summary, 0, "in short");
    assert_eq!(watch.run().len(), 4);

    let mut committed = page(3, 3, Some(1));
    committed.messages = vec![answer(2, 3)];
    assert_eq!(watch.sync(committed), [Did::Message(2), Did::Told("state")]);
    let second = stream(3, 0, 1, Answer);
    watch.write(second, 0, "second");
    watch.write(summary, 8, ", it is");
    assert_eq!(
        watch.run(),
        [started(second), appended(summary, ", it is"), appended(second, "second")],
        "neither a commit nor a newer answer ends it"
    );

    watch.live.close(summary.fence, summary.id).unwrap();
    assert!(matches!(watch.run()[..], [Did::Asked(_)]));
    let mut summarized = page(4, 4, Some(1));
    summarized.messages = vec![boundary(4, 4), answer(6, 4)];
    watch.watcher.on_page(Some(summarized));
    assert_eq!(
        watch.run(),
        [Did::Message(4), Did::Message(6), Did::PreviewReset(Some(summary.id)), Did::Told("state")]
    );
}

#[test]
fn a_summary_of_an_ended_lease_is_reset() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let summary = stream(2, 0, 1, Summary);
    watch.write(summary, 0, "in short");
    watch.run();

    let ended = watch.sync(page(3, 1, None));

    assert_eq!(ended, [Did::PreviewReset(Some(summary.id)), Did::Told("state")]);
    watch.write(summary, 8, " late");
    assert_eq!(watch.run(), []);
}

#[test]
fn a_boundary_is_no_answer_and_replaces_none() {
    let mut watch = Watch::at(page(2, 1, Some(1)));
    let live = stream(2, 0, 1, Answer);
    watch.write(live, 0, "too long");
    watch.run();

    // The answer was given up for a summary.
    let mut summarized = page(3, 3, Some(1));
    summarized.messages = vec![boundary(3, 3)];

    let expected = [Did::Message(3), Did::PreviewReset(Some(live.id)), Did::Told("state")];
    assert_eq!(watch.sync(summarized), expected);
}
