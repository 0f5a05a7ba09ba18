//! From bytes to RGB pixels.

mod gif;
mod jpeg;
mod webp;

use crate::error::ReadError;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::Cursor;

/// Bytes that a decoder may hold for what is no pixel: profiles, texts, tables.
const ASIDE: u64 = 16 << 20;

/// What [`decode_with`] allows and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pixels above which an image is refused before it is decoded, for a small file can declare
    /// gigabytes. By default 178 956 970, as Pillow's.
    pub max_pixels: u64,
    /// Encoded bytes above which it is refused. By default 1 GiB.
    pub max_bytes: u64,
    /// Whether an EXIF orientation is applied. By default not, as in torchvision. That of a TIFF always is:
    /// Pillow turns these as it opens them.
    pub orientation: bool,
    /// Pixels of the shorter side that are enough: a larger JPEG is decoded at a half, a quarter or an
    /// eighth of its size, from as many coefficients, where that leaves as many. By default none is.
    pub reduce_to: Option<u32>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: 178_956_970,
            max_bytes: 1 << 30,
            orientation: false,
            reduce_to: None,
        }
    }
}

/// Decodes an image file to RGB with the default options: see [`decode_with`].
///
/// # Errors
/// As [`decode_with`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ReadError> {
    decode_with(bytes, &DecodeOptions::default())
}

/// Decodes an image file to RGB, the format told by its content, as Pillow's `convert("RGB")`:
///
/// - gray is copied to all channels, transparency dropped, a palette looked up;
/// - of 16 bits the upper 8 are taken, except of gray, where all above 255 is white;
/// - CMYK and YCCK of a JPEG are converted without a colour profile;
/// - of an animation the first frame is taken, on the whole canvas.
///
/// A JPEG's bytes are those of libjpeg-turbo, and Pillow's, with codes that stand for nothing too; but
/// not always behind other damages, or in a progressive one, where pixels are made up there and here.
/// AVIF and HEIC are refused. Besides the encoded bytes (of a damaged JPEG, three times them) about
/// 8 bytes a pixel are held at most (of a progressive JPEG 13, of 16 bits 14), and 16 MiB.
///
/// # Errors
/// Bytes that are no whole image, or more of them or more pixels than allowed. A decoder that
/// panics is an error too: one image must not end a run.
pub fn decode_with(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    if bytes.len() as u64 > options.max_bytes {
        return Err(ReadError::TooManyBytes {
            bytes: bytes.len() as u64,
            limit: options.max_bytes,
        });
    }
    std::panic::catch_unwind(|| unguarded(bytes, options)).unwrap_or(Err(ReadError::DecoderPanic))
}

fn unguarded(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if is_heif(bytes) {
        return Err(ReadError::Heif);
    }
    match reader.format() {
        Some(ImageFormat::Jpeg) => jpeg::decode(bytes, options),
        Some(ImageFormat::Gif) => gif::decode(bytes, options),
        Some(ImageFormat::WebP) => match webp::first_frame(bytes) {
            Some(still) => {
                let canvas = WebPDecoder::new(Cursor::new(bytes))?.dimensions();
                options.check(canvas.0, canvas.1)?;
                let frame = WebPDecoder::new(Cursor::new(&still.file))?;
                let frame = any(frame, &still.file, options)?;
                let mut image = RgbImage::new(canvas.0, canvas.1);
                let (left, top) = (still.left.into(), still.top.into());
                image::imageops::replace(&mut image, &frame, left, top);
                Ok(image)
            }
            None => any(reader.into_decoder()?, bytes, options),
        },
        Some(ImageFormat::Png) => limited_png(bytes, options),
        // Its decoder would read the PNG without limits.
        Some(ImageFormat::Ico) => match icon_png(bytes) {
            Some(png) => limited_png(png, options),
            None => any(reader.into_decoder()?, bytes, options),
        },
        Some(ImageFormat::Tiff) => {
            let turned = DecodeOptions {
                orientation: true,
                ..*options
            };
            any(reader.into_decoder()?, bytes, &turned)
        }
        _ => any(reader.into_decoder()?, bytes, options),
    }
}

