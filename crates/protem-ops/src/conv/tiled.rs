//! Convolution in bf16, by blocks of 32×32 results.

use super::shares::{Share, Shares};
use super::weights::{LEAST_DEPTH, Packed, unpack_gradient};
use super::{Conv, Run, Tap, runs_of};
use crate::activation::{Map, Shape, each_row};
use crate::buffer::{Buffer, Pool};
use crate::isa::Isa;
use crate::kernel::blocks::{Accumulator, BLOCK, BLOCK_LEN, Blocks, Sum};
use crate::kernel::{Finish, Pair};
use half::bf16;
use rayon::prelude::*;

/// Weights up to this size stay in the second-level cache beside what they meet.
const SMALL_WEIGHTS: usize = 600 * 1024;

/// # Panics
/// On a level that computes bf16 in f32.
fn multiplier() -> Blocks {
    Blocks::of(Isa::current()).expect("a level that multiplies bf16")
}

/// Every pixel of the result = the sum over its taps of a pixel of `from` times a tap's weights.
pub(super) fn convolve(
    pool: &Pool,
    weights: &Packed<bf16>,
    from: &Map<bf16>,
    mut to: Map<bf16>,
    taps_of: impl Fn(usize, usize, &mut Vec<Tap>) + Sync,
    finish: &Finish<bf16>,
) -> Map<bf16> {
    let widened = (from.shape.channels < weights.depth).then(|| widened(pool, from, weights.depth));
    let from = widened.as_ref().unwrap_or(from);
    let target = to.shape;
    let small = size_of_val(&weights.data[..]) <= SMALL_WEIGHTS;
    let many = if small { 16 * 1024 } else { 2048 } / target.batch.max(1);
    Shares::of(target, many, 2).each(&mut to.data, |share, out| {
        let runs = runs_of(share.range(), target.width, &taps_of);
        let mut job = Job {
            by: multiplier(),
            weights,
            from,
            channels: target.channels,
            finish: Finish {
                added: finish.added.map(|map| &map[share.at..][..out.len()]),
                ..*finish
            },
            gathered: Gathered::new(pool, weights),
            result: Accumulator([0.0; BLOCK_LEN]),
            out,
        };
        let runs: Vec<PlacedRun> = runs
            .iter()
            .map(|run| PlacedRun::new(run, share, from.shape, weights))
            .collect();
        let panels = weights.columns.div_ceil(BLOCK);
        // Blocks that read the same images come one after the other, at neighbouring pixels:
        // their inputs are still in the first-level cache.
        let parts = if share.images.is_multiple_of(BLOCK) {
            share.images / BLOCK
        } else {
            1
        };
        let panel_groups = if small { 1 } else { panels };
        for panel_group in 0..panel_groups {
            let panels = if small {
                0..panels
            } else {
                panel_group..panel_group + 1
            };
            for part in 0..parts {
                for run in &runs {
                    for row in (part * BLOCK..run.rows).step_by(parts * BLOCK) {
                        job.blocks(run, row, panels.clone());
                    }
                }
            }
        }
    });
    to
}

/// A run of pixels as rows of a matrix.
struct PlacedRun<'a> {
    run: &'a Run,
    /// The first of the share's images.
    image: usize,
    /// Pixels times images.
    rows: usize,
    /// Place of the first row in the output of the job, in rows.
    at: usize,
    pairs: Vec<Pair>,
}

impl<'a> PlacedRun<'a> {
    fn new(run: &'a Run, share: &Share, source: Shape, weights: &Packed<bf16>) -> Self {
        let pairs = run.taps.iter().map(|tap| {
            let along = tap.tap * weights.depth;
            Pair {
                a: tap.pixel * source.pixel() + share.image * source.channels,
                b: along / BLOCK * BLOCK_LEN + along % BLOCK / 2 * BLOCK,
            }
        });
        let (at, rows) = share.rows_of(run);
        Self {
            run,
            image: share.image,
            rows,
            at,
            pairs: pairs.collect(),
        }
    }
}

/// What one thread computes its share of a map with.
struct Job<'a> {
    by: Blocks,
    weights: &'a Packed<bf16>,
    from: &'a Map<bf16>,
    channels: usize,
    finish: Finish<'a, bf16>,
    gathered: Gathered,
    /// The block that a product is stored to.
    result: Accumulator,
    out: &'a mut [bf16],
}

