//! Batch norm fused with what follows it in a residual network: an addition and a ReLU.
//!
//! Statistics may be taken over equal parts of the batch instead of all of it (split batch norm), as
//! on so many devices. A part is a run of neighbouring images; who wants other images in it, as
//! momentum contrast does of its keys (Shuffle-BN), changes their order before.

mod rows;

use crate::activation::{Activation, Map, Shape, into_map, same, with_map};
use crate::buffer::{Buffer, Pool};
use crate::element::Element;
use rayon::prelude::*;

/// Added to the variance, as in torchvision.
const EPSILON: f64 = 1e-5;
/// Weight of a batch in the running statistics, as in torchvision.
const MOMENTUM: f64 = 0.1;

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
    /// Of the map that they are of.
    shape: Shape,
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
/// If a slice does not have one value per channel, `parts` does not divide the batch, a part has no
/// more than one value of a channel (whose normalised value tells nothing of it), or `added` has
/// another shape or precision.
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
    let count = shape.len() / channels / parts;
    assert!(count > 1, "statistics of {count} values");
    let count = count as f64;
    let moments = with_map!(x, x => moments(pool, x, parts));
    let statistics = Statistics {
        mean: moments.iter().map(|m| m.mean as f32).collect(),
        inverse_std: moments
            .iter()
            .map(|m| (1.0 / (m.squares / count + EPSILON).sqrt()) as f32)
            .collect(),
        parts,
        shape,
    };
    for c in 0..channels {
        let over_parts = |f: &dyn Fn(&Moment) -> f64| {
            (0..parts)
                .map(|p| f(&moments[p * channels + c]))
                .sum::<f64>()
                / parts as f64
        };
        let mean = over_parts(&|m| m.mean);
        let variance = over_parts(&|m| m.squares / (count - 1.0));
        running.0[c] = ((1.0 - MOMENTUM) * running.0[c] as f64 + MOMENTUM * mean) as f32;
        running.1[c] = ((1.0 - MOMENTUM) * running.1[c] as f64 + MOMENTUM * variance) as f32;
    }
    let y = with_map!(x, x => applied(pool, x, &statistics, affine, added, then));
    (y, statistics)
}

/// The result of [`forward_train`] once more, from its statistics, to the bit: cheaper than to keep
/// it until the backward pass. No map was added.
///
/// # Panics
/// If a slice does not have one value per channel, or the statistics are not of `x`.
pub fn again(
    pool: &Pool,
    x: &Activation,
    affine: Affine,
    statistics: &Statistics,
    then: Then,
) -> Activation {
    let channels = x.shape().channels;
    assert_eq!(
        (affine.gamma.len(), affine.beta.len()),
        (channels, channels),
        "channels of the norm"
    );
    assert_eq!(x.shape(), statistics.shape, "shapes of the norm");
    with_map!(x, x => applied(pool, x, statistics, affine, None, then))
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

/// Gradients from `∂L/∂y`, in the memory of `x` and `dy`; those of γ and β are written over `dgamma` and `dbeta`. `y` is the
/// forward pass's result if a map was added in it; without one the ReLU's mask follows from `x`.
///
/// # Panics
/// If shapes, lengths or precisions do not belong together.
#[expect(clippy::too_many_arguments, reason = "a layer's inputs, each named")]
pub fn backward(
    pool: &Pool,
    x: Activation,
    y: Option<&Activation>,
    dy: Activation,
    affine: Affine,
    statistics: &Statistics,
    then: Then,
    into: (&mut [f32], &mut [f32]),
) -> NormGradients {
    assert_eq!(dy.shape(), x.shape(), "shapes of the norm");
    assert_eq!(x.shape(), statistics.shape, "shapes of the norm");
    if let Some(y) = y {
        assert_eq!(y.shape(), x.shape(), "shapes of the norm");
    }
    let channels = x.shape().channels;
    let lengths = [affine.gamma, affine.beta, into.0, into.1].map(|values| values.len());
    assert_eq!(lengths, [channels; 4], "channels of the norm");
    let unit = Unit {
        affine,
        statistics,
        then,
    };
    with_map!(x, x => unit.backward(pool, x, y.map(same), into_map(dy), into))
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
        mut x: Map<T>,
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
        let part_of = |chunk: usize| {
            let at = chunk % self.statistics.parts * channels;
            at..at + channels
        };
        let mut partial = partial_sums(pool, &x, part);
        partial
            .par_chunks_mut(2 * channels)
            .zip(dy.data.par_chunks_mut(part))
            .zip(x.data.par_chunks(part))
            .enumerate()
            .for_each(|(i, ((sums, dy), x))| {
                if let Some(y) = cut_by {
                    rows::cut(dy, &y.data[i * part..][..dy.len()]);
                }
                let at = part_of(i);
                let mean = &self.statistics.mean[at.clone()];
                let line = masked.then_some((&scale[at.clone()], &shift[at]));
                let (g, gx) = sums.split_at_mut(channels);
                rows::gradient_sums(dy, x, mean, line, g, gx);
            });
        let [of_g, of_x, rest] = self.coefficients(&partial, &x, into);
        if y.is_some() {
            // `dy` is the added map's gradient as well: the result takes the memory of `x`.
            let chunks = x.data.par_chunks_mut(part).zip(dy.data.par_chunks(part));
            chunks.enumerate().for_each(|(i, (x, g))| {
                let at = part_of(i);
                rows::combine(x, g, &of_x[at.clone()], &of_g[at.clone()], &rest[at]);
            });
            return NormGradients {
                input: T::wrap(x),
                added: Some(T::wrap(dy)),
            };
        }
        let chunks = dy.data.par_chunks_mut(part).zip(x.data.par_chunks(part));
        chunks.enumerate().for_each(|(i, (g, x))| {
            let at = part_of(i);
            if masked {
                rows::cut_by_line(g, x, &scale[at.clone()], &shift[at.clone()]);
            }
            rows::combine(g, x, &of_g[at.clone()], &of_x[at.clone()], &rest[at]);
        });
        NormGradients {
            input: T::wrap(dy),
            added: None,
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
        let sums = by_part(partial, channels, parts, |sums: &mut (f64, f64), g, gx| {
            sums.0 += f64::from(g);
            sums.1 += f64::from(gx);
        });
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
            rows::moments(chunk, mean, squares);
        });
    by_part(
        &partial,
        channels,
        parts,
        |m: &mut Moment, mean, squares| {
            let total = m.count + rows;
            let delta = f64::from(mean) - m.mean;
            m.squares += f64::from(squares) + delta * delta * m.count * rows / total;
            m.mean += delta * rows / total;
            m.count = total;
        },
    )
}

