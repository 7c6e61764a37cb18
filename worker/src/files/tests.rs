use bytes::Bytes;
use chatplane_domain::{DiffSide, FileId, FileRef, UserPart};
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{each_once, forms::*, pieces::*};
use crate::llm::{Attachment, ImageIntake, Intake, PromptMessage, UserPiece};

const MIB: usize = 1024 * 1024;

/// What a provider may take that takes everything within bounds.
fn intake() -> Intake {
    let images = ImageIntake {
        bytes_max: 4 * MIB,
        side_max: 8000,
        count_max: 3,
        many: 2,
        side_max_of_many: 2000,
        animated: false,
    };
    Intake { images: Some(images), documents: true }
}

fn file(number: u128, media_type: &str, size: usize) -> FileRef {
    FileRef {
        id: FileId(Uuid::from_u128(number)),
        name: format!("file {number}"),
        media_type: media_type.to_owned(),
        size_bytes: size as i64,
    }
}

fn png(side: u32) -> Bytes {
    let mut data = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    data.extend([side.to_be_bytes(), 1_u32.to_be_bytes()].concat());
    data.into()
}

/// What becomes of a message of these parts.
fn said(parts: Vec<UserPart>, contents: &Contents, intake: &Intake) -> Vec<UserPiece> {
    let files: Vec<FileRef> = parts
        .iter()
        .filter_map(|part| if let UserPart::File(file) = part { Some(file.clone()) } else { None })
        .collect();
    let forms = forms(&files.iter().collect::<Vec<_>>(), &[], intake);
    let messages = pieces(vec![PromptMessage::User { parts }], forms, contents, intake);
    let [PromptMessage::User { parts }] = &messages[..] else { panic!("{messages:?}") };
    parts.clone()
}

fn text(piece: &UserPiece) -> &str {
    let UserPiece::Text(text) = piece else { panic!("{piece:?}") };
    text
}

#[test]
fn what_a_model_takes_goes_as_it_is_and_all_else_as_words_that_say_so() {
    let files = [
        file(1, "image/png", 9),
        file(2, "application/pdf", 9),
        file(3, "application/json", 9),
        file(4, "text/csv", 9),
        file(5, "video/mp4", 9),
        file(6, "image/jpeg", 4 * MIB + 1),
        file(7, "application/pdf", 21 * MIB),
    ];
    let files: Vec<&FileRef> = files.iter().collect();
    let (not_taken, too_large) = (Form::Missing(Why::NotTaken), Form::Missing(Why::TooLarge));

    assert_eq!(
        forms(&files, &[], &intake()).each,
        [Form::Image, Form::Document, Form::Words, Form::Words, not_taken, too_large, too_large]
    );
    assert_eq!(
        forms(&files, &[], &Intake::WORDS).each,
        [not_taken, not_taken, Form::Words, Form::Words, not_taken, not_taken, not_taken]
    );
}

#[test]
fn when_not_all_fit_the_newest_files_keep_theirs_and_no_older_one_comes_in_between() {
    let files = [
        file(1, "application/pdf", 1),
        file(2, "application/pdf", 11 * MIB),
        file(3, "text/plain", MIB),
        file(4, "application/pdf", 10 * MIB),
    ];
    let files: Vec<&FileRef> = files.iter().collect();
    let no_room = Form::Missing(Why::NoRoom);

    assert_eq!(forms(&files, &[], &intake()).each, [no_room, no_room, Form::Words, Form::Document]);
}

#[test]
fn of_more_words_than_a_call_may_have_the_newest_are_shown_and_other_files_keep_theirs() {
    let long = |number| file(number, "text/plain", 500_000);
    let files: Vec<FileRef> = [file(0, "application/pdf", MIB), file(1, "text/csv", 1)]
        .into_iter()
        .chain((2..102).map(long))
        .collect();

    let each = forms(&files.iter().collect::<Vec<_>>(), &[], &intake()).each;

    let fit = 3 * MIB / INLINE_BYTES_MAX;
    let (older, newest) = each.split_at(each.len() - fit);
    assert_eq!(older[0], Form::Document);
    assert_eq!(older[1..], vec![Form::Missing(Why::NoRoom); older.len() - 1]);
    assert_eq!(newest, vec![Form::Words; fit]);
}

