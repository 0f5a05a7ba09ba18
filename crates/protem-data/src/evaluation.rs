//! The centre crop that features are taken of.

use crate::ops::{self, Crop, Scratch};
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
        let mut view = RgbImage::new(self.crop, self.crop);
        self.view_into(image, &mut view);
        view
    }

    /// The same, written as `crop × crop × 3` bytes.
    ///
    /// # Panics
    /// As [`Self::view`], and if `out` has another length.
    pub fn view_into(&self, image: &RgbImage, out: &mut [u8]) {
        let bytes = (self.crop * self.crop * 3) as usize;
        assert_eq!(out.len(), bytes, "bytes of a view");
        let (w, h) = image.dimensions();
        // Of a line of pixels the long side may be longer than numbers of 32 bits tell.
        let long = |long: u32, short: u32| {
            let long = u64::from(self.resize) * u64::from(long) / u64::from(short);
            u32::try_from(long).unwrap_or(u32::MAX)
        };
        let (width, height) = if w <= h {
            (self.resize, long(h, w))
        } else {
            (long(w, h), self.resize)
        };
        // Python's round: half to even, as torchvision's center_crop has it.
        let middle = |side: u32| (f64::from(side - self.crop) / 2.0).round_ties_even() as u32;
        let square = Crop {
            left: middle(width),
            top: middle(height),
            width: self.crop,
            height: self.crop,
        };
        Scratch::with(|Scratch { view, bytes }| {
            let whole = Crop::whole(image);
            ops::resize(image, whole, (width, height), square, view, bytes);
            view.write(out);
        });
    }
}
