//! Convolution without bias: forward, gradient of the input, gradient of the weights.
//!
//! Each output pixel is a sum over its taps of `batch × in` by `in × out` products
//! (the kernel is in `tile.rs`). Neighbouring pixels with the same taps are one product with more rows.
//! Taps outside the image do not exist, so padding costs nothing, and in a 4×4 map saves a
//! third of the work.

use crate::activation::{Activation, Shape};
use crate::buffer::Pool;
use crate::isa::Isa;
use crate::tile::{Pair, Product};
use rayon::prelude::*;

/// Columns of the result that share one packed panel of weights: two AVX-512 vectors.
const PANEL: usize = 32;

/// The geometry of a convolution with square kernel and equal strides and paddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Side of the kernel in pixels.
    pub kernel: usize,
    /// Step between output pixels, in input pixels.
    pub stride: usize,
    /// Border of zeros around the input, in pixels.
    pub padding: usize,
}

impl Conv {
    /// Number of weights: `outputs × inputs × kernel × kernel`.
    pub fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Shape of the result for an input of this shape.
    ///
    /// # Panics
    /// If the channels are not this convolution's, or the padded input is smaller than the kernel.
    pub fn output(&self, input: Shape) -> Shape {
        assert_eq!(input.channels, self.inputs, "channels of the input");
        let side = |len: usize| {
            let padded = len + 2 * self.padding;
            assert!(padded >= self.kernel, "input smaller than the kernel");
            (padded - self.kernel) / self.stride + 1
        };
        input.with(side(input.height), side(input.width), self.outputs)
    }

    /// `y = w * x`. Weights in torchvision's order: out, in, row, column.
    ///
    /// # Panics
    /// If the number of weights or the channels do not fit.
    pub fn forward(&self, pool: &Pool, weights: &[f32], x: &Activation) -> Activation {
        let shape = self.output(x.shape());
        let packed = self.pack(pool, weights, Role::Forward);
        let mut y = Activation::uninit(pool, shape);
        sum_over_taps(&packed, x, &mut y, |row, column, taps| {
            self.taps_of_output(x.shape(), row, column, taps);
        });
        y
    }

    /// `∂L/∂x` from `∂L/∂y`, for an input of shape `input`.
    ///
    /// # Panics
    /// If the shapes do not belong together.
    pub fn input_gradient(
        &self,
        pool: &Pool,
        weights: &[f32],
        dy: &Activation,
        input: Shape,
    ) -> Activation {
        assert_eq!(dy.shape(), self.output(input), "shape of the gradient");
        let packed = self.pack(pool, weights, Role::InputGradient);
        let mut dx = Activation::uninit(pool, input);
        sum_over_taps(&packed, dy, &mut dx, |row, column, taps| {
            self.taps_of_input(dy.shape(), row, column, taps);
        });
        dx
    }

    /// `∂L/∂w` (out, in, row, column) from the input and `∂L/∂y`, written over `gradient`.
    ///
    /// Every weight's sum runs over pixels and images in one fixed order, whatever the number of
    /// threads: they divide the weights, not the pixels.
    ///
    /// # Panics
    /// If the shapes do not belong together.
    pub fn weight_gradient(
        &self,
        pool: &Pool,
        x: &Activation,
        dy: &Activation,
        gradient: &mut [f32],
    ) {
        assert_eq!(dy.shape(), self.output(x.shape()), "shape of the gradient");
        assert_eq!(gradient.len(), self.weights(), "number of weights");
        let isa = Isa::current();
        let mut by_tap = pool.take(self.weights()); // tap, in, out
        let rows = self.taps() * self.inputs;
        let share = rows.div_ceil(rayon::current_num_threads()).max(1);
        by_tap
            .par_chunks_mut(share * self.outputs)
            .enumerate()
            .for_each(|(i, part)| {
                part.fill(0.0);
                self.weight_gradient_rows(isa, x, dy, i * share, part);
            });
        for tap in 0..self.taps() {
            for i in 0..self.inputs {
                let row = &by_tap[(tap * self.inputs + i) * self.outputs..][..self.outputs];
                for (o, value) in row.iter().enumerate() {
                    gradient[(o * self.inputs + i) * self.taps() + tap] = *value;
                }
            }
        }
    }

