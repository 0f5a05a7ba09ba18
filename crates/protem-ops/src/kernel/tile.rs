//! The one matrix kernel everything else is made of.
//!
//! `C[m×n] (+)= Σ_p A_p[m×k] · B_p[k×n]`: a sum of small products whose result stays in registers
//! until the last pair is done. A convolution is such a sum over its taps, its weight gradient
//! one over pixels, so neither needs im2col and neither writes a partial result. `A` may have
//! any strides (its elements are broadcast); rows of `B` and `C` are contiguous.
//!
//! [`Product::run`] checks every address that the
//! kernels can touch against the slices it was given; the kernels rely on that alone.

use super::vector::{Vector, with_vectors};
use super::{Pair, end_of};
use crate::isa::Isa;

/// The shape of a sum of products; strides in elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Step of `A` from one row of the result to the next.
    pub a_row: usize,
    /// Step of `A` along the contraction.
    pub a_k: usize,
    /// Step of `B` along the contraction; along `n` it is 1.
    pub b_k: usize,
    /// Step of `C` from row to row; along `n` it is 1.
    pub c_row: usize,
    /// Add to `C` instead of overwriting it.
    pub accumulate: bool,
}

impl Product {
    /// Computes the sum into `c`.
    ///
    /// # Panics
    /// If a pair, a stride and the shape together reach outside a slice.
    pub fn run(&self, isa: Isa, pairs: &[Pair], a: &[f32], b: &[f32], c: &mut [f32]) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let rows = self.m - 1;
        let c_end = end_of(0, &[(rows, self.c_row)], self.n);
        assert!(c_end <= c.len(), "result outside its slice");
        if self.k > 0 {
            let deep = self.k - 1;
            let a_end = end_of(0, &[(rows, self.a_row), (deep, self.a_k)], 1);
            let b_end = end_of(0, &[(deep, self.b_k)], self.n);
            for pair in pairs {
                let (a_end, b_end) = (end_of(pair.a, &[], a_end), end_of(pair.b, &[], b_end));
                assert!(a_end <= a.len(), "left operand outside its slice");
                assert!(b_end <= b.len(), "right operand outside its slice");
            }
        }
        // SAFETY: the asserts above bound every element that a kernel reads or writes, and
        // `Isa` values other than `Portable` only come from run-time detection.
        unsafe { run_on(isa, self, pairs, a, b, c) }
    }
}

with_vectors! {
    unsafe fn run_on(s: &Product, pairs: &[Pair], a: &[f32], b: &[f32], c: &mut [f32]) = run
}

/// Splits the result into register tiles: columns by two vectors, rows as evenly as they go.
///
/// # Safety
/// As [`Vector`], and every address the shape reaches must lie in its slice.
#[inline(always)]
unsafe fn run<V: Vector>(s: &Product, pairs: &[Pair], a: &[f32], b: &[f32], c: &mut [f32]) {
    let blocks = s.m.div_ceil(V::ROWS);
    let mut column = 0;
    while column < s.n {
        let width = (s.n - column).min(2 * V::WIDTH);
        let mut row = 0;
        for block in 0..blocks {
            let rows = (s.m - row).div_ceil(blocks - block);
            let at = Operands {
                a: a.as_ptr().wrapping_add(row * s.a_row),
                b: b.as_ptr().wrapping_add(column),
                c: c.as_mut_ptr().wrapping_add(row * s.c_row + column),
            };
            // SAFETY: row < m and column < n, and rows × width from there stay inside, by the
            // caller's word.
            unsafe { tile_of::<V>(rows, width, s, pairs, at) };
            row += rows;
        }
        column += width;
    }
}

#[derive(Clone, Copy)]
struct Operands {
    a: *const f32,
    b: *const f32,
    c: *mut f32,
}

