//! Rows as PostgreSQL's `copy` takes them in its binary form: nothing has to be escaped or parsed.

use uuid::Uuid;

use super::document::Document;

/// What a copy begins with: signature, no flags, no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with, in the place of a row's number of fields.
const END: i16 = -1;
/// Version of the binary form of `jsonb`.
const JSONB_VERSION: u8 = 1;
/// From the epoch of Unix to that of PostgreSQL, in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows of one statement.
#[derive(Debug)]
pub(super) struct Rows(Vec<u8>);

impl Rows {
    pub(super) fn new() -> Self {
        Self(HEAD.to_vec())
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END.to_be_bytes());
        self.0
    }

    /// Begins a row of so many fields.
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        self.0.extend_from_slice(&fields.to_be_bytes());
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn bigint(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn integer(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn smallint(&mut self, value: i16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.bytes(&[u8::from(value)])
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// A time, in microseconds since 1970.
    pub(super) fn time(&mut self, micros: i64) -> &mut Self {
        self.bigint(micros - EPOCH_MICROS)
    }

    pub(super) fn jsonb(&mut self, value: &str) -> &mut Self {
        self.sized(|bytes| {
            bytes.push(JSONB_VERSION);
            bytes.extend_from_slice(value.as_bytes());
        })
    }

    /// A `tsvector` whose lexemes begin with a prefix.
    pub(super) fn search(&mut self, document: &Document, prefix: &str) -> &mut Self {
        self.sized(|bytes| {
            bytes.extend_from_slice(&length(document.tokens.len()).to_be_bytes());
            for (token, places) in &document.tokens {
                bytes.extend_from_slice(prefix.as_bytes());
                bytes.extend_from_slice(token.as_bytes());
                bytes.push(0);
                let count = u16::try_from(places.len()).expect("a token has few places");
                bytes.extend_from_slice(&count.to_be_bytes());
                places.iter().for_each(|place| bytes.extend_from_slice(&place.to_be_bytes()));
            }
        })
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.sized(|bytes| bytes.extend_from_slice(value))
    }

    /// A field, behind its length.
    fn sized(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        write(&mut self.0);
        let written = length(self.0.len() - start - 4);
        self.0[start..start + 4].copy_from_slice(&written.to_be_bytes());
        self
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a field is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stands_behind_its_length() {
        let mut rows = Rows::new();

        rows.row(3).smallint(1).null().jsonb("{}");

        let fields = [&[0, 3][..], &[0, 0, 0, 2, 0, 1], &[255; 4], &[0, 0, 0, 3, 1, b'{', b'}']].concat();
        assert_eq!(rows.end(), [HEAD, &fields, &[255, 255]].concat());
    }

    #[test]
    fn a_document_has_its_lexemes_with_their_places() {
        let mut rows = Rows::new();

        rows.row(1).search(&Document::of("a b a"), "p");

        let lexemes = [&[0, 0, 0, 2][..], b"pa\0", &[0, 2, 0, 1, 0, 3], b"pb\0", &[0, 1, 0, 2]].concat();
        let expected = [HEAD, &[0, 1], &[0, 0, 0, 20], &lexemes, &[255, 255]].concat();
        assert_eq!(rows.end(), expected);
    }
}
