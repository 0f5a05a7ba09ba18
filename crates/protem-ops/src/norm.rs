//! Batch norm fused with what follows it in a residual network: an addition and a ReLU.
//!
//! Statistics may be taken over equal parts of the batch instead of all of it (split batch norm;
//! a part is a run of neighbouring images, in a shuffled batch as good as any other):
//! on one device it stands in for the shuffled batch norm of momentum contrast, which hides from
//! the encoder which images shared its statistics.

use crate::activation::{Activation, Map, same, with_map};
use crate::buffer::{Buffer, Pool};
use crate::element::Element;
use crate::kernel::vectorised;
use rayon::prelude::*;

/// Added to the variance, as in torchvision.
const EPSILON: f64 = 1e-5;
/// Weight of a batch in the running statistics, as in torchvision.
const MOMENTUM: f64 = 0.1;
/// Channels whose sums stay in registers while the rows go by.
const LANES: usize = 32;

/// What the output of a batch norm passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Identity,
    /// `max(0, ·)`, after the addition if there is one.
    Relu,
}

/// The trained values of a batch norm, one of each per channel.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Scale γ.
    pub gamma: &'a [f32],
    /// Shift β.
    pub beta: &'a [f32],
}

/// What the backward pass needs of the statistics: mean and 1/σ by part and channel.
#[derive(Debug)]
pub struct Statistics {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    parts: usize,
}

impl Statistics {
    /// Norm and affine map as one multiply-add, by part and channel.
    fn scale_and_shift(&self, affine: Affine) -> (Vec<f32>, Vec<f32>) {
        let channels = affine.gamma.len();
        let both = self.mean.iter().zip(&self.inverse_std).enumerate();
        both.map(|(i, (mean, inverse))| {
            let scale = affine.gamma[i % channels] * inverse;
            (scale, affine.beta[i % channels] - mean * scale)
        })
        .unzip()
    }
}

/// Gradients of a batch norm's input and of the map that was added after it.
#[derive(Debug)]
pub struct NormGradients {
    /// `∂L/∂x`.
    pub input: Activation,
    /// Gradient of the added map, if there was one.
    pub added: Option<Activation>,
}

/// `y = then(γ·(x − mean)/σ + β + added)` with the statistics of the batch, which also move the
/// running mean and (unbiased) variance.
///
/// # Panics
/// If a slice does not have one value per channel, `parts` does not divide the batch, or
/// `added` has another shape or precision.
pub fn forward_train(
    pool: &Pool,
    x: &Activation,
    affine: Affine,
    running: (&mut [f32], &mut [f32]),
    parts: usize,
    added: Option<&Activation>,
    then: Then,
) -> (Activation, Statistics) {
    let shape = x.shape();
    let channels = shape.channels;
    assert_eq!(
        (affine.gamma.len(), affine.beta.len()),
        (channels, channels),
        "channels of the norm"
    );
    assert_eq!(
        (running.0.len(), running.1.len()),
        (channels, channels),
        "channels of the norm"
    );
    assert!(shape.batch.is_multiple_of(parts), "parts divide the batch");
    let count = (shape.len() / channels / parts) as f64;
    let moments = with_map!(x, x => moments(pool, x, parts));
    let statistics = Statistics {
        mean: moments.iter().map(|m| m.mean as f32).collect(),
        inverse_std: moments
            .iter()
            .map(|m| (1.0 / (m.squares / count + EPSILON).sqrt()) as f32)
            .collect(),
        parts,
    };
    for c in 0..channels {
        let over_parts = |f: &dyn Fn(&Moment) -> f64| {
            (0..parts)
                .map(|p| f(&moments[p * channels + c]))
                .sum::<f64>()
                / parts as f64
        };
        let mean = over_parts(&|m| m.mean);
        let variance = over_parts(&|m| m.squares / (count - 1.0).max(1.0));
        running.0[c] = ((1.0 - MOMENTUM) * running.0[c] as f64 + MOMENTUM * mean) as f32;
        running.1[c] = ((1.0 - MOMENTUM) * running.1[c] as f64 + MOMENTUM * variance) as f32;
    }
    let y = with_map!(x, x => applied(pool, x, &statistics, affine, added, then));
    (y, statistics)
}

