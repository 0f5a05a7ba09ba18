//! From bytes to RGB pixels.

use crate::error::ReadError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// Pixels above which an image is refused before it is decoded: a small file can declare
/// gigabytes.
const PIXELS: u64 = 200_000_000;

/// Decodes an image file to RGB, the format told by its content. Gray is copied to all channels,
/// transparency dropped, 16 bits cut to 8 (all as Pillow's `convert("RGB")`); an EXIF orientation
/// is not applied (as torchvision).
///
/// # Errors
/// Bytes that are no whole image, or one of more than 200 million pixels.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ReadError> {
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
    Ok(DynamicImage::from_decoder(decoder)?.into_rgb8())
}

/// The decoder fills what is missing with gray. Inside a scan 0xFF is always followed by 0, so
/// after the last start-of-scan marker there must be an end marker.
fn truncated(jpeg: &[u8]) -> bool {
    let last = |marker: u8| jpeg.windows(2).rposition(|w| w == [0xff, marker]);
    last(0xd9) < last(0xda)
}
