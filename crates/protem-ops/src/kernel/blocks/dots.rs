//! Products of blocks by AVX-512's dot products of pairs of bf16, in register tiles of 16 columns by
//! two. (Intel SDM, VDPBF16PS; denormals count as zero, as in AMX's tiles.)

use super::{Accumulator, BLOCK, BLOCK_LEN, Sum};
use half::bf16;
use std::arch::x86_64::*;

/// Whether this processor has the instructions. Whether they are worth it is another question: see
/// [`crate::Isa::Avx512Bf16`].
pub(crate) fn usable() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// [`super::Blocks::product`], of a pair and a step at least.
///
/// # Safety
/// The processor has the instructions, and no pair reaches outside its slice.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn product(sum: &Sum, a: &[bf16], b: &[bf16], out: &mut Accumulator) {
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // As many rows as leave registers for two vectors of columns, and about equally many in turn.
    // SAFETY: passed on from the caller; 11 + 11 + 10 rows are a block.
    unsafe {
        rows::<11>(sum, a, b, out, 0);
        rows::<11>(sum, a, b, out, 11);
        rows::<10>(sum, a, b, out, 22);
    }
}

/// The block's rows from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rows<const ROWS: usize>(
    sum: &Sum,
    a: *const bf16,
    b: *const bf16,
    out: &mut Accumulator,
    first: usize,
) {
    let out = out.0[first * BLOCK..][..ROWS * BLOCK].as_mut_ptr();
    // SAFETY: the caller vouches for 32 rows of 32 values a step of `a` and a block a step of `b`;
    // `out` was found long enough.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if sum.accumulate {
            for (row, [left, right]) in sums.iter_mut().enumerate() {
                *left = _mm512_loadu_ps(out.add(row * BLOCK));
                *right = _mm512_loadu_ps(out.add(row * BLOCK + 16));
            }
        }
        for pair in sum.pairs {
            let a = a.add(pair.a + first * sum.a_row);
            let b = b.add(pair.b);
            for step in 0..sum.steps {
                let (a, b) = (a.add(step * BLOCK), b.add(step * BLOCK_LEN));
                for k in 0..BLOCK / 2 {
                    let left = pairs(_mm512_loadu_si512(b.add(k * BLOCK).cast()));
                    let right = b.add(BLOCK_LEN / 2 + k * BLOCK);
                    let right = pairs(_mm512_loadu_si512(right.cast()));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let both = a.add(row * sum.a_row + 2 * k).cast::<i32>();
                        let both = pairs(_mm512_set1_epi32(both.read_unaligned()));
                        sums[0] = _mm512_dpbf16_ps(sums[0], both, left);
                        sums[1] = _mm512_dpbf16_ps(sums[1], both, right);
                    }
                }
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(out.add(row * BLOCK), left);
            _mm512_storeu_ps(out.add(row * BLOCK + 16), right);
        }
    }
}

/// 16 pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: types of one size, without values that must not be.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}