    /// Adds to the rows (tap, in) of `part`, the first of which is `first`. Pixels come in groups
    /// small enough to stay in the second-level cache while all their taps are visited.
    fn weight_gradient_rows(
        &self,
        isa: Isa,
        x: &Activation,
        dy: &Activation,
        first: usize,
        part: &mut [f32],
    ) {
        const GROUP_BYTES: usize = 256 * 1024;
        let (from, to) = (x.shape(), dy.shape());
        let group = (GROUP_BYTES / (4 * (from.pixel() + to.pixel()))).clamp(1, to.width);
        let end = first + part.len() / self.outputs;
        let mut pairs = Vec::new();
        for row in 0..to.height {
            for column in (0..to.width).step_by(group) {
                let columns = column..(column + group).min(to.width);
                for tap in first / self.inputs..end.div_ceil(self.inputs) {
                    pairs.clear();
                    pairs.extend(columns.clone().filter_map(|column| {
                        Some(Pair {
                            a: self.input_of(from, row, column, tap)? * from.pixel(),
                            b: (row * to.width + column) * to.pixel(),
                        })
                    }));
                    let begin = (tap * self.inputs).max(first);
                    let stop = ((tap + 1) * self.inputs).min(end);
                    let channel = begin - tap * self.inputs;
                    for pair in &mut pairs {
                        pair.a += channel;
                    }
                    if pairs.is_empty() {
                        continue;
                    }
                    Product {
                        m: stop - begin,
                        n: self.outputs,
                        k: to.batch,
                        a_row: 1,
                        a_k: self.inputs,
                        b_k: self.outputs,
                        c_row: self.outputs,
                        accumulate: true,
                    }
                    .run(
                        isa,
                        &pairs,
                        &x.data,
                        &dy.data,
                        &mut part[(begin - first) * self.outputs..],
                    );
                }
            }
        }
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The input pixel that a tap of an output pixel reads, if it is inside the image.
    fn input_of(&self, input: Shape, row: usize, column: usize, tap: usize) -> Option<usize> {
        let y = (row * self.stride + tap / self.kernel).checked_sub(self.padding)?;
        let x = (column * self.stride + tap % self.kernel).checked_sub(self.padding)?;
        (y < input.height && x < input.width).then(|| y * input.width + x)
    }

    fn taps_of_output(&self, input: Shape, row: usize, column: usize, out: &mut Vec<Tap>) {
        out.extend((0..self.taps()).filter_map(|tap| {
            let pixel = self.input_of(input, row, column, tap)?;
            Some(Tap { tap, pixel })
        }));
    }

    fn taps_of_input(&self, output: Shape, row: usize, column: usize, out: &mut Vec<Tap>) {
        let back = |at: usize, tap: usize, len: usize| {
            let steps = (at + self.padding).checked_sub(tap)?;
            (steps.is_multiple_of(self.stride) && steps / self.stride < len)
                .then(|| steps / self.stride)
        };
        out.extend((0..self.taps()).filter_map(|tap| {
            let y = back(row, tap / self.kernel, output.height)?;
            let x = back(column, tap % self.kernel, output.width)?;
            let pixel = y * output.width + x;
            Some(Tap { tap, pixel })
        }));
    }

    /// Weights as panels of `PANEL` result columns, each `tap × contraction × PANEL`, zero-filled.
    fn pack(&self, pool: &Pool, weights: &[f32], role: Role) -> Packed {
        assert_eq!(weights.len(), self.weights(), "number of weights");
        let taps = self.taps();
        let (depth, columns) = match role {
            Role::Forward => (self.inputs, self.outputs),
            Role::InputGradient => (self.outputs, self.inputs),
        };
        let mut data = pool.take(columns.div_ceil(PANEL) * taps * depth * PANEL);
        data.par_chunks_mut(taps * depth * PANEL)
            .enumerate()
            .for_each(|(panel, chunk)| {
                for (at, row) in chunk.chunks_exact_mut(PANEL).enumerate() {
                    let (tap, d) = (at / depth, at % depth);
                    for (j, value) in row.iter_mut().enumerate() {
                        let column = panel * PANEL + j;
                        let (o, i) = match role {
                            Role::Forward => (column, d),
                            Role::InputGradient => (d, column),
                        };
                        *value = if column < columns {
                            weights[(o * self.inputs + i) * taps + tap]
                        } else {
                            0.0
                        };
                    }
                }
            });
        Packed {
            data,
            depth,
            columns,
            taps,
        }
    }
}

#[derive(Clone, Copy)]
enum Role {
    Forward,
    InputGradient,
}

struct Packed {
    data: crate::buffer::Buffer,
    depth: usize,
    columns: usize,
    taps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tap {
    tap: usize,
    pixel: usize,
}

/// Every pixel of `to` = the sum over its taps of a pixel of `from` times a tap's weights.
fn sum_over_taps(
    weights: &Packed,
    from: &Activation,
    to: &mut Activation,
    taps_of: impl Fn(usize, usize, &mut Vec<Tap>) + Sync,
) {
    let isa = Isa::current();
    let (source, target) = (from.shape(), to.shape());
    to.data
        .par_chunks_mut(target.width * target.pixel())
        .enumerate()
        .for_each(|(row, out)| {
            let runs = runs_of_row(row, target.width, &taps_of);
            let mut pairs = Vec::new();
            for (panel, packed) in weights
                .data
                .chunks_exact(weights.taps * weights.depth * PANEL)
                .enumerate()
            {
                let column = panel * PANEL;
                for run in &runs {
                    pairs.clear();
                    pairs.extend(run.taps.iter().map(|tap| Pair {
                        a: tap.pixel * source.pixel(),
                        b: tap.tap * weights.depth * PANEL,
                    }));
                    Product {
                        m: run.pixels * target.batch,
                        n: PANEL.min(weights.columns - column),
                        k: weights.depth,
                        a_row: source.channels,
                        a_k: 1,
                        b_k: PANEL,
                        c_row: target.channels,
                        accumulate: false,
                    }
                    .run(
                        isa,
                        &pairs,
                        &from.data,
                        packed,
                        &mut out[run.first * target.pixel() + column..],
                    );
                }
            }
        });
}

/// Neighbouring pixels whose taps are the same, each a pixel further on.
struct Run {
    first: usize,
    pixels: usize,
    taps: Vec<Tap>,
}

fn runs_of_row(
    row: usize,
    width: usize,
    taps_of: impl Fn(usize, usize, &mut Vec<Tap>),
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..width {
        let mut taps = Vec::new();
        taps_of(row, column, &mut taps);
        if let Some(last) = runs.last_mut() {
            let follows = |(a, b): (&Tap, &Tap)| a.tap == b.tap && a.pixel + last.pixels == b.pixel;
            if last.taps.len() == taps.len() && last.taps.iter().zip(&taps).all(follows) {
                last.pixels += 1;
                continue;
            }
        }
        runs.push(Run {
            first: column,
            pixels: 1,
            taps,
        });
    }
    runs
}