#[test]
fn a_file_that_a_message_names_often_is_in_it_once() {
    let (long, image) = (file(1, "text/plain", INLINE_BYTES_MAX), file(2, "image/png", 24));
    let of = |file: &FileRef| UserPart::File(file.clone());
    let mut named = vec![of(&long), UserPart::Text("Look.".to_owned()), of(&image), of(&image)];
    named.extend(vec![of(&long); 96]);
    let contents = Contents::from([
        (long.id, Some(Bytes::from(vec![b'x'; INLINE_BYTES_MAX]))),
        (image.id, Some(png(9))),
    ]);

    let said = said(each_once(named), &contents, &intake());

    let images = said.iter().filter(|piece| matches!(piece, UserPiece::Image(_))).count();
    assert_eq!((said.len(), images), (101, 1));
    assert!(text(&said[0]).len() > INLINE_BYTES_MAX);
    let again = |number, media_type, bytes| {
        format!(
            "<file name=\"file {number}\" type=\"{media_type}\" bytes=\"{bytes}\">\n[The file is in this \
             message already.]\n</file>"
        )
    };
    assert_eq!(text(&said[4]), again(2, "image/png", 24));
    assert!(said[5..].iter().all(|piece| text(piece) == again(1, "text/plain", INLINE_BYTES_MAX)));
}

#[test]
fn a_call_for_a_part_of_the_chat_sends_what_the_whole_would() {
    let all: Vec<FileRef> = (0..5).map(|number| file(number, "application/pdf", 6 * MIB)).collect();
    let whole = forms(&all.iter().collect::<Vec<_>>(), &[], &intake());

    for length in 0..=all.len() {
        let part: Vec<&FileRef> = all[..length].iter().collect();
        assert_eq!(forms(&part, &all[length..], &intake()).each, whole.each[..length], "{length}");
    }
}

#[test]
fn of_more_images_than_a_call_may_have_the_newest_are_seen() {
    let files: Vec<FileRef> = (0..4).map(|number| file(number, "image/png", 24)).collect();

    let forms = forms(&files.iter().collect::<Vec<_>>(), &[], &intake());

    assert_eq!(forms.each, [Form::Missing(Why::NoRoom), Form::Image, Form::Image, Form::Image]);
}

#[test]
fn images_are_measured_before_they_are_sent() {
    let images = [file(1, "image/png", 24), file(2, "image/png", 24), file(3, "image/gif", 24)];
    let contents = Contents::from([
        (images[0].id, Some(png(2001))),
        (images[1].id, Some(png(8001))),
        (images[2].id, Some(Bytes::from_static(b"GIF89a\x01\0\x01\0\0\0\0\x21\xFF\x0bNETSCAPE2.0"))),
    ]);
    let parts = |count| images[..count].iter().cloned().map(UserPart::File).collect::<Vec<_>>();

    let two = said(parts(2), &contents, &intake());
    let three = said(parts(3), &contents, &intake());

    assert_eq!(text(&two[0]), "<file name=\"file 1\" type=\"image/png\" bytes=\"24\"/>");
    assert!(matches!(&two[1], UserPiece::Image(Attachment { data, .. }) if *data == png(2001)), "{two:?}");
    assert!(text(&two[2]).contains("larger than the model's provider takes"), "{two:?}");
    assert!(text(&three[0]).contains("larger"), "one of many may have 2000 pixels: {three:?}");
    assert!(text(&three[2]).contains("animated"), "{three:?}");
}

#[test]
fn an_image_that_the_whole_leaves_out_is_left_out_of_a_part_of_it_too() {
    let images = [file(1, "image/png", 24), file(2, "image/png", 24), file(3, "image/png", 24)];
    let contents: Contents = images.iter().map(|image| (image.id, Some(png(2001)))).collect();
    let of = |count: usize| {
        let named: Vec<&FileRef> = images[..count].iter().collect();
        let parts = images[..count].iter().cloned().map(UserPart::File).collect();
        let forms = forms(&named, &images[count..], &intake());
        pieces(vec![PromptMessage::User { parts }], forms, &contents, &intake())
    };
    let parts = |messages: &[PromptMessage]| match messages {
        [PromptMessage::User { parts }] => parts.clone(),
        _ => panic!("{messages:?}"),
    };

    let whole = parts(&of(3));

    assert!(text(&whole[0]).contains("larger than the model's provider takes"), "{whole:?}");
    for count in 1..3 {
        assert_eq!(parts(&of(count)), whole[..count], "{count}");
    }
}

#[test]
fn a_text_is_shown_whole_or_cut_at_a_character_with_a_notice() {
    let short = file(1, "text/markdown", 7);
    let long = FileRef { name: "a \"b\" <c>\n& d.csv".to_owned(), ..file(2, "text/csv", 200_000) };
    let limit = INLINE_BYTES_MAX;
    // The limit is in the middle of a character.
    let words = format!("{}é and more", "x".repeat(limit - 1));
    let contents = Contents::from([
        (short.id, Some(Bytes::from_static(b"# Hello"))),
        (long.id, Some(Bytes::copy_from_slice(&words.as_bytes()[..limit]))),
    ]);

    let said = said(vec![UserPart::File(short), UserPart::File(long)], &contents, &Intake::WORDS);

    assert_eq!(text(&said[0]), "<file name=\"file 1\" type=\"text/markdown\" bytes=\"7\">\n# Hello\n</file>");
    let expected = format!(
        "<file name=\"a &quot;b&quot; &lt;c&gt;&#10;&amp; d.csv\" type=\"text/csv\" bytes=\"200000\">\n{}\n\
         [The file is cut here: these are the first {} of its 200000 bytes.]\n</file>",
        "x".repeat(limit - 1),
        limit - 1
    );
    assert_eq!(text(&said[1]), expected);
}

