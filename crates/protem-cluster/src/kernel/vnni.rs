//! Scores of bytes with 512-bit vectors (AVX512-VNNI): 8 centroids by 32 points in 16 registers.
//!
//! A line of points holds four columns of 16 of them, and four columns of a centroid are broadcast:
//! an instruction adds 64 products to 16 sums. One factor of it has no sign, so the bytes of points
//! are 128 more than they stand for, and first values are as much less. (Intel SDM, VPDPBUSD: sums in
//! i32, which wrap.)

use super::avx512::{load, store};
use super::{Halves, Highest, LANES, Lanes, RESIDENT, Tiled};
use std::arch::x86_64::*;

/// Centroids whose sums are in registers at once: half a group.
const ROWS: usize = LANES / 2;

/// Whether this processor has the instruction, and AVX-512 F.
pub(crate) fn usable() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

/// As [`super::best_of_tiles`], which checks the sizes and that there is something to do.
pub(super) fn best_of_tiles(
    tiled: &Tiled<'_>,
    unit: f32,
    best: &mut [Lanes],
    highest: &mut [Highest],
) {
    assert!(usable(), "AVX512-VNNI is not usable here");
    // SAFETY: AVX-512 F and VNNI are there.
    unsafe { sweep(tiled, unit, best, highest) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn sweep(tiled: &Tiled<'_>, unit: f32, best: &mut [Lanes], highest: &mut [Highest]) {
    let of_block = tiled.steps * LANES;
    let groups = tiled.first.len();
    let resident = (RESIDENT / tiled.steps).max(1);
    let unit = _mm512_set1_ps(unit);
    for begin in (0..groups).step_by(resident) {
        let end = groups.min(begin + resident);
        let strips = tiled.points.chunks_exact(2 * of_block);
        let results = best.chunks_exact_mut(2 * groups);
        let all = strips.zip(results).zip(highest.chunks_exact_mut(2));
        for ((points, best), highest) in all {
            for group in begin..end {
                let centroids = &tiled.centroids[group * of_block..][..of_block];
                let first = &tiled.first[group];
                // SAFETY: two blocks of points, and as many lines of centroids as one of them has.
                let (low, high) = unsafe {
                    (
                        half(points, centroids, first, 0),
                        half(points, centroids, first, ROWS),
                    )
                };
                for part in 0..2 {
                    let sum = _mm512_max_epi32(low[part], high[part]);
                    let score = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), unit);
                    store(score, &mut best[2 * group + part]);
                    let highest = &mut highest[part].best;
                    store(_mm512_max_ps(load(highest), score), highest);
                }
            }
        }
    }
}

/// The best sums of centroids `begin` to `begin + 8` of a group for both blocks of a strip.
///
/// # Safety
/// AVX-512 F and VNNI; `points` are two blocks of as many lines as there are of `centroids`, whole
/// tiles; `begin` is at most 8.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn half(
    points: &[Halves],
    centroids: &[Halves],
    first: &Lanes,
    begin: usize,
) -> [__m512i; 2] {
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [_mm512_set1_epi32(first.0[begin + row].to_bits() as i32); 2];
    }
    let (left, right) = points.split_at(centroids.len());
    let blocks = left.chunks_exact(LANES).zip(right.chunks_exact(LANES));
    for ((left, right), tile) in blocks.zip(centroids.chunks_exact(LANES)) {
        // Four columns of each of 16 centroids lie 64 bytes apart.
        let rows = tile[begin..].as_ptr().cast::<i32>();
        for (column, (left, right)) in left.iter().zip(right).enumerate() {
            let x = [line(left), line(right)];
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the tile has 16 lines of 16 fours; `begin + row` and `column` are below 16.
                let c = _mm512_set1_epi32(unsafe { *rows.add(row * LANES + column) });
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, x, c);
                }
            }
        }
    }
    let mut best = sums[0];
    for sums in &sums[1..] {
        for (best, sum) in best.iter_mut().zip(sums) {
            *best = _mm512_max_epi32(*best, *sum);
        }
    }
    best
}

#[target_feature(enable = "avx512f")]
#[inline]
fn line(values: &Halves) -> __m512i {
    // SAFETY: 64 bytes on a boundary of 64.
    unsafe { _mm512_load_si512(values.0.as_ptr().cast()) }
}
