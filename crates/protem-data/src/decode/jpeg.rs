//! JPEG files.

use super::{DecodeOptions, upright};
use crate::error::ReadError;
use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{ImageError, ImageFormat, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    if truncated(bytes) {
        return Err(ReadError::Truncated);
    }
    decode_whole(bytes, options).or_else(|error| match (&error, bare(bytes)) {
        // What is said about an image may be damaged and the image whole.
        (ReadError::Decode(_), Some(bare)) => decode_whole(&bare, options).map_err(|_| error),
        _ => Err(error),
    })
}

fn decode_whole(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    let lenient = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), lenient);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32); // 16 bits each in the file
    let pixels = options.check(width, height)?;
    let mut rgb = vec![0; pixels as usize * 3];
    decoder.decode_into(&mut rgb).map_err(damaged)?;
    let exif = decoder.exif().filter(|_| options.orientation);
    let turned = exif.and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel");
    Ok(upright(image, turned.unwrap_or(Orientation::NoTransforms)))
}

fn damaged(error: DecodeErrors) -> ReadError {
    let hint = ImageFormatHint::Exact(ImageFormat::Jpeg);
    ImageError::Decoding(DecodingError::new(hint, error.to_string())).into()
}

/// The decoder fills what is missing with gray. Inside a scan 0xFF is always followed by 0, so
/// after the last start-of-scan marker there must be an end marker.
fn truncated(jpeg: &[u8]) -> bool {
    let mut from_the_end = jpeg.windows(2).rev();
    from_the_end.find(|w| matches!(w, [0xff, 0xd9 | 0xda])) == Some(&[0xff, 0xda][..])
}

/// The file without what applications and people say in it, up to the first scan; nothing when its
/// segments cannot be followed. Adobe's own segment, which tells the colours apart, stays if it is
/// as long as it must be.
fn bare(jpeg: &[u8]) -> Option<Vec<u8>> {
    const ADOBE: usize = 2 + 12;
    let mut bare = jpeg.get(..2)?.to_vec();
    let mut at = 2;
    loop {
        // Between segments there may be bytes that belong to none.
        let marker = *jpeg.get(at + 1)?;
        if jpeg[at] != 0xff || matches!(marker, 0 | 0xff) {
            at += 1;
            continue;
        }
        if marker == 0xda {
            bare.extend_from_slice(&jpeg[at..]);
            return Some(bare);
        }
        let len = usize::from(u16::from_be_bytes(*jpeg.get(at + 2..)?.first_chunk()?));
        let segment = jpeg.get(at..at + 2 + len)?;
        let said = match marker {
            0xee => len < ADOBE,
            0xe0..=0xef | 0xfe => true,
            _ => false,
        };
        if !said {
            bare.extend_from_slice(segment);
        }
        at += 2 + len;
    }
}
