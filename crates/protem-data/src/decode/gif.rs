//! GIF files: the first frame on the whole canvas, as Pillow has it.

use super::DecodeOptions;
use crate::error::ReadError;
use gif::{ColorOutput, DecodingError, MemoryLimit};
use image::error::ImageFormatHint;
use image::{ImageError, ImageFormat, Rgb, RgbImage};
use std::num::NonZeroU64;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ReadError> {
    let mut reader = gif::DecodeOptions::new();
    reader.set_color_output(ColorOutput::Indexed);
    if let Some(limit) = NonZeroU64::new(options.max_pixels) {
        reader.set_memory_limit(MemoryLimit::Bytes(limit)); // a byte a pixel
    }
    let mut reader = reader.read_info(bytes).map_err(damaged)?;
    let screen = (u32::from(reader.width()), u32::from(reader.height()));
    options.check(screen.0, screen.1)?;
    let global = reader.global_palette().map(<[u8]>::to_vec);
    let frame = reader.read_next_frame().map_err(damaged)?;
    let frame = frame.ok_or_else(|| wrong("it has no frame".into()))?;
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let (w, h) = (u32::from(frame.width), u32::from(frame.height));
    // A frame that reaches out of the canvas widens it.
    let (width, height) = (screen.0.max(left + w), screen.1.max(top + h));
    options.check(width, height)?;
    let palette = frame.palette.as_deref().or(global.as_deref());
    let palette = palette.unwrap_or_default().as_chunks::<3>().0;
    let colour = |index: u8| {
        let colour = palette.get(usize::from(index));
        Rgb(colour.copied().unwrap_or_default())
    };
    // Around the frame the canvas is transparent, or has the first colour.
    let mut image = RgbImage::from_pixel(width, height, colour(frame.transparent.unwrap_or(0)));
    for (y, row) in (top..).zip(frame.buffer.chunks_exact((w as usize).max(1))) {
        for (x, index) in (left..).zip(row) {
            image.put_pixel(x, y, colour(*index));
        }
    }
    Ok(image)
}

fn damaged(error: DecodingError) -> ReadError {
    wrong(error.to_string())
}

fn wrong(what: String) -> ReadError {
    let hint = ImageFormatHint::Exact(ImageFormat::Gif);
    ImageError::Decoding(image::error::DecodingError::new(hint, what)).into()
}
