//! Colours of a picture in planes, in Pillow's arithmetic.
//!
//! A formula is written once, for numbers in single precision, and computed for eight pixels at once
//! with AVX2; elsewhere it is a plain loop over lines of bytes, which the compiler makes vectors of.
//! What Pillow rounds in single precision is rounded there; where it changes to double precision, a
//! formula in single precision stands here that gives the same byte for every colour, which the tests
//! go through.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod number;
#[cfg(test)]
mod tests;

use super::in_vectors;
use super::planes::Planes;
use number::{Number, byte_of};

/// ITU-R 601 luma in Pillow's fixed point.
#[inline(always)]
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// The same with what is behind the point, which is exact.
#[inline(always)]
fn luma_of<N: Number>([r, g, b]: [N; 3]) -> N {
    const ONE: f32 = 65536.0;
    let (r_share, g_share, b_share) = (
        r.constant(19595.0 / ONE),
        r.constant(38470.0 / ONE),
        r.constant(7471.0 / ONE),
    );
    let rounded = b.times_plus(b_share, b.constant(0.5));
    r.times_plus(r_share, g.times_plus(g_share, rounded))
}

/// `base + factor·(number − base)` (Pillow's `Image.blend`).
#[inline(always)]
fn blend<N: Number>(number: N, base: N, factor: N) -> N {
    base + factor * (number - base)
}

/// A factor of differences of bytes: a larger one leads beyond the ends as well, and further than
/// vectors of whole numbers go.
fn bounded(factor: f32) -> f32 {
    factor.clamp(-1e4, 1e4)
}

/// What becomes of a pixel, whatever its neighbours.
trait Change: Copy {
    /// From whole numbers from 0 to 255, to numbers that are cut to such by leaving out what is
    /// behind the point and beyond the ends.
    fn of<N: Number>(self, pixel: [N; 3]) -> [N; 3];

    /// What comes before that. A long chain of operations is faster in two, each for several pixels
    /// before the next: the processor looks only so far ahead for work.
    #[inline(always)]
    fn first<N: Number>(self, pixel: [N; 3]) -> [N; 3] {
        pixel
    }
}

/// A change of all pixels, one by one.
struct Each<'a, C> {
    planes: &'a mut Planes,
    change: C,
}

impl<C: Change> pulp::NullaryFnOnce for Each<'_, C> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors, as all below
    fn call(self) {
        let [r, g, b] = &mut self.planes.channels;
        for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
            let first = self.change.first([*r, *g, *b].map(f32::from));
            [*r, *g, *b] = self.change.of(first).map(byte_of);
        }
    }
}

/// All channels become the luma.
#[derive(Clone, Copy)]
struct Grayscale;

impl Change for Grayscale {
    #[inline(always)]
    fn of<N: Number>(self, pixel: [N; 3]) -> [N; 3] {
        [luma_of(pixel); 3]
    }
}

/// Every channel is blended with the same base.
#[derive(Clone, Copy)]
struct Blend {
    base: f32,
    factor: f32,
}

impl Change for Blend {
    #[inline(always)]
    fn of<N: Number>(self, [r, g, b]: [N; 3]) -> [N; 3] {
        let (base, factor) = (r.constant(self.base), r.constant(self.factor));
        [
            blend(r, base, factor),
            blend(g, base, factor),
            blend(b, base, factor),
        ]
    }
}

/// Every channel is blended with the pixel's luma.
#[derive(Clone, Copy)]
struct Saturation {
    factor: f32,
}

impl Change for Saturation {
    #[inline(always)]
    fn of<N: Number>(self, [r, g, b]: [N; 3]) -> [N; 3] {
        let gray = luma_of([r, g, b]).floor();
        let factor = r.constant(self.factor);
        [
            blend(r, gray, factor),
            blend(g, gray, factor),
            blend(b, gray, factor),
        ]
    }
}

/// Channels that are not below the threshold are inverted.
#[derive(Clone, Copy)]
struct Solarize {
    threshold: f32,
}

impl Change for Solarize {
    #[inline(always)]
    fn of<N: Number>(self, [r, g, b]: [N; 3]) -> [N; 3] {
        let threshold = r.constant(self.threshold);
        [
            inverted(r, threshold),
            inverted(g, threshold),
            inverted(b, threshold),
        ]
    }
}

#[inline(always)]
fn inverted<N: Number>(number: N, from: N) -> N {
    let inverted = number.constant(255.0) - number;
    inverted.where_so(number.reaches(from), number)
}

/// The hue grows by a whole number below 256.
#[derive(Clone, Copy)]
struct Hue {
    shift: f32,
}

impl Change for Hue {
    #[inline(always)]
    fn first<N: Number>(self, pixel: [N; 3]) -> [N; 3] {
        to_hsv(pixel)
    }

