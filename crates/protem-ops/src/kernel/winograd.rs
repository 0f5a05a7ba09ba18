//! The sums before and behind the products of a 3×3 convolution by tiles of 2×2 results: Winograd's
//! `F(2×2, 3×3)`, `y = Aᵀ[(G·w·Gᵀ) ⊙ (Bᵀ·d·B)]A` (Lavin and Gray, CVPR 2016, §4.1). A value of a tile is
//! a slice here: a pixel's channels in some images.

use super::end_of;
use super::vector::{Vector, with_vectors};
use crate::isa::Isa;

/// Side of the patch of the input that a tile's results read.
pub(crate) const PATCH: usize = 4;
/// Products of a tile: one for each pixel of the patch.
pub(crate) const POINTS: usize = PATCH * PATCH;
/// Pixels of a tile of results.
pub(crate) const RESULTS: usize = 4;

/// `Bᵀ·d·B` of a patch `d`, row by row; its points come `step` values apart.
///
/// # Panics
/// If the pixels differ in length, or a point reaches beyond `to` or into the next one.
pub(crate) fn transform_patch(isa: Isa, pixels: [&[f32]; POINTS], to: &mut [f32], step: usize) {
    let len = pixels[0].len();
    assert!(pixels.iter().all(|pixel| pixel.len() == len), "one length");
    assert!(len <= step, "points apart from each other");
    let end = end_of(0, &[(POINTS - 1, step)], len);
    assert!(end <= to.len(), "points outside their slice");
    let from = pixels.map(<[f32]>::as_ptr);
    // SAFETY: `len` values lie behind each pointer, and behind each point; levels other than the
    // portable one only come from run-time detection.
    unsafe { patch_on(isa, &from, to.as_mut_ptr(), step, len) }
}

/// `Aᵀ·m·A` of a tile's products `m`, which lie `step` values apart: written over the four results, or added
/// to them.
///
/// # Panics
/// If the results differ in length, or a product reaches beyond `sums`.
pub(crate) fn results(
    isa: Isa,
    sums: &[f32],
    step: usize,
    onto: bool,
    mut to: [&mut [f32]; RESULTS],
) {
    let len = to[0].len();
    assert!(to.iter().all(|pixel| pixel.len() == len), "one length");
    let end = end_of(0, &[(POINTS - 1, step)], len);
    assert!(end <= sums.len(), "products outside their slice");
    let to = to.each_mut().map(|to| to.as_mut_ptr());
    // SAFETY: as in `transform_patch`.
    unsafe { results_on(isa, sums.as_ptr(), step, onto, &to, len) }
}

/// A part of each pixel: `width` values in each of `rows` rows, which begin `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl Strip {
    fn len(&self) -> usize {
        self.rows * self.width
    }

    /// # Panics
    /// If a pixel is shorter than the strip, or `to` has not room for four points of it without gaps.
    fn check(&self, pixels: &[&[f32]], to: &[f32]) {
        let end = end_of(0, &[(self.rows.saturating_sub(1), self.stride)], self.width);
        assert!(
            pixels.iter().all(|pixel| end <= pixel.len()),
            "the strip of a pixel"
        );
        let of_point = end_of(0, &[(self.rows, self.width)], 0);
        assert_eq!(to.len(), end_of(0, &[(PATCH, of_point)], 0), "four points");
    }
}

/// One row of the points of [`transform_patch`], for a strip of each pixel, without gaps.
///
/// # Panics
/// If a pixel is too short, `to` is not as long as four strips, or there is no such row.
pub(crate) fn row_of_patch(
    isa: Isa,
    row: usize,
    pixels: [&[f32]; POINTS],
    strip: Strip,
    to: &mut [f32],
) {
    strip.check(&pixels, to);
    // Of `Bᵀ`: two lines of the patch, and whether their sum or their difference.
    let (a, b, sum) = [(0, 2, false), (1, 2, true), (2, 1, false), (1, 3, false)][row];
    let line = |line: usize| -> [*const f32; PATCH] {
        std::array::from_fn(|i| pixels[line * PATCH + i].as_ptr())
    };
    // SAFETY: the strip lies in each pixel, and four of them in `to`; for the level, as in
    // `transform_patch`.
    unsafe { patch_row_on(isa, &line(a), &line(b), sum, strip, to.as_mut_ptr()) }
}

