//! Convolution with a 3×3 kernel and a stride of 1 in f32, in tiles of 2×2 pixels of the result: each takes 16
//! products of `batch × in` by `in × out` where its taps are 36. (Winograd's `F(2×2, 3×3)`; Lavin and Gray,
//! "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, §4.)
//!
//! What a pixel of the result reads is all that it depends on, as of plain sums, also where that is not finite;
//! but what it is rounded by depends on the whole tile's patch.

use super::weights::{PANEL, Packed, Role, unpack_gradient};
use super::{Conv, direct};
use crate::activation::{Map, Shape};
use crate::buffer::{Buffer, Pool};
use crate::isa::Isa;
use crate::kernel::tile::Product;
use crate::kernel::winograd::{
    PATCH, POINTS, RESULTS, Strip, results, row_of_patch, row_of_results, transform_patch,
};
use crate::kernel::{Finish, Pair};
use rayon::prelude::*;
use std::ops::Range;

/// What the sums of a point cost for each channel, in products; measured, memory traffic included.
const SUMS: usize = 10;
/// Rows (tiles by images) that share a reading of the weights.
const ROWS: usize = 64;
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

    /// The result in shares of a tile and some images each.
    fn shares<'a>(&self, values: &'a mut [f32]) -> Vec<Share<'a>> {
        let Shape {
            batch, channels, ..
        } = self.target;
        let wanted = 2 * rayon::current_num_threads();
        let parts = wanted.div_ceil(self.count()).max(batch.div_ceil(ROWS));
        let images = batch.div_ceil(parts).next_multiple_of(IMAGES).min(batch);
        let tiles = self.count();
        let mut shares: Vec<Share> = (0..tiles * batch.div_ceil(images))
            .map(|at| {
                let image = at / tiles * images;
                Share {
                    tile: at % tiles,
                    image,
                    images: images.min(batch - image),
                    results: Default::default(),
                }
            })
            .collect();
        for (pixel, values) in values.chunks_mut(self.target.pixel()).enumerate() {
            let (row, column) = (pixel / self.target.width, pixel % self.target.width);
            let tile = row / 2 * self.columns + column / 2;
            for (part, values) in values.chunks_mut(images * channels).enumerate() {
                shares[part * tiles + tile].results[row % 2 * 2 + column % 2] = Some(values);
            }
        }
        shares
    }
}

/// Some images of a tile.
struct Share<'a> {
    tile: usize,
    image: usize,
    images: usize,
    results: [Option<&'a mut [f32]>; RESULTS],
}

/// Every pixel of the result = the sum over its taps of a pixel of `from` times a tap's weights, which come as
/// [`super::weights::Scaled::points`].
pub(super) fn convolve(
    pool: &Pool,
    tiling: &Tiling,
    weights: &Packed<f32>,
    from: &Map<f32>,
    mut to: Map<f32>,
    finish: &Finish<f32>,
) -> Map<f32> {
    if to.shape.is_empty() {
        return to;
    }
    let mut shares = tiling.shares(&mut to.data);
    let of_share = shares.iter().map(|share| share.images).max().unwrap_or(1);
    let fair = shares.len().div_ceil(2 * rayon::current_num_threads());
    let together = (ROWS / of_share).clamp(1, fair);
    shares.par_chunks_mut(together).for_each(|shares| {
        let rows: usize = shares.iter().map(|share| share.images).sum();
        let sums = products(pool, tiling, weights, from, shares, rows);
        let outs = tiling.target.channels;
        let step = apart(rows * outs);
        let mut first = 0;
        for share in shares {
            let at = first * outs;
            first += share.images;
            share.finish(pool, tiling, &sums[at..], step, finish);
        }
    });
    to
}

/// What pixels outside the image hold.
fn zeros(pool: &Pool, len: usize) -> Buffer<f32> {
    let mut zeros = pool.take(len);
    zeros.fill(0.0);
    zeros
}

/// So many values and a cache line: what begins powers of two apart would evict each other from the cache.
fn apart(values: usize) -> usize {
    values.next_multiple_of(16) + 16
}

