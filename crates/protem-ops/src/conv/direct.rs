//! Convolution in f32, on the register tile of vector instructions.

use super::shares::Shares;
use super::weights::{PANEL, Packed, unpack_gradient};
use super::{Conv, Tap, runs_of};
use crate::activation::{Map, each_row};
use crate::buffer::{Buffer, Pool};
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::tile::Product;
use crate::kernel::{Finish, Pair, vectorised};
use rayon::prelude::*;

/// Every pixel of the result = the sum over its taps of a pixel of `from` times a tap's weights.
pub(super) fn convolve(
    weights: &Packed<f32>,
    from: &Map<f32>,
    mut to: Map<f32>,
    taps_of: impl Fn(usize, usize, &mut Vec<Tap>) + Sync,
    finish: &Finish<f32>,
) -> Map<f32> {
    let isa = Isa::current();
    let (source, target) = (from.shape, to.shape);
    let shares = Shares::of(target, target.width, 4);
    shares.each(&mut to.data, |share, out| {
        let runs = runs_of(share.range(), target.width, &taps_of);
        let mut pairs = Vec::new();
        for (panel, packed) in weights
            .data
            .chunks_exact((weights.taps * weights.depth * PANEL).max(1))
            .enumerate()
        {
            let column = panel * PANEL;
            for run in &runs {
                let (at, rows) = share.rows_of(run);
                pairs.clear();
                pairs.extend(run.taps.iter().map(|tap| Pair {
                    a: tap.pixel * source.pixel() + share.image * source.channels,
                    b: tap.tap * weights.depth * PANEL,
                }));
                Product {
                    m: rows,
                    n: PANEL.min(weights.columns - column),
                    k: weights.depth,
                    a_row: source.channels,
                    a_k: 1,
                    b_k: PANEL,
                    c_row: target.channels,
                    accumulate: finish.onto,
                }
                .run(
                    isa,
                    &pairs,
                    &from.data,
                    packed,
                    &mut out[at * target.channels + column..],
                );
            }
        }
        let added = finish.added.map(|map| &map[share.at..][..out.len()]);
        finish_rows(out, target.channels, finish.bias, added, finish.relu);
    });
    to
}

/// The finished sums, rounded to the result's numbers.
pub(super) fn finish_all<T: Element>(sums: &Map<f32>, to: &mut Map<T>, finish: &Finish<T>) {
    let channels = to.shape.channels;
    each_row(to, |place, row| {
        let sums = &sums.data[place.clone()];
        let added = finish.added.map(|map| &map[place]);
        finish_into(
            row,
            sums,
            channels,
            finish.bias,
            added,
            finish.onto,
            finish.relu,
        );
    });
}

vectorised! {
    /// Adds `bias` to each row of channels and `added` to all, and takes what is below zero for zero.
    pub(super) fn finish_rows(
        values: &mut [f32],
        channels: usize,
        bias: Option<&[f32]>,
        added: Option<&[f32]>,
        relu: bool,
    ) {
        if let Some(bias) = bias {
            for row in values.chunks_exact_mut(channels) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        if let Some(added) = added {
            values.iter_mut().zip(added).for_each(|(value, added)| *value += added);
        }
        if relu {
            // Unlike `max` this lets a NaN through.
            values.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
        }
    }
}

vectorised! {
    fn finish_into<T: Element>(
        to: &mut [T],
        sums: &[f32],
        channels: usize,
        bias: Option<&[f32]>,
        added: Option<&[T]>,
        onto: bool,
        relu: bool,
    ) {
        for (i, (to, sum)) in to.iter_mut().zip(sums).enumerate() {
            let mut value = *sum;
            if let Some(bias) = bias {
                value += bias[i % channels];
            }
            if let Some(added) = added {
                value += added[i].widen();
            }
            if onto {
                value += to.widen();
            }
            *to = T::narrow(if relu && value < 0.0 { 0.0 } else { value });
        }
    }
}

/// As [`Conv::weight_gradient`].
pub(super) fn weight_gradient(
    pool: &Pool,
    conv: &Conv,
    x: &Map<f32>,
    dy: &Map<f32>,
    gradient: &mut [f32],
) {
    let mut by_tap: Buffer<f32> = pool.take(conv.weights()); // tap, in, out
    let rows = conv.taps() * conv.inputs;
    let share = rows.div_ceil(rayon::current_num_threads()).max(1);
    by_tap
        .par_chunks_mut((share * conv.outputs).max(1))
        .enumerate()
        .for_each(|(i, part)| {
            part.fill(0.0);
            weight_gradient_rows(conv, x, dy, i * share, part);
        });
    unpack_gradient(conv, gradient, |i, tap, out, values| {
        let at = (tap * conv.inputs + i) * conv.outputs + out;
        values.copy_from_slice(&by_tap[at..at + values.len()]);
    });
}

/// Adds to the rows (tap, in) of `part`, the first of which is `first`. Pixels come in groups
/// small enough to stay in the second-level cache while all their taps are visited.
fn weight_gradient_rows(conv: &Conv, x: &Map<f32>, dy: &Map<f32>, first: usize, part: &mut [f32]) {
    const GROUP_BYTES: usize = 256 * 1024;
    let isa = Isa::current();
    let (from, to) = (x.shape, dy.shape);
    let pixel_bytes = 4 * (from.pixel() + to.pixel());
    let group = (GROUP_BYTES / pixel_bytes.max(1)).clamp(1, to.width.max(1));
    let end = first + part.len() / conv.outputs;
    let mut pairs = Vec::new();
    for row in 0..to.height {
        for column in (0..to.width).step_by(group) {
            let columns = column..(column + group).min(to.width);
            for tap in first / conv.inputs..end.div_ceil(conv.inputs) {
                let begin = (tap * conv.inputs).max(first);
                let stop = ((tap + 1) * conv.inputs).min(end);
                let channel = begin - tap * conv.inputs;
                pairs.clear();
                pairs.extend(columns.clone().filter_map(|column| {
                    Some(Pair {
                        a: conv.input_of(from, row, column, tap)? * from.pixel() + channel,
                        b: (row * to.width + column) * to.pixel(),
                    })
                }));
                if pairs.is_empty() {
                    continue;
                }
                Product {
                    m: stop - begin,
                    n: conv.outputs,
                    k: to.batch,
                    a_row: 1,
                    a_k: conv.inputs,
                    b_k: conv.outputs,
                    c_row: conv.outputs,
                    accumulate: true,
                }
                .run(
                    isa,
                    &pairs,
                    &x.data,
                    &dy.data,
                    &mut part[(begin - first) * conv.outputs..],
                );
            }
        }
    }
}
