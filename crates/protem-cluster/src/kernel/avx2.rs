//! f32 scores with 256-bit vectors: 4 centroids by 24 points in 12 of 16 registers.
//!
//! As with 512 bits: points transposed, values of centroids broadcast, the maximum over a group
//! taken down the registers; a strip is two halves of 24 points.

use super::{LANES, Lanes, Leaders, STRIP, TOGETHER};
use std::arch::x86_64::*;

const PARTS: usize = STRIP / LANES;
/// Values of a vector.
const WIDTH: usize = 8;
/// Vectors of half a strip.
const VECTORS: usize = STRIP / 2 / WIDTH;
/// Centroids whose sums are in registers at once.
const ROWS: usize = 4;

fn check() {
    assert!(
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        "AVX2 is not usable here"
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
    let of_groups = groups.chunks_exact(columns).zip(first);
    for ((group, first), best) in of_groups.zip(best.chunks_exact_mut(PARTS)) {
        let best = best.as_flattened_values();
        for (half, best) in best.chunks_exact_mut(STRIP / 2).enumerate() {
            // SAFETY: AVX2 and FMA are there; strip and group have the same number of columns.
            unsafe { best_of_half(points, half * STRIP / 2, group, first, best) };
        }
    }
}

/// Lines as one run of values.
trait Flat {
    fn as_flattened_values(&mut self) -> &mut [f32];
}

impl Flat for [Lanes] {
    fn as_flattened_values(&mut self) -> &mut [f32] {
        let (start, len) = (self.as_mut_ptr(), self.len() * LANES);
        // SAFETY: `Lanes` is 16 values and nothing else, 64 bytes on boundaries of 64.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
    }
}

/// # Safety
/// AVX2 and FMA; three lines of `points` for each of `group`; `from` is 0 or 24; `best` has 24
/// values.
#[target_feature(enable = "avx2,fma")]
unsafe fn best_of_half(
    points: &[Lanes],
    from: usize,
    group: &[Lanes],
    first: &Lanes,
    best: &mut [f32],
) {
    let mut of_group = [_mm256_set1_ps(f32::NEG_INFINITY); VECTORS];
    for begin in (0..LANES).step_by(ROWS) {
        let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm256_set1_ps(first.0[begin + row]); VECTORS];
        }
        for (column, centroids) in group.iter().enumerate() {
            // SAFETY: 48 values a column, of which 24 from `from` on.
            let x: [__m256; VECTORS] = std::array::from_fn(|v| unsafe {
                let values: *const f32 = points.as_ptr().add(column * PARTS).cast();
                _mm256_loadu_ps(values.add(from + v * WIDTH))
            });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `begin + row` is below 16.
                let c = _mm256_set1_ps(unsafe { *centroids.0.get_unchecked(begin + row) });
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm256_fmadd_ps(x, c, *sum);
                }
            }
        }
        for sums in sums {
            for (best, sum) in of_group.iter_mut().zip(sums) {
                *best = _mm256_max_ps(*best, sum);
            }
        }
    }
    for (values, best) in best.chunks_exact_mut(WIDTH).zip(of_group) {
        // SAFETY: eight values.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), best) };
    }
}

/// As [`super::leaders`], which checks the sizes.
pub(super) fn leaders(
    points: [&[f32]; TOGETHER],
    windows: [f32; TOGETHER],
    group: &[Lanes],
    first: &Lanes,
) -> [Leaders; TOGETHER] {
    check();
    assert!(points.iter().all(|x| x.len() >= group.len()));
    // SAFETY: AVX2 and FMA are there, and each point has a value for each line of the group.
    let scores = unsafe { scores_of(points, group, first) };
    std::array::from_fn(|i| super::portable::leaders(&scores[i], windows[i]))
}

/// # Safety
/// AVX2 and FMA; each point has at least `group.len()` values.
#[target_feature(enable = "avx2,fma")]
unsafe fn scores_of(
    points: [&[f32]; TOGETHER],
    group: &[Lanes],
    first: &Lanes,
) -> [Lanes; TOGETHER] {
    let load = |lanes: &Lanes| {
        // SAFETY: twice eight of 16 values.
        unsafe {
            let values = lanes.0.as_ptr();
            [_mm256_load_ps(values), _mm256_load_ps(values.add(WIDTH))]
        }
    };
    let mut sums = [load(first); TOGETHER];
    for (column, line) in group.iter().enumerate() {
        let c = load(line);
        for (x, sums) in points.iter().zip(&mut sums) {
            // SAFETY: `column` is below `group.len()`.
            let x = _mm256_set1_ps(unsafe { *x.get_unchecked(column) });
            for (sum, c) in sums.iter_mut().zip(c) {
                *sum = _mm256_fmadd_ps(x, c, *sum);
            }
        }
    }
    let mut scores = [Lanes::ZERO; TOGETHER];
    for (sums, scores) in sums.iter().zip(&mut scores) {
        for (sum, values) in sums.iter().zip(scores.0.chunks_exact_mut(WIDTH)) {
            // SAFETY: eight values.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), *sum) };
        }
    }
    scores
}
