//! Resizing with AVX2.
//!
//! Rows first, four at a time and a new pixel after the other: two pixels of four bytes each lie
//! beside each other in memory and are a pair once their channels are shuffled together. Then
//! columns: a pair is a byte of one row and the byte of the next.

use super::{BITS, Job, Taps};
use crate::ops::planes::Planes;
use crate::ops::sums::{self, packed};
use pulp::cast;
use pulp::x86::V3;
use std::arch::x86_64::{__m128i, __m256i};

/// Bits of the lower half of a weight.
const LOW: i32 = 11;
type Sums = sums::Sums<LOW, { BITS as i32 }>;
/// Pixels that one load of 16 bytes serves.
const LOADED: usize = 4;
/// Rows that are scaled together.
const ROWS: usize = 4;
/// Bytes that are written of a new pixel of a row: its three, and one where the next will be.
const WRITTEN: usize = 4;

/// Does the whole job; `between` has room for the rows between the passes.
pub(super) fn run(simd: V3, job: &Job, out: &mut Planes, between: &mut Vec<u8>) {
    let height = job.crop.height as usize;
    let row = (out.width * 3 + WRITTEN).next_multiple_of(32);
    // Rows that are read with a weight of zero may lie behind the last.
    let rows = height.next_multiple_of(ROWS) + job.rows.window + 1;
    between.resize(rows * row, 0);
    pass(
        simd,
        Rows {
            job,
            kernel: RowKernel {
                simd,
                first: &job.columns.first,
                weights: &Halves::new(&job.columns, LOADED),
                row,
            },
            between,
        },
    );
    pass(
        simd,
        Columns {
            simd,
            taps: &job.rows,
            weights: &Halves::new(&job.rows, 2),
            row,
            between,
            out,
        },
    );
}

/// One of the two passes.
trait Pass {
    /// Pairs of weights of a new line.
    fn pairs(&self) -> usize;

    /// Does it with so many.
    fn with(self, pairs: usize);
}

/// The loops over pixels know how many pairs there are, if few, or they take twice as long.
fn pass(simd: V3, pass: impl Pass) {
    match pass.pairs() {
        1 => simd.vectorize(Known::<1, _>(pass)),
        2 => simd.vectorize(Known::<2, _>(pass)),
        4 => simd.vectorize(Known::<4, _>(pass)),
        _ => simd.vectorize(Known::<0, _>(pass)),
    }
}

/// With so many pairs, or as many as there are if that is zero.
struct Known<const PAIRS: usize, P>(P);

impl<const PAIRS: usize, P: Pass> pulp::NullaryFnOnce for Known<PAIRS, P> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let pairs = match PAIRS {
            0 => self.0.pairs(),
            _ => PAIRS,
        };
        self.0.with(pairs);
    }
}

/// The halves of two weights each, as the multiplication takes them.
struct Halves {
    /// Upper and lower of `count` pairs of each new line.
    pairs: Vec<[i32; 2]>,
    count: usize,
}

impl Halves {
    /// Of windows filled up to a multiple of `of`.
    fn new(taps: &Taps, of: usize) -> Self {
        let count = taps.window.next_multiple_of(of) / 2;
        let mut pairs = Vec::with_capacity(taps.first.len() * count);
        for (_, weights) in taps.each() {
            let at = |i: usize| weights.get(i).copied().unwrap_or(0);
            pairs.extend((0..count).map(|pair| {
                let both = [at(2 * pair), at(2 * pair + 1)];
                let beside = |[a, b]: [i32; 2]| a | (b << 16);
                [
                    beside(both.map(|w| w >> LOW)),
                    beside(both.map(|w| w & ((1 << LOW) - 1))),
                ]
            }));
        }
        Self { pairs, count }
    }
}

/// The pass along rows.
struct Rows<'a> {
    job: &'a Job<'a>,
    kernel: RowKernel<'a>,
    between: &'a mut [u8],
}