/// One row of `A·y·Aᵀ` of a tile's four pixels `y`, in the same way.
///
/// # Panics
/// As [`row_of_patch`].
pub(crate) fn row_of_results(
    isa: Isa,
    row: usize,
    pixels: [&[f32]; RESULTS],
    strip: Strip,
    to: &mut [f32],
) {
    strip.check(&pixels, to);
    // Of `A`: what the two lines of the tile are multiplied by.
    let factors = [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, -1.0]][row];
    let from = pixels.map(<[f32]>::as_ptr);
    // SAFETY: as in `row_of_patch`.
    unsafe { results_row_on(isa, &from, factors, strip, to.as_mut_ptr()) }
}

with_vectors! {
    unsafe fn patch_on(from: &[*const f32; POINTS], to: *mut f32, step: usize, len: usize) = patch
}

with_vectors! {
    unsafe fn results_on(
        sums: *const f32,
        step: usize,
        onto: bool,
        to: &[*mut f32; RESULTS],
        len: usize,
    ) = all_results
}

with_vectors! {
    unsafe fn patch_row_on(
        a: &[*const f32; PATCH],
        b: &[*const f32; PATCH],
        sum: bool,
        strip: Strip,
        to: *mut f32,
    ) = patch_row
}

with_vectors! {
    unsafe fn results_row_on(
        from: &[*const f32; RESULTS],
        factors: [f32; 2],
        strip: Strip,
        to: *mut f32,
    ) = results_row
}

/// The first values behind a pointer: a register full, or as many as are left.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, left: usize) -> V {
    // SAFETY: the caller vouches for `left` values.
    unsafe {
        match left >= V::WIDTH {
            true => V::load(from),
            false => V::load_first(from, left),
        }
    }
}

#[inline(always)]
unsafe fn store<V: Vector>(values: V, to: *mut f32, left: usize) {
    // SAFETY: the caller vouches for `left` values.
    unsafe {
        match left >= V::WIDTH {
            true => values.store(to),
            false => values.store_first(to, left),
        }
    }
}

/// # Safety
/// As [`Vector`]; `len` values behind each pixel, and behind each point of `to`.
#[inline(always)]
unsafe fn patch<V: Vector>(from: &[*const f32; POINTS], to: *mut f32, step: usize, len: usize) {
    for at in (0..len).step_by(V::WIDTH) {
        let left = len - at;
        // SAFETY: `at + left` is `len`.
        unsafe {
            let mut rows = [[V::zero(); PATCH]; PATCH];
            for column in 0..PATCH {
                let mut line = [V::zero(); PATCH];
                for (row, value) in line.iter_mut().enumerate() {
                    *value = load(from[row * PATCH + column].add(at), left);
                }
                for (row, point) in rows.iter_mut().zip(in_line(line)) {
                    row[column] = point;
                }
            }
            for (i, row) in rows.into_iter().enumerate() {
                for (j, point) in in_line(row).into_iter().enumerate() {
                    store(point, to.add((i * PATCH + j) * step + at), left);
                }
            }
        }
    }
}

/// `Bᵀ·d` of four values.
#[inline(always)]
unsafe fn in_line<V: Vector>([a, b, c, d]: [V; PATCH]) -> [V; PATCH] {
    // SAFETY: as the caller vouches.
    unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
}

/// `Aᵀ·m` of four products.
#[inline(always)]
unsafe fn out_of_line<V: Vector>([a, b, c, d]: [V; PATCH]) -> [V; 2] {
    // SAFETY: as the caller vouches.
    unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
}

