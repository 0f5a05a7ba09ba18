//! Pictures beside each other.

use crate::ops::{Crop, resized_crop};
use image::{RgbImage, imageops};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

/// Pixels between pictures.
const GAP: u32 = 2;

/// A picture of all pictures, a row for each, on white. Each is made to fit a square of `side`
/// pixels, its proportions kept, in the middle of it.
///
/// # Panics
/// If `side` is zero, or a picture has no pixel.
pub fn contact_sheet(rows: &[Vec<RgbImage>], side: u32) -> RgbImage {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let length = |count: u32| count * (side + GAP) + GAP;
    let (width, height) = (length(columns), length(rows.len() as u32));
    let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    for (row, pictures) in rows.iter().enumerate() {
        for (column, picture) in pictures.iter().enumerate() {
            let fitted = fitted(picture, side);
            let middle =
                |at: u32, length: u32| i64::from(GAP + at * (side + GAP) + (side - length) / 2);
            let x = middle(column as u32, fitted.width());
            let y = middle(row as u32, fitted.height());
            imageops::replace(&mut sheet, &fitted, x, y);
        }
    }
    sheet
}

/// A picture made to fit a square of `side` pixels, its proportions kept, as [`contact_sheet`] shows it.
///
/// # Panics
/// If `side` is zero, or the picture has no pixel.
pub fn fitted(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let long = u64::from(width.max(height));
    let scaled = |length: u32| {
        let scaled = (u64::from(length) * u64::from(side) + long / 2) / long;
        (scaled as u32).clamp(1, side)
    };
    let whole = Crop::whole(picture);
    resized_crop(picture, whole, scaled(width), scaled(height))
}

/// A picture as the bytes of a JPEG file, made smaller where its longer side has more than `side`
/// pixels.
///
/// # Panics
/// If `side` is zero or above 65 500, or the picture has no pixel.
pub fn thumbnail(picture: &RgbImage, side: u32) -> Vec<u8> {
    let small = picture.width().max(picture.height()) <= side;
    let small = if small {
        picture.clone()
    } else {
        fitted(picture, side)
    };
    // Colours at full size: of few pixels each counts.
    jpeg(&small, 88, Subsampling::S444)
}

/// A picture of many small ones as the bytes of a JPEG file: half as many as with the quality of
/// [`thumbnail`], or fewer.
///
/// # Panics
/// If a side has more than 65 500 pixels, or the picture has no pixel.
pub fn sheet_jpeg(sheet: &RgbImage) -> Vec<u8> {
    jpeg(sheet, 75, Subsampling::S420)
}

fn jpeg(picture: &RgbImage, quality: u8, subsampling: Subsampling) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Encoder::new(picture, width, height, PixelFormat::Rgb)
        .quality(quality)
        .subsampling(subsampling)
        .optimize_huffman(true)
        .encode()
        .expect("pixels of a size that JPEG has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_are_pictures_again_and_never_larger() {
        for ((width, height), expected) in [
            ((32, 20), (32, 20)),
            ((200, 100), (96, 48)),
            ((3, 4000), (1, 96)),
            ((1, 1), (1, 1)),
        ] {
            let picture = RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([(x * 7 % 256) as u8, (y / 16 % 256) as u8, 90])
            });
            let bytes = thumbnail(&picture, 96);
            let again = crate::decode(&bytes).unwrap();
            assert_eq!(again.dimensions(), expected);
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 24;
            let shown = if expected == (width, height) {
                picture
            } else {
                fitted(&picture, 96)
            };
            assert!(
                again.iter().zip(shown.iter()).all(near),
                "{width} × {height}"
            );
        }
    }
}
