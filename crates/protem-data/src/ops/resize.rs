//! Crop and resize with Pillow's arithmetic: weights of 22 bits, 8 bits between the two passes,
//! rows first.
//!
//! General resizers keep weights of 16 bits and less and differ from Pillow by one in up to a
//! quarter of all bytes; this one does not differ. Since version 13 Pillow takes columns first
//! where the height shrinks much more than the width, which moves a byte by one at most; here rows
//! come first always, as in the Pillow that PCL was trained with.

use super::lines::{Pixel, transposed};
use image::RgbImage;

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

/// Cuts out a rectangle and scales it to `width × height`, bilinear with the support widened
/// when shrinking: `image.crop(…).resize((width, height), BILINEAR)` of Pillow, byte for byte.
///
/// # Panics
/// If the rectangle reaches outside the image or a side is zero.
pub fn resized_crop(image: &RgbImage, crop: Crop, width: u32, height: u32) -> RgbImage {
    let inside = |first: u32, len: u32, side: u32| {
        len > 0 && u64::from(first) + u64::from(len) <= u64::from(side)
    };
    assert!(
        inside(crop.left, crop.width, image.width())
            && inside(crop.top, crop.height, image.height()),
        "{crop:?} lies inside {:?}",
        image.dimensions()
    );
    assert!(width > 0 && height > 0, "a picture has pixels");
    let (w, h) = (crop.width as usize, crop.height as usize);
    let (out_w, out_h) = (width as usize, height as usize);
    let (pixels, _) = image.as_chunks::<3>();
    let stride = image.width() as usize;
    let first = crop.top as usize * stride + crop.left as usize;
    let rows: Vec<Pixel> = if out_w == w {
        let rows = pixels[first..].chunks(stride).take(h);
        rows.flat_map(|row| &row[..w]).copied().collect()
    } else {
        let columns = transposed(pixels, first, stride, w, h);
        let columns = scale_lines(&columns, h, &Taps::new(w, out_w));
        transposed(&columns, 0, h, h, out_w)
    };
    let scaled = if out_h == h {
        rows
    } else {
        scale_lines(&rows, out_w, &Taps::new(h, out_h))
    };
    RgbImage::from_raw(width, height, scaled.into_flattened()).expect("three bytes a pixel")
}

/// Bits of a weight after the point (Pillow's `PRECISION_BITS`).
const BITS: u32 = 22;

/// Which lines make each new line, and with what weights.
struct Taps {
    first: Vec<usize>,
    /// `window` of each new line; those past the last line are left out.
    weights: Vec<i32>,
    window: usize,
}

impl Taps {
    /// Triangle filter, as wide as the scale when shrinking (`precompute_coeffs`).
    fn new(lines: usize, out: usize) -> Self {
        let scale = lines as f64 / out as f64;
        let support = scale.max(1.0);
        let window = support.ceil() as usize * 2 + 1;
        let mut first = Vec::with_capacity(out);
        let mut weights = vec![0; out * window];
        let mut exact = Vec::with_capacity(window);
        for (at, weights) in weights.chunks_exact_mut(window).enumerate() {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(lines);
            exact.clear();
            exact.extend((start..end).map(|line| {
                let distance = (line as f64 - centre + 0.5) * (1.0 / support);
                (1.0 - distance.abs()).max(0.0)
            }));
            let sum: f64 = exact.iter().sum();
            for (weight, exact) in weights.iter_mut().zip(&exact) {
                *weight = (0.5 + exact / sum * f64::from(1 << BITS)) as i32;
            }
            first.push(start);
        }
        Self {
            first,
            weights,
            window,
        }
    }
}

/// New lines as weighted sums of `lines`, each of `len` pixels.
fn scale_lines(lines: &[Pixel], len: usize, taps: &Taps) -> Vec<Pixel> {
    let mut out = vec![[0; 3]; len * taps.first.len()];
    pulp::Arch::new().dispatch(ScaleLines {
        lines: lines.as_flattened(),
        len: len * 3,
        taps,
        out: out.as_flattened_mut(),
    });
    out
}

struct ScaleLines<'a> {
    lines: &'a [u8],
    len: usize,
    taps: &'a Taps,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for ScaleLines<'_> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors
    fn call(self) {
        let mut sums = vec![0; self.len];
        let weights = self.taps.weights.chunks_exact(self.taps.window);
        let new_lines = self.out.chunks_exact_mut(self.len);
        for ((line, weights), first) in new_lines.zip(weights).zip(&self.taps.first) {
            sums.fill(1 << (BITS - 1));
            let sources = self.lines[first * self.len..].chunks_exact(self.len);
            for (weight, source) in weights.iter().zip(sources) {
                if *weight == 0 {
                    continue;
                }
                for (sum, byte) in sums.iter_mut().zip(source) {
                    *sum += weight * i32::from(*byte);
                }
            }
            for (byte, sum) in line.iter_mut().zip(&sums) {
                *byte = (sum >> BITS) as u8; // weights add to one: never above 255
            }
        }
    }
}
