//! f32 scores with 256-bit vectors: 4 centroids by 24 points in 12 of 16 registers.
//!
//! As with 512 bits: points transposed, values of centroids broadcast, the maximum over a group
//! taken down the registers; a strip is two halves of 24 points.

use super::{LANES, Lanes, Leaders, STRIP, TOGETHER};
use std::arch::asm;
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
    assert!(columns > 0, "at least one column");
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
        // SAFETY: the caller's word; `begin` is at most 12.
        let tile = unsafe { tile(points, from, group, first, begin) };
        for (best, tile) in of_group.iter_mut().zip(tile) {
            *best = _mm256_max_ps(*best, tile);
        }
    }
    for (values, best) in best.chunks_exact_mut(WIDTH).zip(of_group) {
        // SAFETY: eight values.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), best) };
    }
}

/// One centroid's value against three vectors of points.
macro_rules! row {
    ($at:literal, $s0:literal, $s1:literal, $s2:literal) => {
        concat!(
            "vbroadcastss {c}, [{centroids} + 4*",
            $at,
            "]\n",
            "vfmadd231ps {",
            $s0,
            "}, {x0}, {c}\n",
            "vfmadd231ps {",
            $s1,
            "}, {x1}, {c}\n",
            "vfmadd231ps {",
            $s2,
            "}, {x2}, {c}\n",
        )
    };
}

/// The best of centroids `begin` to `begin + 4` of a group for 24 points. In assembly, because it
/// takes all 16 registers and compilers, who load ahead, do with 20.
///
/// # Safety
/// AVX2 and FMA; three lines of `points` for each of `group`, at least one; `from` is 0 or 24,
/// `begin` at most 12.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile(
    points: &[Lanes],
    from: usize,
    group: &[Lanes],
    first: &Lanes,
    begin: usize,
) -> [__m256; VECTORS] {
    let mut s = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for (row, sums) in s.iter_mut().enumerate() {
        *sums = [_mm256_set1_ps(first.0[begin + row]); VECTORS];
    }
    // SAFETY: the loop runs once for each line of the group, and reads 24 of a column's 48 values
    // of points from `from` on and 4 of its 16 of centroids from `begin` on.
    unsafe {
        asm!(
            "2:",
            "vmovups {x0}, [{points}]",
            "vmovups {x1}, [{points} + 32]",
            "vmovups {x2}, [{points} + 64]",
            row!(0, "s00", "s01", "s02"),
            row!(1, "s10", "s11", "s12"),
            row!(2, "s20", "s21", "s22"),
            row!(3, "s30", "s31", "s32"),
            "add {points}, 192",
            "add {centroids}, 64",
            "dec {left}",
            "jnz 2b",
            points = inout(reg) points.as_ptr().cast::<f32>().add(from) => _,
            centroids = inout(reg) group.as_ptr().cast::<f32>().add(begin) => _,
            left = inout(reg) group.len() => _,
            s00 = inout(ymm_reg) s[0][0], s01 = inout(ymm_reg) s[0][1], s02 = inout(ymm_reg) s[0][2],
            s10 = inout(ymm_reg) s[1][0], s11 = inout(ymm_reg) s[1][1], s12 = inout(ymm_reg) s[1][2],
            s20 = inout(ymm_reg) s[2][0], s21 = inout(ymm_reg) s[2][1], s22 = inout(ymm_reg) s[2][2],
            s30 = inout(ymm_reg) s[3][0], s31 = inout(ymm_reg) s[3][1], s32 = inout(ymm_reg) s[3][2],
            x0 = out(ymm_reg) _, x1 = out(ymm_reg) _, x2 = out(ymm_reg) _, c = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
    let mut best = s[0];
    for sums in &s[1..] {
        for (best, sum) in best.iter_mut().zip(sums) {
            *best = _mm256_max_ps(*best, *sum);
        }
    }
    best
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

/// As [`super::reaching`].
pub(super) fn reaching(
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    check();
    // SAFETY: AVX2 is there.
    unsafe { reaching_of(best, parts, part, threshold, found) }
}

/// The portable code in wider instructions.
#[target_feature(enable = "avx2")]
fn reaching_of(
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    super::portable::reaching(best, parts, part, threshold, found);
}
