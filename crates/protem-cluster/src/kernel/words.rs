//! Scores of 16-bit integers with 256-bit vectors: 4 centroids by 16 points in 8 of 16 registers.
//!
//! A line of points holds two columns of 16 of them, and two columns of a centroid are broadcast: an
//! instruction makes 16 products and adds each two, exactly. (Intel SDM, VPMADDWD.)

use super::{Halves, Highest, LANES, Lanes, NUMBER, RESIDENT, Tiled};
use std::arch::x86_64::*;

/// Centroids whose sums are in registers at once.
const ROWS: usize = 4;
/// Values of a vector.
const WIDTH: usize = 8;
/// Vectors of 16 points.
const VECTORS: usize = LANES / WIDTH;

/// As [`super::best_of_tiles`], which checks the sizes and that there is something to do.
pub(super) fn best_of_tiles(
    tiled: &Tiled<'_>,
    unit: f32,
    best: &mut [Lanes],
    highest: &mut [Highest],
) {
    assert!(is_x86_feature_detected!("avx2"), "AVX2 is not usable here");
    // SAFETY: AVX2 is there.
    unsafe { sweep(tiled, unit, best, highest) }
}

#[target_feature(enable = "avx2")]
fn sweep(tiled: &Tiled<'_>, unit: f32, best: &mut [Lanes], highest: &mut [Highest]) {
    let of_block = tiled.steps * LANES;
    let groups = tiled.first.len();
    let resident = (RESIDENT / tiled.steps).max(1);
    for begin in (0..groups).step_by(resident) {
        let end = groups.min(begin + resident);
        let blocks = tiled.points.chunks_exact(of_block).zip(highest.iter_mut());
        for (block, (points, highest)) in blocks.enumerate() {
            let (strip, part) = (block / 2, block % 2);
            for group in begin..end {
                let centroids = &tiled.centroids[group * of_block..][..of_block];
                let found = of_group(points, centroids, &tiled.first[group], unit);
                best[(strip * groups + group) * 2 + part] = found.best;
                *highest = highest.with(&found);
            }
        }
    }
}

/// The best and second best scores of a group's centroids for a block of points, of as many lines.
#[target_feature(enable = "avx2")]
#[inline]
fn of_group(points: &[Halves], centroids: &[Halves], first: &Lanes, unit: f32) -> Highest {
    let mut most = [_mm256_set1_epi32(i32::MIN); VECTORS];
    let mut second = most;
    for begin in (0..LANES).step_by(ROWS) {
        // SAFETY: `begin` is at most 12.
        let sums = unsafe { sums(points, centroids, first, begin) };
        for (number, sums) in (begin as i32..).zip(sums) {
            for ((most, second), sum) in most.iter_mut().zip(&mut second).zip(sums) {
                let sum = numbered(sum, _mm256_set1_epi32(number));
                *second = _mm256_max_epi32(*second, _mm256_min_epi32(*most, sum));
                *most = _mm256_max_epi32(*most, sum);
            }
        }
    }
    let mut found = Highest::NOTHING;
    for (scores, most) in found.best.0.chunks_exact_mut(WIDTH).zip(most) {
        let number = _mm256_and_si256(most, _mm256_set1_epi32(NUMBER as i32));
        let score = numbered(_mm256_castps_si256(score(most, unit)), number);
        put(_mm256_castsi256_ps(score), scores);
    }
    for (scores, second) in found.second.0.chunks_exact_mut(WIDTH).zip(second) {
        put(score(second, unit), scores);
    }
    found
}

#[target_feature(enable = "avx2")]
#[inline]
fn numbered(value: __m256i, number: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_andnot_si256(_mm256_set1_epi32(NUMBER as i32), value),
        number,
    )
}

#[target_feature(enable = "avx2")]
#[inline]
fn score(sum: __m256i, unit: f32) -> __m256 {
    _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(unit))
}

#[target_feature(enable = "avx2")]
#[inline]
fn put(scores: __m256, to: &mut [f32]) {
    assert_eq!(to.len(), WIDTH, "a value for each");
    // SAFETY: eight values.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), scores) };
}

/// The sums of centroids `begin` to `begin + 4`.
///
/// # Safety
/// AVX2; `begin` is at most 12.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sums(
    points: &[Halves],
    centroids: &[Halves],
    first: &Lanes,
    begin: usize,
) -> [[__m256i; VECTORS]; ROWS] {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [_mm256_set1_epi32(first.0[begin + row].to_bits() as i32); VECTORS];
    }
    let tiles = points.as_chunks::<LANES>().0.iter();
    for (points, centroids) in tiles.zip(centroids.as_chunks::<LANES>().0) {
        // Two columns of each of 16 centroids lie 64 bytes apart.
        let rows = centroids[begin..].as_ptr().cast::<i32>();
        for (column, line) in points.iter().enumerate() {
            let values = line.0.as_ptr().cast::<__m256i>();
            // SAFETY: a line is two vectors, on a boundary of 64.
            let x = unsafe { [_mm256_load_si256(values), _mm256_load_si256(values.add(1))] };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the tile has 16 lines of 16 pairs; `begin + row` and `column` are below 16.
                let c = _mm256_set1_epi32(unsafe { *rows.add(row * LANES + column) });
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, c));
                }
            }
        }
    }
    sums
}
