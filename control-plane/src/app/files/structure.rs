//! Whether what begins as an image or a PDF does is one, as far as that can be told at no cost: an image up to
//! its width and height, a PDF by its end. Nothing is decoded. A few bytes that only begin as an image does
//! would be refused by the provider, and again with every later turn of the chat that has them.

use super::media_type::MediaType;

/// The shortest PDF with a page has about as many bytes; what is shorter has lost some.
const PDF_BYTES_MIN: usize = 64;
/// How far from its end a PDF says that it ends: some have grown a little on their way here.
const PDF_END_BYTES: usize = 2048;
/// PNG has no longer side.
const PNG_SIDE_MAX: u32 = 0x7fff_ffff;

/// Width and height in pixels.
type Sides = (u32, u32);

/// Whether the content, which begins as files of this type do, goes on as they do.
pub(super) fn is_sound(media_type: MediaType, content: &[u8]) -> bool {
    let sides = match media_type {
        MediaType::Png => png(content),
        MediaType::Jpeg => jpeg(content),
        MediaType::Gif => gif(content),
        MediaType::Webp => webp(content),
        MediaType::Pdf => return is_pdf(content),
        MediaType::Json | MediaType::Csv | MediaType::Markdown | MediaType::PlainText => return true,
    };
    sides.is_some_and(|(width, height)| width > 0 && height > 0)
}

/// The first chunk has been named by the signature; its checksum is its end.
fn png(content: &[u8]) -> Option<Sides> {
    let sides = (u32::from_be_bytes(bytes(content, 16)?), u32::from_be_bytes(bytes(content, 20)?));
    let _checksum: [u8; 4] = bytes(content, 29)?;
    (sides.0.max(sides.1) <= PNG_SIDE_MAX).then_some(sides)
}

/// Goes from segment to segment to the one that starts a frame.
fn jpeg(content: &[u8]) -> Option<Sides> {
    let mut rest = content.get(2..)?;
    loop {
        rest = match rest {
            // What fills the space between segments.
            [0xff, 0xff, ..] => &rest[1..],
            // A marker without a segment.
            [0xff, 0x01, more @ ..] => more,
            [0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, segment @ ..] => {
                after(segment)?;
                let side = |at| bytes(segment, at).map(u16::from_be_bytes).map(u32::from);
                // Before them is the precision, after them the number of components.
                return Some((side(5)?, side(3)?));
            }
            // A picture, or the end of it, without a frame; or no marker at all.
            [0xff, 0x00 | 0xd0..=0xda, ..] => return None,
            [0xff, _, segment @ ..] => after(segment)?,
            _ => return None,
        };
    }
}

/// What follows a segment of a JPEG, whose length counts itself.
fn after(segment: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(bytes(segment, 0)?));
    segment.get(length..).filter(|_| length >= 2)
}

/// The screen, its colours, and the first block after them, which is not the end.
fn gif(content: &[u8]) -> Option<Sides> {
    let side = |at| bytes(content, at).map(u16::from_le_bytes).map(u32::from);
    let [flags, _, _] = bytes(content, 10)?;
    let colours_bytes = if flags & 0x80 == 0 { 0 } else { 3 * (2 << (flags & 7)) };
    let [b',' | b'!', _] = bytes(content, 13 + colours_bytes)? else { return None };
    Some((side(6)?, side(8)?))
}

/// The whole is as long as it says, and so is its first chunk, of which there are three kinds.
fn webp(content: &[u8]) -> Option<Sides> {
    let length =
        |at| bytes(content, at).map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok());
    let (_, chunks) = content.get(..length(4)?.checked_add(8)?)?.split_at_checked(20)?;
    let (chunk, more) = chunks.split_at_checked(length(16)?)?;
    match content.get(12..16)? {
        b"VP8 " => lossy(chunk),
        b"VP8L" => lossless(chunk),
        // The picture itself is in a chunk after this one.
        b"VP8X" if !more.is_empty() => extended(chunk),
        _ => None,
    }
}

/// Numbers of 14 bits, each with 2 more that say how to scale, after a tag and a start code.
fn lossy(chunk: &[u8]) -> Option<Sides> {
    let [0x9d, 0x01, 0x2a] = bytes(chunk, 3)? else { return None };
    let side = |at| bytes(chunk, at).map(|side| u32::from(u16::from_le_bytes(side) & 0x3fff));
    Some((side(6)?, side(8)?))
}

/// Numbers of 14 bits in a row, each one less than its side.
fn lossless(chunk: &[u8]) -> Option<Sides> {
    let [0x2f] = bytes(chunk, 0)? else { return None };
    let sides = u32::from_le_bytes(bytes(chunk, 1)?);
    Some(((sides & 0x3fff) + 1, ((sides >> 14) & 0x3fff) + 1))
}

/// Numbers of 24 bits, each one less than its side, after four bytes of flags.
fn extended(chunk: &[u8]) -> Option<Sides> {
    let side =
        |at| bytes(chunk, at).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]) + 1);
    Some((side(4)?, side(7)?))
}

