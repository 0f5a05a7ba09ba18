//! Points as the passes read them, prepared once for all iterations and all numbers of clusters.

use crate::bf16;
use crate::isa::Isa;
use crate::kernel::{self, Halves, LANES, Lanes, STRIP};
use crate::matrix::Matrix;
use crate::window::round_up;
use rayon::prelude::*;

/// bf16 values of a tile's row.
const STEP: usize = 2 * LANES;
/// Strips packed by one task.
const STRIPS: usize = 16;
/// Rows whose mean is the origin, at most.
const SAMPLED: usize = 1024;

/// Points with what a pass needs beside them.
pub(crate) struct Points<'a> {
    pub rows: Matrix<'a>,
    pub isa: Isa,
    /// Subtracted from points and centroids before they are rounded, so that a common offset costs
    /// no precision.
    pub origin: Vec<f32>,
    /// Length of the origin, or more.
    pub origin_norm: f64,
    /// With AMX: strips of 32 points, each two blocks of 16, each `steps` tiles whose row r holds
    /// columns 2r and 2r + 1 of 16 points.
    pub tiles: Vec<Halves>,
    /// With AMX: how far the moved point lies from its bf16, or more; else zero.
    errors: Vec<f32>,
    /// Length of what the pass multiplies, the point or its bf16, or more.
    norms: Vec<f32>,
}

/// A tile's rows for `columns` values.
pub(crate) fn steps(columns: usize) -> usize {
    columns.div_ceil(STEP)
}

impl<'a> Points<'a> {
    /// For the passes of `isa`.
    pub fn pack(rows: Matrix<'a>, isa: Isa) -> Self {
        let origin = mean(rows);
        let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut points = Self {
            rows,
            isa,
            origin_norm: norm(&origin) * (1.0 + 1e-12),
            origin,
            tiles: Vec::new(),
            errors: vec![0.0; rows.rows()],
            norms: vec![0.0; rows.rows()],
        };
        match isa {
            Isa::Amx => points.pack_tiles(),
            _ => {
                let of_strips = points.norms.par_chunks_mut(STRIP * STRIPS).enumerate();
                of_strips.for_each(|(at, norms)| {
                    for (i, norm) in norms.iter_mut().enumerate() {
                        let row = rows.row(at * STRIP * STRIPS + i);
                        *norm = round_up(kernel::squares64(isa, row).sqrt());
                    }
                });
            }
        }
        points
    }

    fn pack_tiles(&mut self) {
        let (n, rows, isa) = (self.rows.rows(), self.rows, self.isa);
        let of_block = steps(rows.cols()) * LANES;
        let origin = &self.origin;
        self.tiles = vec![Halves::ZERO; n.div_ceil(2 * LANES) * 2 * of_block];
        let of_blocks = self.tiles.par_chunks_mut(of_block * STRIPS);
        let errors = self.errors.par_chunks_mut(LANES * STRIPS);
        let norms = self.norms.par_chunks_mut(LANES * STRIPS);
        let all = of_blocks.zip(errors.zip(norms)).enumerate();
        all.for_each_init(
            || vec![0u16; of_block * 2],
            |rounded, (at, (tiles, (errors, norms)))| {
                let of_points = errors.iter_mut().zip(norms).enumerate();
                for (i, (error, norm)) in of_points {
                    let row = rows.row(at * LANES * STRIPS + i);
                    let (e, n) = kernel::round_row(isa, row, origin, rounded);
                    (*error, *norm) = (round_up(e), round_up(n));
                    let tiles = &mut tiles[i / LANES * of_block..][..of_block];
                    for (pair, line) in rounded.chunks_exact(2).zip(tiles) {
                        line.0[2 * (i % LANES)..][..2].copy_from_slice(pair);
                    }
                }
            },
        );
    }

    /// How far point `i` was rounded, and the length of what it was rounded to.
    #[inline]
    pub fn rounding(&self, i: usize) -> (f32, f32) {
        (self.errors[i], self.norms[i])
    }