impl Job<'_> {
    /// The result's rows from `row` on, a block of them, in the columns of `panels`.
    fn blocks(&mut self, run: &PlacedRun, row: usize, panels: std::ops::Range<usize>) {
        let rows = BLOCK.min(run.rows - row);
        let depth = self.weights.depth;
        let direct = rows == BLOCK && self.by.takes(depth);
        let whole = [Pair { a: 0, b: 0 }];
        let (a, mut sum) = if direct {
            let sum = Sum {
                pairs: &run.pairs,
                depth,
                a_row: depth,
                accumulate: false,
                size: (rows, BLOCK),
            };
            // Rows that no tap reaches may be more than the map has: nothing is read for them.
            (self.from.data.get(row * depth..).unwrap_or(&[]), sum)
        } else {
            self.gathered
                .fill(self.from, run.run, run.image + row, rows);
            let sum = Sum {
                pairs: &whole,
                depth: self.gathered.row,
                a_row: self.gathered.row,
                accumulate: false,
                size: (rows, BLOCK),
            };
            (&self.gathered.data[..], sum)
        };
        let panel_len = (self.weights.taps * depth).div_ceil(BLOCK) * BLOCK_LEN;
        for panel in panels {
            let b = &self.weights.data[panel * panel_len..][..panel_len];
            let column = panel * BLOCK;
            sum.size.1 = BLOCK.min(self.weights.columns - column);
            self.by.product(&sum, a, b, &mut self.result);
            let at = (run.at + row) * self.channels + column;
            let finish = Finish {
                bias: self.finish.bias.map(|bias| &bias[column..]),
                added: self.finish.added.map(|added| &added[at..]),
                ..self.finish
            };
            self.by.store(
                &self.result,
                sum.size,
                &finish,
                &mut self.out[at..],
                self.channels,
            );
        }
    }
}

/// The same map with more channels, which are zero.
fn widened(pool: &Pool, from: &Map<bf16>, channels: usize) -> Map<bf16> {
    let shape = Shape {
        channels,
        ..from.shape
    };
    let mut out = Map::uninit(pool, shape);
    let few = from.shape.channels;
    each_row(&mut out, |values, row| {
        let from = &from.data[values.start / channels * few..][..row.len() / channels * few];
        for (to, from) in row.chunks_exact_mut(channels).zip(from.chunks_exact(few)) {
            let zeros = std::iter::repeat(&bf16::ZERO);
            let values = from.iter().chain(zeros);
            to.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        }
    });
    out
}

/// Rows whose taps lie side by side, filled up with zeros: for blocks that cannot be read where
/// they are. Zeros stand for taps outside the image too, where a weight that is not finite makes a NaN
/// that other levels do not have.
struct Gathered {
    data: Buffer<bf16>,
    row: usize,
}

impl Gathered {
    fn new(pool: &Pool, weights: &Packed<bf16>) -> Self {
        let row = (weights.taps * weights.depth).next_multiple_of(BLOCK);
        Self {
            data: pool.take(BLOCK * row),
            row,
        }
    }

    fn fill(&mut self, from: &Map<bf16>, run: &Run, row: usize, rows: usize) {
        let depth = from.shape.channels;
        self.data.fill(bf16::ZERO);
        for tap in &run.taps {
            let at = tap.pixel * from.shape.pixel() + row * depth;
            let values = from.data[at..at + rows * depth].chunks_exact(depth);
            for (line, values) in self.data.chunks_exact_mut(self.row).zip(values) {
                let to = &mut line[tap.tap * depth..][..depth];
                match (to.as_chunks_mut::<LEAST_DEPTH>(), values.as_chunks()) {
                    (([to], []), ([values], [])) => *to = *values,
                    _ => to.copy_from_slice(values),
                }
            }
        }
    }
}

/// Pixels times images of a group, of which each thread sweeps one block of channels of `x` and one
/// of `dy` for all taps: both stay in the second-level cache.
const GROUP: usize = 8192;

/// As [`Conv::weight_gradient`]: `dwᵀ = Σ xᵀ·dy` over pixels, the images along the contraction.
pub(super) fn weight_gradient(
    pool: &Pool,
    conv: &Conv,
    x: &Map<bf16>,
    dy: &Map<bf16>,
    gradient: &mut [f32],
) {
    let (ins, outs) = (conv.inputs.div_ceil(BLOCK), conv.outputs.div_ceil(BLOCK));
    let taps = conv.taps();
    let at_once = taps_at_once(taps, ins * outs);
    // By block of inputs, block of outputs, tap.
    let mut sums: Buffer<f32> = pool.take(ins * outs * taps * BLOCK_LEN);
    sums.fill(0.0);
    for group in Group::all(conv, x.shape, dy.shape) {
        let left = pack(pool, x, &group, &group.from_rows, Blocks::transpose);
        let right = pack(pool, dy, &group, &group.to_rows, Blocks::interleave);
        let pairs: Vec<Vec<Pair>> = (0..taps)
            .map(|tap| group.pairs(conv, x.shape, dy.shape, tap))
            .collect();
        let (left_len, right_len) = (left.len() / ins, right.len() / outs);
        let blocks = sums.par_chunks_mut(taps * BLOCK_LEN).enumerate();
        blocks.for_each(|(i, sums)| {
            let (row, column) = (i / outs, i % outs);
            let a = &left[row * left_len..][..left_len];
            let b = &right[column * right_len..][..right_len];
            let size = (
                BLOCK.min(conv.inputs - row * BLOCK),
                BLOCK.min(conv.outputs - column * BLOCK),
            );
            let some = sums.par_chunks_mut(at_once * BLOCK_LEN);
            some.zip(pairs.par_chunks(at_once))
                .for_each(|(sums, pairs)| {
                    let by = multiplier();
                    for (pairs, sums) in pairs.iter().zip(sums.chunks_exact_mut(BLOCK_LEN)) {
                        let sum = Sum {
                            pairs,
                            depth: BLOCK,
                            a_row: BLOCK,
                            accumulate: true,
                            size,
                        };
                        by.product(&sum, a, b, Accumulator::over(sums));
                    }
                });
        });
    }
    unpack_gradient(conv, gradient, |i, tap, out, values| {
        let block = (i / BLOCK * outs + out / BLOCK) * taps + tap;
        let at = block * BLOCK_LEN + i % BLOCK * BLOCK;
        values.copy_from_slice(&sums[at..at + values.len()]);
    });
}

