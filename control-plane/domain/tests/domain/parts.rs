//! Pieces of users' messages: what lists show of them, and which files they refer to.

use chatplane_domain::{DiffSide, FileId, FileRef, UserPart, content_bytes, file_ids, shown_words, texts};
use proptest::prelude::*;
use uuid::Uuid;

fn text(text: &str) -> UserPart {
    UserPart::Text(text.to_owned())
}

fn file(number: u128, name: &str) -> UserPart {
    UserPart::File(FileRef {
        id: FileId(Uuid::from_u128(number)),
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        size_bytes: 1 << 20,
    })
}

fn reference(path: &str) -> UserPart {
    UserPart::FileReference { path: path.to_owned(), start_line: 0, end_line: 0, snippet: "it".to_owned() }
}

fn comment(words: &str) -> UserPart {
    let (path, side) = ("a.rs".to_owned(), DiffSide::New);
    UserPart::DiffComment { path, side, start_line: 1, end_line: 0, text: words.to_owned() }
}

#[test]
fn a_message_without_words_is_shown_by_its_first_file_or_by_what_it_is_about() {
    let shown = |parts: &[UserPart]| shown_words(parts).collect::<Vec<_>>().join("|");

    assert_eq!(shown(&[file(1, "a.png"), text("look"), text("here")]), "look|here");
    assert_eq!(shown(&[reference("b.rs"), file(1, "a.png"), file(2, "c.pdf")]), "a.png");
    assert_eq!(shown(&[reference("b.rs"), comment("no")]), "b.rs");
    assert_eq!(shown(&[comment("no")]), "no");
    assert_eq!(shown(&[]), "");
}

#[test]
fn a_files_own_bytes_are_none_of_its_message() {
    let parts = [file(1, "abc"), text("four"), reference("ab"), comment("x")];

    assert_eq!(content_bytes(&parts), "abctext/plain".len() + 4 + 4 + 5);
}

fn any_part() -> impl Strategy<Value = UserPart> {
    prop_oneof![
        "[a-c]{0,3}".prop_map(|words| text(&words)),
        (0..4_u128).prop_map(|number| file(number, "f")),
        Just(reference("r")),
        Just(comment("c")),
    ]
}

proptest! {
    #[test]
    fn each_file_is_named_once_and_in_order_and_texts_are_the_text_parts(
        parts in prop::collection::vec(any_part(), 0..8),
    ) {
        let ids = file_ids(&parts);
        let mut expected: Vec<FileId> = Vec::new();
        for part in &parts {
            if let UserPart::File(file) = part && !expected.contains(&file.id) {
                expected.push(file.id);
            }
        }
        prop_assert_eq!(ids, expected);
        let words: Vec<&str> = parts.iter().filter_map(UserPart::as_text).collect();
        prop_assert_eq!(texts(&parts).collect::<Vec<_>>(), words.clone());
        if !words.is_empty() {
            prop_assert_eq!(shown_words(&parts).collect::<Vec<_>>(), words);
        }
        prop_assert_eq!(shown_words(&parts).next().is_some(), !parts.is_empty());
    }
}