/// Scale and shift by channel with a fixed mean and variance in place of the batch's: what
/// evaluation folds into the convolution before the norm.
///
/// # Panics
/// If a slice does not have one value per channel.
pub fn folded(affine: Affine, mean: &[f32], variance: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let channels = affine.gamma.len();
    assert_eq!(
        (affine.beta.len(), mean.len(), variance.len()),
        (channels, channels, channels),
        "channels of the norm"
    );
    (0..channels)
        .map(|c| {
            let scale = affine.gamma[c] as f64 / (variance[c] as f64 + EPSILON).sqrt();
            let shift = affine.beta[c] as f64 - mean[c] as f64 * scale;
            (scale as f32, shift as f32)
        })
        .unzip()
}

/// Gradients from `∂L/∂y`; those of γ and β are written over `dgamma` and `dbeta`. `y` is the
/// forward pass's result if a map was added in it; without one the ReLU's mask follows from `x`.
///
/// # Panics
/// If shapes or precisions do not belong together.
#[expect(clippy::too_many_arguments, reason = "a layer's inputs, each named")]
pub fn backward(
    pool: &Pool,
    x: &Activation,
    y: Option<&Activation>,
    dy: Activation,
    affine: Affine,
    statistics: &Statistics,
    then: Then,
    into: (&mut [f32], &mut [f32]),
) -> NormGradients {
    assert_eq!(dy.shape(), x.shape(), "shapes of the norm");
    if let Some(y) = y {
        assert_eq!(y.shape(), x.shape(), "shapes of the norm");
    }
    let unit = Unit {
        affine,
        statistics,
        then,
    };
    match dy {
        Activation::F32(dy) => unit.backward(pool, same(x), y.map(same), dy, into),
        Activation::Bf16(dy) => unit.backward(pool, same(x), y.map(same), dy, into),
    }
}

struct Unit<'a> {
    affine: Affine<'a>,
    statistics: &'a Statistics,
    then: Then,
}

