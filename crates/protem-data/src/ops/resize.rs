//! Crop and resize with Pillow's arithmetic: weights of 22 bits, 8 bits between the two passes,
//! rows first.
//!
//! General resizers keep weights of 16 bits and less and differ from Pillow by one in up to a
//! quarter of all bytes; this one does not differ. Since version 13 Pillow takes columns first
//! where the height shrinks much more than the width, which moves a byte by one at most; here rows
//! come first always, as in the Pillow that PCL was trained with.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod lines;
#[cfg(test)]
pub(super) mod tests;

use super::planes::Planes;
use image::RgbImage;
use std::ops::Range;

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least one.
    pub width: u32,
    /// Rows, at least one.
    pub height: u32,
}

impl Crop {
    /// All of an image.
    pub fn whole(image: &RgbImage) -> Self {
        Self {
            left: 0,
            top: 0,
            width: image.width(),
            height: image.height(),
        }
    }

    /// All of `size × size` pixels.
    pub(crate) fn square(size: u32) -> Self {
        Self {
            left: 0,
            top: 0,
            width: size,
            height: size,
        }
    }

    /// # Panics
    /// If it reaches outside `width × height` pixels or is empty.
    fn check(self, width: u32, height: u32) {
        let inside = |first: u32, len: u32, side: u32| {
            len > 0 && u64::from(first) + u64::from(len) <= u64::from(side)
        };
        assert!(
            inside(self.left, self.width, width) && inside(self.top, self.height, height),
            "{self:?} lies inside {width}×{height} pixels"
        );
    }

    fn columns(self) -> Range<usize> {
        self.left as usize..(self.left + self.width) as usize
    }

    fn rows(self) -> Range<usize> {
        self.top as usize..(self.top + self.height) as usize
    }
}

/// Cuts out a rectangle and scales it to `width × height`, bilinear with the support widened
/// when shrinking: `image.crop(…).resize((width, height), BILINEAR)` of Pillow, byte for byte.
///
/// # Panics
/// If the rectangle reaches outside the image or a side is zero.
pub fn resized_crop(image: &RgbImage, crop: Crop, width: u32, height: u32) -> RgbImage {
    let keep = Crop {
        left: 0,
        top: 0,
        width,
        height,
    };
    let mut planes = Planes::default();
    resize(
        image,
        crop,
        (width, height),
        keep,
        &mut planes,
        &mut Vec::new(),
    );
    let mut scaled = RgbImage::new(width, height);
    planes.write(&mut scaled);
    scaled
}

/// Scales a part of a picture to `size` (width, height) and keeps the pixels `keep` of that; others
/// are not computed.
///
/// # Panics
/// If a rectangle reaches outside or is empty.
pub(crate) fn resize(
    image: &RgbImage,
    crop: Crop,
    size: (u32, u32),
    keep: Crop,
    out: &mut Planes,
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))] scratch: &mut Vec<u8>,
) {
    out.shape(keep.width as usize, keep.height as usize);
    let job = job(image, crop, size, keep);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return avx2::run(simd, &job, out, scratch);
    }
    lines::run(&job, out);
}

fn job(image: &RgbImage, crop: Crop, size: (u32, u32), keep: Crop) -> Job<'_> {
    crop.check(image.width(), image.height());
    keep.check(size.0, size.1);
    let mut columns = Taps::new(crop.width as usize, size.0 as usize, keep.columns());
    let mut rows = Taps::new(crop.height as usize, size.1 as usize, keep.rows());
    // What is made of no kept pixel is left out: of a line of pixels that is nearly all.
    let across = columns.needed(crop.width as usize);
    let down = rows.needed(crop.height as usize);
    Job {
        pixels: image.as_raw(),
        stride: image.width() as usize,
        crop: Crop {
            left: crop.left + across.start as u32,
            top: crop.top + down.start as u32,
            width: across.len() as u32,
            height: down.len() as u32,
        },
        columns,
        rows,
    }
}

/// What is to be made: for each kept column and row, which of the part's make it.
struct Job<'a> {
    pixels: &'a [u8],
    /// Pixels of a row of the picture.
    stride: usize,
    crop: Crop,
    columns: Taps,
    rows: Taps,
}

/// Bits of a weight after the point (Pillow's `PRECISION_BITS`).
const BITS: u32 = 22;

/// Which lines make each new line, and with what weights.
struct Taps {
    first: Vec<usize>,
    /// `window` of each new line; those that are not needed are zero, and they may lie behind the
    /// last line.
    weights: Vec<i32>,
    window: usize,
}

impl Taps {
    /// The `keep` of `out` new lines made of `lines`: triangle filter, as wide as the scale when
    /// shrinking (`precompute_coeffs`).
    fn new(lines: usize, out: usize, keep: Range<usize>) -> Self {
        let scale = lines as f64 / out as f64;
        let support = scale.max(1.0);
        let window = support.ceil() as usize * 2 + 1;
        let mut first = Vec::with_capacity(keep.len());
        let mut weights = vec![0; keep.len() * window];
        let mut exact = Vec::with_capacity(window);
        let mut most = 0;
        for (at, weights) in keep.zip(weights.chunks_exact_mut(window)) {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(lines);
            exact.clear();
            exact.extend((start..end).map(|line| {
                let distance = (line as f64 - centre + 0.5) * (1.0 / support);
                (1.0 - distance.abs()).max(0.0)
            }));
            let sum: f64 = exact.iter().sum();
            for (i, (weight, exact)) in weights.iter_mut().zip(&exact).enumerate() {
                *weight = (0.5 + exact / sum * f64::from(1 << BITS)) as i32;
                if *weight > 0 {
                    most = most.max(i + 1);
                }
            }
            first.push(start);
        }
        Self {
            first,
            weights,
            window,
        }
        .narrowed(most.max(1)) // of millions of lines, no one weighs as much as the last bit
    }

    /// With a window as wide as is needed.
    fn narrowed(mut self, window: usize) -> Self {
        let count = self.first.len();
        for at in 0..count {
            let wide = at * self.window;
            self.weights.copy_within(wide..wide + window, at * window);
        }
        self.weights.truncate(count * window);
        self.window = window;
        self
    }

    /// The lines, of so many, that make the new ones; from here on they are counted from the first of
    /// them.
    fn needed(&mut self, lines: usize) -> Range<usize> {
        let (start, last) = (self.first[0], self.first[self.first.len() - 1]);
        self.first.iter_mut().for_each(|first| *first -= start);
        start..(last + self.window).min(lines)
    }

    /// Of each new line: its first line, and its weights.
    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.window);
        self.first.iter().copied().zip(weights)
    }
}
