//! Pictures beside each other.

use crate::ops::{Crop, resized_crop};
use image::{RgbImage, imageops};

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
    let whole = Crop {
        left: 0,
        top: 0,
        width,
        height,
    };
    resized_crop(picture, whole, scaled(width), scaled(height))
}
