//! Products of bf16 matrices by blocks of 32×32, in AMX tiles or by AVX-512's dot products, and the
//! shuffles that put operands into the form that both take.
//!
//! It is that of tiles: 16 rows of 64 bytes. A tile of `A` is 16 rows of 32 bf16 along the
//! contraction; a tile of `B` has a row for each *pair* of steps along the contraction, and in it
//! that pair for each of 16 columns; a tile of the result is 16×16 f32. (Intel SDM, TDPBF16PS;
//! products are exact in f32, sums round to nearest, denormals count as zero.)

#[cfg_attr(feature = "emulated-tiles", path = "blocks/emulated.rs")]
mod amx;
pub(crate) mod dots;

use super::{Finish, Pair, end_of};
use crate::isa::Isa;
use half::bf16;
use std::arch::x86_64::*;

pub(crate) use amx::usable as tiles_usable;

/// Rows and columns of one result block, and values along the contraction of one step: two tiles
/// by two.
pub(crate) const BLOCK: usize = 32;
/// Values of a block: of the result, of 32 rows of `A` by one step, of one step of `B` by 32 columns.
pub(crate) const BLOCK_LEN: usize = BLOCK * BLOCK;

/// A result block, row-major, as tiles are stored to.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Accumulator(pub [f32; BLOCK_LEN]);

impl Accumulator {
    /// A block of sums that lie in a larger buffer.
    ///
    /// # Panics
    /// If it is not one block at the start of a cache line.
    pub fn over(sums: &mut [f32]) -> &mut Self {
        bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(sums))
    }
}

/// What multiplies blocks on this thread.
pub(crate) struct Blocks {
    by: By,
    /// Tiles are configured for a thread.
    _thread: std::marker::PhantomData<*const ()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// AMX's tiles, configured; given back when dropped.
    Tiles,
    Dots,
}