/// # Safety
/// As [`Vector`]; `len` values behind each product, and behind each result.
#[inline(always)]
unsafe fn all_results<V: Vector>(
    sums: *const f32,
    step: usize,
    onto: bool,
    to: &[*mut f32; RESULTS],
    len: usize,
) {
    for at in (0..len).step_by(V::WIDTH) {
        let left = len - at;
        // SAFETY: `at + left` is `len`.
        unsafe {
            let mut rows = [[V::zero(); PATCH]; 2];
            for column in 0..PATCH {
                let mut line = [V::zero(); PATCH];
                for (row, value) in line.iter_mut().enumerate() {
                    *value = load(sums.add((row * PATCH + column) * step + at), left);
                }
                for (row, half) in rows.iter_mut().zip(out_of_line(line)) {
                    row[column] = half;
                }
            }
            for (row, pixels) in rows.into_iter().zip(to.chunks_exact(2)) {
                for (result, pixel) in out_of_line(row).into_iter().zip(pixels) {
                    let pixel = pixel.add(at);
                    let result = match onto {
                        true => load::<V>(pixel, left).add(result),
                        false => result,
                    };
                    store(result, pixel, left);
                }
            }
        }
    }
}

/// # Safety
/// As [`Vector`]; the strip lies behind each pixel, and four of them without gaps behind `to`.
#[inline(always)]
unsafe fn patch_row<V: Vector>(
    a: &[*const f32; PATCH],
    b: &[*const f32; PATCH],
    sum: bool,
    strip: Strip,
    to: *mut f32,
) {
    for row in 0..strip.rows {
        for at in (0..strip.width).step_by(V::WIDTH) {
            let left = strip.width - at;
            // SAFETY: `at + left` is the width.
            unsafe {
                let from = row * strip.stride + at;
                let mut line = [V::zero(); PATCH];
                for (value, (a, b)) in line.iter_mut().zip(a.iter().zip(b)) {
                    let (a, b) = (load::<V>(a.add(from), left), load(b.add(from), left));
                    *value = if sum { a.add(b) } else { a.sub(b) };
                }
                let to = to.add(row * strip.width + at);
                for (i, point) in in_line(line).into_iter().enumerate() {
                    store(point, to.add(i * strip.len()), left);
                }
            }
        }
    }
}