    /// Points of a strip of this level.
    pub fn strip(&self) -> usize {
        match self.isa {
            Isa::Amx => 2 * LANES,
            _ => STRIP,
        }
    }

    /// A strip of the f32 passes, transposed: lane `i % 16` of line `column · 3 + i / 16` is point
    /// i of `chosen`, at most [`STRIP`]; other lanes hold some point too.
    pub fn transpose(&self, chosen: impl Iterator<Item = usize>, strip: &mut [Lanes]) {
        const PARTS: usize = STRIP / LANES;
        let mut rows: [&[f32]; STRIP] = [&[]; STRIP];
        let mut last: &[f32] = &[];
        let mut points = chosen.map(|i| self.rows.row(i));
        for row in &mut rows {
            last = points.next().unwrap_or(last);
            *row = last;
        }
        for (part, rows) in rows.chunks_exact(LANES).enumerate() {
            kernel::transpose(self.isa, rows, strip, PARTS, part);
        }
    }

    /// Tiles of chosen points, in the form of `tiles`; lanes beyond the last are left as they are.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub fn gather(&self, chosen: impl Iterator<Item = usize>, tiles: &mut [Halves]) {
        let of_block = steps(self.rows.cols()) * LANES;
        for (i, point) in chosen.enumerate() {
            let from = &self.tiles[point / LANES * of_block..][..of_block];
            let to = &mut tiles[i / LANES * of_block..][..of_block];
            let (at, lane) = (2 * (i % LANES), 2 * (point % LANES));
            for (to, from) in to.iter_mut().zip(from) {
                to.0[at..at + 2].copy_from_slice(&from.0[lane..lane + 2]);
            }
        }
    }
}

/// The mean of up to a thousand rows, evenly spread: where the points lie, roughly.
fn mean(rows: Matrix<'_>) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.cols()];
    let every = rows.rows().div_ceil(SAMPLED).max(1);
    let taken = rows.rows().div_ceil(every).max(1);
    for i in (0..rows.rows()).step_by(every) {
        for (s, x) in sums.iter_mut().zip(rows.row(i)) {
            *s += f64::from(*x);
        }
    }
    sums.iter().map(|s| (s / taken as f64) as f32).collect()
}

/// Rounds `x − origin` to bf16 into `rounded`, which is as long or longer. Returns the length of
/// what was rounded away and that of the result, or more.
///
/// What bf16 takes away from an f32 is an f32, without rounding; only the difference with the
/// origin, the squares and their sums are rounded, and squares may be too small for f32.
#[inline(always)]
pub(crate) fn round_moved(x: &[f32], origin: &[f32], rounded: &mut [u16]) -> (f64, f64) {
    const U: f64 = 1.0 / (1u64 << 24) as f64;
    let (mut errors, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (xs, os) = (x.chunks_exact(LANES), origin.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(os.remainder());
    for ((x, o), rounded) in xs.clone().zip(os).zip(rounded.chunks_exact_mut(LANES)) {
        for lane in 0..LANES {
            let moved = x[lane] - o[lane];
            rounded[lane] = bf16::round(moved);
            let value = bf16::value(rounded[lane]);
            errors[lane] += (moved - value) * (moved - value);
            squares[lane] += value * value;
        }
    }
    let whole = x.len() / LANES * LANES;
    for ((x, o), rounded) in rest.zip(&mut rounded[whole..]) {
        let moved = x - o;
        *rounded = bf16::round(moved);
        let value = bf16::value(*rounded);
        errors[0] += (moved - value) * (moved - value);
        squares[0] += value * value;
    }
    let roundings = (x.len() / LANES + 2 * LANES + 4) as f64;
    let length = |sums: [f32; LANES]| {
        let sum: f64 = sums.iter().map(|s| f64::from(*s)).sum();
        sum.sqrt() * (1.0 + roundings * U) + 1e-20 * (1.0 + x.len() as f64)
    };
    let (error, norm) = (length(errors), length(squares));
    (error + U * (error + norm), norm)
}
