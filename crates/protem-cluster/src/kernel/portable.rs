//! f32 scores in plain Rust, in a form that the compiler vectorises for its baseline target.

use super::{LANES, Lanes, Leaders, STRIP, TOP, Top};

const PARTS: usize = STRIP / LANES;
/// Values side by side, two vectors of 128 bits.
const WIDTH: usize = 8;
/// Centroids whose sums are in registers at once.
const ROWS: usize = 4;

/// As [`super::best_of_groups`], which checks the sizes.
pub(super) fn best_of_groups(
    points: &[Lanes],
    groups: &[Lanes],
    first: &[Lanes],
    best: &mut [Lanes],
) {
    let columns = points.len() / PARTS;
    let of_groups = groups.chunks_exact(columns).zip(first);
    for ((group, first), best) in of_groups.zip(best.chunks_exact_mut(PARTS)) {
        best.fill(Lanes::all(f32::NEG_INFINITY));
        for (part, best) in best.iter_mut().enumerate() {
            for (eighth, best) in best.0.chunks_exact_mut(WIDTH).enumerate() {
                for begin in (0..LANES).step_by(ROWS) {
                    let sums = tile(points, part, eighth * WIDTH, group, first, begin);
                    for sums in sums {
                        for (best, sum) in best.iter_mut().zip(sums) {
                            *best = if sum > *best { sum } else { *best };
                        }
                    }
                }
            }
        }
    }
}

/// Four centroids from `begin` on against eight points from `from` on of a part of the strip.
#[inline]
fn tile(
    points: &[Lanes],
    part: usize,
    from: usize,
    group: &[Lanes],
    first: &Lanes,
    begin: usize,
) -> [[f32; WIDTH]; ROWS] {
    let mut sums: [[f32; WIDTH]; ROWS] = std::array::from_fn(|row| [first.0[begin + row]; WIDTH]);
    for (point, centroids) in points.chunks_exact(PARTS).zip(group) {
        let x: &[f32; WIDTH] = point[part].0[from..]
            .first_chunk()
            .expect("eight values from 0 or 8");
        for (row, sums) in sums.iter_mut().enumerate() {
            let c = centroids.0[begin + row];
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x * c;
            }
        }
    }
    sums
}

/// As [`super::scores`].
pub(super) fn scores(point: &[f32], group: &[Lanes], first: &Lanes) -> Lanes {
    let mut sums = *first;
    for (x, line) in point.iter().zip(group) {
        for (sum, c) in sums.0.iter_mut().zip(line.0) {
            *sum += x * c;
        }
    }
    sums
}

/// The leaders of 16 scores.
pub(super) fn leaders(scores: &Lanes, window: f32) -> Leaders {
    let highest = |lanes: &[f32]| lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let best = highest(&scores.0);
    let least = best - window;
    let lanes = scores.0.iter().enumerate();
    let close = lanes.fold(0, |mask, (lane, s)| mask | u16::from(*s >= least) << lane);
    let others = scores
        .0
        .map(|s| if s >= least { f32::NEG_INFINITY } else { s });
    Leaders {
        best,
        close,
        next: highest(&others),
    }
}

/// As [`super::highest`].
pub(super) fn highest(best: &[Lanes], parts: usize, part: usize) -> Lanes {
    let of_groups = best.chunks_exact(parts);
    of_groups.fold(Lanes::all(f32::NEG_INFINITY), |a, b| a.max(&b[part]))
}

/// As [`super::reaching`].
#[inline(always)]
pub(super) fn reaching(
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    for (group, of_group) in best.chunks_exact(parts).enumerate() {
        let reaches = of_group[part].0.iter().zip(&threshold.0);
        let reaches = reaches.map(|(b, t)| b >= t);
        // Seldom true: the vectorisable question first.
        if reaches.clone().fold(false, |any, r| any | r) {
            let mask = reaches.enumerate().map(|(l, r)| u16::from(r) << l);
            found(group, mask.fold(0, |mask, bit| mask | bit));
        }
    }
}

/// As [`super::top`].
pub(super) fn top(best: &[Lanes], parts: usize, part: usize, top: &mut Top) {
    for (at, of_group) in best.chunks_exact(parts).enumerate() {
        let mut keys = of_group[part].0.map(|score| {
            let bits = score.max(f32::MIN).to_bits() & !top.number;
            f32::from_bits(bits | at as u32)
        });
        let last = keys.iter().zip(&top.keys[TOP - 1].0);
        let any = last.fold(false, |any, (key, last)| any | (key > last));
        // Seldom, after the first few.
        if !any {
            continue;
        }
        for held in &mut top.keys {
            for (key, held) in keys.iter_mut().zip(&mut held.0) {
                (*held, *key) = match *key > *held {
                    true => (*key, *held),
                    false => (*held, *key),
                };
            }
        }
    }
}