/// # Safety
/// As [`patch_row`].
#[inline(always)]
unsafe fn results_row<V: Vector>(
    from: &[*const f32; RESULTS],
    factors: [f32; 2],
    strip: Strip,
    to: *mut f32,
) {
    for row in 0..strip.rows {
        for at in (0..strip.width).step_by(V::WIDTH) {
            let left = strip.width - at;
            // SAFETY: `at + left` is the width.
            unsafe {
                let there = row * strip.stride + at;
                let mut line = [V::zero(); 2];
                for (i, value) in line.iter_mut().enumerate() {
                    for (row, factor) in factors.into_iter().enumerate() {
                        let pixel = load(from[2 * row + i].add(there), left);
                        *value = value.mul_add(V::splat(factor), pixel);
                    }
                }
                let [a, b] = line;
                let points = [a, a.add(b), a.sub(b), V::zero().sub(b)];
                let to = to.add(row * strip.width + at);
                for (i, point) in points.into_iter().enumerate() {
                    store(point, to.add(i * strip.len()), left);
                }
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::kernel::guard::{Against, Guarded};

    const B: [[f64; 4]; 4] = [
        [1.0, 0.0, -1.0, 0.0],
        [0.0, 1.0, 1.0, 0.0],
        [0.0, -1.0, 1.0, 0.0],
        [0.0, 1.0, 0.0, -1.0],
    ];
    const A: [[f64; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
        (0..len).map(number).collect()
    }

    /// `left · values · leftᵀ` of 4×4 values.
    fn both_sides<const ROWS: usize>(
        left: &[[f64; 4]; ROWS],
        values: impl Fn(usize) -> f64,
    ) -> Vec<f64> {
        let all = (0..ROWS * ROWS).map(|place| {
            let (row, column) = (left[place / ROWS], left[place % ROWS]);
            let of = |i: usize| row[i / 4] * column[i % 4] * values(i);
            (0..POINTS).map(of).sum()
        });
        all.collect()
    }

    /// With slices at guard pages, of lengths around those of registers, on every level.
    fn guarded(test: impl Fn(Isa, Against, usize)) {
        for isa in Isa::available() {
            for against in [Against::Begin, Against::End] {
                for len in [0, 1, 3, 4, 8, 15, 16, 17, 40] {
                    test(isa, against, len);
                }
            }
        }
    }

    #[test]
    fn patches_are_transformed_and_nothing_is_touched_beside_them() {
        guarded(|isa, against, len| {
            let step = len + 3;
            let pixels: Vec<Guarded<f32>> = (0..POINTS)
                .map(|i| Guarded::new(&numbers(len, i), against))
                .collect();
            let before = numbers((POINTS - 1) * step + len, 50);
            let mut to = Guarded::new(&before, against);
            transform_patch(isa, std::array::from_fn(|i| &pixels[i][..]), &mut to, step);
            for at in 0..step {
                let want = both_sides(&B, |i| if at < len { pixels[i][at].into() } else { 0.0 });
                for (point, want) in want.into_iter().enumerate() {
                    let Some(got) = to.get(point * step + at) else {
                        continue;
                    };
                    match at < len {
                        true => assert!((f64::from(*got) - want).abs() < 1e-6, "{isa:?}"),
                        false => assert_eq!(*got, before[point * step + at], "{isa:?}"),
                    }
                }
            }
        });
    }

    #[test]
    fn results_are_sums_of_products_and_may_be_added() {
        guarded(|isa, against, len| {
            for onto in [false, true] {
                let step = len + 1;
                let sums = Guarded::new(&numbers((POINTS - 1) * step + len, 1), against);
                let mut to = [2, 3, 4, 5].map(|seed| Guarded::new(&numbers(len, seed), against));
                let before = to.each_ref().map(|to| to.to_vec());
                results(isa, &sums, step, onto, to.each_mut().map(|to| &mut to[..]));
                for at in 0..len {
                    let want = both_sides(&A, |i| sums[i * step + at].into());
                    for (pixel, want) in want.into_iter().enumerate() {
                        let there = if onto { before[pixel][at] } else { 0.0 };
                        let error = f64::from(to[pixel][at]) - want - f64::from(there);
                        assert!(error.abs() < 1e-5, "{isa:?}");
                    }
                }
            }
        });
    }

    #[test]
    fn rows_of_points_are_those_of_whole_tiles() {
        let transposed: [[f64; 4]; 4] =
            std::array::from_fn(|i| std::array::from_fn(|j| if j < 2 { A[j][i] } else { 0.0 }));
        guarded(|isa, against, width| {
            let (rows, stride) = (3, width + 2);
            let strip = Strip {
                rows,
                width,
                stride,
            };
            let len = 2 * stride + width;
            let pixels: Vec<Guarded<f32>> = (0..POINTS)
                .map(|i| Guarded::new(&numbers(len, i), against))
                .collect();
            let of = |i: usize| &pixels[i][..];
            for row in 0..PATCH {
                let mut patch = Guarded::new(&numbers(PATCH * rows * width, 50), against);
                let mut results = Guarded::new(&numbers(PATCH * rows * width, 51), against);
                row_of_patch(isa, row, std::array::from_fn(of), strip, &mut patch);
                row_of_results(isa, row, std::array::from_fn(of), strip, &mut results);
                for (i, at) in (0..rows).flat_map(|i| (0..width).map(move |at| (i, at))) {
                    let value = |pixel: usize| f64::from(pixels[pixel][i * stride + at]);
                    let square = |i: usize| match (i / 4 < 2, i % 4 < 2) {
                        (true, true) => value(i / 4 * 2 + i % 4),
                        _ => 0.0,
                    };
                    let want = [both_sides(&B, value), both_sides(&transposed, square)];
                    for (got, want) in [&patch, &results].into_iter().zip(want) {
                        for point in 0..PATCH {
                            let got = got[(point * rows + i) * width + at];
                            let error = f64::from(got) - want[row * PATCH + point];
                            assert!(error.abs() < 1e-6, "{isa:?}");
                        }
                    }
                }
            }
        });
    }
}
