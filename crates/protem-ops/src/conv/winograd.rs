//! Convolution with a 3×3 kernel and a stride of 1 in f32, in tiles of 2×2 pixels of the result: each takes 16
//! products of `batch × in` by `in × out` where its taps are 36. (Winograd's `F(2×2, 3×3)`; Lavin and Gray,
//! "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, §4.)
//!
//! What a pixel of the result reads is all that it depends on, as of plain sums, also where that is not finite;
//! but what it is rounded by depends on the whole tile's patch.

mod gradient;
mod results;

use super::Conv;
use super::weights::Role;
use crate::activation::{Map, Shape};
use crate::buffer::{Buffer, Pool};
use crate::kernel::winograd::{PATCH, POINTS, RESULTS};
use std::ops::Range;

pub(super) use gradient::weight_gradient;
pub(super) use results::convolve;

/// What the sums of a point cost for each channel, in products; measured, memory traffic included.
const SUMS: usize = 10;
/// Images of a tile that are not divided further.
const IMAGES: usize = 32;

/// The tiles of a map.
pub(super) struct Tiling {
    /// What is read, and what a tile is of.
    source: Shape,
    target: Shape,
    padding: usize,
    rows: usize,
    columns: usize,
}

impl Tiling {
    /// Of the result that `role` asks for, where that is computed at less cost in tiles. Whether it is does not
    /// depend on the number of images: each has the same bits in any batch.
    pub fn of(conv: &Conv, role: Role, source: Shape, target: Shape) -> Option<Self> {
        if (conv.kernel, conv.stride) != (3, 1) {
            return None;
        }
        let padding = match role {
            Role::Forward => conv.padding,
            Role::InputGradient => 2usize.checked_sub(conv.padding)?,
        };
        let tiling = Self {
            source,
            target,
            padding,
            rows: target.height.div_ceil(2),
            columns: target.width.div_ceil(2),
        };
        tiling.pays().then_some(tiling)
    }

    fn pays(&self) -> bool {
        let taps = |from: usize, to: usize| -> usize {
            let inside = |at: usize| {
                (at..at + 3).filter(|i| (self.padding..self.padding + from).contains(i))
            };
            (0..to).map(|at| inside(at).count()).sum()
        };
        let taps = taps(self.source.height, self.target.height)
            * taps(self.source.width, self.target.width);
        let (ins, outs) = (self.source.channels, self.target.channels);
        self.count() * POINTS * (ins * outs + SUMS * (ins + outs)) < taps * ins * outs
    }

    fn count(&self) -> usize {
        self.rows * self.columns
    }

    /// The pixels that a tile reads, row by row, those inside the image.
    fn patch(&self, tile: usize) -> [Option<usize>; POINTS] {
        let (row, column) = (2 * (tile / self.columns), 2 * (tile % self.columns));
        std::array::from_fn(|i| {
            let y = (row + i / PATCH).checked_sub(self.padding)?;
            let x = (column + i % PATCH).checked_sub(self.padding)?;
            let inside = y < self.source.height && x < self.source.width;
            inside.then(|| y * self.source.width + x)
        })
    }

    /// The pixels that a tile is of; at the last row or column there may be none in one's place.
    fn pixels(&self, tile: usize) -> [Option<usize>; RESULTS] {
        let (row, column) = (2 * (tile / self.columns), 2 * (tile % self.columns));
        std::array::from_fn(|i| {
            let (y, x) = (row + i / 2, column + i % 2);
            let inside = y < self.target.height && x < self.target.width;
            inside.then(|| y * self.target.width + x)
        })
    }
}

/// What pixels outside the image hold.
fn nothing(pool: &Pool, len: usize) -> Buffer<f32> {
    let mut nothing = pool.take(len);
    nothing.fill(0.0);
    nothing
}

/// So many values and a cache line: what begins powers of two apart would evict each other from the cache.
fn apart(values: usize) -> usize {
    values.next_multiple_of(16) + 16
}

/// Some images of each pixel; `nothing` where there is no pixel.
fn images_of<'a, const N: usize>(
    map: &'a Map<f32>,
    pixels: [Option<usize>; N],
    images: &Range<usize>,
    nothing: &'a [f32],
) -> [&'a [f32]; N] {
    let Shape { channels, .. } = map.shape;
    let len = images.len() * channels;
    pixels.map(|pixel| match pixel {
        Some(pixel) => &map.data[pixel * map.shape.pixel() + images.start * channels..][..len],
        None => &nothing[..len],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether tiles are chosen for a kernel of so many channels, and for the gradient of its input.
    fn chosen(
        kernel: usize,
        stride: usize,
        padding: usize,
        channels: usize,
        side: usize,
    ) -> [bool; 2] {
        let conv = Conv {
            inputs: channels,
            outputs: channels,
            kernel,
            stride,
            padding,
        };
        let source = Shape {
            height: side,
            width: side,
            batch: 2,
            channels,
        };
        let target = conv.output(source);
        let forward = Tiling::of(&conv, Role::Forward, source, target);
        let back = Tiling::of(&conv, Role::InputGradient, target, source);
        [forward, back].map(|tiling| tiling.is_some())
    }

    #[test]
    fn tiles_are_chosen_where_there_is_enough_to_save() {
        assert_eq!(chosen(3, 1, 1, 64, 32), [true; 2]);
        assert_eq!(chosen(3, 1, 1, 64, 7), [true; 2]);
        assert_eq!(chosen(3, 1, 1, 512, 4), [true; 2]);
        assert_eq!(chosen(3, 1, 0, 64, 16), [true; 2]);
        assert_eq!(chosen(3, 1, 2, 64, 8), [true; 2]);
        // Of a map of four pixels most taps lie outside; few channels are sums more than products.
        assert_eq!(chosen(3, 1, 1, 512, 2), [false; 2]);
        assert_eq!(chosen(3, 1, 1, 16, 32), [false; 2]);
        assert!(!chosen(3, 1, 3, 64, 8)[1], "rows beyond the gradient");
        assert_eq!(chosen(3, 2, 1, 64, 32), [false; 2]);
        assert_eq!(chosen(1, 1, 0, 64, 32), [false; 2]);
    }
}