/// Whether bytes begin as a file of the HEIF family, by its major brand.
fn is_heif(bytes: &[u8]) -> bool {
    const BRANDS: [&[u8; 4]; 7] = [
        b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis",
    ];
    bytes.get(4..8) == Some(b"ftyp")
        && BRANDS
            .iter()
            .any(|brand| bytes.get(8..12) == Some(&brand[..]))
}

/// The image of an icon that is decoded, if it is a PNG: of most bits a pixel, then the largest, of
/// equal ones the last in the list or else the first.
fn icon_png(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(u16::from_le_bytes([*bytes.get(4)?, *bytes.get(5)?]));
    let entries = bytes.get(6..)?.get(..16 * count)?.chunks_exact(16);
    let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
    let score = |entry: &[u8]| {
        let bits = u16::from_le_bytes([entry[6], entry[7]]);
        (bits, side(entry[0]) * side(entry[1]))
    };
    let mut best = entries.clone().last()?;
    for entry in entries {
        if score(entry) > score(best) {
            best = entry;
        }
    }
    let offset = u32::from_le_bytes([best[12], best[13], best[14], best[15]]);
    let image = bytes.get(offset as usize..)?;
    image.starts_with(b"\x89PNG\r\n\x1a\n").then_some(image)
}

/// The decoder reads what comes before the pixels as it is made, and heeds no limit set later.
fn limited_png(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), png_limits(bytes))?;
    any(decoder, bytes, options)
}

/// Memory for some rows of a PNG and for what it says beside them.
fn png_limits(bytes: &[u8]) -> Limits {
    const WIDTH: std::ops::Range<usize> = 16..20; // in the header, which comes first
    let width = bytes.get(WIDTH).and_then(|width| width.try_into().ok());
    let row = 8 * u64::from(width.map_or(0, u32::from_be_bytes));
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(4 * row + ASIDE);
    limits
}

/// What any other decoder makes of `bytes`.
fn any(
    mut decoder: impl ImageDecoder,
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<RgbImage, ReadError> {
    let (width, height) = decoder.dimensions();
    let pixels = options.check(width, height)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(pixels * 8 + ASIDE);
    decoder.set_limits(limits)?;
    // An orientation that cannot be read is none.
    let turned = match options.orientation {
        true => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        false => Orientation::NoTransforms,
    };
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(upright(to_rgb(image, bytes), turned))
}

impl DecodeOptions {
    /// Pixels of an image of these sides, when there are some and they are allowed.
    fn check(&self, width: u32, height: u32) -> Result<u64, ReadError> {
        if width == 0 || height == 0 {
            return Err(ReadError::Empty { width, height });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(ReadError::TooLarge {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(pixels)
    }
}

fn to_rgb(image: DynamicImage, bytes: &[u8]) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let color = image.color();
    let deep = color.bytes_per_pixel() > color.channel_count();
    let channels: Vec<u8> = match color {
        // A gray PNG with a transparent shade has got an alpha channel from it.
        ColorType::L16 => clipped(image.into_luma16().iter()),
        ColorType::La16 if is_gray_png(bytes) => {
            clipped(image.into_luma_alpha16().iter().step_by(2))
        }
        _ if deep => {
            let channels = image.into_rgb16();
            channels.iter().map(|c| (c >> 8) as u8).collect()
        }
        _ => return image.into_rgb8(),
    };
    RgbImage::from_raw(width, height, channels).expect("three bytes a pixel")
}

/// 16-bit gray as Pillow takes it: all above 255 is white.
fn clipped<'a>(gray: impl Iterator<Item = &'a u16>) -> Vec<u8> {
    gray.flat_map(|c| [(*c).min(255) as u8; 3]).collect()
}

/// By the colour type in the header.
fn is_gray_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") && bytes.get(25) == Some(&0)
}

fn upright(image: RgbImage, turned: Orientation) -> RgbImage {
    if turned == Orientation::NoTransforms {
        return image;
    }
    let mut image = DynamicImage::from(image);
    image.apply_orientation(turned);
    image.into_rgb8()
}
