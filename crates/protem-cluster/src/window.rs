//! How far a computed score may lie from the true one.
//!
//! With `x' = x − o` and `c' = c − o` for a common origin `o`, the score `S = x'·c' − |c'|²/2` is
//! largest where `|x − c|` is smallest. A pass computes `Ŝ` with `|Ŝ − S| ≤ E(x)` for every
//! centroid; so the true best has `Ŝ` within `2E` of the best `Ŝ`, and within `E` of what any centroid
//! truly has; whatever lies lower can be left out. Of sketches only the latter holds, and of them `Ŝ` may lie
//! far above `S`. What remains is compared by `Σ(x − c)²` in f64, whose own rounding `E` includes.
//!
//! With `u = 2⁻²⁴` and `γ(m) = mu/(1 − mu)`, a sum of products in which no term passes through
//! more than `m` roundings is off by at most `γ(m)·Σ|terms|`, whatever the order (Higham, Accuracy
//! and Stability, §3.1).

use crate::points::Rounding;

/// `2E(x) = error·a + norm·b + (norm + error)²·c + d`, for a point of that norm that was rounded
/// by `error` before the pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
}

/// Upper bounds over all centroids.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Extent {
    /// Of `|c'|`.
    pub norm: f64,
    /// Of `|c' − c̃|`, where `c̃` is what `c'`, or its sketch, is rounded to.
    pub rounding: f64,
    /// Of `|o|`, the origin's.
    pub origin: f64,
}

impl Extent {
    pub fn max(self, other: Self) -> Self {
        Self {
            norm: self.norm.max(other.norm),
            rounding: self.rounding.max(other.rounding),
            origin: self.origin.max(other.origin),
        }
    }
}

const U: f64 = 1.0 / (1u64 << 24) as f64;
/// What the last four bits of an f32, which may be any where a centroid's number stands in them, are at
/// most in roundings.
const NUMBERED: usize = 32;
/// For the roundings of a window itself and of the comparison with it.
const SPARE: f64 = 1.0 + 1e-5;

impl Window {
    /// Of sums in f32 of `x·ĉ − b̂`, where `ĉ` is `c'` rounded to f32 and `b̂` is `|ĉ|²/2 + o·ĉ`
    /// rounded: `norm` is that of `x`, and `error` 0.
    ///
    /// The terms are below `|x||ĉ| + b`, with `b = |ĉ|²/2 + |o||ĉ|`; `ĉ` for `c'` adds at most
    /// `u|c'|(|x'| + 1.01|c'|)`, below three roundings of the same terms.
    pub fn of_f32(columns: usize, extent: &Extent) -> Self {
        let c = extent.norm * (1.0 + 2.0 * U);
        let bias = c * c / 2.0 + extent.origin * c;
        let apart = extent.origin + extent.norm;
        match gamma(columns + 8) {
            Some(gamma) => Self::new(0.0, gamma * c, gamma * bias, apart, columns),
            None => Self::EVERYTHING,
        }
    }

    /// Of sums in f32 of `x̃·c̃ − |c'|²/2`, `x̃` and `c̃` rounded to bf16: `norm` is `|x̃|`, `error`
    /// is `|x' − x̃|`, and `|x'·c' − x̃·c̃| ≤ |x' − x̃||c'| + |x̃||c' − c̃|`. Scores are numbered
    /// ([`NUMBERED`]).
    pub fn of_bf16(columns: usize, extent: &Extent) -> Self {
        Self::of_rounded(columns, columns + 8 + NUMBERED, extent)
    }

    /// As [`Self::of_bf16`], of exact sums of integers' products and a first value, in units of `unit`;
    /// the first value is rounded, to half a unit and by what its f64 lacks, and the sum when it
    /// becomes an f32, twice, as is the unit. If scores are `numbered`, so are sums: up to 15 units.
    pub fn of_integers(columns: usize, unit: f32, numbered: bool, extent: &Extent) -> Self {
        let (roundings, units) = if numbered {
            (8 + NUMBERED, 1.0 + 30.0)
        } else {
            (8, 1.0)
        };
        let mut window = Self::of_rounded(columns, roundings, extent);
        window.d = round_up(f64::from(window.d) + units * f64::from(unit) * SPARE);
        window
    }

