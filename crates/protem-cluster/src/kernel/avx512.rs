//! f32 scores with 512-bit vectors: 8 centroids by 48 points in 24 registers.
//!
//! The points of a strip lie transposed, 16 to a vector, and the centroids' values are broadcast
//! from memory inside the multiply-add; so 24 multiply-adds wait for 11 loads, and the maximum
//! over a group is taken down the registers.

use super::{LANES, Lanes, Leaders, STRIP, TOGETHER, TOP, Top};
use std::arch::x86_64::*;

const PARTS: usize = STRIP / LANES;
/// Centroids whose sums are in registers at once: half a group.
const ROWS: usize = LANES / 2;

fn check() {
    assert!(
        is_x86_feature_detected!("avx512f"),
        "AVX-512 is not usable here"
    );
}

/// As [`super::best_of_groups`], which checks the sizes.
pub(super) fn best_of_groups(
    points: &[Lanes],
    groups: &[Lanes],
    first: &[Lanes],
    best: &mut [Lanes],
) {
    check();
    let columns = points.len() / PARTS;
    assert_eq!(groups.len(), first.len() * columns, "a line per column");
    // SAFETY: AVX-512 F is there; strip and groups have the same number of columns.
    unsafe { sweep(points, groups, first, best) }
}

/// # Safety
/// AVX-512 F; three lines of `points` for each line of a group.
#[target_feature(enable = "avx512f")]
unsafe fn sweep(points: &[Lanes], groups: &[Lanes], first: &[Lanes], best: &mut [Lanes]) {
    let of_groups = groups.chunks_exact(points.len() / PARTS).zip(first);
    for ((group, first), best) in of_groups.zip(best.chunks_exact_mut(PARTS)) {
        // SAFETY: the caller's word.
        let [low, high] = unsafe {
            [
                half(points, group, first, 0),
                half(points, group, first, ROWS),
            ]
        };
        for (part, best) in best.iter_mut().enumerate() {
            store(_mm512_max_ps(low[part], high[part]), best);
        }
    }
}

