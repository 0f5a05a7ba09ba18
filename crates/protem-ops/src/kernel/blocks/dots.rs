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
    let (rows, columns) = sum.size;
    // As many rows as leave registers for the vectors of columns and of rows, and about equally many
    // in turn.
    let most = if columns > BLOCK / 2 { 11 } else { 16 };
    let groups = rows.div_ceil(most);
    let mut first = 0;
    for group in 0..groups {
        let some = (rows - first).div_ceil(groups - group);
        macro_rules! by_size {
            ($vectors:literal: $($rows:literal)*) => {
                match some {
                    // SAFETY: passed on from the caller.
                    $($rows => unsafe { part::<$rows, $vectors>(sum, a, b, out, first) },)*
                    _ => unreachable!("no more rows than registers"),
                }
            };
        }
        if columns > BLOCK / 2 {
            by_size!(2: 1 2 3 4 5 6 7 8 9 10 11)
        } else {
            by_size!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
        }
        first += some;
    }
}

/// Sums that keep the processor busy: an instruction takes some cycles, in each of which two can begin.
const AT_ONCE: usize = 12;

/// The block's rows from `first` on, in the first 16 columns or all of them. Of few rows of what is
/// added to, every other pair is summed by itself; never of what is not, where rows are images: a
/// result would then depend on how many there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn part<const ROWS: usize, const VECTORS: usize>(
    sum: &Sum,
    a: &[bf16],
    b: &[bf16],
    out: &mut Accumulator,
    first: usize,
) {
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let out = out.0[first * BLOCK..][..ROWS * BLOCK].as_mut_ptr();
    // SAFETY: the caller vouches for 32 rows of `depth` values of `a` and for what of a block of `b`
    // meets them; `out` was found long enough.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        let mut others = sums;
        if sum.accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(out.add(row * BLOCK + vector * 16));
                }
            }
        }
        let divided = sum.accumulate && 2 * ROWS * VECTORS <= AT_ONCE;
        for pair in sum.pairs {
            let a = a.add(pair.a + first * sum.a_row);
            let b = b.add(pair.b);
            for step in 0..sum.depth.div_ceil(BLOCK) {
                let (a, b) = (a.add(step * BLOCK), b.add(step * BLOCK_LEN));
                let steps = BLOCK.min(sum.depth) / 2;
                if divided {
                    for k in (0..steps).step_by(2) {
                        add_pair(&mut sums, a.add(2 * k), sum.a_row, b.add(k * BLOCK));
                        let (a, b) = (a.add(2 * k + 2), b.add((k + 1) * BLOCK));
                        add_pair(&mut others, a, sum.a_row, b);
                    }
                } else {
                    for k in 0..steps {
                        add_pair(&mut sums, a.add(2 * k), sum.a_row, b.add(k * BLOCK));
                    }
                }
            }
        }
        for (row, (sums, others)) in sums.into_iter().zip(others).enumerate() {
            for (vector, (mut sum, other)) in sums.into_iter().zip(others).enumerate() {
                if divided {
                    sum = _mm512_add_ps(sum, other);
                }
                _mm512_storeu_ps(out.add(row * BLOCK + vector * 16), sum);
            }
        }
    }
}

/// Adds the products of a pair of values of each row, from `a` on, and of each column, from `b` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn add_pair<const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[__m512; VECTORS]; ROWS],
    a: *const bf16,
    a_row: usize,
    b: *const bf16,
) {
    // SAFETY: the caller vouches for a pair of each row, and for a row of each of the tiles.
    unsafe {
        let columns: [__m512bh; VECTORS] = std::array::from_fn(|vector| {
            pairs(_mm512_loadu_si512(b.add(vector * (BLOCK_LEN / 2)).cast()))
        });
        for (row, sums) in sums.iter_mut().enumerate() {
            let both = a.add(row * a_row).cast::<i32>().read_unaligned();
            let both = pairs(_mm512_set1_epi32(both));
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = _mm512_dpbf16_ps(*sum, both, columns);
            }
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