    /// Of products of sketches, rounded to integers: how far a score lies below one that the centroid does
    /// not exceed, at most; how far above is not said. `extent` is that of the sketches, and `left` what they
    /// lack besides, for a point of length 1.
    pub fn of_sketches(columns: usize, left: f64, extent: &Extent) -> Self {
        // A sum is rounded when it becomes an f32, then its product with the unit, with the point's scale
        // and its difference with the offset; the bias of a centroid is; and so is what is compared with it.
        let mut window = Self::of_rounded(columns, 8 + NUMBERED, extent);
        let of_norm = 2.0 * left * SPARE;
        window.a = round_up(f64::from(window.a) + of_norm);
        window.b = round_up(f64::from(window.b) + of_norm);
        window
    }

    /// About what [`Self::of_integers`] will be where rounding takes that share of the longest point's and
    /// of the longest centroid's length.
    pub fn expected_of_integers(share: f64, longest: f64, extent: &Extent) -> Self {
        let of_length = (2.0 * share * extent.norm) as f32;
        Self {
            a: 0.0,
            b: of_length,
            c: 0.0,
            d: of_length * longest as f32,
        }
    }

    /// As [`Self::of_bf16`], of sums in a GPU's tensor cores.
    ///
    /// Those add w products and the sum before at once: all are cut off at F bits below the largest
    /// of their exponents, added exactly, and the result is cut off to f32. Known from experiments
    /// are F = 24 and w = 8 for bf16 on compute capability 8.x, F = 25 and w = 16 on 9.0 and 10.0
    /// (Xie et al. 2025, MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores, equal
    /// to the devices in every bit tried; Fasi et al. 2021, Numerical Behavior of NVIDIA Tensor Cores,
    /// for the first ones). The maker promises none of it, so less is assumed: F of 23 and w of 2, or
    /// F of 24 and any w.
    ///
    /// With T the sum of all `|terms|`, bias included, no term and no sum exceeds T but for errors, so
    /// an addition is off by at most `(w + 1)·2⁻ᶠ·T` for its terms and `2u·T` for its result: relative
    /// to T, `(w + 3)u` for F = 24 and `(2w + 4)u` for F = 23, the errors before it apart. For `m/w`
    /// additions of m columns that makes `(1 + 3/w)m` and `(2 + 4/w)m` roundings: at most 4m.
    #[cfg(feature = "cuda")]
    pub fn of_tensor_cores(columns: usize, extent: &Extent) -> Self {
        Self::of_rounded(columns, 4 * columns + 8, extent)
    }

    fn of_rounded(columns: usize, roundings: usize, extent: &Extent) -> Self {
        let (c, rounding) = (extent.norm, extent.rounding);
        match gamma(roundings) {
            Some(gamma) => Self::new(
                c,
                rounding + gamma * (c + rounding),
                gamma * c * c / 2.0,
                c,
                columns,
            ),
            None => Self::EVERYTHING,
        }
    }

    /// Leaves nothing out.
    pub const EVERYTHING: Self = Self {
        a: 0.0,
        b: 0.0,
        c: 0.0,
        d: f32::MAX,
    };

    /// From `E = error·a + norm·b + d`, and what f64 and underflow add: `|x − c|² ≤
    /// (norm + error + apart)² ≤ 2(norm + error)² + 2·apart²`.
    fn new(a: f64, b: f64, d: f64, apart: f64, columns: usize) -> Self {
        let of_f64 = (columns + 8) as f64 * f64::EPSILON * 2.0;
        let underflow = (columns + 8) as f64 * f64::from(f32::MIN_POSITIVE) * 4.0;
        let upwards = |e: f64| round_up(2.0 * e * SPARE);
        Self {
            a: upwards(a),
            b: upwards(b),
            c: upwards(of_f64),
            d: upwards(d + of_f64 * apart * apart + underflow),
        }
    }

    /// `a`, `b`, `c` and `d`, for who computes [`Self::of`] elsewhere.
    #[cfg(feature = "cuda")]
    pub fn coefficients(&self) -> [f32; 4] {
        [self.a, self.b, self.c, self.d]
    }

    /// `2E` of a point. What overflows, or is no number for it (a length whose square is infinite, where
    /// `c` is zero), leaves nothing out.
    #[inline]
    pub fn of(&self, point: &Rounding) -> f32 {
        self.of_length(point.error, point.norm)
    }

