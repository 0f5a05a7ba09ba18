//! Boxes of few lines with AVX2.

use super::{Sum, Weights};
use crate::ops::sums::{Sums, packed};
use pulp::cast;
use pulp::x86::V3;
use std::arch::x86_64::__m256i;

/// Pixels that are computed together; a line has at least as many.
pub(super) const STEP: usize = 32;

/// Bits of a weight after the point.
const BITS: i32 = 24;
/// Bits of the lower half of a weight.
const LOW: i32 = 12;

/// Boxes over this many lines, of which the first and the last have the weight of the edge.
pub(super) struct Lines<const LINES: usize> {
    simd: V3,
    /// Upper and lower halves of the weights within the box and at its edge.
    halves: [i32; 2],
}

impl<const LINES: usize> Lines<LINES> {
    pub fn new(simd: V3, weights: &Weights) -> Self {
        const { assert!(LINES == 3 || LINES == 5) }
        let (full, edge) = (weights.full as i32, weights.edge as i32);
        let low = |weight| weight & ((1 << LOW) - 1);
        let halves = [
            (full >> LOW) | ((edge >> LOW) << 16),
            low(full) | (low(edge) << 16),
        ];
        Self { simd, halves }
    }

    /// Bytes of all lines from a pixel on, to those of the box.
    #[inline(always)]
    fn step(&self, lines: &[&[u8]; LINES], at: usize) -> [u8; STEP] {
        let simd = self.simd;
        let avx2 = simd.avx2;
        let zero = simd.avx._mm256_setzero_si256();
        let outer = pair_sums(simd, load(lines[0], at), load(lines[LINES - 1], at));
        let first = pair_sums(simd, load(lines[1], at), zero);
        let inner = if LINES == 3 {
            first
        } else {
            let others = pair_sums(simd, load(lines[2], at), load(lines[3], at));
            [
                avx2._mm256_add_epi16(first[0], others[0]),
                avx2._mm256_add_epi16(first[1], others[1]),
            ]
        };
        let [high, low] = self.halves;
        let (high, low) = (
            simd.avx._mm256_set1_epi32(high),
            simd.avx._mm256_set1_epi32(low),
        );
        let pairs = [
            avx2._mm256_unpacklo_epi16(inner[0], outer[0]),
            avx2._mm256_unpackhi_epi16(inner[0], outer[0]),
            avx2._mm256_unpacklo_epi16(inner[1], outer[1]),
            avx2._mm256_unpackhi_epi16(inner[1], outer[1]),
        ];
        let mut sums = [Sums::<LOW, BITS>::zero(simd); 4];
        for (sums, pairs) in sums.iter_mut().zip(pairs) {
            sums.add(simd, pairs, high, low);
        }
        packed(simd, sums)
    }
}

impl<const LINES: usize> Sum for Lines<LINES> {
    #[inline(always)]
    fn reach(&self) -> usize {
        LINES / 2
    }

    #[inline(always)]
    fn line<'a>(&mut self, out: &mut [u8], moved: impl Fn(usize) -> &'a [u8]) {
        // Of one length, which the compiler sees here and not through `from_fn`: one comparison tells for
        // all of them that a step lies inside.
        let mut lines = [moved(0); LINES];
        for (by, line) in lines.iter_mut().enumerate() {
            *line = &moved(by)[..out.len()];
        }
        let last = out.len() - STEP;
        let mut at = 0;
        loop {
            // The last step is taken again from where it ends with the line.
            let start = at.min(last);
            out[start..][..STEP].copy_from_slice(&self.step(&lines, start));
            at += STEP;
            if at >= out.len() {
                return;
            }
        }
    }
}

#[inline(always)]
fn load(line: &[u8], at: usize) -> __m256i {
    let bytes = line[at..].first_chunk::<STEP>();
    cast(*bytes.expect("a step within the line"))
}

/// Sums of two bytes each, in 16 bits: the first and second eight of each half of a register.
#[inline(always)]
fn pair_sums(simd: V3, a: __m256i, b: __m256i) -> [__m256i; 2] {
    let avx2 = simd.avx2;
    let ones = simd.avx._mm256_set1_epi8(1);
    [
        avx2._mm256_maddubs_epi16(avx2._mm256_unpacklo_epi8(a, b), ones),
        avx2._mm256_maddubs_epi16(avx2._mm256_unpackhi_epi8(a, b), ones),
    ]
}
