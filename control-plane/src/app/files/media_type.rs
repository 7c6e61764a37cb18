//! What a file is. Its content decides; the name only tells kinds of text apart, and what a client
//! declares is not even asked for.
//!
//! The signatures are stricter than those of the usual libraries, which take any text that begins with
//! `GIF`, or mentions `%PDF`, for such a file. A provider refuses an image that is none, and with it every
//! later turn of the chat that has it; so of what begins as an image does, `structure` wants to see more.

use serde::de::IgnoredAny;

use super::structure::is_sound;

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// An image.
    Png,
    /// An image.
    Jpeg,
    /// An image, or several.
    Gif,
    /// An image.
    Webp,
    /// A document.
    Pdf,
    /// Text: one object or array.
    Json,
    /// Text, by its name.
    Csv,
    /// Text, by its name.
    Markdown,
    /// Any other text.
    PlainText,
}

/// What is not taken, in words for whoever has sent it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    /// It is nothing that is known.
    #[error("what the file has in it is not taken; taken are {TAKEN}")]
    Unknown,
    /// It begins as a file of this type does.
    #[error(
        "the file begins as {} does, and then is none: it is damaged, or not all there; taken are {TAKEN}",
        .0.as_str()
    )]
    Damaged(MediaType),
}

const TAKEN: &str = "PNG, JPEG, GIF, WebP, PDF, and text in UTF-8 (JSON, CSV, Markdown, plain)";

impl MediaType {
    /// What the content is.
    ///
    /// # Errors
    ///
    /// `NotTaken`.
    pub(super) fn of(content: &[u8], name: &str) -> Result<Self, NotTaken> {
        if let Some(binary) = Self::of_signature(content) {
            return if is_sound(binary, content) { Ok(binary) } else { Err(NotTaken::Damaged(binary)) };
        }
        let text = str::from_utf8(content).ok().filter(|text| !text.contains('\0'));
        text.map(|text| Self::of_text(text, name)).ok_or(NotTaken::Unknown)
    }

    fn of_signature(content: &[u8]) -> Option<Self> {
        match content {
            // The signature, the length of the first chunk, and its name.
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', 0, 0, 0, 13, b'I', b'H', b'D', b'R', ..] => {
                Some(Self::Png)
            }
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            // Between the two words is the length of the rest.
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', b'V', b'P', b'8', ..] => {
                Some(Self::Webp)
            }
            [b'%', b'P', b'D', b'F', b'-', b'1'..=b'9', b'.', ..] => Some(Self::Pdf),
            _ => None,
        }
    }

    fn of_text(text: &str, name: &str) -> Self {
        // A byte order mark belongs to the file and not to its text.
        let plain = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
        if plain.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(plain).is_ok() {
            return Self::Json;
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Self::Csv,
            Some("md" | "markdown") => Self::Markdown,
            Some(_) | None => Self::PlainText,
        }
    }

    /// Its name, as in `image/png`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Pdf => "application/pdf",
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Markdown => "text/markdown",
            Self::PlainText => "text/plain",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::structure::tests::{GIF, JPEG, PDF, PNG, WEBP},
        *,
    };

    fn of(content: &[u8], name: &str) -> Option<&'static str> {
        MediaType::of(content, name).ok().map(MediaType::as_str)
    }

    #[test]
    fn the_content_says_what_a_file_is_whatever_its_name() {
        for name in ["file", "file.txt", "file.png", "file.md"] {
            for (content, expected) in [
                (PNG, "image/png"),
                (JPEG, "image/jpeg"),
                (GIF, "image/gif"),
                (WEBP, "image/webp"),
                (PDF, "application/pdf"),
                (b" {\"a\": [1, 2]}\n", "application/json"),
                (b"[]", "application/json"),
                ("\u{feff}{}".as_bytes(), "application/json"),
            ] {
                assert_eq!(of(content, name), Some(expected), "{name}");
            }
        }
    }

    #[test]
    fn a_name_tells_kinds_of_text_apart() {
        for (name, expected) in [
            ("a.csv", "text/csv"),
            ("A.CSV", "text/csv"),
            ("README.md", "text/markdown"),
            ("b.markdown", "text/markdown"),
            ("c.txt", "text/plain"),
            ("d.json", "text/plain"),
            ("e.png", "text/plain"),
            ("csv", "text/plain"),
            ("文書", "text/plain"),
        ] {
            assert_eq!(of("a,b\nä,ö\n".as_bytes(), name), Some(expected), "{name}");
        }
        assert_eq!(of(b"", "empty"), Some("text/plain"));
        assert_eq!(of(b"", "empty.csv"), Some("text/csv"));
    }

    #[test]
    fn text_that_only_looks_like_something_is_text() {
        for text in [
            "GIF is a format",
            "RIFF1234WEBP is another",
            "a header is %PDF-1.4",
            "%PDF",
            "{not json}",
            "{} {}",
            "\"a string\"",
            "1",
            "BM",
            "#!/bin/sh",
            "<!DOCTYPE html><title>x</title>",
        ] {
            assert_eq!(of(text.as_bytes(), "file"), Some("text/plain"), "{text}");
        }
        // Nested too deep to be read by anybody.
        assert_eq!(of("[".repeat(100_000).as_bytes(), "file"), Some("text/plain"));
    }

    #[test]
    fn anything_else_is_not_taken() {
        for content in [
            &b"\x7fELF\x02\x01\x01\0"[..],
            b"PK\x03\x04\x14\0",
            b"a\0b",
            b"GIF\xff",
            b"\x89PNG\r\n\x1a\n",
            b"caf\xe9",
            b"\xff\xfeh\0i\0",
        ] {
            assert_eq!(of(content, "file.txt"), None, "{content:?}");
        }
    }

    #[test]
    fn what_only_begins_as_an_image_or_a_pdf_does_is_refused_with_what_is_taken() {
        for (content, begins_as) in [
            (&b"\xff\xd8\xff"[..], MediaType::Jpeg),
            (b"GIF89a", MediaType::Gif),
            (b"RIFF\0\0\0\0WEBPVP8Z", MediaType::Webp),
            (b"%PDF-1.", MediaType::Pdf),
            (&PNG[..16], MediaType::Png),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0\0\0", MediaType::Png),
        ] {
            let refused = MediaType::of(content, "file.png").expect_err("it is none");

            assert_eq!(refused, NotTaken::Damaged(begins_as));
            let sentence = refused.to_string();
            assert!(sentence.contains(begins_as.as_str()) && sentence.contains(TAKEN), "{sentence}");
        }
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_what_it_is_or_nothing_or_a_few_letters() {
        for whole in [PNG, JPEG, GIF, WEBP, PDF] {
            let expected = of(whole, "file");
            for end in 0..whole.len() {
                let cut = of(&whole[..end], "file");
                let is_letters = cut == Some("text/plain") && end < 8;
                assert!(cut.is_none() || cut == expected || is_letters, "{expected:?} after {end}: {cut:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_is_taken_and_nothing_panics(text in "[^\\x00]*", bytes: Vec<u8>, name in ".*") {
            prop_assert!(MediaType::of(text.as_bytes(), &name).is_ok());
            let _ = MediaType::of(&bytes, &name);
        }
    }
}