    #[inline(always)]
    fn of<N: Number>(self, [h, s, v]: [N; 3]) -> [N; 3] {
        let turned = h + h.constant(self.shift);
        let whole_turn = h.constant(256.0);
        let h = (turned - whole_turn).where_so(turned.reaches(whole_turn), turned);
        from_hsv([h, s, v])
    }
}

/// The sum of all lumas.
struct LumaSum<'a>(&'a Planes);

impl pulp::NullaryFnOnce for LumaSum<'_> {
    type Output = u64;

    #[inline(always)]
    fn call(self) -> u64 {
        /// Of so many bytes the sum stays below 2³².
        const TOGETHER: usize = 1 << 16;
        let [r, g, b] = self.0.channels.each_ref().map(|c| c.chunks(TOGETHER));
        let mut sum = 0;
        for ((r, g), b) in r.zip(g).zip(b) {
            let mut part = 0;
            for ((r, g), b) in r.iter().zip(g).zip(b) {
                part += u32::from(luma([*r, *g, *b]));
            }
            sum += u64::from(part);
        }
        sum
    }
}

impl Planes {
    /// All channels set to the luma.
    pub fn grayscale(&mut self) {
        self.change(Grayscale);
    }

    /// Scales all channels.
    pub fn brightness(&mut self, factor: f32) {
        let (base, factor) = (0.0, bounded(factor));
        self.change(Blend { base, factor });
    }

    /// Moves all channels away from the picture's mean luma.
    pub fn contrast(&mut self, factor: f32) {
        let sum = in_vectors(LumaSum(self));
        let pixels = (self.width * self.height) as f64;
        let base = (sum as f64 / pixels + 0.5).floor() as f32;
        let factor = bounded(factor);
        self.change(Blend { base, factor });
    }

    /// Moves all channels away from the pixel's luma.
    pub fn saturation(&mut self, factor: f32) {
        let factor = bounded(factor);
        self.change(Saturation { factor });
    }

    /// Turns the hue by `turns` of a circle.
    pub fn hue(&mut self, turns: f32) {
        let shift = f32::from((f64::from(turns) * 255.0) as i32 as u8);
        self.change(Hue { shift });
    }

    /// Inverts the bytes that are not below the threshold.
    pub fn solarize(&mut self, threshold: u8) {
        let threshold = f32::from(threshold);
        self.change(Solarize { threshold });
    }

    fn change(&mut self, change: impl Change) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(avx2::Each {
                simd,
                planes: self,
                change,
            });
        }
        in_vectors(Each {
            planes: self,
            change,
        });
    }
}

/// Whole numbers from 0 to 255; the hue of grays is any.
#[inline(always)]
fn to_hsv<N: Number>([r, g, b]: [N; 3]) -> [N; 3] {
    let one = r.constant(1.0);
    let most = r.max(g).max(b);
    let (red, green) = (r.equals(most), g.equals(most));
    let not_blue = r.either(red, green);
    // The two channels that are not the largest, in the order of their names.
    let (p, q) = (g.where_so(red, r), b.where_so(not_blue, g));
    let first = p.reaches(q);
    let (middle, least) = (p.where_so(first, q), q.where_so(first, p));
    let range = most - least;
    // How far the middle channel is from the largest one, in ranges; the smallest one is 1 away.
    let away = (most - middle) / range.max(one);
    let green = one.just_one(not_blue, red); // and not red as well
    let turn = away.negated_where(one.just_one(first, green));
    // Pillow has −1 here and adds a turn in double precision: a little more gives its bytes.
    let start_otherwise = r.constant(5.000_002).where_so(red, r.constant(3.0));
    let start_first = one.where_so(not_blue, r.constant(5.0));
    let start = start_first.where_so(first, start_otherwise);
    let h = (start + turn) / r.constant(6.0) * r.constant(255.0);
    let s = range / most.max(one) * r.constant(255.0);
    [h.floor(), s.floor(), most]
}

/// From whole numbers from 0 to 255.
///
/// A channel is `v·(1 − s·w)`, rounded, where `w` says how far it is from the largest one: 0 to 1,
/// in 42.5 steps over each sixth of the circle. As a fraction over 255·42.5 twice the numerator is
/// below 2²⁴, so everything before the division is exact.
#[inline(always)]
fn from_hsv<N: Number>([h, s, v]: [N; 3]) -> [N; 3] {
    let (sixth, third) = (h.constant(42.5), h.constant(85.0));
    [
        faded(v, s, third - (h - h.constant(127.5)).abs()),
        faded(v, s, (h - third).abs() - sixth),
        faded(v, s, (h - h.constant(170.0)).abs() - sixth),
    ]
}

#[inline(always)]
fn faded<N: Number>(v: N, s: N, away: N) -> N {
    const WHOLE: f32 = 255.0 * 42.5;
    let away = away.max(v.constant(0.0)).min(v.constant(42.5));
    let left = (v.constant(0.0) - s).times_plus(away, v.constant(WHOLE));
    (v * left).times_plus(v.constant(1.0 / WHOLE), v.constant(0.5))
}
