//! Batch norm fused with what follows it in a residual network: an addition and a ReLU.
//!
//! Statistics may be taken over equal parts of the batch instead of all of it (split batch norm;
//! a part is a run of neighbouring images, in a shuffled batch as good as any other):
//! on one device it stands in for the shuffled batch norm of momentum contrast, which hides from
//! the encoder which images shared its statistics.

use crate::activation::Activation;
use crate::buffer::Pool;
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

/// What the backward pass needs of the statistics: mean and 1/σ by part and channel.
#[derive(Debug)]
pub struct Statistics {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    parts: usize,
}

/// Gradients of a batch norm's parameters and of the map that was added after it.
#[derive(Debug)]
pub struct NormGradients {
    /// `∂L/∂x`.
    pub input: Activation,
    /// Gradient at the addition: of the norm's result and of the added map alike.
    pub sum: Activation,
}

/// `y = then(γ·(x − mean)/σ + β + added)` with the statistics of the batch, which also move the
/// running mean and (unbiased) variance.
///
/// # Panics
/// If a slice does not have one value per channel, `parts` does not divide the batch, or
/// `added` has another shape.
#[expect(clippy::too_many_arguments, reason = "a layer's inputs, each named")]
pub fn forward_train(
    pool: &Pool,
    x: &Activation,
    gamma: &[f32],
    beta: &[f32],
    running: (&mut [f32], &mut [f32]),
    parts: usize,
    added: Option<&Activation>,
    then: Then,
) -> (Activation, Statistics) {
    let shape = x.shape();
    let channels = shape.channels;
    assert_eq!(
        (gamma.len(), beta.len()),
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
    let moments = moments(x, parts);
    let mut statistics = Statistics {
        mean: Vec::with_capacity(parts * channels),
        inverse_std: Vec::with_capacity(parts * channels),
        parts,
    };
    for moment in &moments {
        statistics.mean.push(moment.mean as f32);
        statistics
            .inverse_std
            .push((1.0 / (moment.squares / count + EPSILON).sqrt()) as f32);
    }
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
    let (scale, shift): (Vec<f32>, Vec<f32>) = (0..parts * channels)
        .map(|i| {
            let scale = gamma[i % channels] * statistics.inverse_std[i];
            (scale, beta[i % channels] - statistics.mean[i] * scale)
        })
        .unzip();
    let y = scale_shift(pool, x, &scale, &shift, parts, added, then);
    (y, statistics)
}

/// The same with the running statistics in place of the batch's: evaluation mode.
///
/// # Panics
/// As [`forward_train`].
pub fn forward_eval(
    pool: &Pool,
    x: &Activation,
    gamma: &[f32],
    beta: &[f32],
    running: (&[f32], &[f32]),
    added: Option<&Activation>,
    then: Then,
) -> Activation {
    let channels = x.shape().channels;
    assert_eq!(
        (gamma.len(), beta.len()),
        (channels, channels),
        "channels of the norm"
    );
    let (scale, shift): (Vec<f32>, Vec<f32>) = (0..channels)
        .map(|c| {
            let scale = gamma[c] as f64 / (running.1[c] as f64 + EPSILON).sqrt();
            (
                scale as f32,
                (beta[c] as f64 - running.0[c] as f64 * scale) as f32,
            )
        })
        .unzip();
    scale_shift(pool, x, &scale, &shift, 1, added, then)
}

/// Gradients from `∂L/∂y`; those of γ and β are written over `dgamma` and `dbeta`.
///
/// # Panics
/// If shapes do not belong together.
#[expect(clippy::too_many_arguments, reason = "a layer's inputs, each named")]
pub fn backward(
    pool: &Pool,
    x: &Activation,
    y: &Activation,
    dy: Activation,
    gamma: &[f32],
    statistics: &Statistics,
    then: Then,
    (dgamma, dbeta): (&mut [f32], &mut [f32]),
) -> NormGradients {
    let shape = x.shape();
    assert_eq!(
        (y.shape(), dy.shape()),
        (shape, shape),
        "shapes of the norm"
    );
    let (channels, parts) = (shape.channels, statistics.parts);
    let mut sum = dy;
    let sums = masked_sums(x, y, &mut sum, statistics, then);
    let count = (shape.len() / channels / parts) as f64;
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    for (i, (g, gx)) in sums.iter().enumerate() {
        dbeta[i % channels] += *g as f32;
        dgamma[i % channels] += *gx as f32;
    }
    // ∂L/∂x = γ/σ·(g − mean(g) − x̂·mean(g·x̂)), written as one multiply-add each for g and x.
    let coefficients: Vec<[f32; 3]> = (0..parts * channels)
        .map(|i| {
            let inverse_std = statistics.inverse_std[i] as f64;
            let of_g = gamma[i % channels] as f64 * inverse_std;
            let of_x = -of_g * sums[i].1 / count * inverse_std;
            let rest = -of_g * sums[i].0 / count - of_x * statistics.mean[i] as f64;
            [of_g as f32, of_x as f32, rest as f32]
        })
        .collect();
    let mut input = Activation::uninit(pool, shape);
    let part = shape.pixel() / parts;
    input
        .data
        .par_chunks_mut(part)
        .zip(x.data.par_chunks(part))
        .zip(sum.data.par_chunks(part))
        .enumerate()
        .for_each(|(i, ((dx, x), g))| {
            let coefficients = &coefficients[i % parts * channels..][..channels];
            for ((dx, x), g) in dx
                .chunks_exact_mut(channels)
                .zip(x.chunks_exact(channels))
                .zip(g.chunks_exact(channels))
            {
                for c in 0..channels {
                    let [of_g, of_x, rest] = coefficients[c];
                    dx[c] = of_g * g[c] + of_x * x[c] + rest;
                }
            }
        });
    NormGradients { input, sum }
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
fn moments(x: &Activation, parts: usize) -> Vec<Moment> {
    let shape = x.shape();
    let channels = shape.channels;
    let part = shape.pixel() / parts;
    let rows = (part / channels) as f32;
    let partial: Vec<Vec<[f32; 2]>> = x
        .data
        .par_chunks(part)
        .map(|chunk| {
            let mut out = vec![[0.0f32; 2]; channels];
            let (mut mean, mut squares) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            for row in chunk.chunks_exact(channels) {
                mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
            }
            mean.iter_mut().for_each(|m| *m /= rows);
            for row in chunk.chunks_exact(channels) {
                for ((s, x), m) in squares.iter_mut().zip(row).zip(&mean) {
                    *s += (x - m) * (x - m);
                }
            }
            for (o, (m, s)) in out.iter_mut().zip(mean.iter().zip(&squares)) {
                *o = [*m, *s];
            }
            out
        })
        .collect();
    let mut merged = vec![Moment::default(); parts * channels];
    for (i, chunk) in partial.iter().enumerate() {
        for (m, [mean, squares]) in merged[i % parts * channels..].iter_mut().zip(chunk) {
            let n = rows as f64;
            let total = m.count + n;
            let delta = *mean as f64 - m.mean;
            m.squares += *squares as f64 + delta * delta * m.count * n / total;
            m.mean += delta * n / total;
            m.count = total;
        }
    }
    merged
}

/// Applies the ReLU's mask to `dy` in place; returns Σg and Σg·x̂ by part and channel.
fn masked_sums(
    x: &Activation,
    y: &Activation,
    dy: &mut Activation,
    statistics: &Statistics,
    then: Then,
) -> Vec<(f64, f64)> {
    let channels = x.shape().channels;
    let parts = statistics.parts;
    let part = x.shape().pixel() / parts;
    let partial: Vec<(Vec<f32>, Vec<f32>)> = dy
        .data
        .par_chunks_mut(part)
        .zip(x.data.par_chunks(part))
        .zip(y.data.par_chunks(part))
        .enumerate()
        .map(|(i, ((dy, x), y))| {
            let at = i % parts * channels;
            let mean = &statistics.mean[at..at + channels];
            let inverse = &statistics.inverse_std[at..at + channels];
            let (mut g, mut gx) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            for ((dy, x), y) in dy
                .chunks_exact_mut(channels)
                .zip(x.chunks_exact(channels))
                .zip(y.chunks_exact(channels))
            {
                if then == Then::Relu {
                    for (d, y) in dy.iter_mut().zip(y) {
                        // Not `> 0`: the gradient of a NaN must not become 0.
                        *d = if *y <= 0.0 { 0.0 } else { *d };
                    }
                }
                for c in 0..channels {
                    g[c] += dy[c];
                    gx[c] += dy[c] * (x[c] - mean[c]) * inverse[c];
                }
            }
            (g, gx)
        })
        .collect();
    let mut total = vec![(0.0, 0.0); parts * channels];
    for (i, (g, gx)) in partial.iter().enumerate() {
        for ((t, g), gx) in total[i % parts * channels..].iter_mut().zip(g).zip(gx) {
            t.0 += *g as f64;
            t.1 += *gx as f64;
        }
    }
    total
}

fn scale_shift(
    pool: &Pool,
    x: &Activation,
    scale: &[f32],
    shift: &[f32],
    parts: usize,
    added: Option<&Activation>,
    then: Then,
) -> Activation {
    let shape = x.shape();
    let channels = shape.channels;
    let part = shape.pixel() / parts;
    let floor = if then == Then::Relu {
        0.0
    } else {
        f32::NEG_INFINITY
    };
    let mut y = Activation::uninit(pool, shape);
    if let Some(added) = added {
        assert_eq!(added.shape(), shape, "shape of the added map");
    }
    y.data
        .par_chunks_mut(part)
        .zip(x.data.par_chunks(part))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let at = i % parts * channels;
            let (scale, shift) = (&scale[at..at + channels], &shift[at..at + channels]);
            let added = added.map(|a| &a.data[i * part..(i + 1) * part]);
            for (r, (y, x)) in y
                .chunks_exact_mut(channels)
                .zip(x.chunks_exact(channels))
                .enumerate()
            {
                match added {
                    Some(added) => {
                        let added = &added[r * channels..][..channels];
                        for c in 0..channels {
                            y[c] = at_least(x[c] * scale[c] + shift[c] + added[c], floor);
                        }
                    }
                    None => {
                        for c in 0..channels {
                            y[c] = at_least(x[c] * scale[c] + shift[c], floor);
                        }
                    }
                }
            }
        });
    y
}

/// Unlike `f32::max` this lets a NaN through, so that a diverged run is seen.
#[inline]
fn at_least(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
}
