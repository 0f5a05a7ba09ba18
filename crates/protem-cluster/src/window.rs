//! How far a computed score may lie from the true one.
//!
//! With `x' = x − o` and `c' = c − o` for a common origin `o`, the score `S = x'·c' − |c'|²/2` is
//! largest where `|x − c|` is smallest. A pass computes `Ŝ` with `|Ŝ − S| ≤ E(x)` for every
//! centroid; so the true best has `Ŝ` within `2E` of the best `Ŝ`, and whatever lies lower can be
//! left out. What remains is compared by `Σ(x − c)²` in f64, whose own rounding `E` includes.
//!
//! With `u = 2⁻²⁴` and `γ(m) = mu/(1 − mu)`, a sum of products in which no term passes through
//! more than `m` roundings is off by at most `γ(m)·Σ|terms|`, whatever the order (Higham, Accuracy
//! and Stability, §3.1).

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
    /// Of `|c' − c̃|`, where `c̃` is `c'` rounded to bf16.
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
    /// is `|x' − x̃|`, and `|x'·c' − x̃·c̃| ≤ |x' − x̃||c'| + |x̃||c' − c̃|`.
    pub fn of_bf16(columns: usize, extent: &Extent) -> Self {
        let (c, rounding) = (extent.norm, extent.rounding);
        match gamma(columns + 8) {
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
    const EVERYTHING: Self = Self {
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

    /// `2E` of a point.
    #[inline]
    pub fn of(&self, error: f32, norm: f32) -> f32 {
        let all = norm + error;
        error * self.a + norm * self.b + all * all * self.c + self.d
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