#[test]
fn places_and_comments_are_words_with_their_location() {
    let reference = |start_line, end_line, snippet: &str| UserPart::FileReference {
        path: "src/a \"b\".rs".to_owned(),
        start_line,
        end_line,
        snippet: snippet.to_owned(),
    };
    let comment = UserPart::DiffComment {
        path: "src/main.rs".to_owned(),
        side: DiffSide::Old,
        start_line: 3,
        end_line: 0,
        text: "Why is this gone?".to_owned(),
    };
    let parts = vec![
        UserPart::Text("Look.".to_owned()),
        reference(10, 12, "fn a() {}\n"),
        reference(0, 0, ""),
        comment,
    ];

    let said = said(parts, &Contents::new(), &Intake::WORDS);

    let said: Vec<&str> = said.iter().map(text).collect();
    let path = "path=\"src/a &quot;b&quot;.rs\"";
    assert_eq!(
        said,
        [
            "Look.",
            &format!("<file_reference {path} lines=\"10-12\">\nfn a() {{}}\n</file_reference>"),
            &format!("<file_reference {path}/>"),
            "<diff_comment path=\"src/main.rs\" side=\"old\" lines=\"3\">\nWhy is this gone?\n</diff_comment>",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_so() {
    let image = file(1, "image/png", 24);
    let contents = Contents::from([(image.id, None)]);

    let said = said(vec![UserPart::File(image)], &contents, &intake());

    let expected = "<file name=\"file 1\" type=\"image/png\" bytes=\"24\">\n[The file is not shown: it could not \
                    be read.]\n</file>";
    assert_eq!(said.iter().map(text).collect::<Vec<_>>(), [expected]);
}

#[test]
fn each_file_is_read_once_and_of_a_long_text_only_what_is_shown() {
    let files = [file(1, "image/png", 9), file(2, "text/plain", 500_000), file(1, "image/png", 9)];
    let files: Vec<&FileRef> = files.iter().collect();
    let forms = forms(&files, &[], &intake());

    let id = |number| FileId(Uuid::from_u128(number));
    assert_eq!(needed(&files, &forms), [(id(1), 9), (id(2), INLINE_BYTES_MAX)]);
}

proptest! {
    #[test]
    fn a_call_is_bounded_whatever_is_attached_and_its_newest_files_come_first(
        files in vec((0_usize..4, -1_i64..12 * 1024 * 1024), 0..150),
        cut in 0_usize..150,
    ) {
        let kinds = ["image/png", "application/pdf", "text/plain", "video/mp4"];
        let files: Vec<FileRef> = files
            .into_iter()
            .zip(1..)
            .map(|((kind, size_bytes), number)| FileRef { size_bytes, ..file(number, kinds[kind], 0) })
            .collect();
        let named: Vec<&FileRef> = files.iter().collect();
        let whole = forms(&named, &[], &intake()).each;
        let is_native = |form: &Form| matches!(form, Form::Image | Form::Document);

        let native: usize =
            files.iter().zip(&whole).filter(|(_, form)| is_native(form)).map(|(file, _)| size(file)).sum();
        prop_assert!(native <= 20 * MIB);
        prop_assert!(whole.iter().filter(|form| **form == Form::Image).count() <= 3);
        let words = files.iter().zip(&whole).filter(|(_, form)| **form == Form::Words);
        prop_assert!(words.map(|(file, _)| shown_bytes(file)).sum::<usize>() <= 3 * MIB);
        let is_text = |file: &FileRef| file.media_type == "text/plain";
        for of_words in [false, true] {
            let alike = files.iter().zip(&whole).filter(|(file, _)| is_text(file) == of_words);
            let alike: Vec<&Form> = alike.map(|(_, form)| form).collect();
            if let Some(last) = alike.iter().rposition(|form| **form == Form::Missing(Why::NoRoom)) {
                let kept = alike[..last].iter().any(|form| !matches!(form, Form::Missing(_)));
                prop_assert!(!kept, "{whole:?}");
            }
        }
        let cut = cut.min(files.len());
        prop_assert_eq!(forms(&named[..cut], &files[cut..], &intake()).each, &whole[..cut]);
    }
}
