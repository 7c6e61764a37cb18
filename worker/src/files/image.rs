//! How large an image is, read off its first bytes: providers refuse those with too many
//! pixels. Whatever is damaged or unknown has no size here; nothing is decoded.

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

/// Whether a GIF has the extension by which animations say how often they repeat.
pub(super) fn is_animated_gif(data: &[u8]) -> bool {
    const MARK: &[u8] = b"NETSCAPE2.0";
    /// It stands before the first picture, after a table of colours at most.
    const HEAD_BYTES: usize = 4096;
    let head = &data[..data.len().min(HEAD_BYTES)];
    head.starts_with(b"GIF8") && head.windows(MARK.len()).any(|window| window == MARK)
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

    #[test]
    fn a_gif_that_repeats_moves() {
        assert!(is_animated_gif(b"GIF89a\x01\0\x01\0\0\0\0\x21\xFF\x0bNETSCAPE2.0\x03\x01"));
        assert!(!is_animated_gif(b"GIF89a\x01\0\x01\0"));
        assert!(!is_animated_gif(b"\x89PNG NETSCAPE2.0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(
            start in prop::sample::select(vec![
                &b"\x89PNG"[..], b"GIF89a", b"RIFF\0\0\0\0WEBPVP8L", b"RIFF\0\0\0\0WEBPVP8 ", b"\xFF\xD8",
            ]),
            rest in vec(prop_oneof![any::<u8>(), Just(0xFF)], 0..64),
        ) {
            let data = [start, &rest].concat();
            sides(&data);
            is_animated_gif(&data);
        }
    }
}
