//! The centre crop that features are taken of.

use crate::ops::{Crop, resized_crop};
use image::RgbImage;

/// Resize of the shorter side, then a central square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    /// Length of the shorter side after the resize, in pixels.
    pub resize: u32,
    /// Side of the square.
    pub crop: u32,
}

impl Evaluation {
    /// For views of `size`: resize to 8/7 of it (256 for 224); up to 32 pixels, where pictures are
    /// as small as views, to `size` itself.
    pub fn for_size(size: u32) -> Self {
        Self {
            resize: if size > 32 { size * 8 / 7 } else { size },
            crop: size,
        }
    }

    /// `crop × crop` pixels (torchvision's `Resize` and `CenterCrop`).
    ///
    /// # Panics
    /// If `crop` is zero or larger than `resize`.
    pub fn view(&self, image: &RgbImage) -> RgbImage {
        let (w, h) = image.dimensions();
        let long = |long: u32, short: u32| {
            (u64::from(self.resize) * u64::from(long) / u64::from(short)) as u32
        };
        let (width, height) = if w <= h {
            (self.resize, long(h, w))
        } else {
            (long(w, h), self.resize)
        };
        let whole = Crop {
            left: 0,
            top: 0,
            width: w,
            height: h,
        };
        let resized = resized_crop(image, whole, width, height);
        // Python's round: half to even, as torchvision's center_crop has it.
        let middle = |side: u32| (f64::from(side - self.crop) / 2.0).round_ties_even() as u32;
        let square = Crop {
            left: middle(width),
            top: middle(height),
            width: self.crop,
            height: self.crop,
        };
        resized_crop(&resized, square, self.crop, self.crop)
    }
}
