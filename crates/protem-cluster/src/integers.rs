//! Rounding to integers: of 8 bits for tiles that hold twice as many columns as of bf16, and for
//! vectors of 512 bits that hold four times as many as of f32; of 16 bits for vectors of 256.
//!
//! Points and centroids are turned alike, by random signs and a Walsh–Hadamard transform, so scores
//! stay what they are while what a few columns hold is spread over all. Turned values are then much
//! alike in size, and rounding all to multiples of one step takes little from any: with 8 bits about
//! a hundredth of the length, five times what bf16 takes, with 16 bits and some hundreds of columns
//! about a thousandth. With 8 bits more groups of centroids stay in question for that; it pays where
//! points are of similar lengths and clusters not too close together, the sooner the slower the other
//! pass is.

use crate::kernel::LANES;

/// Columns that are worth it, and of which sums still fit: `127² · 2¹⁵ < 2²⁹`.
const COLUMNS: std::ops::RangeInclusive<usize> = 2 * LANES + 1..=1 << 15;
/// What sums of products stay below, with either width.
const PRODUCTS: f64 = (1 << 29) as f64;
/// A small number added to this is rounded to an integer, which is then in its lowest bits.
const TO_WHOLE: f32 = 1.5 * (1 << 23) as f32;
/// Lengths of points whose squares and steps are far from the ends of f32.
const LENGTHS: std::ops::Range<f64> = 1e-12..1e12;
/// Steps of centroids, whose products with those of points are f32 too.
const STEPS: std::ops::RangeInclusive<f64> = 1e-24..=1e24;
/// The largest first value of a sum, which together with the products stays above `i32::MIN`.
const FIRST: f64 = (1 << 29) as f64;

/// How wide integers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Width {
    Bits8,
    Bits16,
}

impl Width {
    /// Columns of a tile's row.
    fn step(self) -> usize {
        match self {
            Self::Bits8 => 4 * LANES,
            Self::Bits16 => 2 * LANES,
        }
    }

    /// The largest value in so many columns.
    fn largest(self, columns: usize) -> f32 {
        match self {
            Self::Bits8 => 127.0,
            Self::Bits16 => (PRODUCTS / columns as f64).sqrt().floor() as f32,
        }
    }

    /// Whether the pass over them numbers scores by centroids' lanes (see [`crate::kernel::Highest`]).
    pub fn numbered(self) -> bool {
        self == Self::Bits16
    }

    /// Turned values spread like normal ones; this many deviations are kept of the longest point. What
    /// lies beyond is cut off: then many groups stay in question, with 8 bits for one point in a
    /// hundred.
    fn deviations(self) -> f64 {
        match self {
            Self::Bits8 => 4.0,
            Self::Bits16 => 5.0,
        }
    }
}

/// Turns rows and rounds points.
#[derive(Debug, Clone)]
pub(crate) struct Integers {
    pub width: Width,
    /// The largest of them.
    largest: f32,
    /// 1 or −1 for each column, in whole tiles' rows.
    signs: Vec<f32>,
    /// Columns transformed together, a power of two.
    block: usize,
    /// Step of the points, as [`turn_and_round`] takes it.
    pub step: f32,
    /// Length of the longest point, roughly.
    pub longest: f64,
}

impl Integers {
    /// For points of so many columns and of these lengths, if the longest is not longer than the mean
    /// by more than this factor: rounding takes as much from the short ones as from it.
    pub fn of(width: Width, columns: usize, lengths: &[f64], similar: f64) -> Option<Self> {
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
        let suitable =
            !lengths.is_empty() && Self::suits(columns, longest) && longest <= similar * mean;
        suitable.then(|| Self::new(width, columns, longest))
    }

    /// Whether rows of so many columns and of such a length can be rounded.
    pub fn suits(columns: usize, length: f64) -> bool {
        COLUMNS.contains(&columns) && LENGTHS.contains(&length)
    }

