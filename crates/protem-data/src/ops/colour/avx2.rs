//! Colours with AVX2, eight pixels at a time.
//!
//! The formulas are those of the numbers one by one. What is gained over the compiler's vectors is
//! mostly the way back to bytes: one instruction cuts off fractions, and packing cuts to 0 and 255.

use super::Change;
use super::number::Number;
use crate::ops::planes::Planes;
use pulp::cast;
use pulp::x86::V3;
use std::arch::x86_64::{__m256, __m256i, _CMP_EQ_OQ, _CMP_GE_OQ};
use std::ops::{Add, Div, Mul, Sub};

/// Pixels that are packed together.
const STEP: usize = 32;
/// Numbers of a register.
const LANES: usize = 8;

/// Numbers side by side.
#[derive(Clone, Copy)]
struct Eight {
    simd: V3,
    lanes: __m256,
}

impl Eight {
    #[inline(always)]
    fn with(self, lanes: __m256) -> Self {
        Self { lanes, ..self }
    }
}

macro_rules! operator {
    ($name:ident, $method:ident, $instruction:ident) => {
        impl $name for Eight {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.with(self.simd.avx.$instruction(self.lanes, other.lanes))
            }
        }
    };
}

operator!(Add, add, _mm256_add_ps);
operator!(Sub, sub, _mm256_sub_ps);
operator!(Mul, mul, _mm256_mul_ps);
operator!(Div, div, _mm256_div_ps);

impl Number for Eight {
    type Mask = __m256;

    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        self.with(self.simd.avx._mm256_set1_ps(value))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        self.with(self.simd.avx._mm256_floor_ps(self.lanes))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let sign = self.simd.avx._mm256_set1_ps(-0.0);
        self.with(self.simd.avx._mm256_andnot_ps(sign, self.lanes))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.with(self.simd.avx._mm256_min_ps(self.lanes, other.lanes))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.with(self.simd.avx._mm256_max_ps(self.lanes, other.lanes))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> __m256 {
        let avx = self.simd.avx;
        avx._mm256_cmp_ps::<_CMP_EQ_OQ>(self.lanes, other.lanes)
    }

    #[inline(always)]
    fn reaches(self, other: Self) -> __m256 {
        let avx = self.simd.avx;
        avx._mm256_cmp_ps::<_CMP_GE_OQ>(self.lanes, other.lanes)
    }

    #[inline(always)]
    fn either(self, one: __m256, other: __m256) -> __m256 {
        self.simd.avx._mm256_or_ps(one, other)
    }

    #[inline(always)]
    fn just_one(self, one: __m256, other: __m256) -> __m256 {
        self.simd.avx._mm256_xor_ps(one, other)
    }

    #[inline(always)]
    fn negated_where(self, so: __m256) -> Self {
        let avx = self.simd.avx;
        let sign = avx._mm256_and_ps(so, avx._mm256_set1_ps(-0.0));
        self.with(avx._mm256_xor_ps(self.lanes, sign))
    }

    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        let fma = self.simd.fma;
        self.with(fma._mm256_fmadd_ps(self.lanes, factor.lanes, term.lanes))
    }

    #[inline(always)]
    fn where_so(self, so: __m256, other: Self) -> Self {
        let avx = self.simd.avx;
        self.with(avx._mm256_blendv_ps(other.lanes, self.lanes, so))
    }
}

/// A change of all pixels.
pub(super) struct Each<'a, C> {
    pub simd: V3,
    pub planes: &'a mut Planes,
    pub change: C,
}

impl<C: Change> pulp::NullaryFnOnce for Each<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            simd,
            planes,
            change,
        } = self;
        let [(r, r_rest), (g, g_rest), (b, b_rest)] = planes
            .channels
            .each_mut()
            .map(|channel| channel.as_chunks_mut::<STEP>());
        for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
            step(simd, [r, g, b], change);
        }
        // Fewer pixels than a step are changed in room for one.
        let mut room = [[0; STEP]; 3];
        let mut rests = [r_rest, g_rest, b_rest];
        for (room, rest) in room.iter_mut().zip(&rests) {
            room[..rest.len()].copy_from_slice(rest);
        }
        step(simd, room.each_mut(), change);
        for (rest, room) in rests.iter_mut().zip(&room) {
            rest.copy_from_slice(&room[..rest.len()]);
        }
    }
}

#[inline(always)]
fn step(simd: V3, [r, g, b]: [&mut [u8; STEP]; 3], change: impl Change) {
    let mut first = [[numbers(simd, &[0; LANES]); 3]; STEP / LANES];
    let groups = r.as_chunks().0.iter().zip(g.as_chunks().0);
    let groups = groups.zip(b.as_chunks().0);
    for (first, ((r, g), b)) in first.iter_mut().zip(groups) {
        *first = change.first([numbers(simd, r), numbers(simd, g), numbers(simd, b)]);
    }
    let mut whole = [[simd.avx._mm256_setzero_si256(); STEP / LANES]; 3];
    for (at, first) in first.into_iter().enumerate() {
        let [r, g, b] = change.of(first);
        whole[0][at] = simd.avx._mm256_cvttps_epi32(r.lanes);
        whole[1][at] = simd.avx._mm256_cvttps_epi32(g.lanes);
        whole[2][at] = simd.avx._mm256_cvttps_epi32(b.lanes);
    }
    *r = packed(simd, whole[0]);
    *g = packed(simd, whole[1]);
    *b = packed(simd, whole[2]);
}

#[inline(always)]
fn numbers(simd: V3, bytes: &[u8; LANES]) -> Eight {
    let bytes = cast([u64::from_ne_bytes(*bytes), 0]);
    let whole = simd.avx2._mm256_cvtepu8_epi32(bytes);
    Eight {
        simd,
        lanes: simd.avx._mm256_cvtepi32_ps(whole),
    }
}

/// Whole numbers cut to bytes.
#[inline(always)]
fn packed(simd: V3, [a, b, c, d]: [__m256i; STEP / LANES]) -> [u8; STEP] {
    let avx2 = simd.avx2;
    let near = avx2._mm256_packs_epi32(a, b);
    let far = avx2._mm256_packs_epi32(c, d);
    // Packing keeps the halves of registers apart.
    let order = simd.avx._mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let bytes = avx2._mm256_packus_epi16(near, far);
    cast(avx2._mm256_permutevar8x32_epi32(bytes, order))
}
