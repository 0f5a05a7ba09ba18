//! Gaussian blur as Pillow approximates it: three box blurs each way, of a radius with fraction.

use super::lines::{Pixel, transposed};
use image::RgbImage;

const PASSES: usize = 3;

/// Blurs with `sigma` pixels as Pillow does and PCL used it
/// (`filter(ImageFilter.GaussianBlur(sigma))`), byte for byte.
///
/// # Panics
/// If `sigma` is negative or not finite.
pub fn gaussian_blur(image: &mut RgbImage, sigma: f32) {
    assert!(sigma >= 0.0 && sigma.is_finite(), "σ {sigma} of a blur");
    let radius = box_radius(sigma);
    let (w, h) = (image.width() as usize, image.height() as usize);
    let (pixels, _) = image.as_chunks_mut::<3>();
    let mut columns = transposed(pixels, 0, w, w, h);
    blur_lines(&mut columns, h, radius);
    let mut rows = transposed(&columns, 0, h, h, w);
    blur_lines(&mut rows, w, radius);
    pixels.copy_from_slice(&rows);
}

/// Radius of the box whose variance, over three passes, is that of the Gaussian (Gwosdek et al.
/// 2011, as in Pillow's `BoxBlur.c`).
fn box_radius(sigma: f32) -> f32 {
    let squared = sigma * sigma / PASSES as f32;
    let length = (12.0 * squared + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * squared)
        / (6.0 * (squared - (whole + 1.0) * (whole + 1.0)));
    whole + fraction
}

/// Three box blurs across lines of `len` pixels; the first and last line are repeated outwards.
fn blur_lines(lines: &mut Vec<Pixel>, len: usize, radius: f32) {
    let whole = radius as usize;
    // Pillow's fixed point: weights in 1/2²⁴.
    let full = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let edge = ((1u32 << 24) - (whole as u32 * 2 + 1) * full) / 2;
    let mut out = vec![[0; 3]; lines.len()];
    for _ in 0..PASSES {
        pulp::Arch::new().dispatch(BoxBlur {
            from: lines.as_flattened(),
            to: out.as_flattened_mut(),
            len: len * 3,
            radius: whole,
            full,
            edge,
        });
        std::mem::swap(lines, &mut out);
    }
}

/// Each line becomes `full` times the sum of those within `radius` of it and `edge` times the sum
/// of the two next to them.
struct BoxBlur<'a> {
    from: &'a [u8],
    to: &'a mut [u8],
    len: usize,
    radius: usize,
    full: u32,
    edge: u32,
}

impl pulp::NullaryFnOnce for BoxBlur<'_> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors
    fn call(self) {
        let Self {
            from,
            to,
            len,
            radius,
            full,
            edge,
        } = self;
        let last = from.len() / len - 1;
        let line = |at: usize| &from[at.min(last) * len..][..len];
        let mut sums = vec![0u32; len];
        for at in 0..=2 * radius {
            for (sum, byte) in sums.iter_mut().zip(line(at.saturating_sub(radius))) {
                *sum += u32::from(*byte);
            }
        }
        for (at, out) in to.chunks_exact_mut(len).enumerate() {
            let before = line(at.saturating_sub(radius + 1));
            let leaves = line(at.saturating_sub(radius));
            let after = line(at + radius + 1);
            for i in 0..len {
                let [before, leaves, after] = [before[i], leaves[i], after[i]].map(u32::from);
                out[i] = ((sums[i] * full + (before + after) * edge + (1 << 23)) >> 24) as u8;
                sums[i] = sums[i] + after - leaves;
            }
        }
    }
}