    /// Whatever it is worth.
    pub fn new(width: Width, columns: usize, longest: f64) -> Self {
        let padded = columns.next_multiple_of(width.step());
        let signs = (0..padded as u64).map(|i| match mixed(i) >> 63 {
            0 => 1.0,
            _ => -1.0,
        });
        let mut turn = Self {
            width,
            largest: width.largest(padded),
            signs: signs.collect(),
            block: 1 << padded.trailing_zeros(),
            step: 0.0,
            longest,
        };
        let deviation = longest * (turn.block as f64 / padded as f64).sqrt();
        turn.step = (width.deviations() * deviation / f64::from(turn.largest)) as f32;
        turn
    }

    /// Values of a turned row.
    pub fn columns(&self) -> usize {
        self.signs.len()
    }

    /// Cycles that comparing a row of these takes of those that one of so many columns does, about.
    pub fn share(&self, columns: usize) -> f64 {
        self.columns() as f64 / columns.next_multiple_of(self.width.step()) as f64
    }

    /// Tiles that a row fills.
    pub fn steps(&self) -> usize {
        self.columns() / self.width.step()
    }

    /// The share of the longest row's length that rounding takes from any, about.
    pub fn error(&self) -> f64 {
        self.width.deviations() / f64::from(self.largest) / 12f64.sqrt()
    }

    /// The step of centroids up to so long, or a little longer, whose turned values are up to `largest`:
    /// what was cut off of one would widen the window of all.
    pub fn step_of_centroids(&self, longest: f64, largest: f32) -> f32 {
        // First values are |c|²/2 in units of a product of two steps.
        let for_first = longest * longest / (2.0 * FIRST * self.unit(1.0)) * (1.0 + 1e-3);
        let step = f64::from(largest / self.largest).max(for_first);
        step.clamp(*STEPS.start(), *STEPS.end()) as f32
    }

    /// The least step of rows whose turned values are up to `largest`.
    pub fn least_step(&self, largest: f32) -> f32 {
        (largest / self.largest).clamp(*STEPS.start() as f32, *STEPS.end() as f32)
    }

    /// The first value of the sums of a centroid of that half squared length and step; none where it
    /// would be too large.
    pub fn first(&self, half_square: f64, step: f32) -> Option<i32> {
        let first = half_square / self.unit(step);
        (first <= FIRST).then(|| -(first.round() as i32))
    }

    /// What 1 stands for in a product of integers that are steps of this length.
    pub fn unit_of(&self, step: f32) -> f64 {
        f64::from(step) / self.block as f64
    }

    /// How long a step is that makes the largest integer of a row, at most, by the length of the row.
    pub fn longest_step(&self) -> f64 {
        (self.block as f64).sqrt() / f64::from(self.largest)
    }

    /// What 1 stands for in a sum of products of points and centroids of that step.
    pub fn unit(&self, of_centroids: f32) -> f64 {
        f64::from(self.step) * f64::from(of_centroids) / self.block as f64
    }
}

