//! What is a filter, what is none, and where it says so.

use chatplane_domain::{State, WorkspaceId};
use chrono::{TimeZone, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::{Archived, ChatFilter, FILTER_CHARS_MAX, FilterError, SearchText, parse};

fn refused(q: &str) -> FilterError {
    parse(q).expect_err(q)
}

#[test]
fn without_terms_live_chats_are_listed() {
    for q in ["", " ", "\t\n\u{3000}"] {
        assert_eq!(parse(q), Ok(ChatFilter::default()));
    }
    assert_eq!(ChatFilter::default().archived, Archived::No);
}

#[test]
fn every_key_has_its_condition() {
    let workspace = Uuid::now_v7();
    let q = format!(
        "archived:any state:suspended has_unread:false label:team=a label:\"env=two words\" label:x=\"=y\" \
         title:\"100% \\\"done\\\" \\\\o/\" model:gpt:4_% workspace:{workspace} created_after:2026-01-31 \
         created_before:2026-02-01T12:30:00.5+01:00 search:\"two words\""
    );

    let filter = parse(&q).expect("it is a filter");

    let position = q.chars().count() - "\"two words\"".len();
    assert_eq!(
        filter,
        ChatFilter {
            archived: Archived::Any,
            state: Some(State::Suspended),
            has_unread: Some(false),
            labels: [("team", "a"), ("env", "two words"), ("x", "=y")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec(),
            title: Some("100% \"done\" \\o/".to_owned()),
            model: Some("gpt:4_%".to_owned()),
            workspace: Some(WorkspaceId(workspace)),
            created_after: Some(Utc.with_ymd_and_hms(2026, 1, 31, 0, 0, 0).unwrap()),
            created_before: Some(
                Utc.with_ymd_and_hms(2026, 2, 1, 11, 30, 0).unwrap() + chrono::TimeDelta::milliseconds(500)
            ),
            search: Some(SearchText { text: "two words".to_owned(), position }),
        }
    );
}

#[test]
fn what_is_no_filter_is_refused_with_the_place() {
    for (q, position, what) in [
        ("hello", 0, "separated by spaces"),
        ("ü state:error deploy", 0, "separated by spaces"),
        ("state:error deploy", 12, "separated by spaces"),
        ("state:error  \"a:b\"", 13, "separated by spaces"),
        (":x", 0, "keys are"),
        ("owner:me", 0, "keys are"),
        ("Title:x", 0, "keys are"),
        ("title :x", 0, "separated by spaces"),
        ("title:", 6, "followed by its value"),
        ("title:\"\"", 6, "followed by its value"),
        ("title: x", 6, "followed by its value"),
        ("title:\"ä b", 6, "has no end"),
        ("title:a\"b", 7, "has no end"),
        ("title:\"ä\\n\"", 8, "followed by"),
        ("title:\"ä\\", 6, "has no end"),
        ("title:a title:b", 8, "given once"),
        ("archived:yes", 9, "true, false or any"),
        ("state:idle", 6, "a state is"),
        ("has_unread:1", 11, "true or false"),
        ("label:team", 6, "key=value"),
        ("label:=x", 6, "key=value"),
        ("label:x=", 6, "key=value"),
        ("workspace:mine", 10, "UUID"),
        ("created_after:yesterday", 14, "2026-01-31"),
        ("created_after:2026-1-31", 14, "2026-01-31"),
        ("created_after:+026-01-31", 14, "2026-01-31"),
        ("created_before:2026-02-30", 15, "2026-01-31"),
        ("title:a\0b", 7, "U+0000"),
    ] {
        let error = refused(q);
        assert_eq!(error.position, position, "{q}");
        assert!(error.what.contains(what), "{q}: {}", error.what);
    }
}

#[test]
fn a_filter_has_an_end_and_ten_labels() {
    let long = |chars: usize| format!("title:{}", "ä".repeat(chars - 6));
    let labels = |count: usize| "label:a=b ".repeat(count);

    assert!(parse(&long(FILTER_CHARS_MAX)).is_ok());
    assert_eq!(refused(&long(FILTER_CHARS_MAX + 1)).position, FILTER_CHARS_MAX);
    assert_eq!(parse(&labels(10)).map(|filter| filter.labels.len()), Ok(10));
    assert_eq!(refused(&labels(11)).position, 100);
}

/// As a client would write a value.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_the_place_is_within(q in "(\\PC|[\":\\\\ \t\n\0=])*") {
        if let Err(error) = parse(&q) {
            prop_assert!(error.position <= q.chars().count());
            prop_assert!(!error.what.is_empty());
        }
    }

    #[test]
    fn neither_does_what_is_almost_a_filter(
        q in "((archived|state|label|title|created_after|search|x):(true|error|a=b|\"a b\"|\"|\\\\|2026-01-01)? ?){0,6}"
    ) {
        if let Err(error) = parse(&q) {
            prop_assert!(error.position <= q.chars().count());
        }
    }

    #[test]
    fn a_quoted_value_is_read_as_it_was(title in "\\PC{1,80}", words in "\\PC{1,80}", label in "\\PC{1,80}") {
        let label = label.trim_start_matches('=').to_owned() + "x";
        let q = format!(
            " title:{}\nsearch:{} label:{} label:k={}",
            quoted(&title), quoted(&words), quoted(&format!("k={label}")), quoted(&label)
        );

        let filter = parse(&q).expect("it is a filter");

        prop_assert_eq!(filter.title, Some(title));
        prop_assert_eq!(filter.search.map(|search| search.text), Some(words));
        prop_assert_eq!(filter.labels, vec![("k".to_owned(), label.clone()), ("k".to_owned(), label)]);
    }

    #[test]
    fn a_bare_value_is_read_as_it_was(model in "[^\\s\"\\x00]{1,80}") {
        let q = format!("model:{model}");

        let filter = parse(&q).expect("it is a filter");

        prop_assert_eq!(filter.model, Some(model));
    }
}