#[derive(Clone, Copy)]
struct RowKernel<'a> {
    simd: V3,
    first: &'a [usize],
    weights: &'a Halves,
    /// Bytes of a row between the passes.
    row: usize,
}

impl Pass for Rows<'_> {
    fn pairs(&self) -> usize {
        self.kernel.weights.count
    }

    #[inline(always)]
    fn with(self, pairs: usize) {
        let (crop, stride) = (self.job.crop, self.job.stride * 3);
        let bytes = crop.width as usize * 3;
        // What a load may read behind the last pixel.
        let reach = bytes + self.job.columns.window.next_multiple_of(LOADED) * 3 + 16;
        let first = crop.top as usize * stride + crop.left as usize * 3;
        let height = crop.height as usize;
        let mut copy = Vec::new();
        let blocks = self.between.chunks_exact_mut(ROWS * self.kernel.row);
        for (block, out) in blocks.enumerate() {
            let top = block * ROWS;
            if top >= height {
                return;
            }
            let start = first + top * stride;
            let whole = top + ROWS <= height
                && start + (ROWS - 1) * stride + reach <= self.job.pixels.len();
            let (source, step) = if whole {
                (&self.job.pixels[start..], stride)
            } else {
                copy.clear();
                copy.resize(ROWS * reach, 0);
                for (row, copy) in copy.chunks_exact_mut(reach).take(height - top).enumerate() {
                    let from = start + row * stride;
                    copy[..bytes].copy_from_slice(&self.job.pixels[from..from + bytes]);
                }
                (&copy[..], reach)
            };
            self.kernel.block(source, (step, reach), pairs, out);
        }
    }
}

impl RowKernel<'_> {
    /// Four rows of `reach` bytes, `step` apart.
    #[inline(always)]
    fn block(&self, source: &[u8], (step, reach): (usize, usize), pairs: usize, out: &mut [u8]) {
        // Of one length, which the compiler sees here and not through `from_fn`: one comparison tells for
        // all of them that a load stays inside.
        let row = |at: usize| &source[at * step..][..reach];
        let rows = [row(0), row(1), row(2), row(3)];
        let (out0, rest) = out.split_at_mut(self.row);
        let (out1, rest) = rest.split_at_mut(self.row);
        let (out2, rest) = rest.split_at_mut(self.row);
        let out3 = &mut rest[..self.row];
        let weights = self.weights.pairs.chunks_exact(pairs);
        let columns = self.first.iter().zip(weights);
        for (at, (first, weights)) in columns.enumerate() {
            let [a, b, c, d] = self.pixel(rows, first * 3, weights);
            let place = 3 * at..3 * at + WRITTEN;
            out0[place.clone()].copy_from_slice(&a);
            out1[place.clone()].copy_from_slice(&b);
            out2[place.clone()].copy_from_slice(&c);
            out3[place].copy_from_slice(&d);
        }
    }

    /// A new pixel of each row.
    #[inline(always)]
    fn pixel(
        &self,
        rows: [&[u8]; ROWS],
        start: usize,
        weights: &[[i32; 2]],
    ) -> [[u8; WRITTEN]; ROWS] {
        let simd = self.simd;
        // Red, green and blue of two pixels side by side in 16 bits each.
        let (first, second) = (cast(FIRST), cast(SECOND));
        let (mut upper, mut lower) = (Sums::zero(simd), Sums::zero(simd));
        for (at, weights) in weights.chunks_exact(2).enumerate() {
            let load = |row: &[u8]| {
                let bytes = row[start + at * LOADED * 3..].first_chunk::<16>();
                cast::<[u8; 16], __m128i>(*bytes.expect("reach is within the rows"))
            };
            let upper_rows = simd.avx._mm256_set_m128i(load(rows[1]), load(rows[0]));
            let lower_rows = simd.avx._mm256_set_m128i(load(rows[3]), load(rows[2]));
            for (order, [high, low]) in [first, second].into_iter().zip(weights) {
                let high = simd.avx._mm256_set1_epi32(*high);
                let low = simd.avx._mm256_set1_epi32(*low);
                let pairs = simd.avx2._mm256_shuffle_epi8(upper_rows, order);
                upper.add(simd, pairs, high, low);
                let pairs = simd.avx2._mm256_shuffle_epi8(lower_rows, order);
                lower.add(simd, pairs, high, low);
            }
        }
        let both = simd
            .avx2
            ._mm256_packs_epi32(upper.rounded(simd), lower.rounded(simd));
        let bytes = simd.avx2._mm256_packus_epi16(both, both);
        let bytes: [[u8; WRITTEN]; 8] = cast(bytes);
        // Each half of the register: a row of `upper`, one of `lower`, and both again.
        [bytes[0], bytes[4], bytes[1], bytes[5]]
    }
}