/// A fixed hash (the finaliser of SplitMix64).
pub(crate) fn mixed(i: u64) -> u64 {
    let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `x − origin` turned, into as many values as [`Integers`] makes of a row; the largest of them.
#[inline(always)]
pub(crate) fn turn(x: &[f32], origin: &[f32], turn: &Integers, turned: &mut [f32]) -> f32 {
    turned[x.len()..].fill(0.0);
    for ((to, sign), (x, o)) in turned.iter_mut().zip(&turn.signs).zip(x.iter().zip(origin)) {
        *to = (x - o) * sign;
    }
    turned.chunks_exact_mut(turn.block).for_each(transform);
    let mut largest = [0.0f32; LANES];
    for values in turned.chunks_exact(LANES) {
        for (largest, value) in largest.iter_mut().zip(values) {
            *largest = largest.max(value.abs());
        }
    }
    largest.into_iter().fold(0.0, f32::max)
}

/// Turns `x − origin` (in `turned`, as long as [`Integers`] makes rows) and rounds it to multiples of
/// `step`, one value in each of `rounded`, or two of 8 bits. Returns the length of what was rounded
/// away and that of the result, or more, in the units of `x`.
///
/// A transform of `block` columns makes values `√block` times as long; `step` is of these. Each of
/// its stages, exact up to the scale, adds an error of `u` of the whole length.
#[inline(always)]
pub(crate) fn turn_and_round(
    x: &[f32],
    origin: &[f32],
    turn: &Integers,
    step: f32,
    turned: &mut [f32],
    rounded: &mut [u16],
) -> (f64, f64) {
    self::turn(x, origin, turn, turned);
    round_turned(turn, step, turned, rounded)
}

/// As [`turn_and_round`], by the least step that cuts nothing off, which comes last.
#[inline(always)]
pub(crate) fn turn_and_round_alone(
    x: &[f32],
    origin: &[f32],
    turn: &Integers,
    turned: &mut [f32],
    rounded: &mut [u16],
) -> (f64, f64, f32) {
    let largest = self::turn(x, origin, turn, turned);
    let step = turn.least_step(largest);
    let (error, norm) = round_turned(turn, step, turned, rounded);
    (error, norm, step)
}

#[inline(always)]
fn round_turned(turn: &Integers, step: f32, turned: &[f32], rounded: &mut [u16]) -> (f64, f64) {
    match turn.width {
        Width::Bits8 => round_to::<true>(turn, step, turned, rounded),
        Width::Bits16 => round_to::<false>(turn, step, turned, rounded),
    }
}

#[inline(always)]
fn round_to<const PAIRS: bool>(
    turn: &Integers,
    step: f32,
    turned: &[f32],
    rounded: &mut [u16],
) -> (f64, f64) {
    const U: f64 = 1.0 / (1u64 << 24) as f64;
    let (inverse, largest) = (1.0 / step, turn.largest);
    let (mut errors, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    let rounded = rounded.chunks_exact_mut(if PAIRS { LANES / 2 } else { LANES });
    for (values, rounded) in turned.chunks_exact(LANES).zip(rounded) {
        let mut steps = [0u32; LANES];
        for lane in 0..LANES {
            let whole = (values[lane] * inverse).clamp(-largest, largest) + TO_WHOLE;
            steps[lane] = whole.to_bits();
            let nearest = whole - TO_WHOLE;
            let error = values[lane] - nearest * step;
            errors[lane] += error * error;
            squares[lane] += nearest * nearest;
        }
        for (at, rounded) in rounded.iter_mut().enumerate() {
            *rounded = match PAIRS {
                true => (steps[2 * at] & 0xff | (steps[2 * at + 1] & 0xff) << 8) as u16,
                false => steps[at] as u16,
            };
        }
    }
    let roundings = (turned.len() / LANES + 2 * LANES + 4) as f64;
    let scale = 1.0 / (turn.block as f64).sqrt();
    let length = |sums: [f32; LANES], unit: f64| {
        let sum: f64 = sums.iter().map(|s| f64::from(*s)).sum();
        sum.sqrt() * (1.0 + roundings * U) * unit + 1e-20 * (1.0 + turned.len() as f64)
    };
    let norm = length(squares, f64::from(step) * scale);
    let error = length(errors, scale);
    let stages = f64::from(turn.block.trailing_zeros());
    (error + (stages + 4.0) * U * 1.01 * (error + norm), norm)
}

/// The Walsh–Hadamard transform, without its factor `1/√len`.
#[inline(always)]
fn transform(values: &mut [f32]) {
    for lanes in values.chunks_exact_mut(LANES) {
        butterflies::<1>(lanes);
        butterflies::<2>(lanes);
        butterflies::<4>(lanes);
        butterflies::<8>(lanes);
    }
    let mut reach = LANES;
    while reach < values.len() {
        for both in values.chunks_exact_mut(2 * reach) {
            let (low, high) = both.split_at_mut(reach);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        reach *= 2;
    }
}

/// Sums and differences of 16 values, `REACH` apart.
#[inline(always)]
fn butterflies<const REACH: usize>(lanes: &mut [f32]) {
    let mut values = [0.0; LANES];
    values.copy_from_slice(lanes);
    for i in 0..LANES {
        let sign = if i & REACH == 0 { 1.0 } else { -1.0 };
        lanes[i] = values[i ^ REACH] + sign * values[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::kernel::turn_row;
    use crate::points::{Form, Points};
    use crate::sketch::{Axes, SHORTEST, Sketch};
    use crate::span::tests::{nearest_from, nearest_of, numbers};
    use crate::{Matrix, assign_on};

    const WIDTHS: [Width; 2] = [Width::Bits8, Width::Bits16];

    /// The values that integers stand for, in f64.
    fn values(width: Width, rounded: &[u16], unit: f64) -> Vec<f64> {
        let bytes = rounded.iter().flat_map(|pair| pair.to_le_bytes());
        match width {
            Width::Bits8 => bytes.map(|byte| f64::from(byte as i8) * unit).collect(),
            Width::Bits16 => {
                let words = rounded.iter();
                words.map(|word| f64::from(*word as i16) * unit).collect()
            }
        }
    }

    #[test]
    fn turning_keeps_products_and_lengths_are_bounds() {
        let sizes = [33, 64, 65, 128, 129, 192, 700, 2048];
        for (width, d) in WIDTHS.into_iter().flat_map(|w| sizes.map(|d| (w, d))) {
            let (a, b) = (numbers(d, 1), numbers(d, 3));
            let origin = numbers(d, 5);
            let moved = |x: &[f32]| -> Vec<f64> {
                let pairs = x.iter().zip(&origin);
                pairs.map(|(x, o)| f64::from(*x) - f64::from(*o)).collect()
            };
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let [ma, mb] = [&a, &b].map(|x| moved(x));
            let turn = Integers::of(width, d, &[length(&ma), length(&mb)], 2.0);
            let turn = turn.expect("similar lengths");
            let padded = turn.columns();
            let round = |x: &[f32]| {
                let (mut turned, mut rounded) = (
                    vec![7.0; padded],
                    vec![7; padded * 2 * LANES / width.step()],
                );
                let (error, norm) = turn_row(
                    Isa::Portable,
                    x,
                    &origin,
                    &turn,
                    turn.step,
                    &mut turned,
                    &mut rounded,
                );
                let scale = (turn.block as f64).sqrt();
                let kept = values(width, &rounded, f64::from(turn.step) / scale);
                let turned: Vec<f64> = turned.iter().map(|x| f64::from(*x) / scale).collect();
                let lost: Vec<f64> = turned.iter().zip(&kept).map(|(t, k)| t - k).collect();
                assert!(length(&lost) <= error, "{d}: {} {error}", length(&lost));
                assert!(length(&kept) <= norm, "{d}: {} {norm}", length(&kept));
                assert!(error < 0.02 * turn.longest, "{d}: {error}");
                turned
            };
            let (ta, tb) = (round(&a), round(&b));
            let scale = length(&ma) * length(&mb);
            assert!((dot(&ta, &tb) - dot(&ma, &mb)).abs() < 1e-5 * scale, "{d}");
        }
    }

    #[test]
    fn lengths_decide_whether_it_may_pay() {
        for width in WIDTHS {
            let of = |columns| Integers::of(width, columns, &[1.0, 0.9], 2.0);
            assert!(of(128).is_some());
            assert!(of(32).is_none(), "a row of a tile anyway");
            assert!(of(1 << 16).is_none(), "sums too long");
            let apart = |similar| Integers::of(width, 128, &[1.0, 0.1, 0.1], similar);
            assert!(apart(2.0).is_none() && apart(3.0).is_some());
            for length in [0.0, 1e-20, 1e20, f64::INFINITY] {
                let turn = Integers::of(width, 128, &[length], 2.0);
                assert!(turn.is_none(), "{length}");
            }
        }
    }

    #[test]
    fn labels_are_those_of_plain_arithmetic() {
        let levels = || {
            Isa::available()
                .iter()
                .filter_map(|isa| Some((*isa, isa.integers()?)))
        };
        for width in WIDTHS {
            if levels().all(|(_, of_level)| of_level != width) {
                println!("no level with integers of {width:?} here: not tested");
            }
        }
        for (n, k, d) in [(1, 1, 33), (97, 17, 64), (1000, 130, 129), (333, 64, 700)] {
            let mut points = numbers(n * d, 7);
            // Duplicates, a point that is a centroid, and one in none of the sampled lengths.
            points.copy_within(..d, (n - 1) * d);
            if n > 100 {
                points[d..2 * d].iter_mut().for_each(|x| *x *= 50.0);
            }
            for (scale, far) in [(1.0, 1.0), (1e-9, 1.0), (1e9, 1e7), (1e-9, 1e26)] {
                let points: Vec<f32> = points.iter().map(|x| x * scale).collect();
                let mut centroids: Vec<f32> = numbers(k * d, 9).iter().map(|x| x * scale).collect();
                centroids[..d].iter_mut().for_each(|x| *x *= far);
                centroids[(k - 1) * d..].copy_from_slice(&points[..d]);
                let points = Matrix::new(&points, n, d).expect("the right length");
                let centroids = Matrix::new(&centroids, k, d).expect("the right length");
                let expected = assign_on(Isa::Portable, points, centroids, Some(1)).expect("sizes");
                for (isa, width) in levels() {
                    let mut packed = Points::pack(points, isa);
                    let longest = f64::from(scale) * (d as f64 / 3.0).sqrt();
                    packed.integers = Some(Integers::new(width, d, longest));
                    let axes = Axes::of(points, &packed.origin, 62.min(d / 2), isa);
                    let sketch = Sketch::new(&axes, SHORTEST, width, longest as f32);
                    for form in [Form::Integers, Form::Sketch(sketch)] {
                        packed.repack(form);
                        packed.square_all();
                        let case = format!("{isa:?} {n} {k} {d} {scale}");
                        let sketched = packed.sketch().is_some();
                        assert!(packed.turn().is_some(), "{case}");
                        let found = nearest_of(&packed, centroids);
                        let expected = (expected.labels.clone(), expected.distances.clone());
                        assert_eq!(found, expected, "{case}, sketched {sketched}");
                        // Right or wrong, and so far that scores overflow: what is known changes nothing.
                        for known in [found.0.clone(), vec![0; n], vec![k as u32 - 1; n]] {
                            let found = nearest_from(&packed, centroids, known);
                            assert_eq!(found, expected, "{case}, sketched {sketched}");
                        }
                    }
                }
            }
        }
    }

    /// Where few points are far longer than all others, by which axes and the origin were chosen, windows of
    /// sketches leave nothing out.
    #[test]
    fn labels_are_right_where_some_rows_are_far_longer() {
        let (n, k, d, many) = (320, 128, 130, 300);
        let lengths = [1e9f32, 1e14, 1e16, 1e17, 1e18, 3e18];
        for (far, seed) in lengths
            .into_iter()
            .flat_map(|far| [7, 11, 13, 17].map(|s| (far, s)))
        {
            let mut points = numbers(n * d, seed);
            for (at, row) in points.chunks_exact_mut(d).enumerate().skip(many) {
                let share = (at - many + 1) as f32 / (n - many) as f32;
                let length = far * share / (d as f32 / 3.0).sqrt();
                row.iter_mut().for_each(|x| *x *= length);
            }
            let mut centroids = numbers(k * d, 9);
            let rows = centroids.chunks_exact_mut(d).skip(3).step_by(6);
            for (row, point) in rows.zip(points[many * d..].chunks_exact(d)) {
                row.copy_from_slice(point);
            }
            let points = Matrix::new(&points, n, d).expect("the right length");
            let centroids = Matrix::new(&centroids, k, d).expect("the right length");
            let expected = assign_on(Isa::Portable, points, centroids, Some(1)).expect("sizes");
            let right = expected.labels;
            for isa in Isa::available() {
                let Some(width) = isa.integers() else {
                    continue;
                };
                let few = Points::pack(points.between(0, many), *isa);
                let axes = Axes::of(few.rows, &few.origin, 62, *isa);
                let sketch = Sketch::new(&axes, SHORTEST, width, few.typical as f32 / 2.0);
                let mut packed = Points::new(points, *isa);
                (packed.origin, packed.origin_norm) = (few.origin, few.origin_norm);
                packed.repack(Form::Sketch(sketch));
                packed.square_all();
                for known in [right.clone(), vec![0; n], vec![9; n], vec![k as u32 - 1; n]] {
                    let (labels, _) = nearest_from(&packed, centroids, known);
                    assert_eq!(labels, right, "{isa:?}, {far} times as long");
                }
                let (labels, _) = nearest_of(&packed, centroids);
                assert_eq!(labels, right, "{isa:?}, {far} times as long, guessed");
            }
        }
    }
}
