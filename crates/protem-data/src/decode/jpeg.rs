//! JPEG files.

mod colours;
mod mend;

use super::{DecodeOptions, upright};
use crate::error::ReadError;
use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{ImageError, ImageFormat, RgbImage};
use libjpeg_turbo_rs::{
    DecodeLimits, DecodeWarning, Decoder, FrameHeader, ImageInfo, JpegError, PixelFormat,
    ScalingFactor,
};

/// Scans of an image, at most: each passes over all of it, however short it is in the file.
const SCANS: usize = 500;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    if truncated(bytes) {
        return Err(ReadError::Truncated);
    }
    let told = colours::told(bytes);
    let bytes = told.as_deref().unwrap_or(bytes);
    decode_whole(bytes, options).or_else(|error| match (&error, bare(bytes)) {
        // What is said about an image may be damaged and the image whole.
        (ReadError::Decode(_), Some(bare)) => decode_whole(&bare, options).map_err(|_| error),
        _ => Err(error),
    })
}

fn decode_whole(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    let limits = DecodeLimits {
        max_scans: SCANS,
        ..DecodeLimits::default()
    };
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(|e| damaged(&e))?;
    let frame = decoder.header();
    options.check(frame.width.into(), frame.height.into())?;
    if frame.precision != 8 {
        let reason = format!("samples of {} bits", frame.precision);
        return Err(damaged(&JpegError::Unsupported(reason)));
    }
    if black_apart(frame) {
        let reason = "black that is sampled otherwise than the first ink";
        return Err(damaged(&JpegError::Unsupported(reason.into())));
    }
    let (format, channels) = match frame.components.len() {
        4 => (PixelFormat::Cmyk, 4),
        _ => (PixelFormat::Rgb, 3),
    };
    let scale = ScalingFactor::new(1, reduction(frame, options));
    let side = |pixels: u16| scale.scale_dim(pixels.into());
    let (width, height) = (side(frame.width), side(frame.height));
    let orientation = decoder.exif_orientation().filter(|_| options.orientation);
    let mut pixels = vec![0; width * height * channels];
    let decoder = decoder.with_output_format(format).with_scale(scale);
    let info = match decoder.decode_image_into(&mut pixels) {
        Err(error) => {
            let mended = mend::mended(bytes);
            let bytes = mended.as_deref().unwrap_or(bytes);
            let decoder = Decoder::new_with_limits(bytes, limits).map_err(|e| damaged(&e))?;
            let decoder = decoder.with_output_format(format).with_scale(scale);
            lenient(decoder, error, &mut pixels)
        }
        decoded => decoded,
    };
    let info = info.map_err(|e| damaged(&e))?;
    if (info.width, info.height, info.pixel_format) != (width, height, format) {
        return Err(damaged(&JpegError::Unsupported(
            "an image of its own size".into(),
        )));
    }
    let rgb = match format {
        PixelFormat::Cmyk => rgb_of(&pixels),
        _ => pixels,
    };
    let image = RgbImage::from_raw(width as u32, height as u32, rgb).expect("three bytes a pixel");
    let turned = orientation.and_then(Orientation::from_exif);
    Ok(upright(image, turned.unwrap_or(Orientation::NoTransforms)))
}

/// Whether the last of four components has another size than the first: the decoder would read it as if
/// it had the same.
fn black_apart(frame: &FrameHeader) -> bool {
    let size = |at: usize| {
        let component = &frame.components[at];
        (component.horizontal_sampling, component.vertical_sampling)
    };
    frame.components.len() == 4 && size(3) != size(0)
}

/// By how much the sides are divided.
fn reduction(frame: &FrameHeader, options: &DecodeOptions) -> u32 {
    let shorter = u32::from(frame.width.min(frame.height));
    let enough = |by: &u32| {
        options
            .reduce_to
            .is_some_and(|least| shorter.div_ceil(*by) >= least)
    };
    [8, 4, 2].into_iter().find(enough).unwrap_or(1)
}

/// Decodes beyond an error within the image, as libjpeg does; but not where data are missing.
fn lenient(
    decoder: Decoder<'_>,
    error: JpegError,
    pixels: &mut [u8],
) -> Result<ImageInfo, JpegError> {
    let info = decoder.with_lenient(true).decode_image_into(pixels)?;
    let cut = |warning: &DecodeWarning| !matches!(warning, DecodeWarning::HuffmanError { .. });
    match info.warnings.iter().any(cut) {
        true => Err(error),
        false => Ok(info),
    }
}

/// Pillow's colours of inks, of which a file holds what is left of white.
fn rgb_of(inks: &[u8]) -> Vec<u8> {
    let pixels = inks.chunks_exact(4);
    let of = |ink: &[u8]| {
        let white = u32::from(ink[3]);
        [0, 1, 2].map(|channel| {
            let product = u32::from(255 - ink[channel]) * white + 128;
            white.saturating_sub(((product >> 8) + product) >> 8) as u8
        })
    };
    pixels.flat_map(of).collect()
}

fn damaged(error: &JpegError) -> ReadError {
    let hint = ImageFormatHint::Exact(ImageFormat::Jpeg);
    ImageError::Decoding(DecodingError::new(hint, error.to_string())).into()
}

/// The decoder fills what is missing with gray. Inside a scan 0xFF is always followed by 0, so
/// after the last start-of-scan marker there must be an end marker. Where it is the other way round,
/// an image may have ended before: cameras append others, and films.
fn truncated(jpeg: &[u8]) -> bool {
    let mut from_the_end = jpeg.windows(2).rev();
    let last = from_the_end.find(|w| matches!(w, [0xff, 0xd9 | 0xda]));
    last == Some(&[0xff, 0xda][..]) && !ends(jpeg)
}

/// Whether the segments lead to an end marker.
fn ends(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some((begin, marker, segment)) = next_segment(jpeg, at) {
        if marker == 0xd9 {
            return true;
        }
        at = begin + segment.len();
    }
    false
}

/// The file without what applications and people say in it, up to the first scan; nothing when its
/// segments cannot be followed. Adobe's own segment, which tells the colours apart, stays if it is
/// as long as it must be.
fn bare(jpeg: &[u8]) -> Option<Vec<u8>> {
    const ADOBE: usize = 2 + 12;
    let mut bare = jpeg.get(..2)?.to_vec();
    let mut at = 2;
    loop {
        let (begin, marker, segment) = next_segment(jpeg, at)?;
        if marker == 0xda {
            bare.extend_from_slice(&jpeg[begin..]);
            return Some(bare);
        }
        let said = match marker {
            0xee => segment.len() - 2 < ADOBE,
            0xe0..=0xef | 0xfe => true,
            _ => false,
        };
        if !said {
            bare.extend_from_slice(segment);
        }
        at = begin + segment.len();
    }
}

/// The first segment from a place on: where it begins, its marker, and the whole of it. Bytes before
/// it, restarts among them, belong to none; the end of the image is its marker alone.
fn next_segment(jpeg: &[u8], at: usize) -> Option<(usize, u8, &[u8])> {
    let none = |marker: u8| matches!(marker, 0 | 0xff | 0xd0..=0xd7);
    let mut pairs = jpeg.get(at..)?.windows(2);
    let begin = at + pairs.position(|pair| pair[0] == 0xff && !none(pair[1]))?;
    let marker = jpeg[begin + 1];
    let len = match marker {
        0xd9 => 0,
        _ => usize::from(word(jpeg, begin + 2)?),
    };
    Some((begin, marker, jpeg.get(begin..begin + 2 + len)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
