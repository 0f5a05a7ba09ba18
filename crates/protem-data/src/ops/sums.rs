//! Sums of products of bytes and long weights with AVX2.
//!
//! The processor multiplies pairs of 16 bits and adds them in one instruction. A weight is cut in
//! two halves, each sums on its own, and the sums are put together at the end: the same whole number
//! as from one multiplication of 32 bits, which would be slower.

use pulp::cast;
use pulp::x86::V3;
use std::arch::x86_64::__m256i;

/// Sums of both halves of weights that have `BITS` bits after the point, `LOW` of them in the lower
/// half.
#[derive(Clone, Copy)]
pub(super) struct Sums<const LOW: i32, const BITS: i32> {
    high: __m256i,
    low: __m256i,
}

impl<const LOW: i32, const BITS: i32> Sums<LOW, BITS> {
    #[inline(always)]
    pub fn zero(simd: V3) -> Self {
        let zero = simd.avx._mm256_setzero_si256();
        Self {
            high: zero,
            low: zero,
        }
    }

    #[inline(always)]
    pub fn add(&mut self, simd: V3, pairs: __m256i, high: __m256i, low: __m256i) {
        let avx2 = simd.avx2;
        self.high = avx2._mm256_add_epi32(self.high, avx2._mm256_madd_epi16(pairs, high));
        self.low = avx2._mm256_add_epi32(self.low, avx2._mm256_madd_epi16(pairs, low));
    }

    /// Whole bytes, in 32 bits each.
    #[inline(always)]
    pub fn rounded(self, simd: V3) -> __m256i {
        let avx2 = simd.avx2;
        let half = simd.avx._mm256_set1_epi32(1 << (BITS - 1));
        let high = avx2._mm256_slli_epi32::<LOW>(self.high);
        let sum = avx2._mm256_add_epi32(high, avx2._mm256_add_epi32(self.low, half));
        avx2._mm256_srli_epi32::<BITS>(sum)
    }
}

/// The bytes of four sums, which were unpacked twice.
#[inline(always)]
pub(super) fn packed<const LOW: i32, const BITS: i32>(
    simd: V3,
    [a, b, c, d]: [Sums<LOW, BITS>; 4],
) -> [u8; 32] {
    let avx2 = simd.avx2;
    let near = avx2._mm256_packs_epi32(a.rounded(simd), b.rounded(simd));
    let far = avx2._mm256_packs_epi32(c.rounded(simd), d.rounded(simd));
    cast(avx2._mm256_packus_epi16(near, far))
}
