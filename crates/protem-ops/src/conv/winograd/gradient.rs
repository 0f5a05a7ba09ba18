//! The gradient of the weights.

use super::{IMAGES, Tiling, apart, images_of, nothing};
use crate::activation::Map;
use crate::buffer::{Buffer, Pool};
use crate::conv::Conv;
use crate::conv::weights::unpack_gradient;
use crate::isa::Isa;
use crate::kernel::Pair;
use crate::kernel::tile::Product;
use crate::kernel::winograd::{PATCH, Strip, row_of_patch, row_of_results};
use rayon::prelude::*;
use std::ops::Range;

/// Of each tap in a line, the points that make it up: `Gᵀ`.
const TAPS: [&[(usize, f32)]; 3] = [
    &[(0, 1.0), (1, 0.5), (2, 0.5)],
    &[(1, 0.5), (2, -0.5)],
    &[(1, 0.5), (2, 0.5), (3, 1.0)],
];
/// Rows (tiles by images) that a register tile of the gradient sums over at once.
const TOGETHER: usize = 128;

/// As [`Conv::weight_gradient`]: what the gradient of a tile's results is by its products, summed over tiles
/// and images, `(A·dy·Aᵀ) ⊙ (Bᵀ·x·B)`, and brought back by `Gᵀ·m·G`.
pub(in crate::conv) fn weight_gradient(
    pool: &Pool,
    conv: &Conv,
    tiling: &Tiling,
    x: &Map<f32>,
    dy: &Map<f32>,
    gradient: &mut [f32],
) {
    let (ins, outs) = (conv.inputs, conv.outputs);
    let line = line_of(outs);
    let mut by_point: Buffer<f32> = pool.take(PATCH * ins * line); // row, in, column, out
    let share = (PATCH * ins).div_ceil(rayon::current_num_threads());
    by_point
        .par_chunks_mut(share * line)
        .enumerate()
        .for_each(|(i, part)| {
            part.fill(0.0);
            add_points(pool, tiling, (x, dy), i * share, part);
        });
    unpack_gradient(conv, gradient, |i, tap, out, values| {
        values.fill(0.0);
        for (row, of_row) in TAPS[tap / 3] {
            for (column, of_column) in TAPS[tap % 3] {
                let at = (row * ins + i) * line + column * outs + out;
                let points = &by_point[at..at + values.len()];
                for (value, point) in values.iter_mut().zip(points) {
                    *value += of_row * of_column * point;
                }
            }
        }
    });
}

/// Values of a row of points of an input channel.
fn line_of(outs: usize) -> usize {
    apart(PATCH * outs)
}

/// Adds to the rows (row of points, in) of `part`, the first of which is `first`: tiles and images in groups
/// that stay in the second-level cache while all their points are visited.
fn add_points(
    pool: &Pool,
    tiling: &Tiling,
    (x, dy): (&Map<f32>, &Map<f32>),
    first: usize,
    part: &mut [f32],
) {
    let (ins, outs) = (tiling.source.channels, tiling.target.channels);
    let line = line_of(outs);
    let end = first + part.len() / line;
    let batch = tiling.target.batch;
    let most = batch.clamp(1, IMAGES);
    let together = TOGETHER.div_ceil(most).min(tiling.count().max(1));
    let mut left: Buffer<f32> = pool.take(together * most * PATCH * ins);
    let mut right: Buffer<f32> = pool.take(together * most * PATCH * outs);
    let nothing = nothing(pool, most * ins.max(outs));
    for tile in (0..tiling.count()).step_by(together) {
        let tiles = tile..tiling.count().min(tile + together);
        for image in (0..batch).step_by(most) {
            for row in first / ins..end.div_ceil(ins) {
                let begin = (row * ins).max(first);
                let channels = begin - row * ins..((row + 1) * ins).min(end) - row * ins;
                let group = Group {
                    tiles: tiles.clone(),
                    images: image..batch.min(image + most),
                    nothing: &nothing,
                };
                group.transform_x(tiling, x, row, &channels, &mut left);
                group.transform_dy(tiling, dy, row, &mut right);
                let sums = &mut part[(begin - first) * line..];
                group.add_products(channels.len(), outs, &left, &right, sums);
            }
        }
    }
}

/// Some tiles in some images.
struct Group<'a> {
    tiles: Range<usize>,
    images: Range<usize>,
    nothing: &'a [f32],
}

impl Group<'_> {
    /// A row of points of each tile's patch, of some channels: by tile, point, image.
    fn transform_x(
        &self,
        tiling: &Tiling,
        x: &Map<f32>,
        row: usize,
        channels: &Range<usize>,
        to: &mut [f32],
    ) {
        let strip = Strip {
            rows: self.images.len(),
            width: channels.len(),
            stride: x.shape.channels,
        };
        let len = PATCH * strip.rows * strip.width;
        for (tile, to) in self.tiles.clone().zip(to.chunks_exact_mut(len)) {
            let pixels = images_of(x, tiling.patch(tile), &self.images, self.nothing)
                .map(|pixel| &pixel[channels.start..]);
            row_of_patch(Isa::current(), row, pixels, strip, to);
        }
    }

    /// A row of points of each tile's gradient: by tile, point, image.
    fn transform_dy(&self, tiling: &Tiling, dy: &Map<f32>, row: usize, to: &mut [f32]) {
        let strip = Strip {
            rows: 1,
            width: self.images.len() * dy.shape.channels,
            stride: 0,
        };
        let each = to.chunks_exact_mut(PATCH * strip.width);
        for (tile, to) in self.tiles.clone().zip(each) {
            let pixels = images_of(dy, tiling.pixels(tile), &self.images, self.nothing);
            row_of_results(Isa::current(), row, pixels, strip, to);
        }
    }

    /// Adds the products of a row's points, over tiles and images: by channel of `x`, point, channel of `dy`.
    fn add_products(&self, ins: usize, outs: usize, left: &[f32], right: &[f32], sums: &mut [f32]) {
        let images = self.images.len();
        for point in 0..PATCH {
            let pairs: Vec<Pair> = (0..self.tiles.len())
                .map(|tile| Pair {
                    a: (tile * PATCH + point) * images * ins,
                    b: (tile * PATCH + point) * images * outs,
                })
                .collect();
            Product {
                m: ins,
                n: outs,
                k: images,
                a_row: 1,
                a_k: ins,
                b_k: outs,
                c_row: line_of(outs),
                accumulate: true,
            }
            .run(
                Isa::current(),
                &pairs,
                left,
                right,
                &mut sums[point * outs..],
            );
        }
    }
}
