//! How large an image is, and whether it moves, read off its bytes: providers refuse those
//! with too many pixels, and some those that move. Whatever is damaged or unknown has no size
//! here and stands still; nothing is decoded.

/// Width and height in pixels.
pub(super) fn sides(data: &[u8]) -> Option<(u32, u32)> {
    match data {
        [0x89, b'P', b'N', b'G', ..] => Some((big(data, 16, 4)?, big(data, 20, 4)?)),
        [b'G', b'I', b'F', b'8', ..] => Some((little(data, 6, 2)?, little(data, 8, 2)?)),
        [b'R', b'I', b'F', b'F', ..] if data.get(8..12)? == b"WEBP" => webp(data),
        [0xFF, 0xD8, ..] => jpeg(data),
        _ => None,
    }
}

/// Whether an image moves. One that is damaged does as far as it can be read.
pub(super) fn is_animated(data: &[u8]) -> bool {
    match data {
        [b'G', b'I', b'F', b'8', ..] => gif_moves(data).unwrap_or(false),
        [b'R', b'I', b'F', b'F', ..] => webp_moves(data).unwrap_or(false),
        _ => false,
    }
}

/// Goes from block to block to the second picture, or to the extension by which animations say
/// how often they repeat.
fn gif_moves(data: &[u8]) -> Option<bool> {
    const REPEATS: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];
    let mut place = 13 + colours(*data.get(10)?);
    let mut pictures = 0;
    loop {
        match data.get(place)? {
            b'!' => {
                let says_so = *data.get(place + 1)? == 0xFF
                    && data.get(place + 3..place + 14).is_some_and(|name| REPEATS.contains(&name));
                if says_so {
                    return Some(true);
                }
                place += 2;
            }
            b',' => {
                pictures += 1;
                if pictures > 1 {
                    return Some(true);
                }
                // Its place and size, its own colours, and how its pixels are coded.
                place += 10 + colours(*data.get(place + 9)?) + 1;
            }
            _ => return Some(false),
        }
        place = after_pieces(data, place)?;
    }
}

/// Bytes of a GIF's table of colours, if there is one.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// What a GIF's block holds comes in pieces with their lengths, up to one that is empty.
fn after_pieces(data: &[u8], mut place: usize) -> Option<usize> {
    loop {
        match usize::from(*data.get(place)?) {
            0 => return Some(place + 1),
            bytes => place += 1 + bytes,
        }
    }
}

/// Only the kind with a head of its own can, and its flags say so.
fn webp_moves(data: &[u8]) -> Option<bool> {
    const ANIMATION: u8 = 0x02;
    Some(data.get(8..16)? == b"WEBPVP8X" && data.get(20)? & ANIMATION != 0)
}

/// The three kinds of WebP, each with sizes of its own.
fn webp(data: &[u8]) -> Option<(u32, u32)> {
    match data.get(12..16)? {
        b"VP8X" => Some((little(data, 24, 3)? + 1, little(data, 27, 3)? + 1)),
        // 14 bits each after the start code; the rest says how to scale.
        b"VP8 " => Some((little(data, 26, 2)? & 0x3FFF, little(data, 28, 2)? & 0x3FFF)),
        b"VP8L" => {
            let bits = little(data, 21, 4)?;
            Some(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
        }
        _ => None,
    }
}

/// Goes from segment to segment to the one that starts a frame.
fn jpeg(data: &[u8]) -> Option<(u32, u32)> {
    let mut place = 2;
    loop {
        let [0xFF, marker] = data.get(place..place + 2)? else { return None };
        match marker {
            // Filling, and segments that are nothing but a marker.
            0xFF => place += 1,
            0x01 | 0xD0..=0xD8 => place += 2,
            // Starts of frames, among which three others stand.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                return Some((big(data, place + 7, 2)?, big(data, place + 5, 2)?));
            }
            // The picture begins, or ends, without a frame.
            0xD9 | 0xDA => return None,
            _ => place += 2 + usize::try_from(big(data, place + 2, 2)?.max(2)).ok()?,
        }
    }
}