/// The products of all points of some shares, with `rows` images in all: by point, image, channel.
fn products(
    pool: &Pool,
    tiling: &Tiling,
    weights: &Packed<f32>,
    from: &Map<f32>,
    shares: &[Share],
    rows: usize,
) -> Buffer<f32> {
    let isa = Isa::current();
    let (ins, outs) = (tiling.source.channels, tiling.target.channels);
    let (in_step, out_step) = (apart(rows * ins), apart(rows * outs));
    let mut patches: Buffer<f32> = pool.take(POINTS * in_step);
    let mut sums: Buffer<f32> = pool.take(POINTS * out_step);
    let most = shares.iter().map(|share| share.images).max().unwrap_or(0);
    let nothing = zeros(pool, most * ins);
    let mut first = 0;
    for share in shares {
        let len = share.images * ins;
        let pixels = tiling.patch(share.tile).map(|pixel| match pixel {
            Some(pixel) => &from.data[pixel * from.shape.pixel() + share.image * ins..][..len],
            None => &nothing[..len],
        });
        transform_patch(isa, pixels, &mut patches[first * ins..], in_step);
        first += share.images;
    }
    for point in 0..POINTS {
        let panels = weights.data.chunks_exact(POINTS * ins * PANEL);
        for (panel, packed) in panels.enumerate() {
            let column = panel * PANEL;
            let pair = Pair {
                a: point * in_step,
                b: point * ins * PANEL,
            };
            Product {
                m: rows,
                n: PANEL.min(outs - column),
                k: ins,
                a_row: ins,
                a_k: 1,
                b_k: PANEL,
                c_row: outs,
                accumulate: false,
            }
            .run(
                isa,
                &[pair],
                &patches,
                packed,
                &mut sums[point * out_step + column..],
            );
        }
    }
    sums
}

impl Share<'_> {
    /// Makes the results of the products that begin here, those of a point `step` values behind those of the one
    /// before.
    fn finish(
        &mut self,
        pool: &Pool,
        tiling: &Tiling,
        sums: &[f32],
        step: usize,
        finish: &Finish<f32>,
    ) {
        let channels = tiling.target.channels;
        let len = self.images * channels;
        let missing = self.results.iter().filter(|to| to.is_none()).count();
        let mut none: Buffer<f32> = pool.take(missing * len);
        let mut spare = none.chunks_exact_mut(len);
        let to = self.results.each_mut().map(|to| match to {
            Some(to) => &mut to[..],
            None => spare.next().expect("one for each"),
        });
        results(Isa::current(), sums, step, finish.onto, to);
        for (pixel, to) in tiling.pixels(self.tile).into_iter().zip(&mut self.results) {
            let (Some(pixel), Some(to)) = (pixel, to) else {
                continue;
            };
            let at = pixel * tiling.target.pixel() + self.image * channels;
            let added = finish.added.map(|map| &map[at..][..len]);
            direct::finish_rows(to, channels, finish.bias, added, finish.relu);
        }
    }
}

/// As [`Conv::weight_gradient`]: what the gradient of a tile's results is by its products, summed over tiles
/// and images, `(A·dy·Aᵀ) ⊙ (Bᵀ·x·B)`, and brought back by `Gᵀ·m·G`.
pub(super) fn weight_gradient(
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

/// Of each tap in a line, the points that make it up: `Gᵀ`.
const TAPS: [&[(usize, f32)]; 3] = [
    &[(0, 1.0), (1, 0.5), (2, 0.5)],
    &[(1, 0.5), (2, -0.5)],
    &[(1, 0.5), (2, 0.5), (3, 1.0)],
];
/// Rows (tiles by images) that a register tile of the gradient sums over at once.
const TOGETHER: usize = 128;

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
    let together = TOGETHER.div_ceil(batch.clamp(1, IMAGES));
    let mut left: Buffer<f32> = pool.take(together * IMAGES * PATCH * ins);
    let mut right: Buffer<f32> = pool.take(together * IMAGES * PATCH * outs);
    let nothing = zeros(pool, IMAGES * ins.max(outs));
    for tile in (0..tiling.count()).step_by(together) {
        let tiles = tile..tiling.count().min(tile + together);
        for image in (0..batch).step_by(IMAGES) {
            let images = IMAGES.min(batch - image);
            for row in first / ins..end.div_ceil(ins) {
                let begin = (row * ins).max(first);
                let channels = begin - row * ins..((row + 1) * ins).min(end) - row * ins;
                let group = Group {
                    tiles: tiles.clone(),
                    images: image..image + images,
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
    /// These images of some pixels; nothing where there are none.
    fn of<'b, const N: usize>(
        &'b self,
        map: &'b Map<f32>,
        pixels: [Option<usize>; N],
    ) -> [&'b [f32]; N] {
        let channels = map.shape.channels;
        let len = self.images.len() * channels;
        pixels.map(|pixel| match pixel {
            Some(pixel) => {
                &map.data[pixel * map.shape.pixel() + self.images.start * channels..][..len]
            }
            None => &self.nothing[..len],
        })
    }

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
            let pixels = self
                .of(x, tiling.patch(tile))
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
        for (tile, to) in self
            .tiles
            .clone()
            .zip(to.chunks_exact_mut(PATCH * strip.width))
        {
            let pixels = self.of(dy, tiling.pixels(tile));
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