/// Picks the kernel compiled for this number of rows.
#[inline(always)]
unsafe fn tile_of<V: Vector>(rows: usize, width: usize, s: &Product, pairs: &[Pair], at: Operands) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: passed on from the caller.
                $($r if $r <= V::ROWS => unsafe {
                    if width == 2 * V::WIDTH {
                        tile::<V, $r, 2, true>(width, s, pairs, at)
                    } else if width > V::WIDTH {
                        tile::<V, $r, 2, false>(width, s, pairs, at)
                    } else {
                        tile::<V, $r, 1, false>(width, s, pairs, at)
                    }
                })*
                _ => unreachable!("rows are at most V::ROWS"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// `ROWS` × (`VECTORS` vectors) of the result; `FULL` says that the last vector is whole.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize, const FULL: bool>(
    width: usize,
    s: &Product,
    pairs: &[Pair],
    at: Operands,
) {
    let tail = width - (VECTORS - 1) * V::WIDTH;
    // SAFETY: every access is at row < ROWS, column < width, depth < k of an operand, which
    // `Product::run` found inside its slice.
    unsafe {
        let mut acc = [[V::zero(); VECTORS]; ROWS];
        if s.accumulate {
            for (i, row) in acc.iter_mut().enumerate() {
                for (j, v) in row.iter_mut().enumerate() {
                    let p = at.c.add(i * s.c_row + j * V::WIDTH);
                    *v = if FULL || j + 1 < VECTORS {
                        V::load(p)
                    } else {
                        V::load_first(p, tail)
                    };
                }
            }
        }
        for pair in pairs {
            // Wrapping, as below: with k = 0 nothing vouches for the pair, and nothing is read.
            let (mut a, mut b) = (at.a.wrapping_add(pair.a), at.b.wrapping_add(pair.b));
            for _ in 0..s.k {
                let mut columns = [V::zero(); VECTORS];
                for (j, v) in columns.iter_mut().enumerate() {
                    let p = b.add(j * V::WIDTH);
                    *v = if FULL || j + 1 < VECTORS {
                        V::load(p)
                    } else {
                        V::load_first(p, tail)
                    };
                }
                for (i, row) in acc.iter_mut().enumerate() {
                    let x = V::splat(*a.add(i * s.a_row));
                    for (v, column) in row.iter_mut().zip(columns) {
                        *v = v.mul_add(x, column);
                    }
                }
                a = a.wrapping_add(s.a_k);
                b = b.wrapping_add(s.b_k);
            }
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, v) in row.iter().enumerate() {
                let p = at.c.add(i * s.c_row + j * V::WIDTH);
                if FULL || j + 1 < VECTORS {
                    v.store(p)
                } else {
                    v.store_first(p, tail)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn every_level_equals_the_triple_loop_at_odd_sizes() {
        for isa in Isa::available() {
            for (m, n, k) in [
                (1, 1, 1),
                (3, 5, 7),
                (14, 32, 9),
                (15, 33, 4),
                (29, 47, 13),
                (128, 64, 3),
            ] {
                for (a_row, a_k) in [(k, 1), (1, m)] {
                    for accumulate in [false, true] {
                        let (a, b) = (numbers(2 * m * k, 1), numbers(2 * k * n, 2));
                        let pairs = [Pair { a: 0, b: 0 }, Pair { a: m * k, b: k * n }];
                        let mut c = numbers(m * n, 3);
                        let mut expected: Vec<f64> = c
                            .iter()
                            .map(|x| if accumulate { *x as f64 } else { 0.0 })
                            .collect();
                        for pair in pairs {
                            for i in 0..m {
                                for j in 0..n {
                                    for p in 0..k {
                                        expected[i * n + j] += a[pair.a + i * a_row + p * a_k]
                                            as f64
                                            * b[pair.b + p * n + j] as f64;
                                    }
                                }
                            }
                        }
                        let shape = Product {
                            m,
                            n,
                            k,
                            a_row,
                            a_k,
                            b_k: n,
                            c_row: n,
                            accumulate,
                        };
                        shape.run(isa, &pairs, &a, &b, &mut c);
                        for (got, want) in c.iter().zip(&expected) {
                            // Rounding grows with the terms of the sum, each at most one.
                            assert!(
                                (*got as f64 - want).abs() < 1e-6 * (2 * k + 1) as f64,
                                "{isa:?} {m}×{n}×{k}"
                            );
                        }
                    }
                }
            }
        }
    }

    /// Every slice ends, or begins, at a page that may not be touched.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_level_reads_or_writes_beyond_its_slices() {
        use crate::kernel::guard::{Against, Guarded};
        for isa in Isa::available() {
            for against in [Against::Begin, Against::End] {
                for (m, n, k) in [
                    (1, 1, 1),
                    (5, 3, 7),
                    (14, 32, 2),
                    (15, 33, 5),
                    (7, 17, 3),
                    (13, 47, 1),
                ] {
                    for (a_row, a_k) in [(k, 1), (1, m)] {
                        for accumulate in [false, true] {
                            let a = Guarded::new(&numbers(2 * m * k, 1), against);
                            let b = Guarded::new(&numbers(2 * k * n, 2), against);
                            let mut c = Guarded::new(&numbers(m * n, 3), against);
                            let pairs = [Pair { a: 0, b: 0 }, Pair { a: m * k, b: k * n }];
                            Product {
                                m,
                                n,
                                k,
                                a_row,
                                a_k,
                                b_k: n,
                                c_row: n,
                                accumulate,
                            }
                            .run(isa, &pairs, &a, &b, &mut c);
                        }
                    }
                }
            }
        }
    }
}
