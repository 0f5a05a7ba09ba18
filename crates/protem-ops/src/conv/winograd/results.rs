//! Results of tiles: forward, and the gradient of the input, which is a convolution too.

use super::{IMAGES, Tiling, apart, images_of, nothing};
use crate::activation::{Map, Shape};
use crate::buffer::{Buffer, Pool};
use crate::conv::direct;
use crate::conv::weights::{PANEL, Packed};
use crate::isa::Isa;
use crate::kernel::tile::Product;
use crate::kernel::winograd::{POINTS, RESULTS, results, transform_patch};
use crate::kernel::{Finish, Pair};
use rayon::prelude::*;
use std::ops::Range;

/// Rows (tiles by images) that share a reading of the weights.
const ROWS: usize = 64;

/// Every pixel of the result = the sum over its taps of a pixel of `from` times a tap's weights, which come as
/// [`crate::conv::weights::Scaled::points`].
pub(in crate::conv) fn convolve(
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
    let mut shares = shares(tiling, &mut to.data);
    let of_share = shares
        .iter()
        .map(|share| share.images.len())
        .max()
        .unwrap_or(1);
    let fair = shares.len().div_ceil(2 * rayon::current_num_threads());
    let together = (ROWS / of_share).clamp(1, fair);
    shares.par_chunks_mut(together).for_each(|shares| {
        let rows: usize = shares.iter().map(|share| share.images.len()).sum();
        let sums = products(pool, tiling, weights, from, shares, rows);
        let outs = tiling.target.channels;
        let step = apart(rows * outs);
        let mut first = 0;
        for share in shares {
            let at = first * outs;
            first += share.images.len();
            share.finish(pool, tiling, &sums[at..], step, finish);
        }
    });
    to
}

/// The result in shares of a tile and some images each.
fn shares<'a>(tiling: &Tiling, values: &'a mut [f32]) -> Vec<Share<'a>> {
    let Shape {
        batch, channels, ..
    } = tiling.target;
    let wanted = 2 * rayon::current_num_threads();
    let parts = wanted.div_ceil(tiling.count()).max(batch.div_ceil(ROWS));
    let images = batch.div_ceil(parts).next_multiple_of(IMAGES).min(batch);
    let tiles = tiling.count();
    let mut shares: Vec<Share> = (0..tiles * batch.div_ceil(images))
        .map(|at| {
            let image = at / tiles * images;
            Share {
                tile: at % tiles,
                images: image..batch.min(image + images),
                results: Default::default(),
            }
        })
        .collect();
    for (pixel, values) in values.chunks_mut(tiling.target.pixel()).enumerate() {
        let (row, column) = (pixel / tiling.target.width, pixel % tiling.target.width);
        let tile = row / 2 * tiling.columns + column / 2;
        for (part, values) in values.chunks_mut(images * channels).enumerate() {
            shares[part * tiles + tile].results[row % 2 * 2 + column % 2] = Some(values);
        }
    }
    shares
}

/// Some images of a tile.
struct Share<'a> {
    tile: usize,
    images: Range<usize>,
    results: [Option<&'a mut [f32]>; RESULTS],
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
    let most = shares
        .iter()
        .map(|share| share.images.len())
        .max()
        .unwrap_or(0);
    let nothing = nothing(pool, most * ins);
    let mut first = 0;
    for share in shares {
        let patch = tiling.patch(share.tile);
        let pixels = images_of(from, patch, &share.images, &nothing);
        transform_patch(isa, pixels, &mut patches[first * ins..], in_step);
        first += share.images.len();
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
        let len = self.images.len() * channels;
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
            let at = pixel * tiling.target.pixel() + self.images.start * channels;
            let added = finish.added.map(|map| &map[at..][..len]);
            direct::finish_rows(to, channels, finish.bias, added, finish.relu);
        }
    }
}
