//! From bytes to RGB pixels.

use crate::error::ReadError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// Pixels above which an image is refused before it is decoded, for a small file can declare
/// gigabytes; the same number as Pillow's.
const PIXELS: u64 = 178_956_970;

/// Decodes an image file to RGB, the format told by its content. Gray is copied to all channels,
/// transparency dropped, 16 bits cut to 8, the first frame of an animation taken (as Pillow's
/// `convert("RGB")`, except that Pillow turns 16-bit gray above 255 to white); an EXIF orientation is not
/// applied (as torchvision). Bytes of a JPEG come from another inverse transform and chroma
/// upsampling than libjpeg-turbo's: over 60 photographs 0.2 off on average, 5 at most.
///
/// # Errors
/// Bytes that are no whole image, or one of more than 178 956 970 pixels. A decoder that panics
/// is an error too: one image must not end a run.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ReadError> {
    std::panic::catch_unwind(|| decode_unguarded(bytes)).unwrap_or(Err(ReadError::DecoderPanic))
}

fn decode_unguarded(bytes: &[u8]) -> Result<RgbImage, ReadError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format() == Some(ImageFormat::Jpeg) && truncated(bytes) {
        return Err(ReadError::Truncated);
    }
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS {
        return Err(ReadError::TooLarge {
            width,
            height,
            limit: PIXELS,
        });
    }
    let image = DynamicImage::from_decoder(decoder)?;
    let deep = image.color().bytes_per_pixel() > image.color().channel_count();
    Ok(if deep {
        let channels = image.into_rgb16();
        let high_bytes = channels.iter().map(|c| (c >> 8) as u8).collect();
        RgbImage::from_raw(width, height, high_bytes).expect("three bytes a pixel")
    } else {
        image.into_rgb8()
    })
}

/// The decoder fills what is missing with gray. Inside a scan 0xFF is always followed by 0, so
/// after the last start-of-scan marker there must be an end marker.
fn truncated(jpeg: &[u8]) -> bool {
    let mut from_the_end = jpeg.windows(2).rev();
    from_the_end.find(|w| matches!(w, [0xff, 0xd9 | 0xda])) == Some(&[0xff, 0xda][..])
}