impl Blocks {
    /// What a level multiplies blocks with; `None` where it has nothing that does.
    pub fn of(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Amx => Some(Self::new(By::Tiles)),
            Isa::Avx512Bf16 => Some(Self::new(By::Dots)),
            _ => None,
        }
    }

    /// # Panics
    /// Where the processor has not got it.
    fn new(by: By) -> Self {
        match by {
            By::Tiles => {
                assert!(amx::usable(), "AMX is not usable here");
                // SAFETY: AMX is usable.
                unsafe { amx::configure() };
            }
            By::Dots => assert!(dots::usable(), "no AVX512-BF16 here"),
        }
        Self {
            by,
            _thread: std::marker::PhantomData,
        }
    }

    /// Whether products may be of so many values along the contraction: of blocks, or of a part of
    /// one where no tile is loaded whole.
    pub fn takes(&self, depth: usize) -> bool {
        depth.is_multiple_of(BLOCK) || self.by == By::Dots && [4, 8, 16].contains(&depth)
    }

    /// `out (+)= Σ_p A_p·B_p`, 32×32: each `A_p` 32 rows, `a_row` values apart, of `depth` values from
    /// `a[pair.a]` on; each `B_p` from `b[pair.b]` on as `depth/32` blocks of two tiles, columns 0–15
    /// and 16–31, or, of a part of a block, as `depth/2` rows of both tiles.
    ///
    /// # Panics
    /// If a pair reaches outside a slice, or for a depth that is not to be had.
    #[inline]
    pub fn product(&self, sum: &Sum, a: &[bf16], b: &[bf16], out: &mut Accumulator) {
        let Sum {
            pairs,
            depth,
            a_row,
            accumulate,
            size: (rows, columns),
        } = *sum;
        assert!(rows <= BLOCK && columns <= BLOCK, "part of a block");
        if depth == 0 || pairs.is_empty() {
            if !accumulate {
                out.0.fill(0.0);
            }
            return;
        }
        assert!(self.takes(depth), "blocks or a part of one");
        let a_end = end_of(0, &[(BLOCK - 1, a_row)], depth);
        let b_end = match depth < BLOCK {
            true => BLOCK_LEN / 2 + depth / 2 * BLOCK,
            false => end_of(0, &[(depth / BLOCK, BLOCK_LEN)], 0),
        };
        for pair in pairs {
            let (a_end, b_end) = (end_of(pair.a, &[], a_end), end_of(pair.b, &[], b_end));
            assert!(a_end <= a.len(), "left operand outside its slice");
            assert!(b_end <= b.len(), "right operand outside its slice");
        }
        match self.by {
            // SAFETY: the tiles are configured, and the asserts keep the pairs inside.
            By::Tiles => unsafe { amx::product(sum, a, b, out) },
            // SAFETY: the instructions are there, and the asserts keep the pairs inside.
            By::Dots => unsafe { dots::product(sum, a, b, out) },
        }
    }

    /// Rounds the first `rows` × `columns` of a result, after `finish`, into `y`, whose rows are
    /// `y_row` values apart.
    ///
    /// # Panics
    /// If a slice is too short.
    #[inline]
    pub fn store(
        &self,
        result: &Accumulator,
        (rows, columns): (usize, usize),
        finish: &Finish<bf16>,
        y: &mut [bf16],
        y_row: usize,
    ) {
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(rows <= BLOCK && columns <= BLOCK, "part of a block");
        let end = end_of(0, &[(rows - 1, y_row)], columns);
        assert!(end <= y.len(), "result outside its slice");
        assert!(
            finish.bias.is_none_or(|bias| columns <= bias.len()),
            "bias outside its slice"
        );
        assert!(
            finish.added.is_none_or(|added| end <= added.len()),
            "added map outside its slice"
        );
        // SAFETY: what multiplies has the features beside it; the asserts bound what
        // the masks let through.
        unsafe { store(result, (rows, columns), finish, y, y_row) }
    }

    /// From 32 rows of `from`, `row` values apart, of 32 values each: the transpose, row-major,
    /// which is the form of `A` when the sum runs over the rows.
    ///
    /// # Panics
    /// If `from` is too short or `to` is not one block.
    #[inline]
    pub fn transpose(&self, from: &[bf16], row: usize, to: &mut [bf16]) {
        let end = end_of(0, &[(BLOCK - 1, row)], BLOCK);
        assert!(end <= from.len(), "rows of a block");
        assert_eq!(to.len(), BLOCK_LEN, "values of a block");
        // SAFETY: what multiplies has the features beside it; the asserts bound 32 rows
        // of 64 bytes on both sides.
        unsafe { transpose(from.as_ptr(), row, to.as_mut_ptr()) }
    }

    /// The same block in the form of `B`: two tiles of pairs of rows.
    ///
    /// # Panics
    /// As [`Self::transpose`].
    #[inline]
    pub fn interleave(&self, from: &[bf16], row: usize, to: &mut [bf16]) {
        let end = end_of(0, &[(BLOCK - 1, row)], BLOCK);
        assert!(end <= from.len(), "rows of a block");
        assert_eq!(to.len(), BLOCK_LEN, "values of a block");
        // SAFETY: as in `transpose`.
        unsafe { interleave(from.as_ptr(), row, to.as_mut_ptr()) }
    }
}

/// A sum of products over tiles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum<'a> {
    /// Where the operands of each product begin, in values.
    pub pairs: &'a [Pair],
    /// Values along the contraction.
    pub depth: usize,
    /// Values from one row of `A` to the next.
    pub a_row: usize,
    /// Add to the result instead of overwriting it.
    pub accumulate: bool,
    /// Rows and columns of the result that are asked for; the others may be left as they are.
    pub size: (usize, usize),
}

