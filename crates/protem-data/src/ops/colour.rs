//! Colours of a picture in planes, in Pillow's arithmetic.
//!
//! Written as plain loops over lines of bytes and compiled for the processor's vectors (AVX-512,
//! AVX2, NEON). What Pillow rounds in single precision is rounded there; where it changes to double
//! precision, a formula in single precision stands here that gives the same byte for every colour,
//! which the tests go through.

use super::planes::Planes;
use pulp::Arch;

/// ITU-R 601 luma in Pillow's fixed point.
#[inline(always)]
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// `base + factor·(byte − base)`, cut to 8 bits as Pillow's `Image.blend` does.
#[inline(always)]
fn blend(byte: u8, base: f32, factor: f32) -> u8 {
    byte_of(within(base + factor * (f32::from(byte) - base), 255.0))
}

/// A number cut to 0 and `most`. The language's own `clamp` minds numbers that are none and takes
/// twice as many instructions.
#[inline(always)]
fn within(number: f32, most: f32) -> f32 {
    let number = if number > 0.0 { number } else { 0.0 };
    if number < most { number } else { most }
}

/// Added to a small number, it leaves no bit for a fraction.
const NO_FRACTION: f32 = (1 << 23) as f32;

/// The whole part of a number from 0 to 255 as a byte. The language's own conversion minds numbers
/// that are none and does so one at a time; this one is two instructions.
#[inline(always)]
fn byte_of(number: f32) -> u8 {
    (number.floor() + NO_FRACTION).to_bits() as u8
}

/// What becomes of a pixel, whatever its neighbours.
trait Change: Copy {
    fn of(self, pixel: [u8; 3]) -> [u8; 3];
}

/// A change of all pixels.
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
            [*r, *g, *b] = self.change.of([*r, *g, *b]);
        }
    }
}

/// All channels become the luma.
#[derive(Clone, Copy)]
struct Grayscale;

impl Change for Grayscale {
    #[inline(always)]
    fn of(self, pixel: [u8; 3]) -> [u8; 3] {
        [luma(pixel); 3]
    }
}

/// Every byte is blended with the same base.
#[derive(Clone, Copy)]
struct Blend {
    base: f32,
    factor: f32,
}

impl Change for Blend {
    #[inline(always)]
    fn of(self, pixel: [u8; 3]) -> [u8; 3] {
        pixel.map(|byte| blend(byte, self.base, self.factor))
    }
}

/// Every byte is blended with the pixel's luma.
#[derive(Clone, Copy)]
struct Saturation {
    factor: f32,
}

impl Change for Saturation {
    #[inline(always)]
    fn of(self, pixel: [u8; 3]) -> [u8; 3] {
        let gray = f32::from(luma(pixel));
        pixel.map(|byte| blend(byte, gray, self.factor))
    }
}

/// Bytes that are not below the threshold are inverted.
#[derive(Clone, Copy)]
struct Solarize {
    threshold: u8,
}

impl Change for Solarize {
    #[inline(always)]
    fn of(self, pixel: [u8; 3]) -> [u8; 3] {
        pixel.map(|byte| {
            if byte < self.threshold {
                byte
            } else {
                255 - byte
            }
        })
    }
}

/// The hue grows by a whole number below 256.
#[derive(Clone, Copy)]
struct Hue {
    shift: f32,
}

impl Change for Hue {
    #[inline(always)]
    fn of(self, pixel: [u8; 3]) -> [u8; 3] {
        let [h, s, v] = to_hsv(pixel);
        let turned = h + self.shift;
        let turned = turned - if turned >= 256.0 { 256.0 } else { 0.0 };
        from_hsv([turned, s, v])
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
        self.change(Blend { base: 0.0, factor });
    }

    /// Moves all channels away from the picture's mean luma.
    pub fn contrast(&mut self, factor: f32) {
        let sum = Arch::new().dispatch(LumaSum(self));
        let pixels = (self.width * self.height) as f64;
        let base = (sum as f64 / pixels + 0.5).floor() as f32;
        self.change(Blend { base, factor });
    }

    /// Moves all channels away from the pixel's luma.
    pub fn saturation(&mut self, factor: f32) {
        self.change(Saturation { factor });
    }

    /// Turns the hue by `turns` of a circle.
    pub fn hue(&mut self, turns: f32) {
        let shift = f32::from((f64::from(turns) * 255.0) as i32 as u8);
        self.change(Hue { shift });
    }

    /// Inverts the bytes that are not below the threshold.
    pub fn solarize(&mut self, threshold: u8) {
        self.change(Solarize { threshold });
    }

    fn change(&mut self, change: impl Change) {
        Arch::new().dispatch(Each {
            planes: self,
            change,
        });
    }
}

/// Whole numbers from 0 to 255; the hue of grays is any.
#[inline(always)]
fn to_hsv(pixel: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = pixel.map(f32::from);
    let most = r.max(g).max(b);
    let least = r.min(g).min(b);
    let middle = r + g + b - most - least;
    let range = most - least;
    // How far the middle channel is from the largest one, in ranges; the smallest one is 1 away.
    let away = (most - middle) / range.max(1.0);
    let (sixth, sign) = if r == most {
        if g >= b { (1.0, -1.0) } else { (-1.0, 1.0) }
    } else if g == most {
        if r >= b { (1.0, 1.0) } else { (3.0, -1.0) }
    } else if r >= g {
        (5.0, -1.0)
    } else {
        (3.0, 1.0)
    };
    let sixth: f32 = sixth + sign * away;
    // Pillow adds a turn, in double precision, and takes it off where it is too much.
    let h = if sixth < 0.0 {
        (sixth + 6.0) * 42.5 + 1e-5
    } else {
        sixth / 6.0 * 255.0
    };
    [h.floor(), (range / most.max(1.0) * 255.0).floor(), most]
}

/// From whole numbers from 0 to 255.
///
/// A channel is `v·(1 − s·w)`, rounded, where `w` says how far it is from the largest one: 0 to 1,
/// in 85 steps over each sixth of the circle, of which a hue is two. As a fraction over 255·85 the
/// numerator is below 2²⁴, so everything before the division is exact.
#[inline(always)]
fn from_hsv([h, s, v]: [f32; 3]) -> [u8; 3] {
    const WHOLE: f32 = 255.0 * 85.0;
    let steps = h * 2.0;
    let away = [
        170.0 - (steps - 255.0).abs(),
        (steps - 170.0).abs() - 85.0,
        (steps - 340.0).abs() - 85.0,
    ];
    away.map(|away| {
        let numerator = v * (WHOLE - s * within(away, 85.0));
        byte_of(numerator * (1.0 / WHOLE) + 0.5)
    })
}
