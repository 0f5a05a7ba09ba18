//! Gaussian blur as Pillow approximates it: three box blurs each way, of a radius with fraction.
//!
//! A line of a box blur is a sum of lines beside each other, and all pixels of it are computed
//! together. Along columns these lines are rows of the picture; along rows they are the same row,
//! moved by a pixel or two. All three passes over some rows are made while they are in the nearest cache.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::in_vectors;
use super::planes::Planes;

/// Largest σ: up to it, sums of a line of 8-bit pixels fit into 16 bits.
pub(crate) const MOST: f32 = 100.0;

/// Box blurs each way.
pub(super) const PASSES: usize = 3;

impl Planes {
    /// Blurs with `sigma` pixels.
    pub fn gaussian_blur(&mut self, sigma: f32, scratch: &mut Vec<u8>) {
        assert!((0.0..=MOST).contains(&sigma), "σ {sigma} of a blur");
        let weights = Weights::new(box_radius(sigma));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new()
            && self.width >= avx2::STEP
        {
            // Boxes of the radius of nearly all views; a loop that knows its lines is faster.
            match weights.whole {
                0 => return self.blur(avx2::Lines::<3>::new(simd, &weights), scratch),
                1 => return self.blur(avx2::Lines::<5>::new(simd, &weights), scratch),
                _ => {}
            }
        }
        let inner = vec![0; self.width];
        self.blur(Plain { weights, inner }, scratch);
    }

    fn blur(&mut self, mut sum: impl Sum, scratch: &mut Vec<u8>) {
        let width = self.width;
        for channel in &mut self.channels {
            in_vectors(AlongRows {
                channel,
                width,
                sum: &mut sum,
            });
            scratch.resize(channel.len(), 0);
            let (mut from, mut to) = (&mut channel[..], &mut scratch[..]);
            for _ in 0..PASSES {
                in_vectors(AlongColumns {
                    from,
                    to,
                    width,
                    sum: &mut sum,
                });
                (from, to) = (to, from);
            }
            // An odd number of passes ends in the scratch.
            std::mem::swap(channel, scratch);
        }
    }
}

/// Radius of the box whose variance, over three passes, is that of the Gaussian (Gwosdek et al.
/// 2011, as in Pillow's `BoxBlur.c`).
pub(super) fn box_radius(sigma: f32) -> f32 {
    let squared = sigma * sigma / PASSES as f32;
    let length = (12.0 * squared + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * squared)
        / (6.0 * (squared - (whole + 1.0) * (whole + 1.0)));
    whole + fraction
}

/// A box: `full` times the sum of the lines up to `whole` away, `edge` times the two beyond.
struct Weights {
    whole: usize,
    full: u32,
    edge: u32,
}

impl Weights {
    /// Pillow's fixed point: weights in 1/2²⁴.
    fn new(radius: f32) -> Self {
        let whole = radius as usize;
        let full = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let edge = ((1u32 << 24) - (whole as u32 * 2 + 1) * full) / 2;
        Self { whole, full, edge }
    }

    #[inline(always)]
    fn byte(&self, inner: u32, outer: u32) -> u8 {
        ((inner * self.full + outer * self.edge + (1 << 23)) >> 24) as u8
    }
}

/// Rows that go through a pass together: what was just written is not yet to be read.
const TOGETHER: usize = 8;

/// A way to compute the box over lines.
trait Sum {
    /// Lines on either side that it takes.
    fn reach(&self) -> usize;

    /// Writes a line, of lines of its length: `moved(0)` is the outermost on one side, the line
    /// itself is `moved(self.reach())`.
    fn line<'a>(&mut self, out: &mut [u8], moved: impl Fn(usize) -> &'a [u8]);
}

/// All passes over each row of a channel; the first and last pixel of a row are repeated outwards.
struct AlongRows<'a, S> {
    channel: &'a mut [u8],
    width: usize,
    sum: &'a mut S,
}

impl<S: Sum> pulp::NullaryFnOnce for AlongRows<'_, S> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors, as all below
    fn call(self) {
        let Self {
            channel,
            width,
            sum,
        } = self;
        let reach = sum.reach();
        let length = width + 2 * reach;
        let mut padded = vec![0; TOGETHER * length];
        for rows in channel.chunks_mut(TOGETHER * width) {
            for _ in 0..PASSES {
                for (padded, row) in padded.chunks_exact_mut(length).zip(rows.chunks(width)) {
                    padded[..reach].fill(row[0]);
                    padded[reach..][..width].copy_from_slice(row);
                    padded[reach + width..].fill(row[width - 1]);
                }
                for (padded, row) in padded.chunks_exact(length).zip(rows.chunks_mut(width)) {
                    sum.line(row, |by| &padded[by..][..width]);
                }
            }
        }
    }
}

/// One pass along columns of `width` lines; the first and last row are repeated outwards.
struct AlongColumns<'a, S> {
    from: &'a [u8],
    to: &'a mut [u8],
    width: usize,
    sum: &'a mut S,
}

impl<S: Sum> pulp::NullaryFnOnce for AlongColumns<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            from,
            to,
            width,
            sum,
        } = self;
        let (last, reach) = (from.len() / width - 1, sum.reach());
        for (at, out) in to.chunks_exact_mut(width).enumerate() {
            sum.line(out, |by| {
                let line = (at + by).saturating_sub(reach).min(last);
                &from[line * width..][..width]
            });
        }
    }
}

/// Any box, in the compiler's vectors.
///
/// A loop a line: with many lines in one, the compiler no longer makes sure that they do not overlap
/// and takes one byte at a time.
struct Plain {
    weights: Weights,
    /// Room for a line of sums.
    inner: Vec<u16>,
}

impl Sum for Plain {
    #[inline(always)]
    fn reach(&self) -> usize {
        self.weights.whole + 1
    }

    #[inline(always)]
    fn line<'a>(&mut self, out: &mut [u8], moved: impl Fn(usize) -> &'a [u8]) {
        let Self { weights, inner } = self;
        let outermost = 2 * weights.whole + 2;
        for (sum, byte) in inner.iter_mut().zip(moved(1)) {
            *sum = u16::from(*byte);
        }
        for line in (2..outermost).map(&moved) {
            for (sum, byte) in inner.iter_mut().zip(line) {
                *sum += u16::from(*byte);
            }
        }
        let ends = moved(0).iter().zip(moved(outermost));
        for ((out, inner), (before, after)) in out.iter_mut().zip(inner).zip(ends) {
            let outer = u32::from(*before) + u32::from(*after);
            *out = weights.byte(u32::from(*inner), outer);
        }
    }
}