/// The best of centroids `begin` to `begin + 8` of a group for each point of the strip.
///
/// # Safety
/// AVX-512 F; three lines of `points` for each of `group`, and `begin` at most 8.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn half(points: &[Lanes], group: &[Lanes], first: &Lanes, begin: usize) -> [__m512; PARTS] {
    let mut sums = [[_mm512_setzero_ps(); PARTS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [_mm512_set1_ps(first.0[begin + row]); PARTS];
    }
    for (point, centroids) in points.chunks_exact(PARTS).zip(group) {
        let x = [load(&point[0]), load(&point[1]), load(&point[2])];
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `begin + row` is below 16.
            let c = _mm512_set1_ps(unsafe { *centroids.0.get_unchecked(begin + row) });
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(x, c, *sum);
            }
        }
    }
    let mut best = sums[0];
    for sums in &sums[1..] {
        for (best, sum) in best.iter_mut().zip(sums) {
            *best = _mm512_max_ps(*best, *sum);
        }
    }
    best
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load(lanes: &Lanes) -> __m512 {
    // SAFETY: 64 bytes on a boundary of 64.
    unsafe { _mm512_load_ps(lanes.0.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store(value: __m512, lanes: &mut Lanes) {
    // SAFETY: 64 bytes on a boundary of 64.
    unsafe { _mm512_store_ps(lanes.0.as_mut_ptr(), value) }
}

/// As [`super::leaders`], which checks the sizes.
pub(super) fn leaders(
    points: [&[f32]; TOGETHER],
    windows: [f32; TOGETHER],
    group: &[Lanes],
    first: &Lanes,
    next: bool,
) -> [Leaders; TOGETHER] {
    check();
    assert!(points.iter().all(|x| x.len() >= group.len()));
    // SAFETY: AVX-512 F is there, and each point has a value for each line of the group.
    let scores = unsafe { scores_of(points, group, first) };
    // SAFETY: AVX-512 F is there.
    unsafe { leaders_of(scores, windows, next) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn leaders_of(
    scores: [__m512; TOGETHER],
    windows: [f32; TOGETHER],
    next: bool,
) -> [Leaders; TOGETHER] {
    let best = maxima(scores);
    // SAFETY: four values.
    let windows = _mm512_broadcast_f32x4(unsafe { _mm_loadu_ps(windows.as_ptr()) });
    let least = _mm512_sub_ps(best, windows);
    let least = [
        _mm512_permute_ps::<0x00>(least),
        _mm512_permute_ps::<0x55>(least),
        _mm512_permute_ps::<0xaa>(least),
        _mm512_permute_ps::<0xff>(least),
    ];
    let mut close = [0; TOGETHER];
    for i in 0..TOGETHER {
        close[i] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scores[i], least[i]);
    }
    let first_four = |values: __m512| {
        let mut four = [0.0f32; TOGETHER];
        // SAFETY: four values.
        unsafe { _mm_storeu_ps(four.as_mut_ptr(), _mm512_castps512_ps128(values)) };
        four
    };
    let best = first_four(best);
    let next = if next {
        let mut others = scores;
        for (scores, close) in others.iter_mut().zip(close) {
            let nothing = _mm512_set1_ps(f32::NEG_INFINITY);
            *scores = _mm512_mask_mov_ps(*scores, close, nothing);
        }
        first_four(maxima(others))
    } else {
        best
    };
    std::array::from_fn(|i| Leaders {
        best: best[i],
        close: close[i],
        next: next[i],
    })
}

/// The maxima of four vectors, see [`across`].
#[target_feature(enable = "avx512f")]
#[inline]
fn maxima(vectors: [__m512; TOGETHER]) -> __m512 {
    across(vectors, |a, b| _mm512_max_ps(a, b))
}

/// What comes of the values of each of four vectors, in each four lanes of the result: taken of pairs of
/// values side by side, then of fours, then across the vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn across([a, b, c, d]: [__m512; TOGETHER], of: impl Fn(__m512, __m512) -> __m512) -> __m512 {
    let pd = |v| _mm512_castps_pd(v);
    let pair = |a, b| of(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (low, high) = (pd(pair(a, b)), pd(pair(c, d)));
    let (even, odd) = (_mm512_unpacklo_pd(low, high), _mm512_unpackhi_pd(low, high));
    let fours = of(_mm512_castpd_ps(even), _mm512_castpd_ps(odd));
    let halves = of(fours, _mm512_shuffle_f32x4::<0x4e>(fours, fours));
    of(halves, _mm512_shuffle_f32x4::<0xb1>(halves, halves))
}

/// # Safety
/// AVX-512 F; each point has at least `group.len()` values.
#[target_feature(enable = "avx512f")]
unsafe fn scores_of(
    points: [&[f32]; TOGETHER],
    group: &[Lanes],
    first: &Lanes,
) -> [__m512; TOGETHER] {
    // Two sums a point: eight multiply-adds in flight cover their latency.
    let mut sums = [[load(first), _mm512_setzero_ps()]; TOGETHER];
    let pairs = group.chunks_exact(2);
    let odd = pairs.remainder();
    for (pair, lines) in pairs.enumerate() {
        for (half, line) in lines.iter().enumerate() {
            let c = load(line);
            for (x, sums) in points.iter().zip(&mut sums) {
                // SAFETY: `2·pair + half` is below `group.len()`.
                let x = _mm512_set1_ps(unsafe { *x.get_unchecked(2 * pair + half) });
                sums[half] = _mm512_fmadd_ps(x, c, sums[half]);
            }
        }
    }
    let mut scores = [_mm512_setzero_ps(); TOGETHER];
    for ((x, sums), score) in points.iter().zip(&sums).zip(&mut scores) {
        *score = _mm512_add_ps(sums[0], sums[1]);
        if let Some(line) = odd.first() {
            let x = _mm512_set1_ps(x[group.len() - 1]);
            *score = _mm512_fmadd_ps(x, load(line), *score);
        }
    }
    scores
}

/// As [`super::rough_distances`], which checks the sizes.
#[inline]
pub(super) fn rough_distances(
    points: [&[f32]; TOGETHER],
    centroids: [&[f32]; TOGETHER],
) -> [f32; TOGETHER] {
    check();
    let len = points[0].len();
    assert!(points.iter().chain(&centroids).all(|row| row.len() == len));
    // SAFETY: AVX-512 F is there, and rows have the same length.
    unsafe { rough_distances_of(points, centroids) }
}

/// # Safety
/// AVX-512 F; all rows have the same length.
#[target_feature(enable = "avx512f")]
unsafe fn rough_distances_of(
    points: [&[f32]; TOGETHER],
    centroids: [&[f32]; TOGETHER],
) -> [f32; TOGETHER] {
    let mut sums = [_mm512_setzero_ps(); TOGETHER];
    let len = points[0].len();
    for at in (0..len).step_by(LANES) {
        let mask = match len - at {
            0..LANES => (1 << (len - at)) - 1,
            _ => u16::MAX,
        };
        for ((x, c), sum) in points.iter().zip(&centroids).zip(&mut sums) {
            // SAFETY: values beyond the rows are masked.
            let (x, c) = unsafe {
                (
                    _mm512_maskz_loadu_ps(mask, x.as_ptr().add(at)),
                    _mm512_maskz_loadu_ps(mask, c.as_ptr().add(at)),
                )
            };
            let apart = _mm512_sub_ps(x, c);
            *sum = _mm512_fmadd_ps(apart, apart, *sum);
        }
    }
    let sums = across(sums, |a, b| _mm512_add_ps(a, b));
    let mut found = [0.0; TOGETHER];
    // SAFETY: four values.
    unsafe { _mm_storeu_ps(found.as_mut_ptr(), _mm512_castps512_ps128(sums)) };
    found
}

/// As [`super::highest`].
pub(super) fn highest(best: &[Lanes], parts: usize, part: usize) -> Lanes {
    check();
    // SAFETY: AVX-512 F is there.
    unsafe { highest_of(best, parts, part) }
}

#[target_feature(enable = "avx512f")]
fn highest_of(best: &[Lanes], parts: usize, part: usize) -> Lanes {
    let mut highest = _mm512_set1_ps(f32::NEG_INFINITY);
    for of_group in best.chunks_exact(parts) {
        highest = _mm512_max_ps(highest, load(&of_group[part]));
    }
    let mut lanes = Lanes::ZERO;
    store(highest, &mut lanes);
    lanes
}

/// As [`super::reaching`].
#[inline]
pub(super) fn reaching(
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    check();
    // SAFETY: AVX-512 F is there.
    unsafe { reaching_of(best, parts, part, threshold, found) }
}

#[target_feature(enable = "avx512f")]
fn reaching_of(
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    /// Groups whose finds are gathered before they are told.
    const GATHERED: usize = 64;
    let threshold = load(threshold);
    let mut finds = [(0, 0); GATHERED];
    for (at, groups) in best.chunks(GATHERED * parts).enumerate() {
        // About one group in ten has a find, in no order that a processor could foresee.
        let mut count = 0;
        for (group, of_group) in groups.chunks_exact(parts).enumerate() {
            let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(&of_group[part]), threshold);
            finds[count] = (at * GATHERED + group, mask);
            count += usize::from(mask != 0);
        }
        for (group, mask) in &finds[..count] {
            found(*group, *mask);
        }
    }
}

/// As [`super::top`].
pub(super) fn top(best: &[Lanes], parts: usize, part: usize, top: &mut Top) {
    check();
    // SAFETY: AVX-512 F is there.
    unsafe { top_of(best, parts, part, top) }
}

#[target_feature(enable = "avx512f")]
fn top_of(best: &[Lanes], parts: usize, part: usize, top: &mut Top) {
    let mut keys = [_mm512_setzero_ps(); TOP];
    for (key, lanes) in keys.iter_mut().zip(&top.keys) {
        *key = load(lanes);
    }
    let (number, least) = (
        _mm512_set1_epi32(top.number as i32),
        _mm512_set1_ps(f32::MIN),
    );
    for (at, of_group) in best.chunks_exact(parts).enumerate() {
        let score = _mm512_castps_si512(_mm512_max_ps(load(&of_group[part]), least));
        let score = _mm512_andnot_si512(number, score);
        let key = _mm512_or_si512(score, _mm512_set1_epi32(at as i32));
        let mut key = _mm512_castsi512_ps(key);
        // Seldom, after the first few.
        if _mm512_cmp_ps_mask::<_CMP_GT_OQ>(key, keys[TOP - 1]) == 0 {
            continue;
        }
        for held in &mut keys {
            let less = _mm512_min_ps(key, *held);
            *held = _mm512_max_ps(key, *held);
            key = less;
        }
    }
    for (key, lanes) in keys.into_iter().zip(&mut top.keys) {
        store(key, lanes);
    }
}

/// As [`super::transpose`], which checks the sizes, for whole sixteens of columns: how many.
pub(super) fn transpose(rows: &[&[f32]], lines: &mut [Lanes], parts: usize, part: usize) -> usize {
    check();
    let whole = lines.len() / parts / LANES * LANES;
    assert!(rows.len() == LANES && rows.iter().all(|row| row.len() >= whole));
    // SAFETY: AVX-512 F is there, and there are 16 rows of `whole` values at least.
    unsafe { transpose_all(rows, &mut lines[..whole * parts], parts, part) };
    whole
}

/// # Safety
/// AVX-512 F; 16 rows of at least a value for each of `lines.len() / parts` columns, which are
/// whole sixteens.
#[target_feature(enable = "avx512f")]
unsafe fn transpose_all(rows: &[&[f32]], lines: &mut [Lanes], parts: usize, part: usize) {
    for (at, lines) in lines.chunks_exact_mut(LANES * parts).enumerate() {
        // SAFETY: the caller's word.
        let columns = unsafe { transpose_16(rows, at * LANES) };
        for (lines, values) in lines.chunks_exact_mut(parts).zip(columns) {
            store(values, &mut lines[part]);
        }
    }
}

/// Columns `begin` to `begin + 16` of 16 rows, a vector each.
///
/// # Safety
/// AVX-512 F; 16 rows of at least `begin + 16` values.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transpose_16(rows: &[&[f32]], begin: usize) -> [__m512; LANES] {
    // SAFETY: the caller's word.
    let row = |i: usize| unsafe { _mm512_loadu_ps(rows.get_unchecked(i).as_ptr().add(begin)) };
    // Four rows at a time into fours of one column, four columns apart.
    let mut fours = [_mm512_setzero_ps(); LANES];
    for (of_four, fours) in fours.chunks_exact_mut(4).enumerate() {
        let [a, b, c, d] = std::array::from_fn(|i| row(4 * of_four + i));
        let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (below, above) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let pd = |v| _mm512_castps_pd(v);
        fours[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(low), pd(below)));
        fours[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(low), pd(below)));
        fours[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(high), pd(above)));
        fours[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(high), pd(above)));
    }
    let mut columns = [_mm512_setzero_ps(); LANES];
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (even, odd) = (
            _mm512_shuffle_f32x4::<0x88>(a, b),
            _mm512_shuffle_f32x4::<0xdd>(a, b),
        );
        let (even_2, odd_2) = (
            _mm512_shuffle_f32x4::<0x88>(c, d),
            _mm512_shuffle_f32x4::<0xdd>(c, d),
        );
        columns[j] = _mm512_shuffle_f32x4::<0x88>(even, even_2);
        columns[j + 4] = _mm512_shuffle_f32x4::<0x88>(odd, odd_2);
        columns[j + 8] = _mm512_shuffle_f32x4::<0xdd>(even, even_2);
        columns[j + 12] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_2);
    }
    columns
}