/// Red, green and blue of the first two of four pixels, and of the others.
const FIRST: [u8; 32] = widened([0, 3, 1, 4, 2, 5]);
const SECOND: [u8; 32] = widened([6, 9, 7, 10, 8, 11]);

/// The order that puts six bytes into 16 bits each, in both halves of a register.
const fn widened(bytes: [u8; 6]) -> [u8; 32] {
    let mut order = [0x80; 32]; // zeros
    let mut i = 0;
    while i < bytes.len() {
        order[2 * i] = bytes[i];
        order[16 + 2 * i] = bytes[i];
        i += 1;
    }
    order
}

/// The pass along columns.
struct Columns<'a> {
    simd: V3,
    taps: &'a Taps,
    weights: &'a Halves,
    row: usize,
    between: &'a [u8],
    out: &'a mut Planes,
}

impl Pass for Columns<'_> {
    fn pairs(&self) -> usize {
        self.weights.count
    }

    #[inline(always)]
    fn with(self, pairs: usize) {
        let width = self.out.width;
        let [r, g, b] = &mut self.out.channels;
        let weights = self.weights.pairs.chunks_exact(pairs);
        let rows = r.chunks_exact_mut(width).zip(g.chunks_exact_mut(width));
        let rows = rows.zip(b.chunks_exact_mut(width));
        let mut line = vec![0; self.row];
        for ((((r, g), b), first), weights) in rows.zip(&self.taps.first).zip(weights) {
            let lines = &self.between[first * self.row..];
            for (at, out) in line.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                *out = block(self.simd, &lines[at * 32..], self.row, weights);
            }
            let (pixels, _) = line.as_chunks::<3>();
            for (((r, g), b), pixel) in r.iter_mut().zip(g).zip(b).zip(pixels) {
                [*r, *g, *b] = *pixel;
            }
        }
    }
}

/// 32 bytes of a new row, from lines of `row` bytes each.
#[inline(always)]
fn block(simd: V3, lines: &[u8], row: usize, weights: &[[i32; 2]]) -> [u8; 32] {
    let avx2 = simd.avx2;
    let zero = simd.avx._mm256_setzero_si256();
    let mut sums = [Sums::zero(simd); 4];
    for (pair, [high, low]) in weights.iter().enumerate() {
        let load = |line: usize| {
            let bytes = lines[(2 * pair + line) * row..].first_chunk::<32>();
            cast::<[u8; 32], __m256i>(*bytes.expect("rows of whole registers"))
        };
        let (high, low) = (
            simd.avx._mm256_set1_epi32(*high),
            simd.avx._mm256_set1_epi32(*low),
        );
        let (a, b) = (load(0), load(1));
        let near = avx2._mm256_unpacklo_epi8(a, b);
        let far = avx2._mm256_unpackhi_epi8(a, b);
        sums[0].add(simd, avx2._mm256_unpacklo_epi8(near, zero), high, low);
        sums[1].add(simd, avx2._mm256_unpackhi_epi8(near, zero), high, low);
        sums[2].add(simd, avx2._mm256_unpacklo_epi8(far, zero), high, low);
        sums[3].add(simd, avx2._mm256_unpackhi_epi8(far, zero), high, low);
    }
    packed(simd, sums)
}
