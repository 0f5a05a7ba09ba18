//! Whether three components are red, green and blue or YCbCr, by libjpeg's rule (jdapimin.c): JFIF says
//! YCbCr, else Adobe's segment says which, else the components' names do. The decoder asks Adobe's
//! segment alone.

use super::next_segment;

/// Adobe's segment of a file whose components are the colours themselves.
const ADOBE: [u8; 16] = *b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00";

/// The file with Adobe's segment put in or left out, where the decoder would take its colours for
/// others.
pub(super) fn told(jpeg: &[u8]) -> Option<Vec<u8>> {
    let (mut jfif, mut adobe, mut names) = (false, None, None);
    let mut at = 2;
    loop {
        let (begin, marker, segment) = next_segment(jpeg, at)?;
        at = begin + segment.len();
        let data = segment.get(4..).unwrap_or_default();
        match marker {
            0xda | 0xd9 => break,
            0xe0 => jfif |= data.len() >= 14 && data.starts_with(b"JFIF\0"),
            0xee if data.len() >= 12 && data.starts_with(b"Adobe") => {
                adobe = Some((begin..at, data[11]));
            }
            0xc4 | 0xc8 | 0xcc => {}
            // A frame: its size, and of each component the name and two bytes more.
            0xc0..=0xcf if data.get(5) == Some(&3) && data.len() >= 15 => {
                names = Some([data[6], data[9], data[12]]);
            }
            _ => {}
        }
    }
    match (adobe, names?) {
        (Some((segment, 0)), _) if jfif => {
            Some([&jpeg[..segment.start], &jpeg[segment.end..]].concat())
        }
        (None, [b'R', b'G', b'B']) if !jfif => {
            let (begin, rest) = jpeg.split_at_checked(2)?;
            Some([begin, &ADOBE, rest].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JFIF: &[u8] = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

    fn file(segments: &[&[u8]], names: &[u8; 3]) -> Vec<u8> {
        let [a, b, c] = *names;
        let frame = [8, 0, 1, 0, 1, 3, a, 0x11, 0, b, 0x11, 0, c, 0x11, 0];
        let mut file = b"\xff\xd8".to_vec();
        segments.iter().for_each(|s| file.extend_from_slice(s));
        file.extend(b"\xff\xc0\x00\x11");
        file.extend(frame);
        file.extend(b"\xff\xda\x00\x02\xff\xd9");
        file
    }

    #[test]
    fn adobes_segment_says_what_libjpeg_takes() {
        assert_eq!(told(&file(&[], b"RGB")), Some(file(&[&ADOBE], b"RGB")));
        assert_eq!(
            told(&file(&[JFIF, &ADOBE], &[1, 2, 3])),
            Some(file(&[JFIF], &[1, 2, 3]))
        );
        for (segments, names) in [
            (&[][..], &[1, 2, 3]),
            (&[JFIF], &[1, 2, 3]),
            (&[JFIF], b"RGB"),
            (&[&ADOBE[..]], &[1, 2, 3]),
        ] {
            assert_eq!(told(&file(segments, names)), None, "{names:?}");
        }
        let whole = file(&[JFIF, &ADOBE], b"RGB");
        (0..whole.len()).for_each(|end| drop(told(&whole[..end])));
    }
}