    /// [`Self::of`] for a point of that length that was rounded by `error`.
    #[inline]
    pub fn of_length(&self, error: f32, norm: f32) -> f32 {
        let all = norm + error;
        let whole = error * self.a + norm * self.b + all * all * self.c + self.d;
        whole.min(f32::MAX) // of no number, the other
    }
}

fn gamma(roundings: usize) -> Option<f64> {
    let mu = roundings as f64 * U;
    (mu < 0.25).then(|| mu / (1.0 - mu))
}

/// An f32 not below `value`, which is not negative; infinity becomes the largest.
#[inline]
pub(crate) fn round_up(value: f64) -> f32 {
    ((value * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE).min(f32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::centroids::Centroids;
    use crate::integers::Integers;
    use crate::isa::Isa;
    use crate::matrix::Matrix;
    use crate::points::{Form, Points};
    use crate::scratch::Scratch;
    use crate::sketch::{Axes, SHORTEST, Sketch};
    use crate::span::Span;
    use proptest::prelude::*;

    /// The score of a point and a centroid around an origin, in f64.
    fn score(x: &[f32], c: &[f32], origin: &[f32]) -> f64 {
        let columns = x.iter().zip(c).zip(origin);
        let of = columns.map(|((x, c), o)| {
            let (c, o) = (f64::from(*c), f64::from(*o));
            (f64::from(*x) - o) * (c - o) - (c - o).powi(2) / 2.0
        });
        of.sum()
    }

    /// Points in every form that a level has.
    fn forms(matrix: Matrix<'_>, isa: Isa) -> Vec<Points<'_>> {
        let floats = Points::pack(matrix, isa);
        let Some(width) = isa.integers() else {
            return vec![floats];
        };
        let mut integers = Points::pack(matrix, isa);
        integers.repack(Form::Integers);
        let mut all = vec![floats, integers];
        let typical = all[0].typical;
        if Integers::suits(2 * SHORTEST, typical) {
            for (count, bias) in [(1, 1.0), (5, 0.1), (62, 3.0)] {
                let axes = Axes::of(matrix, &all[0].origin, count, isa);
                let sketch = Sketch::new(&axes, SHORTEST, width, (bias * typical) as f32);
                let mut sketches = Points::pack(matrix, isa);
                sketches.repack(Form::Sketch(sketch));
                all.push(sketches);
            }
        }
        all
    }

    /// Asserts that every level's pass scores one centroid within half its window; by sketches it may score
    /// too high, and no more than what two lengths of rests come to.
    fn check(values: &[f32], centroid: &[f32]) {
        let d = centroid.len();
        let matrix = Matrix::new(values, values.len() / d, d).expect("the right length");
        let rows = Matrix::new(centroid, 1, d).expect("the right length");
        if matrix.check(Isa::Portable).is_err() || rows.check(Isa::Portable).is_err() {
            return; // longer than anything that gets this far
        }
        let levels = Isa::available().iter();
        for points in levels.flat_map(|isa| forms(matrix, *isa)) {
            let isa = points.isa;
            let mut centroids = Centroids::default();
            centroids.pack(rows, &points);
            let window = centroids.pass.expect("packed centroids");
            let mut labels = vec![0; matrix.rows()];
            let mut task = Span {
                points: &points,
                rows,
                centroids: &centroids,
                begin: 0,
                labels: &mut labels,
                scratch: &mut Scratch::default(),
            };
            task.pass(0..centroids.groups.len(), None, &mut |part, _| {
                for lane in 0..part.count {
                    let i = part.point(lane);
                    let rounding = points.rounding(i);
                    let found = part.score(&rounding, part.best[part.part].0[lane]);
                    let found = f64::from(found);
                    let exact = score(matrix.row(i), centroid, &points.origin);
                    let half = f64::from(window.of(&rounding)) / 2.0;
                    let sketched = points.sketch().is_some();
                    let most = match sketched {
                        true => 2.0 * length(matrix.row(i), &points.origin)
                            * length(centroid, &points.origin),
                        false => 0.0,
                    };
                    let above = found - exact;
                    assert!(
                        -half <= above && above <= half + most * (1.0 + 1e-3),
                        "{isa:?}, sketched {sketched}: {found} for {exact}, allowed {half} and {most}"
                    );
                }
            });
        }
    }

    /// The length of a row moved by an origin, in f64.
    fn length(row: &[f32], origin: &[f32]) -> f64 {
        let squares = row.iter().zip(origin);
        let squares = squares.map(|(x, o)| (f64::from(*x) - f64::from(*o)).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// `sum + Σ x·y` as tensor cores add, cut off `fraction` bits below the largest exponent.
    #[cfg(feature = "cuda")]
    fn add_cut_off(sum: f32, products: &[(f32, f32)], fraction: i32) -> f32 {
        let exponent = |x: f32| (x.to_bits() >> 23 & 0xff).max(1) as i32 - 127;
        let of_product = |(x, y): &(f32, f32)| exponent(*x) + exponent(*y);
        let there = products.iter().filter(|(x, y)| x * y != 0.0);
        let most = there.map(of_product).fold(exponent(sum), i32::max);
        let cut = |x: f64| (x * 2f64.powi(fraction - most)).trunc();
        let terms = products
            .iter()
            .map(|(x, y)| cut(f64::from(*x) * f64::from(*y)));
        let exact = (cut(f64::from(sum)) + terms.sum::<f64>()) * 2f64.powi(most - fraction);
        let near = exact as f32;
        match f64::from(near).abs() > exact.abs() {
            true => f32::from_bits(near.to_bits() - 1),
            false => near,
        }
    }

    /// What is assumed of tensor cores, and what is known of them: products added at once and bits.
    #[cfg(feature = "cuda")]
    const ADDING: [(usize, i32); 6] = [(1, 24), (2, 23), (4, 23), (16, 23), (8, 24), (16, 25)];

    #[cfg(feature = "cuda")]
    proptest! {
        #[test]
        fn what_tensor_cores_may_add_up_to_lies_within_half_a_window(
            pairs in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 1..200),
            exponents in (-20i32..20, -20i32..20),
            alike in any::<bool>(),
        ) {
            use crate::bf16;
            use crate::window::{Extent, Window, round_up};
            // Cutting off errs to one side, and most where signs are alike and one large product
            // comes before many small ones.
            let of = |at: usize, x: f32, e: i32| {
                let x = match (alike, at) {
                    (false, _) => x,
                    (true, 0) => 1.0,
                    (true, _) => (1.0 + x.abs()) / 256.0,
                };
                bf16::value(bf16::round(x * 2f32.powi(e)))
            };
            let pairs: Vec<(f32, f32)> = pairs
                .iter()
                .enumerate()
                .map(|(at, (x, c))| (of(at, *x, exponents.0), of(at, *c, exponents.1)))
                .collect();
            let length = |of: fn(&(f32, f32)) -> f32| {
                let squares = pairs.iter().map(|pair| f64::from(of(pair)).powi(2));
                squares.sum::<f64>().sqrt() * (1.0 + 1e-9)
            };
            let (norm, of_centroid) = (length(|pair| pair.0), length(|pair| pair.1));
            let extent = Extent { norm: of_centroid, ..Extent::default() };
            let window = Window::of_tensor_cores(pairs.len(), &extent);
            let half = f64::from(window.of_length(0.0, round_up(norm))) / 2.0;
            let bias = pairs.iter().map(|(_, c)| f64::from(*c).powi(2)).sum::<f64>() / -2.0;
            let products = pairs.iter().map(|(x, c)| f64::from(*x) * f64::from(*c));
            let exact = bias + products.sum::<f64>();
            for (width, fraction) in ADDING {
                let sum = pairs.chunks(width).fold(bias as f32, |sum, products| {
                    add_cut_off(sum, products, fraction)
                });
                let off = (f64::from(sum) - exact).abs();
                prop_assert!(off <= half, "{width}, {fraction}: off by {off}, allowed {half}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn scores_lie_within_half_a_window(
            d in 1usize..100,
            of_points in prop::collection::vec(-1.0f32..1.0, 100),
            of_centroid in prop::collection::vec(-1.0f32..1.0, 100),
            exponents in (-42i32..18, -42i32..18),
            offset in prop_oneof![Just(0.0f32), -50.0f32..50.0],
        ) {
            let scaled = |values: &[f32], exponent: i32| -> Vec<f32> {
                let scale = 10f64.powi(exponent);
                values.iter().map(|x| ((f64::from(*x) + f64::from(offset)) * scale) as f32).collect()
            };
            let points = scaled(&of_points[..100 / d * d], exponents.0);
            check(&points, &scaled(&of_centroid[..d], exponents.1));
        }
    }
}