impl Unit<'_> {
    fn backward<T: Element>(
        &self,
        pool: &Pool,
        x: &Map<T>,
        y: Option<&Map<T>>,
        mut dy: Map<T>,
        into: (&mut [f32], &mut [f32]),
    ) -> NormGradients {
        let channels = x.shape.channels;
        let part = (x.shape.pixel() / self.statistics.parts).max(1);
        let (scale, shift) = self.statistics.scale_and_shift(self.affine);
        // Where nothing was added, whether the result was positive is computed again from `x`: to
        // read a third map costs more. Where something was, the gradient is cut in place once,
        // for both summands.
        let masked = self.then == Then::Relu && y.is_none();
        let cut_by = y.filter(|_| self.then == Then::Relu);
        let mut partial = partial_sums(pool, x, part);
        partial
            .par_chunks_mut(2 * channels)
            .zip(dy.data.par_chunks_mut(part))
            .zip(x.data.par_chunks(part))
            .enumerate()
            .for_each(|(i, ((sums, dy), x))| {
                if let Some(y) = cut_by {
                    cut(dy, &y.data[i * part..][..dy.len()]);
                }
                let at = i % self.statistics.parts * channels..;
                let mean = &self.statistics.mean[at.clone()];
                let line = masked.then_some((&scale[at.clone()], &shift[at]));
                let (g, gx) = sums.split_at_mut(channels);
                gradient_sums(dy, x, mean, line, g, gx);
            });
        let [of_g, of_x, rest] = self.coefficients(&partial, x, into);
        let mut input = match y {
            None => None,
            Some(_) => Some(Map::uninit(pool, x.shape)),
        };
        let run = |i: usize, dx: &mut [T]| {
            let at = i % self.statistics.parts * channels..;
            let line = masked.then_some((&scale[at.clone()], &shift[at.clone()]));
            let x = &x.data[i * part..][..dx.len()];
            input_gradient(
                dx,
                x,
                &of_g[at.clone()],
                &of_x[at.clone()],
                &rest[at],
                line,
                channels,
            );
        };
        match &mut input {
            // Nobody else wants `dy`: its memory takes the result.
            None => (dy.data.par_chunks_mut(part).enumerate()).for_each(|(i, dx)| run(i, dx)),
            Some(input) => input
                .data
                .par_chunks_mut(part)
                .zip(dy.data.par_chunks(part))
                .enumerate()
                .for_each(|(i, (dx, dy))| {
                    dx.copy_from_slice(dy);
                    run(i, dx);
                }),
        }
        match input {
            None => NormGradients {
                input: T::wrap(dy),
                added: None,
            },
            Some(input) => NormGradients {
                input: T::wrap(input),
                added: Some(T::wrap(dy)),
            },
        }
    }

    /// Writes the gradients of γ and β. `∂L/∂x = γ/σ·(g − mean(g) − x̂·mean(g·x̂))`; what comes back
    /// are its factors of g and of x and the rest, by part and channel.
    fn coefficients<T: Element>(
        &self,
        partial: &[f32],
        x: &Map<T>,
        (dgamma, dbeta): (&mut [f32], &mut [f32]),
    ) -> [Vec<f32>; 3] {
        let (channels, parts) = (x.shape.channels, self.statistics.parts);
        let mut sums = vec![(0.0f64, 0.0f64); parts * channels];
        for (i, both) in partial.chunks_exact(2 * channels).enumerate() {
            let (g, gx) = both.split_at(channels);
            for ((t, g), gx) in sums[i % parts * channels..].iter_mut().zip(g).zip(gx) {
                t.0 += *g as f64;
                t.1 += *gx as f64;
            }
        }
        dgamma.fill(0.0);
        dbeta.fill(0.0);
        let count = (x.shape.len() / channels / parts) as f64;
        let mut out = [(); 3].map(|()| Vec::with_capacity(parts * channels));
        for (i, (g, gx)) in sums.into_iter().enumerate() {
            let inverse_std = self.statistics.inverse_std[i] as f64;
            let g_xhat = gx * inverse_std;
            dbeta[i % channels] += g as f32;
            dgamma[i % channels] += g_xhat as f32;
            let of_g = self.affine.gamma[i % channels] as f64 * inverse_std;
            let of_x = -of_g * g_xhat / count * inverse_std;
            let rest = -of_g * g / count - of_x * self.statistics.mean[i] as f64;
            for (out, value) in out.iter_mut().zip([of_g, of_x, rest]) {
                out.push(value as f32);
            }
        }
        out
    }
}

/// Mean and sum of squared deviations of one channel in one part of the batch.
#[derive(Clone, Copy, Default)]
struct Moment {
    count: f64,
    mean: f64,
    squares: f64,
}

/// By part and channel. Each pixel's moments are taken in two passes over cached values, then
/// merged in pixel order in f64 (Chan, Golub, LeVeque 1983): exact enough for any mean, and the
/// same bits whatever the threads.
fn moments<T: Element>(pool: &Pool, x: &Map<T>, parts: usize) -> Vec<Moment> {
    let channels = x.shape.channels;
    let part = (x.shape.pixel() / parts).max(1);
    let rows = (part / channels) as f64;
    let mut partial = partial_sums(pool, x, part);
    partial
        .par_chunks_mut(2 * channels)
        .zip(x.data.par_chunks(part))
        .for_each(|(sums, chunk)| {
            let (mean, squares) = sums.split_at_mut(channels);
            chunk_moments(chunk, mean, squares);
        });
    let mut merged = vec![Moment::default(); parts * channels];
    for (i, sums) in partial.chunks_exact(2 * channels).enumerate() {
        let (mean, squares) = sums.split_at(channels);
        let of_part = merged[i % parts * channels..].iter_mut();
        for ((m, mean), squares) in of_part.zip(mean).zip(squares) {
            let total = m.count + rows;
            let delta = *mean as f64 - m.mean;
            m.squares += *squares as f64 + delta * delta * m.count * rows / total;
            m.mean += delta * rows / total;
            m.count = total;
        }
    }
    merged
}