/// Channels that a thread goes through all pixels with are multiples of this: of 32-bit sums a cache
/// line.
const STRIPE: usize = 16;
/// Sums of which threads would take longer to share them than one takes for all.
const FEW: usize = 1 << 18;

/// What two sums by channel of each pixel and part come to by part and channel, taken in by `add` in
/// the order of pixels.
fn by_part<A: Clone + Default + Send>(
    partial: &[f32],
    channels: usize,
    parts: usize,
    add: impl Fn(&mut A, f32, f32) + Sync,
) -> Vec<A> {
    let mut all = vec![A::default(); parts * channels];
    let stripe = |part: usize, first: usize, of: &mut [A]| {
        let pixels = partial.chunks_exact(2 * channels).skip(part).step_by(parts);
        for sums in pixels {
            let (one, other) = sums.split_at(channels);
            let both = one[first..].iter().zip(&other[first..]);
            let all = of.iter_mut().zip(both);
            all.for_each(|(of, (one, other))| add(of, *one, *other));
        }
    };
    if partial.len() < FEW {
        let of_parts = all.chunks_mut(channels).enumerate();
        of_parts.for_each(|(part, of)| stripe(part, 0, of));
        return all;
    }
    let stripes = rayon::current_num_threads().div_ceil(parts);
    let width = channels.div_ceil(stripes).next_multiple_of(STRIPE);
    let of_parts = all.par_chunks_mut(channels).enumerate();
    of_parts.for_each(|(part, of)| {
        let stripes = of.par_chunks_mut(width).enumerate();
        stripes.for_each(|(at, of)| stripe(part, at * width, of));
    });
    all
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
            rows::scale_shift(y, x, scale, shift, added, then == Then::Relu);
        });
    T::wrap(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_merged_in_the_order_of_pixels() {
        let (channels, parts) = (40, 3);
        for pixels in [1, 7, FEW / (2 * channels * parts) + 1] {
            let sums = 0..pixels * parts * 2 * channels;
            let partial: Vec<f32> = sums.map(|i| (i * i % 1009) as f32 / 7.0).collect();
            // An order of additions shows in what they come to.
            let add = |sum: &mut f32, one: f32, other: f32| *sum = *sum * 0.9 + one - other;
            let mut expected = vec![0.0; parts * channels];
            for (i, sums) in partial.chunks_exact(2 * channels).enumerate() {
                for c in 0..channels {
                    add(
                        &mut expected[i % parts * channels + c],
                        sums[c],
                        sums[channels + c],
                    );
                }
            }
            for threads in [1, 2, 16] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let found = pool
                    .expect("threads")
                    .install(|| by_part(&partial, channels, parts, add));
                assert_eq!(found, expected, "{pixels} pixels, {threads} threads");
            }
        }
    }
}