#[cfg_attr(
    not(feature = "emulated-tiles"),
    target_feature(enable = "avx512f,avx512bw,avx512bf16")
)]
#[cfg_attr(
    feature = "emulated-tiles",
    target_feature(enable = "avx512f,avx512bw")
)]
unsafe fn store(
    result: &Accumulator,
    (rows, columns): (usize, usize),
    finish: &Finish<bf16>,
    y: &mut [bf16],
    y_row: usize,
) {
    let mask = (u64::MAX >> (64 - columns)) as u32;
    let masks = [mask as u16, (mask >> 16) as u16];
    // SAFETY: the caller vouches for `rows` × `columns` of everything; masks keep to `columns`.
    unsafe {
        let mut bias = [_mm512_setzero_ps(); 2];
        if let Some(values) = finish.bias {
            for (half, bias) in bias.iter_mut().enumerate() {
                let at = values.as_ptr().wrapping_add(16 * half);
                *bias = _mm512_maskz_loadu_ps(masks[half], at);
            }
        }
        for row in 0..rows {
            let mut values = [_mm512_setzero_ps(); 2];
            for (half, value) in values.iter_mut().enumerate() {
                let sum = _mm512_load_ps(result.0.as_ptr().add(row * BLOCK + 16 * half));
                *value = _mm512_add_ps(sum, bias[half]);
            }
            let there = finish.onto.then_some(y.as_ptr());
            for added in [finish.added.map(<[bf16]>::as_ptr), there]
                .into_iter()
                .flatten()
            {
                let both = _mm512_maskz_loadu_epi16(mask, added.add(row * y_row).cast());
                let halves = [
                    _mm512_castsi512_si256(both),
                    _mm512_extracti64x4_epi64::<1>(both),
                ];
                for (value, half) in values.iter_mut().zip(halves) {
                    let wide = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half));
                    *value = _mm512_add_ps(*value, _mm512_castsi512_ps(wide));
                }
            }
            if finish.relu {
                for value in &mut values {
                    // In this order a NaN stays.
                    *value = _mm512_max_ps(_mm512_setzero_ps(), *value);
                }
            }
            let at = y.as_mut_ptr().add(row * y_row);
            _mm512_mask_storeu_epi16(at.cast(), mask, amx::narrow(values));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn transpose(from: *const bf16, row: usize, to: *mut bf16) {
    for half in [0, BLOCK / 2] {
        // SAFETY: the caller vouches for 32 rows of 32 values on both sides.
        unsafe {
            let mut lines = interleaved_rows(from.add(half), row);
            transpose_16(&mut lines);
            for (channel, line) in lines.into_iter().enumerate() {
                _mm512_storeu_si512(to.add((half + channel) * BLOCK).cast(), line);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn interleave(from: *const bf16, row: usize, to: *mut bf16) {
    for half in [0, BLOCK / 2] {
        // SAFETY: the caller vouches for 32 rows of 32 values on both sides.
        unsafe {
            let lines = interleaved_rows(from.add(half), row);
            for (pair, line) in lines.into_iter().enumerate() {
                _mm512_storeu_si512(to.add((half + pair) * BLOCK).cast(), line);
            }
        }
    }
}

/// Rows 2j and 2j + 1 of 32, 16 values each, as pairs: line j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn interleaved_rows(from: *const bf16, row: usize) -> [__m512i; 16] {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
    // SAFETY: the caller vouches for 32 rows of 16 values.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        std::array::from_fn(|pair| {
            let even = _mm256_loadu_si256(from.add(2 * pair * row).cast());
            let odd = _mm256_loadu_si256(from.add((2 * pair + 1) * row).cast());
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(even), odd);
            _mm512_permutexvar_epi16(order, both)
        })
    }
}

