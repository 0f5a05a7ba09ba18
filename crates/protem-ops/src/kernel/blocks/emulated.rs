//! What the instructions of AMX do, in plain Rust: for tests of all that is around them, on any processor
//! with AVX-512. (Sums are in another order; denormals are no zeros.)

use super::{Accumulator, BLOCK, BLOCK_LEN, Sum};
use crate::element::Element;
use half::bf16;
use std::arch::x86_64::*;

/// Whether the vector instructions are there that are not emulated.
pub(crate) fn usable() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// # Safety
/// None is needed; the instruction's is.
pub(super) unsafe fn configure() {}

/// # Safety
/// None is needed; the instruction's is.
pub(super) unsafe fn release() {}

/// Both halves of 32 values, rounded.
///
/// # Safety
/// The processor has the feature.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn narrow(values: [__m512; 2]) -> __m512i {
    let mut wide = [0.0f32; BLOCK];
    // SAFETY: 32 values on both sides.
    unsafe {
        _mm512_storeu_ps(wide.as_mut_ptr(), values[0]);
        _mm512_storeu_ps(wide.as_mut_ptr().add(BLOCK / 2), values[1]);
        let narrow = wide.map(<bf16 as Element>::narrow);
        _mm512_loadu_si512(narrow.as_ptr().cast())
    }
}

/// [`super::Blocks::product`], of a pair and a step at least.
///
/// # Safety
/// None is needed; the instructions' is.
pub(super) unsafe fn product(sum: &Sum, a: &[bf16], b: &[bf16], out: &mut Accumulator) {
    if !sum.accumulate {
        out.0.fill(0.0);
    }
    for (pair, step) in sum
        .pairs
        .iter()
        .flat_map(|pair| (0..sum.depth / BLOCK).map(move |step| (pair, step)))
    {
        let b = &b[pair.b + step * BLOCK_LEN..][..BLOCK_LEN];
        for row in 0..BLOCK {
            let a = &a[pair.a + row * sum.a_row + step * BLOCK..][..BLOCK];
            let out = &mut out.0[row * BLOCK..][..BLOCK];
            for (k, a) in a.iter().enumerate() {
                for (column, out) in out.iter_mut().enumerate() {
                    let tile = column / 16 * (BLOCK_LEN / 2);
                    let b = b[tile + k / 2 * BLOCK + column % 16 * 2 + k % 2];
                    *out += a.to_f32() * b.to_f32();
                }
            }
        }
    }
}