/// A version that there is, and words that say where the file ends.
fn is_pdf(content: &[u8]) -> bool {
    let has_version = matches!(content, [b'%', b'P', b'D', b'F', b'-', b'1' | b'2', b'.', b'0'..=b'9', ..]);
    let end = &content[content.len().saturating_sub(PDF_END_BYTES)..];
    let has = |words: &[u8]| end.windows(words.len()).any(|window| window == words);
    has_version && content.len() >= PDF_BYTES_MIN && (has(b"%%EOF") || has(b"startxref"))
}

/// So many bytes from there on.
fn bytes<const COUNT: usize>(content: &[u8], at: usize) -> Option<[u8; COUNT]> {
    content.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    pub(in crate::app::files) const PNG: &[u8] =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
        \0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";
    pub(in crate::app::files) const JPEG: &[u8] =
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xff\x01\xff\xc4\0\x02\
          \xff\xc2\0\x0b\x08\0\x02\0\x03\x01\x01\x11\0\xff\xda\0\x02\xff\xd9";
    pub(in crate::app::files) const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    const GIF_WITHOUT_COLOURS: &[u8] = b"GIF87a\x20\x03\x58\x02\0\0\0!\xfe\0;";
    pub(in crate::app::files) const WEBP: &[u8] =
        b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";
    const WEBP_LOSSY: &[u8] = b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x20\x43\x58\x02";
    const WEBP_EXTENDED: &[u8] = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0ANIM\0\0\0\0";
    pub(in crate::app::files) const PDF: &[u8] =
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Pages 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF\n";

    /// Small files, and how many of their bytes show what they are.
    const FILES: [(MediaType, &[u8], usize); 8] = [
        (MediaType::Png, PNG, 33),
        (MediaType::Jpeg, JPEG, 40),
        (MediaType::Gif, GIF, 21),
        (MediaType::Gif, GIF_WITHOUT_COLOURS, 15),
        (MediaType::Webp, WEBP, WEBP.len()),
        (MediaType::Webp, WEBP_LOSSY, WEBP_LOSSY.len()),
        (MediaType::Webp, WEBP_EXTENDED, WEBP_EXTENDED.len()),
        (MediaType::Pdf, PDF, PDF.len() - b"\n0\n%%EOF\n".len()),
    ];

    #[test]
    fn a_file_is_sound_from_where_it_shows_what_it_is_and_not_before() {
        for (media_type, file, needed) in FILES {
            for end in 0..=file.len() {
                let expected = end >= needed;
                assert_eq!(
                    is_sound(media_type, &file[..end]),
                    expected,
                    "{media_type:?} cut after {end} bytes"
                );
            }
            assert!(is_sound(media_type, &[file, b"more"].concat()), "{media_type:?} with more after it");
        }
    }

    /// The file with these bytes in place of its own.
    fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = file.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    }

    #[test]
    fn what_has_no_area_or_is_put_together_wrongly_is_not_sound() {
        for (media_type, file) in [
            (MediaType::Png, with(PNG, 16, &[0; 4])),
            (MediaType::Png, with(PNG, 20, &[0; 4])),
            (MediaType::Png, with(PNG, 16, &[0x80])),
            (MediaType::Jpeg, with(JPEG, 32, &[0; 2])),
            (MediaType::Jpeg, with(JPEG, 34, &[0; 2])),
            // A segment without a length, a picture without a frame, and no marker where one should be.
            (MediaType::Jpeg, with(JPEG, 4, &[0, 1])),
            (MediaType::Jpeg, with(JPEG, 28, &[0xda])),
            (MediaType::Jpeg, with(JPEG, 20, &[0])),
            (MediaType::Jpeg, b"\xff\xd8\xff".repeat(1000)),
            (MediaType::Gif, with(GIF, 6, &[0; 2])),
            (MediaType::Gif, with(GIF, 8, &[0; 2])),
            (MediaType::Gif, with(GIF, 19, b";")),
            (MediaType::Webp, with(WEBP, 15, b"Z")),
            (MediaType::Webp, with(WEBP, 20, &[0])),
            (MediaType::Webp, with(WEBP, 4, &[0xff; 4])),
            (MediaType::Webp, with(WEBP, 16, &[0xff; 4])),
            (MediaType::Webp, with(WEBP_LOSSY, 23, &[0; 3])),
            (MediaType::Webp, with(WEBP_LOSSY, 26, &[0, 0x40])),
            (MediaType::Webp, with(WEBP_LOSSY, 28, &[0, 0xc0])),
            (MediaType::Webp, with(&WEBP_EXTENDED[..30], 4, &[22])),
            (MediaType::Pdf, with(PDF, 5, b"3")),
            (MediaType::Pdf, with(PDF, 7, b"x")),
            (MediaType::Pdf, b"%PDF-1.7\nstartxref\n0\n%%EOF\n".to_vec()),
            (MediaType::Pdf, [PDF, &[b' '; PDF_END_BYTES]].concat()),
        ] {
            assert!(!is_sound(media_type, &file), "{media_type:?}: {:?}", &file[..file.len().min(80)]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(
            (media_type, file, _) in prop::sample::select(FILES.to_vec()),
            end in 0_usize..100,
            rest in vec(prop_oneof![any::<u8>(), Just(0xff), Just(0)], 0..64),
        ) {
            is_sound(media_type, &[&file[..end.min(file.len())], &rest].concat());
        }
    }
}