/// Transposes 16 lines of 16 32-bit values.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_16(lines: &mut [__m512i; 16]) {
    // Twice within 128-bit lanes, then twice over them; each stage pairs lines further apart.
    for at in (0..16).step_by(2) {
        let (a, b) = (lines[at], lines[at + 1]);
        lines[at] = _mm512_unpacklo_epi32(a, b);
        lines[at + 1] = _mm512_unpackhi_epi32(a, b);
    }
    for at in (0..16).step_by(4) {
        let [a, b, c, d] = [lines[at], lines[at + 1], lines[at + 2], lines[at + 3]];
        lines[at] = _mm512_unpacklo_epi64(a, c);
        lines[at + 1] = _mm512_unpackhi_epi64(a, c);
        lines[at + 2] = _mm512_unpacklo_epi64(b, d);
        lines[at + 3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut half = *lines;
    for at in 0..4 {
        for group in [0, 8] {
            let (a, b) = (lines[group + at], lines[group + at + 4]);
            half[group + at] = _mm512_shuffle_i32x4::<0x88>(a, b);
            half[group + at + 4] = _mm512_shuffle_i32x4::<0xdd>(a, b);
        }
    }
    for at in 0..4 {
        let (a, b) = (half[at], half[at + 8]);
        lines[at] = _mm512_shuffle_i32x4::<0x88>(a, b);
        lines[at + 8] = _mm512_shuffle_i32x4::<0xdd>(a, b);
        let (a, b) = (half[at + 4], half[at + 12]);
        lines[at + 4] = _mm512_shuffle_i32x4::<0x88>(a, b);
        lines[at + 12] = _mm512_shuffle_i32x4::<0xdd>(a, b);
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if self.by == By::Tiles {
            // SAFETY: AMX is usable, as `new` found.
            unsafe { amx::release() };
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::kernel::guard::{Against, Guarded};

    fn numbers(len: usize, seed: usize) -> Vec<bf16> {
        let number = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
        (0..len)
            .map(|i| <bf16 as Element>::narrow(number(i)))
            .collect()
    }

    /// Runs with every slice at a guard page, with each that the machine has.
    fn guarded(test: impl Fn(&Blocks, Against)) {
        for (by, usable) in [(By::Tiles, tiles_usable()), (By::Dots, dots::usable())] {
            if !usable {
                eprintln!("skipped: no {by:?} on this machine");
                continue;
            }
            let blocks = Blocks::new(by);
            for against in [Against::Begin, Against::End] {
                test(&blocks, against);
            }
        }
    }

    #[test]
    fn a_product_equals_the_loop_and_stays_inside() {
        guarded(|blocks, against| {
            for (steps, extra, accumulate) in
                [(1, 0, false), (2, 0, true), (3, 32, false), (1, 7, true)]
            {
                let a_row = steps * BLOCK + extra;
                let a_len = (BLOCK - 1) * a_row + steps * BLOCK;
                let a = Guarded::new(&numbers(a_len + 5, 1), against);
                let b = Guarded::new(&numbers(2 * steps * BLOCK_LEN, 2), against);
                let pairs = [
                    Pair { a: 5, b: 0 },
                    Pair {
                        a: 0,
                        b: steps * BLOCK_LEN,
                    },
                ];
                for (rows, columns) in [(32, 32), (1, 1), (12, 17), (31, 16), (17, 3)] {
                    let mut out = Accumulator([0.25; BLOCK_LEN]);
                    let sum = Sum {
                        pairs: &pairs,
                        depth: steps * BLOCK,
                        a_row,
                        accumulate,
                        size: (rows, columns),
                    };
                    blocks.product(&sum, &a, &b, &mut out);
                    for row in 0..rows {
                        for column in 0..columns {
                            let mut want = if accumulate { 0.25f64 } else { 0.0 };
                            for pair in pairs {
                                for k in 0..steps * BLOCK {
                                    let tile =
                                        k / BLOCK * BLOCK_LEN + column / 16 * (BLOCK_LEN / 2);
                                    let at = tile + k % BLOCK / 2 * BLOCK + column % 16 * 2 + k % 2;
                                    let left = a[pair.a + row * a_row + k].to_f64();
                                    want += left * b[pair.b + at].to_f64();
                                }
                            }
                            let got = f64::from(out.0[row * BLOCK + column]);
                            assert!((got - want).abs() < 1e-4, "{got}, not {want}");
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn a_part_of_a_step_is_a_product_too() {
        guarded(|blocks, against| {
            for depth in [4, 8, 16].into_iter().filter(|d| blocks.takes(*d)) {
                let a_row = depth + 3;
                let a = Guarded::new(&numbers((BLOCK - 1) * a_row + depth, 1), against);
                let b = Guarded::new(&numbers(BLOCK_LEN, 2), against);
                // Each part of the block.
                let pairs: Vec<Pair> = (0..BLOCK / depth)
                    .map(|part| Pair {
                        a: 0,
                        b: part * depth / 2 * BLOCK,
                    })
                    .collect();
                let mut out = Accumulator([0.0; BLOCK_LEN]);
                let sum = Sum {
                    pairs: &pairs,
                    depth,
                    a_row,
                    accumulate: false,
                    size: (BLOCK, BLOCK),
                };
                blocks.product(&sum, &a, &b, &mut out);
                for (at, got) in out.0.into_iter().enumerate() {
                    let (row, column) = (at / BLOCK, at % BLOCK);
                    let mut want = 0.0;
                    for k in 0..BLOCK {
                        let tile = column / 16 * (BLOCK_LEN / 2);
                        let b = b[tile + k / 2 * BLOCK + column % 16 * 2 + k % 2];
                        want += a[row * a_row + k % depth].to_f64() * b.to_f64();
                    }
                    assert!((f64::from(got) - want).abs() < 1e-4, "{got}, not {want}");
                }
            }
        });
    }

    #[test]
    fn a_row_does_not_depend_on_how_many_there_are() {
        guarded(|blocks, _| {
            let (a, b) = (numbers(BLOCK_LEN, 1), numbers(BLOCK_LEN, 2));
            let product = |rows, columns| {
                let mut out = Accumulator([0.0; BLOCK_LEN]);
                let sum = Sum {
                    pairs: &[Pair { a: 0, b: 0 }],
                    depth: BLOCK,
                    a_row: BLOCK,
                    accumulate: false,
                    size: (rows, columns),
                };
                blocks.product(&sum, &a, &b, &mut out);
                out.0
            };
            for columns in [9, BLOCK] {
                let all = product(BLOCK, columns);
                for rows in 1..BLOCK {
                    let some = product(rows, columns);
                    for row in 0..rows {
                        let values = row * BLOCK..row * BLOCK + columns;
                        assert_eq!(some[values.clone()], all[values], "row {row} of {rows}");
                    }
                }
            }
        });
    }

    #[test]
    fn stores_and_shuffles_stay_inside() {
        guarded(|blocks, against| {
            let result = Accumulator(std::array::from_fn(|i| i as f32 - 500.0));
            for (rows, columns, y_row) in [
                (1, 1, 1),
                (32, 32, 32),
                (32, 17, 40),
                (7, 16, 16),
                (5, 31, 33),
            ] {
                let len = (rows - 1) * y_row + columns;
                let mut y = Guarded::new(&numbers(len, 1), against);
                let added = Guarded::new(&numbers(len, 2), against);
                let bias: Vec<f32> = (0..columns).map(|i| i as f32).collect();
                let bias = Guarded::new(&bias, against);
                let finish = Finish {
                    bias: Some(&bias),
                    added: Some(&added),
                    onto: false,
                    relu: true,
                };
                let before = y.to_vec();
                blocks.store(&result, (rows, columns), &finish, &mut y, y_row);
                for (at, y) in y.iter().enumerate() {
                    let (row, column) = (at / y_row, at % y_row);
                    let want = if column < columns {
                        let sum = result.0[row * BLOCK + column] + bias[column];
                        <bf16 as Element>::narrow((sum + added[at].to_f32()).max(0.0))
                    } else {
                        before[at]
                    };
                    assert_eq!(*y, want, "row {row}, column {column}");
                }
            }
            for row in [BLOCK, 33, 100] {
                let from = Guarded::new(&numbers((BLOCK - 1) * row + BLOCK, 3), against);
                let mut transposed = Guarded::new(&numbers(BLOCK_LEN, 4), against);
                let mut interleaved = Guarded::new(&numbers(BLOCK_LEN, 5), against);
                blocks.transpose(&from, row, &mut transposed);
                blocks.interleave(&from, row, &mut interleaved);
                for r in 0..BLOCK {
                    for c in 0..BLOCK {
                        let value = from[r * row + c];
                        assert_eq!(transposed[c * BLOCK + r], value);
                        let tile = c / 16 * (BLOCK_LEN / 2);
                        assert_eq!(
                            interleaved[tile + r / 2 * BLOCK + c % 16 * 2 + r % 2],
                            value
                        );
                    }
                }
            }
        });
    }
}