fn big(data: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(data.get(at..at + count)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn little(data: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(data.get(at..at + count)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_sides_of_each_kind_of_image_are_read() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x03\x20\0\0\x02\x58\x08";
        let gif = b"GIF89a\x20\x03\x58\x02\x80";
        let extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0";
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x20\x43\x58\x02";
        // 799 in the lower 14 bits, 599 in the next.
        let lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x1f\xc3\x95\0";
        let jpeg = b"\xFF\xD8\xFF\xE0\0\x04JF\xFF\xFF\xC4\0\x02\xFF\xC2\0\x11\x08\x02\x58\x03\x20\x03";
        for image in [&png[..], gif, extended, lossy, lossless, jpeg] {
            assert_eq!(sides(image), Some((800, 600)), "{image:?}");
        }
    }

    #[test]
    fn what_is_cut_or_unknown_has_no_sides() {
        for image in
            [&b""[..], b"\x89PNG\r\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8?", b"\xFF\xD8\xFF\xDA", b"BM"]
        {
            assert_eq!(sides(image), None, "{image:?}");
        }
    }

    /// A GIF with two colours and these blocks.
    fn gif(blocks: &[&[u8]]) -> Vec<u8> {
        [&b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF"[..], &blocks.concat()].concat()
    }

    #[test]
    fn a_gif_that_repeats_or_has_several_pictures_moves() {
        const REPEATS: &[u8] = b"!\xFF\x0bNETSCAPE2.0\x03\x01\0\0\0";
        const COMMENT: &[u8] = b"!\xFE\x0bNETSCAPE2.0\0";
        const DELAY: &[u8] = b"!\xF9\x04\0\x0a\0\0\0";
        // A comma within its pixels is no picture.
        const PICTURE: &[u8] = b",\0\0\0\0\x01\0\x01\0\0\x02\x03,,,\x01,\0";
        const OF_OWN_COLOURS: &[u8] = b",\0\0\0\0\x01\0\x01\0\x80,,,,,,\x02\x01,\0";

        for moving in [
            &[REPEATS][..],
            &[COMMENT, REPEATS, PICTURE],
            &[PICTURE, PICTURE],
            &[DELAY, OF_OWN_COLOURS, DELAY, PICTURE, b";"],
        ] {
            assert!(is_animated(&gif(moving)), "{moving:?}");
        }
        for still in [
            &[][..],
            &[PICTURE],
            &[COMMENT, DELAY, PICTURE, b";"],
            &[OF_OWN_COLOURS, b";", PICTURE],
            // Cut in the middle of its first picture.
            &[&PICTURE[..12]],
        ] {
            assert!(!is_animated(&gif(still)), "{still:?}");
        }
        let without_colours = [&b"GIF89a\x01\0\x01\0\0\0\0"[..], PICTURE, PICTURE].concat();
        assert!(is_animated(&without_colours));
    }

    #[test]
    fn a_webp_moves_that_says_so() {
        assert!(is_animated(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x12\0\0\0"));
        assert!(!is_animated(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0"));
        assert!(!is_animated(b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\x02\0\0\0"));
        assert!(!is_animated(b"RIFF\0\0\0\0WEBPVP8X"));
        assert!(!is_animated(b"\x89PNG NETSCAPE2.0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(
            start in prop::sample::select(vec![
                &b"\x89PNG"[..], b"GIF89a", b"GIF89a\x01\0\x01\0\0\0\0,", b"RIFF\0\0\0\0WEBPVP8L", b"RIFF\0\0\0\0WEBPVP8 ", b"\xFF\xD8",
            ]),
            rest in vec(prop_oneof![any::<u8>(), Just(0xFF)], 0..64),
        ) {
            let data = [start, &rest].concat();
            sides(&data);
            is_animated(&data);
        }
    }
}
