//! What the formulas of colours are written for.

use std::ops::{Add, Div, Mul, Sub};

/// A number in single precision, or as many side by side as the processor computes at once.
pub(super) trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Where something is so.
    type Mask: Copy;

    /// A constant, as wide as `self`.
    fn constant(self, value: f32) -> Self;
    /// The largest whole number that is not larger.
    fn floor(self) -> Self;
    /// Without its sign.
    fn abs(self) -> Self;
    /// The smaller one.
    fn min(self, other: Self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
    /// Where both are equal.
    fn equals(self, other: Self) -> Self::Mask;
    /// Where this is not below the other.
    fn reaches(self, other: Self) -> Self::Mask;
    /// Where one of them or both are so.
    fn either(self, one: Self::Mask, other: Self::Mask) -> Self::Mask;
    /// Where one of them is so and the other is not.
    fn just_one(self, one: Self::Mask, other: Self::Mask) -> Self::Mask;
    /// `self` where it is so, `other` elsewhere.
    fn where_so(self, so: Self::Mask, other: Self) -> Self;
    /// With the other sign where it is so.
    fn negated_where(self, so: Self::Mask) -> Self;
    /// `self·factor + term`, rounded once or twice.
    fn times_plus(self, factor: Self, term: Self) -> Self;
}

// Comparisons that the compiler makes one instruction of, which it does not of the language's own
// `min` and `max`: those mind numbers that are none.
impl Number for f32 {
    type Mask = bool;

    #[inline(always)] // to be compiled for the processor's vectors, as all here
    fn constant(self, value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn floor(self) -> Self {
        self.floor()
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    #[inline(always)]
    fn equals(self, other: Self) -> bool {
        self == other
    }

    #[inline(always)]
    fn reaches(self, other: Self) -> bool {
        self >= other
    }

    #[inline(always)]
    fn either(self, one: bool, other: bool) -> bool {
        one | other
    }

    #[inline(always)]
    fn just_one(self, one: bool, other: bool) -> bool {
        one ^ other
    }

    #[inline(always)]
    fn where_so(self, so: bool, other: Self) -> Self {
        if so { self } else { other }
    }

    #[inline(always)]
    fn negated_where(self, so: bool) -> Self {
        if so { -self } else { self }
    }

    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        self * factor + term
    }
}

/// A number as a byte: its whole part, and the nearest byte where there is none. The language's own
/// conversion minds numbers that are none and does so one at a time.
#[inline(always)]
pub(super) fn byte_of(number: f32) -> u8 {
    /// Added to a small number, it leaves no bit for a fraction.
    const NO_FRACTION: f32 = (1 << 23) as f32;
    let within = Number::min(Number::max(number, 0.0), 255.0);
    (within.floor() + NO_FRACTION).to_bits() as u8
}