/// Room for two sums by channel of every `part` values of a map.
fn partial_sums<T: Element>(pool: &Pool, x: &Map<T>, part: usize) -> Buffer<f32> {
    pool.take(x.data.len() / part * 2 * x.shape.channels)
}

/// Norm, addition and ReLU in one pass.
fn applied<T: Element>(
    pool: &Pool,
    x: &Map<T>,
    statistics: &Statistics,
    affine: Affine,
    added: Option<&Activation>,
    then: Then,
) -> Activation {
    let channels = x.shape.channels;
    let part = (x.shape.pixel() / statistics.parts).max(1);
    let (scale, shift) = statistics.scale_and_shift(affine);
    let added = added.map(same::<T>);
    if let Some(added) = added {
        assert_eq!(added.shape, x.shape, "shape of the added map");
    }
    let mut y = Map::uninit(pool, x.shape);
    y.data
        .par_chunks_mut(part)
        .zip(x.data.par_chunks(part))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let at = i % statistics.parts * channels;
            let (scale, shift) = (&scale[at..at + channels], &shift[at..at + channels]);
            let added = added.map(|map| &map.data[i * part..][..y.len()]);
            scale_shift(y, x, scale, shift, added, then == Then::Relu);
        });
    T::wrap(y)
}

vectorised! {
    /// Mean and sum of squared deviations of every channel over the rows of `chunk`.
    fn chunk_moments<T: Element>(chunk: &[T], mean: &mut [f32], squares: &mut [f32]) {
        let channels = mean.len();
        for first in (0..channels).step_by(LANES) {
            let (mean, squares) = (&mut mean[first..], &mut squares[first..]);
            if channels - first >= LANES {
                moments_of_lanes(LANES, chunk, channels, first, mean, squares);
            } else {
                moments_of_lanes(channels - first, chunk, channels, first, mean, squares);
            }
        }
    }
}

#[inline(always)]
fn moments_of_lanes<T: Element>(
    lanes: usize,
    chunk: &[T],
    channels: usize,
    first: usize,
    mean: &mut [f32],
    squares: &mut [f32],
) {
    let rows = (chunk.len() / channels) as f32;
    let (mut sum, mut centre) = ([0.0f32; LANES], [0.0f32; LANES]);
    for row in chunk.chunks_exact(channels) {
        let row = &row[first..first + lanes];
        for l in 0..lanes {
            sum[l] += row[l].widen();
        }
    }
    for l in 0..lanes {
        centre[l] = sum[l] / rows;
    }
    let mut sum = [0.0f32; LANES];
    for row in chunk.chunks_exact(channels) {
        let row = &row[first..first + lanes];
        for l in 0..lanes {
            let deviation = row[l].widen() - centre[l];
            sum[l] += deviation * deviation;
        }
    }
    mean[..lanes].copy_from_slice(&centre[..lanes]);
    squares[..lanes].copy_from_slice(&sum[..lanes]);
}

vectorised! {
    /// `y = x·scale + shift + added`, at least 0 if `relu`.
    fn scale_shift<T: Element>(
        y: &mut [T],
        x: &[T],
        scale: &[f32],
        shift: &[f32],
        added: Option<&[T]>,
        relu: bool,
    ) {
        let channels = scale.len();
        let rows = y.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        match added {
            Some(added) => {
                for ((y, x), added) in rows.zip(added.chunks_exact(channels)) {
                    let line = y.iter_mut().zip(x).zip(added).zip(scale.iter().zip(shift));
                    for (((y, x), added), (scale, shift)) in line {
                        let value = x.widen() * scale + shift + added.widen();
                        *y = T::narrow(at_least(value, floor));
                    }
                }
            }
            None => {
                for (y, x) in rows {
                    let line = y.iter_mut().zip(x).zip(scale.iter().zip(shift));
                    for ((y, x), (scale, shift)) in line {
                        *y = T::narrow(at_least(x.widen() * scale + shift, floor));
                    }
                }
            }
        }
    }
}

