//! Scores of bytes with 512-bit vectors (AVX512-VNNI): 8 centroids by 32 points in 16 registers.
//!
//! A line of points holds four columns of 16 of them, and four columns of a centroid are broadcast:
//! an instruction adds 64 products to 16 sums. One factor of it has no sign, so the bytes of points
//! are 128 more than they stand for, and first values are as much less. (Intel SDM, VPDPBUSD: sums in
//! i32, which wrap.)

use super::avx512::{load, store};
use super::{Asking, Group, Halves, Highest, LANES, Lanes, Pairs, RESIDENT, Tiled};
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
        for ((left, right), fours) in left.iter().zip(right).zip(tile) {
            let x = [line(left), line(right)];
            let fours = fours.0.as_ptr().cast::<i32>();
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: a line has 16 fours, and `begin + row` is below 16.
                let c = _mm512_set1_epi32(unsafe { *fours.add(begin + row) });
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

/// As [`super::in_question`].
///
/// # Safety
/// A label, a least score and a block of as many lines as the group has for every point, and room for 16
/// pairs each.
pub(super) unsafe fn in_question<const SIGNED: bool>(
    asking: &Asking<'_>,
    group: &Group<'_>,
    pairs: &mut Pairs,
) {
    assert!(usable(), "AVX512-VNNI is not usable here");
    // SAFETY: AVX-512 F and VNNI are there; for the rest, the caller's word.
    unsafe { find::<SIGNED>(asking, group, pairs) }
}

/// # Safety
/// AVX-512 F and VNNI, and as [`in_question`].
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn find<const SIGNED: bool>(asking: &Asking<'_>, group: &Group<'_>, pairs: &mut Pairs) {
    // SAFETY: 16 values.
    let centroids = unsafe { _mm512_loadu_si512(group.centroids.as_ptr().cast()) };
    let there = _mm512_cmpneq_epi32_mask(centroids, _mm512_set1_epi32(-1));
    let (blocks, _) = asking.tiles.as_chunks::<LANES>();
    let steps = group.fours.len() / LANES;
    for point in asking.points {
        let i = *point as usize;
        // SAFETY: the caller's word.
        let (block, label, least) = unsafe {
            (
                blocks.get_unchecked(i / LANES * steps..i / LANES * steps + steps),
                *asking.labels.get_unchecked(i),
                *asking.least.get_unchecked(i),
            )
        };
        // SAFETY: the lane is below 16.
        let score = unsafe { scores::<SIGNED>(block, i % LANES, group) };
        let reaching = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, _mm512_set1_ps(least));
        let other = _mm512_cmpneq_epi32_mask(centroids, _mm512_set1_epi32(label as i32));
        let found = reaching & other & there;
        // SAFETY: there is room for 16 more.
        unsafe {
            let (points, of_points) = (_mm512_set1_epi32(*point as i32), pairs.points.as_mut_ptr());
            _mm512_storeu_si512(of_points.add(pairs.count).cast(), points);
            let found = _mm512_maskz_compress_epi32(found, centroids);
            let of_centroids = pairs.centroids.as_mut_ptr().add(pairs.count);
            _mm512_storeu_si512(of_centroids.cast(), found);
        }
        pairs.count += found.count_ones() as usize;
    }
}

/// Scores of a group for the point in a lane of a block of as many tiles.
///
/// # Safety
/// AVX-512 F and VNNI; `lane` is below 16.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn scores<const SIGNED: bool>(
    block: &[[Halves; LANES]],
    lane: usize,
    group: &Group<'_>,
) -> __m512 {
    /// Sums in turn, so that none waits for the one before.
    const TURNS: usize = 4;
    let sign = _mm512_set1_epi32(i32::from_le_bytes([0x80; 4]));
    let mut sums = [_mm512_setzero_si512(); TURNS];
    sums[0] = _mm512_castps_si512(load(group.first));
    let (tiles, _) = group.fours.as_chunks::<LANES>();
    for (points, fours) in block.iter().zip(tiles) {
        for (at, (x, c)) in points.iter().zip(fours).enumerate() {
            // SAFETY: a line has 16 fours, of which the lane is one.
            let mut x = _mm512_set1_epi32(unsafe { *x.0.as_ptr().cast::<i32>().add(lane) });
            if SIGNED {
                x = _mm512_xor_si512(x, sign);
            }
            let sum = &mut sums[at % TURNS];
            *sum = _mm512_dpbusd_epi32(*sum, x, line(c));
        }
    }
    let [a, b, c, d] = sums;
    let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
    _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(group.unit))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn line(values: &Halves) -> __m512i {
    // SAFETY: 64 bytes on a boundary of 64.
    unsafe { _mm512_load_si512(values.0.as_ptr().cast()) }
}
