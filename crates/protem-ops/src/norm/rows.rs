//! The loops of a batch norm over rows of channels, compiled for each level.

use crate::element::Element;
use crate::kernel::vectorised;

/// Channels whose sums stay in registers while the rows go by.
const LANES: usize = 32;
/// As many as have code of their own besides; other numbers go through memory.
const HALF: usize = LANES / 2;

vectorised! {
    /// Mean and sum of squared deviations of every channel over the rows of `chunk`.
    pub fn moments<T: Element>(chunk: &[T], mean: &mut [f32], squares: &mut [f32]) {
        let channels = mean.len();
        let mut first = 0;
        while first < channels {
            let (mean, squares) = (&mut mean[first..], &mut squares[first..]);
            first += match channels - first {
                LANES.. => moments_of_lanes(LANES, chunk, channels, first, mean, squares),
                HALF.. => moments_of_lanes(HALF, chunk, channels, first, mean, squares),
                left => moments_of_lanes(left, chunk, channels, first, mean, squares),
            };
        }
    }
}

/// Of `lanes` channels from `first` on; returns how many.
#[inline(always)]
fn moments_of_lanes<T: Element>(
    lanes: usize,
    chunk: &[T],
    channels: usize,
    first: usize,
    mean: &mut [f32],
    squares: &mut [f32],
) -> usize {
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
    lanes
}

vectorised! {
    /// `y = x·scale + shift + added`, at least 0 if `relu`.
    pub fn scale_shift<T: Element>(
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
    pub fn cut<T: Element>(dy: &mut [T], y: &[T]) {
        for (dy, y) in dy.iter_mut().zip(y) {
            *dy = T::narrow(if y.widen() <= 0.0 { 0.0 } else { dy.widen() });
        }
    }
}

vectorised! {
    /// Σg and Σg·(x − mean) by channel, g being `dy` where scale·x + shift was positive, if a line
    /// is given.
    pub fn gradient_sums<T: Element>(
        dy: &[T],
        x: &[T],
        mean: &[f32],
        line: Option<(&[f32], &[f32])>,
        g: &mut [f32],
        gx: &mut [f32],
    ) {
        let channels = g.len();
        let mut first = 0;
        while first < channels {
            let (g, gx) = (&mut g[first..], &mut gx[first..]);
            first += match channels - first {
                LANES.. => sums_of_lanes(LANES, dy, x, channels, first, mean, line, g, gx),
                HALF.. => sums_of_lanes(HALF, dy, x, channels, first, mean, line, g, gx),
                left => sums_of_lanes(left, dy, x, channels, first, mean, line, g, gx),
            };
        }
    }
}

/// Of `lanes` channels from `first` on; returns how many.
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
) -> usize {
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
    lanes
}

vectorised! {
    /// Clears `dy` where `scale·x + shift`, what the ReLU was given, was not positive.
    pub fn cut_by_line<T: Element>(dy: &mut [T], x: &[T], scale: &[f32], shift: &[f32]) {
        let channels = scale.len();
        let rows = dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        for (dy, x) in rows {
            let line = dy.iter_mut().zip(x).zip(scale.iter().zip(shift));
            for ((dy, x), (scale, shift)) in line {
                let dead = x.widen() * scale + shift <= 0.0;
                *dy = T::narrow(if dead { 0.0 } else { dy.widen() });
            }
        }
    }
}

vectorised! {
    /// `into ← of_into·into + of_other·other + rest`, by channel.
    pub fn combine<T: Element>(
        into: &mut [T],
        other: &[T],
        of_into: &[f32],
        of_other: &[f32],
        rest: &[f32],
    ) {
        let channels = rest.len();
        let rows = into.chunks_exact_mut(channels).zip(other.chunks_exact(channels));
        for (into, other) in rows {
            let line = into.iter_mut().zip(other).zip(of_into.iter().zip(of_other).zip(rest));
            for ((into, other), ((of_into, of_other), rest)) in line {
                *into = T::narrow(of_into * into.widen() + of_other * other.widen() + rest);
            }
        }
    }
}