/// Unlike `f32::max` this lets a NaN through, so that a diverged run is seen.
#[inline(always)]
fn at_least(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
}

vectorised! {
    /// Clears `dy` where the ReLU's result was not positive. The gradient of a NaN stays.
    fn cut<T: Element>(dy: &mut [T], y: &[T]) {
        for (dy, y) in dy.iter_mut().zip(y) {
            *dy = T::narrow(if y.widen() <= 0.0 { 0.0 } else { dy.widen() });
        }
    }
}

vectorised! {
    /// Σg and Σg·(x − mean) by channel, g being `dy` where scale·x + shift was positive, if a line
    /// is given.
    fn gradient_sums<T: Element>(
        dy: &[T],
        x: &[T],
        mean: &[f32],
        line: Option<(&[f32], &[f32])>,
        g: &mut [f32],
        gx: &mut [f32],
    ) {
        let channels = g.len();
        for first in (0..channels).step_by(LANES) {
            let (g, gx) = (&mut g[first..], &mut gx[first..]);
            if channels - first >= LANES {
                sums_of_lanes(LANES, dy, x, channels, first, mean, line, g, gx);
            } else {
                sums_of_lanes(channels - first, dy, x, channels, first, mean, line, g, gx);
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the operands of two sums")]
fn sums_of_lanes<T: Element>(
    lanes: usize,
    dy: &[T],
    x: &[T],
    channels: usize,
    first: usize,
    mean: &[f32],
    line: Option<(&[f32], &[f32])>,
    g: &mut [f32],
    gx: &mut [f32],
) {
    let take = |values: &[f32]| {
        let mut out = [0.0f32; LANES];
        out[..lanes].copy_from_slice(&values[first..first + lanes]);
        out
    };
    let mean = take(mean);
    let (mut sum, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
    let rows = dy.chunks_exact(channels).zip(x.chunks_exact(channels));
    let rows = rows.map(|(dy, x)| (&dy[first..first + lanes], &x[first..first + lanes]));
    if let Some((scale, shift)) = line {
        let (scale, shift) = (take(scale), take(shift));
        for (dy, x) in rows {
            for l in 0..lanes {
                let x = x[l].widen();
                let dead = x * scale[l] + shift[l] <= 0.0;
                let g = if dead { 0.0 } else { dy[l].widen() };
                sum[l] += g;
                product[l] += g * (x - mean[l]);
            }
        }
    } else {
        for (dy, x) in rows {
            for l in 0..lanes {
                let g = dy[l].widen();
                sum[l] += g;
                product[l] += g * (x[l].widen() - mean[l]);
            }
        }
    }
    g[..lanes].copy_from_slice(&sum[..lanes]);
    gx[..lanes].copy_from_slice(&product[..lanes]);
}

vectorised! {
    /// Over `dx`, which holds `∂L/∂y`: `of_g·g + of_x·x + rest`.
    fn input_gradient<T: Element>(
        dx: &mut [T],
        x: &[T],
        of_g: &[f32],
        of_x: &[f32],
        rest: &[f32],
        line: Option<(&[f32], &[f32])>,
        channels: usize,
    ) {
        let (of_g, of_x, rest) = (&of_g[..channels], &of_x[..channels], &rest[..channels]);
        let rows = dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        if let Some((scale, shift)) = line {
            let (scale, shift) = (&scale[..channels], &shift[..channels]);
            for (dx, x) in rows {
                for c in 0..channels {
                    let x = x[c].widen();
                    let dead = x * scale[c] + shift[c] <= 0.0;
                    let g = if dead { 0.0 } else { dx[c].widen() };
                    dx[c] = T::narrow(of_g[c] * g + of_x[c] * x + rest[c]);
                }
            }
        } else {
            for (dx, x) in rows {
                for c in 0..channels {
                    let value = of_g[c] * dx[c].widen() + of_x[c] * x[c].widen() + rest[c];
                    dx[c] = T::narrow(value);
                }
            }
        }
    }
}