/// Taps of a block of channels that a thread sweeps: all, or, where there are fewer blocks than
/// threads need, so few that no thread waits long for another.
fn taps_at_once(taps: usize, blocks: usize) -> usize {
    let threads_a_block = (2 * rayon::current_num_threads()).div_ceil(blocks);
    match threads_a_block {
        1 => taps,
        threads => (taps / (2 * threads)).max(1),
    }
}

/// Some rows of output pixels for some images, and the rows of input pixels they read.
struct Group {
    /// In blocks of images.
    images: std::ops::Range<usize>,
    from_rows: std::ops::Range<usize>,
    to_rows: std::ops::Range<usize>,
}

impl Group {
    /// The groups of a convolution, in a fixed order.
    fn all(conv: &Conv, from: Shape, to: Shape) -> Vec<Self> {
        let blocks = to.batch.div_ceil(BLOCK);
        let row = to.width * BLOCK;
        let rows = (GROUP / row.max(1)).clamp(1, to.height.max(1));
        let images = (GROUP / (rows * row).max(1)).clamp(1, blocks.max(1));
        let mut groups = Vec::new();
        for image in (0..blocks).step_by(images) {
            for row in (0..to.height).step_by(rows) {
                let to_rows = row..(row + rows).min(to.height);
                let first = (to_rows.start * conv.stride).saturating_sub(conv.padding);
                let reach = (to_rows.end - 1) * conv.stride + conv.kernel;
                let last = reach.saturating_sub(conv.padding).min(from.height);
                groups.push(Self {
                    images: image..(image + images).min(blocks),
                    from_rows: first.min(last)..last,
                    to_rows,
                });
            }
        }
        groups
    }

    /// Places of the packed operands whose products make up a tap's sum.
    fn pairs(&self, conv: &Conv, from: Shape, to: Shape, tap: usize) -> Vec<Pair> {
        let images = self.images.len();
        let mut pairs = Vec::new();
        for row in self.to_rows.clone() {
            for column in 0..to.width {
                let Some(input) = conv.input_of(from, row, column, tap) else {
                    continue;
                };
                let a = (input - self.from_rows.start * from.width) * images;
                let b = ((row - self.to_rows.start) * to.width + column) * images;
                pairs.extend((0..images).map(|image| Pair {
                    a: (a + image) * BLOCK_LEN,
                    b: (b + image) * BLOCK_LEN,
                }));
            }
        }
        pairs
    }
}

/// Rows of pixels of a map as blocks of images by channels, each in the form `form` gives it: by
/// block of channels, pixel, block of images. What lies beyond the last image or channel is zero.
fn pack(
    pool: &Pool,
    map: &Map<bf16>,
    group: &Group,
    rows: &std::ops::Range<usize>,
    form: impl Fn(&Blocks, &[bf16], usize, &mut [bf16]) + Sync,
) -> Buffer<bf16> {
    let shape = map.shape;
    let (channels, images) = (shape.channels, group.images.len());
    let row_len = shape.width * images * BLOCK_LEN;
    let mut out: Buffer<bf16> = pool.take(channels.div_ceil(BLOCK) * rows.len() * row_len);
    out.par_chunks_mut(row_len.max(1))
        .enumerate()
        .for_each(|(i, row)| {
            let by = multiplier();
            let first = (rows.start + i % rows.len()) * shape.width;
            let channel = i / rows.len() * BLOCK;
            let width = BLOCK.min(channels - channel);
            for (at, block) in row.chunks_exact_mut(BLOCK_LEN).enumerate() {
                let image = (group.images.start + at % images) * BLOCK;
                let height = BLOCK.min(shape.batch - image);
                let start = (first + at / images) * shape.pixel() + image * channels + channel;
                let from = &map.data[start..];
                if (height, width) == (BLOCK, BLOCK) {
                    form(&by, from, channels, block);
                    continue;
                }
                let mut whole = [bf16::ZERO; BLOCK_LEN];
                for (r, line) in whole.chunks_exact_mut(BLOCK).enumerate().take(height) {
                    // Mostly of an image's three: too few for a call.
                    let values = &from[r * channels..][..width];
                    line.iter_mut()
                        .zip(values)
                        .for_each(|(to, from)| *to = *from);
                }
                form(&by, &whole, BLOCK, block);
            }
        });
    out
}
