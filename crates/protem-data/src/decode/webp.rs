//! Animated WebP files: the first frame as a still picture.
//!
//! A decoder of animations blends frames over the canvas and loses the colours of transparent
//! pixels; libwebp, and so Pillow, keeps those of the first frame. Its data are those of a still
//! picture, so they are put into a file of their own.

/// A still file, and where its picture lies on the canvas.
pub(super) struct Still {
    pub file: Vec<u8>,
    pub left: u32,
    pub top: u32,
}

/// The first frame; nothing where the file is no animation or is damaged.
pub(super) fn first_frame(webp: &[u8]) -> Option<Still> {
    const ANIMATED: u8 = 2;
    const ALPHA: u8 = 16;
    if webp.get(12..16)? != b"VP8X" || webp.get(20)? & ANIMATED == 0 {
        return None;
    }
    let mut at = 12;
    let frame = loop {
        let len = u32::from_le_bytes(*webp.get(at + 4..)?.first_chunk()?) as usize;
        let data = webp.get(at + 8..)?.get(..len)?;
        if webp.get(at..at + 4)? == b"ANMF" {
            break data;
        }
        at += 8 + len.next_multiple_of(2);
    };
    let (head, data) = frame.split_at_checked(16)?;
    let three = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
    let mut chunks = b"WEBPVP8X\x0a\0\0\0".to_vec();
    // Where it is said, data with loss must have transparency before them.
    let transparent = data.starts_with(b"ALPH") || data.starts_with(b"VP8L");
    chunks.extend([if transparent { ALPHA } else { 0 }, 0, 0, 0]);
    chunks.extend_from_slice(&head[6..12]); // width and height, each less one
    chunks.extend_from_slice(data);
    let mut file = b"RIFF".to_vec();
    file.extend(u32::try_from(chunks.len()).ok()?.to_le_bytes());
    file.extend(chunks);
    Some(Still {
        file,
        left: 2 * three(0),
        top: 2 * three(3),
    })
}
