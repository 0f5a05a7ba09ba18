//! Points as the passes read them, prepared once for all iterations and all numbers of clusters.

use crate::bf16;
use crate::integers::{Integers, Width};
use crate::isa::Isa;
use crate::kernel::{self, Halves, LANES, Lanes, STRIP};
use crate::matrix::Matrix;
use crate::sketch::Sketch;
use crate::window::round_up;
use rayon::prelude::*;
use std::mem::take;

/// How much longer than the mean the longest point may be to be tried in integers, beside bf16 and
/// beside f32.
const SIMILAR_TO_BF16: f64 = 2.0;
const SIMILAR_TO_F32: f64 = 16.0;
/// bf16 values of a tile's row.
const STEP: usize = 2 * LANES;
/// Strips packed by one task.
const STRIPS: usize = 16;
/// Rows whose mean is the origin, at most.
const SAMPLED: usize = 1024;

/// What a pass multiplies.
pub(crate) enum Form {
    /// bf16 in tiles, or f32.
    Floats,
    /// Turned and rounded to integers.
    Integers,
    /// The same of sketches.
    Sketch(Sketch),
}

/// Points with what a pass needs beside them.
pub(crate) struct Points<'a> {
    pub rows: Matrix<'a>,
    pub isa: Isa,
    /// Subtracted from points and centroids before they are rounded, so that a common offset costs
    /// no precision.
    pub origin: Vec<f32>,
    /// Length of the origin, or more.
    pub origin_norm: f64,
    /// Mean length of the points around the origin, roughly.
    pub typical: f64,
    /// Where the pass is over tiles: strips of 32 points, as [`kernel::Tiled`] has them.
    pub tiles: Vec<Halves>,
    /// How points would be rounded to integers, if there is a pass for that and they are such that it
    /// may pay.
    pub integers: Option<Integers>,
    pub form: Form,
    /// Whether they were packed at all.
    pub packed: bool,
    /// What each was rounded to.
    roundings: Vec<Rounding>,
    /// `|x'|²` of each point, or less, once they are asked for.
    squares: Vec<f32>,
}

impl<'a> Points<'a> {
    /// For the passes of `isa`, in bf16 where those are always of tiles, else in f32.
    #[cfg(test)]
    pub fn pack(rows: Matrix<'a>, isa: Isa) -> Self {
        let mut points = Self::new(rows, isa);
        points.repack(Form::Floats);
        points
    }

    /// Points that have yet to be packed.
    pub fn new(rows: Matrix<'a>, isa: Isa) -> Self {
        let origin = mean(rows);
        let mut points = Self {
            rows,
            isa,
            origin_norm: length(&origin),
            origin,
            typical: 0.0,
            tiles: Vec::new(),
            integers: None,
            form: Form::Floats,
            packed: false,
            roundings: vec![Rounding::NONE; rows.rows()],
            squares: Vec::new(),
        };
        if let Some(width) = isa.integers() {
            let similar = match isa {
                Isa::Amx => SIMILAR_TO_BF16,
                _ => SIMILAR_TO_F32,
            };
            let lengths = points.lengths();
            points.typical = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
            points.integers = Integers::of(width, rows.cols(), &lengths, similar);
        }
        points
    }

    /// Every so many of the points, to be packed as all would be: for trying a form.
    pub fn some(&self, every: usize) -> Points<'a> {
        let rows = self.rows.every(every);
        Points {
            rows,
            origin: self.origin.clone(),
            tiles: Vec::new(),
            integers: None,
            form: Form::Floats,
            packed: false,
            roundings: vec![Rounding::NONE; rows.rows()],
            squares: Vec::new(),
            ..*self
        }
    }

    /// Packs anew; in floats if they cannot be integers.
    pub fn repack(&mut self, form: Form) {
        self.form = match form {
            Form::Integers if self.integers.is_none() => Form::Floats,
            form => form,
        };
        self.packed = true;
        // Room for the new ones.
        self.tiles = Vec::new();
        match self.tiled() {
            true => self.pack_tiles(),
            false => self.measure(),
        }
    }

    /// Whether the pass is over tiles.
    pub fn tiled(&self) -> bool {
        self.isa == Isa::Amx || self.turn().is_some()
    }

    /// Whether tiles hold bytes.
    pub fn in_bytes(&self) -> bool {
        self.turn().is_some_and(|turn| turn.width == Width::Bits8)
    }

    /// Whether the pass is over centroids by columns, four in a line; bytes of points are 128 more than meant
    /// then.
    pub fn passes_over_fours(&self) -> bool {
        self.isa == Isa::Avx512 && self.in_bytes()
    }

    /// What comparing one with a group takes, in cycles at 128 columns, about.
    pub fn group_cycles(&self) -> f64 {
        let whole = self.isa.group_cycles(self.turn().is_some());
        match self.sketch() {
            None => whole,
            Some(sketch) => whole * sketch.turn.share(self.rows.cols()),
        }
    }

    /// What a group in question takes, in the same way.
    pub fn candidate_cycles(&self) -> f64 {
        self.isa.candidate_cycles(self.turn().is_some())
    }

    /// The lengths of the points themselves.
    fn measure(&mut self) {
        let (rows, isa) = (self.rows, self.isa);
        let of_strips = self.roundings.par_chunks_mut(STRIP * STRIPS).enumerate();
        of_strips.for_each(|(at, points)| {
            for (i, point) in points.iter_mut().enumerate() {
                let row = rows.row(at * STRIP * STRIPS + i);
                *point = Rounding {
                    norm: round_up(kernel::squares64(isa, row).sqrt()),
                    ..Rounding::NONE
                };
            }
        });
    }

    /// What makes the tiles, if they hold integers.
    pub fn turn(&self) -> Option<&Integers> {
        match &self.form {
            Form::Floats => None,
            Form::Integers => self.integers.as_ref(),
            Form::Sketch(sketch) => Some(&sketch.turn),
        }
    }

    /// What makes the rows of the tiles, if those are sketches.
    pub fn sketch(&self) -> Option<&Sketch> {
        match &self.form {
            Form::Sketch(sketch) => Some(sketch),
            _ => None,
        }
    }

    /// The lengths of some of the points as they are moved, roughly.
    fn lengths(&self) -> Vec<f64> {
        let square = |i| kernel::distance(self.isa, self.rows.row(i), &self.origin);
        let length = |i| f64::from(square(i)).sqrt();
        sampled(self.rows).map(length).collect()
    }

    /// Tiles that a row of values fills.
    pub fn steps(&self) -> usize {
        match self.turn() {
            Some(turn) => turn.steps(),
            None => self.rows.cols().div_ceil(STEP),
        }
    }

    /// Rounds a point, or its sketch where there are some. Returns the length of what was rounded away and
    /// that of the result, or more; and what 1 stands for, where points differ in that.
    fn round(&self, row: &[f32], rounded: &mut Rounded) -> (f64, f64, f32) {
        let Some(sketch) = self.sketch() else {
            let step = self.turn().map_or(1.0, |turn| turn.step);
            let (error, norm) = self.round_centroid(row, step, rounded);
            return (error, norm, 1.0);
        };
        let Rounded {
            values,
            turned,
            sketched,
        } = rounded;
        let (isa, turn, nothing) = (self.isa, &sketch.turn, sketch.nothing());
        kernel::sketch_row(isa, row, &self.origin, sketch, sketched);
        kernel::turn_row_alone(isa, sketched, nothing, turn, turned, values)
    }

    /// Rounds a centroid, or its sketch where points have some, to integers by this step; returns what
    /// [`Self::round`] does.
    pub fn round_centroid(&self, row: &[f32], step: f32, rounded: &mut Rounded) -> (f64, f64) {
        let (values, turned) = (&mut rounded.values, &mut rounded.turned);
        let (isa, subtracted) = (self.isa, self.subtracted());
        match self.turn() {
            None => kernel::round_row(isa, row, subtracted, values),
            Some(turn) => kernel::turn_row(isa, row, subtracted, turn, step, turned, values),
        }
    }

    /// What is subtracted from centroids before they are rounded: nothing from sketches.
    pub fn subtracted(&self) -> &[f32] {
        self.sketch().map_or(&self.origin, Sketch::nothing)
    }

    /// Room for [`Self::round`].
    pub fn rounded(&self) -> Rounded {
        let turned = self.turn().map_or(0, Integers::columns);
        Rounded {
            values: vec![0; self.steps() * STEP],
            turned: vec![0.0; turned],
            sketched: vec![0.0; self.sketch().map_or(0, Sketch::len)],
        }
    }

    fn pack_tiles(&mut self) {
        let (n, rows) = (self.rows.rows(), self.rows);
        let of_block = self.steps() * LANES;
        // Bytes without a sign, 128 more, where the instruction wants them.
        let sign = match self.passes_over_fours() {
            true => 0x8080,
            false => 0,
        };
        // While the others are written.
        let mut roundings = take(&mut self.roundings);
        let mut tiles = vec![Halves::ZERO; n.div_ceil(2 * LANES) * 2 * of_block];
        let of_blocks = tiles.par_chunks_mut(of_block * STRIPS);
        let of_points = roundings.par_chunks_mut(LANES * STRIPS);
        let all = of_blocks.zip(of_points).enumerate();
        all.for_each_init(
            || self.rounded(),
            |rounded, (at, (tiles, of_points))| {
                for (i, point) in of_points.iter_mut().enumerate() {
                    let row = rows.row(at * LANES * STRIPS + i);
                    let (error, norm, scale) = self.round(row, rounded);
                    *point = Rounding {
                        error: round_up(error),
                        norm: round_up(norm),
                        scale,
                    };
                    let tiles = &mut tiles[i / LANES * of_block..][..of_block];
                    for (pair, line) in rounded.values.chunks_exact(2).zip(tiles) {
                        let values = [pair[0] ^ sign, pair[1] ^ sign];
                        line.0[2 * (i % LANES)..][..2].copy_from_slice(&values);
                    }
                }
            },
        );
        (self.tiles, self.roundings) = (tiles, roundings);
    }

    /// What point `i` was rounded to; of packed points.
    #[inline]
    pub fn rounding(&self, i: usize) -> Rounding {
        self.roundings[i]
    }

    /// Has the squares that [`Self::square`] and [`Self::score`] tell.
    pub fn square_all(&mut self) {
        if self.squares.len() == self.rows.rows() {
            return;
        }
        // 16 sums of a difference's square each, and a sum of these. What is too small for f32 is lost, or
        // rounded up by less than distances are in `above`.
        let roundings = self.rows.cols().div_ceil(LANES) + 2 * LANES;
        let least = (1.0 - roundings as f64 * f64::from(f32::EPSILON)).max(0.0) as f32;
        let (rows, isa, origin) = (self.rows, self.isa, &self.origin);
        let of = |i: usize| kernel::distance(isa, rows.row(i), origin) * least;
        let all = (0..rows.rows()).into_par_iter().with_min_len(1024);
        self.squares = all.map(of).collect();
    }

    /// `|x'|²` of point `i`, or less by little.
    #[inline]
    pub fn square(&self, i: usize) -> f32 {
        self.squares[i] * (1.0 - 1e-6)
    }

    /// The score of a centroid at this squared distance from point `i`, computed in f32, or less by
    /// little: no centroid at that distance or nearer, be it by f64, scores lower.
    #[inline]
    pub fn score(&self, i: usize, distance: f32) -> f32 {
        // |x − c|² = |x'|² − 2S.
        let distance = above(distance, self.rows.cols());
        (self.square(i) - distance * distance * (1.0 + 1e-5)) / 2.0
    }

    /// The length of point `i`, or more; of packed points.
    pub fn norm(&self, i: usize) -> f32 {
        let Rounding { error, norm, .. } = self.rounding(i);
        match self.tiled() {
            // Of the moved point, or of its sketch, which is not shorter.
            true => round_up(f64::from(error) + f64::from(norm) + self.origin_norm),
            false => norm,
        }
    }

    /// Points of a strip.
    pub fn strip(&self) -> usize {
        match self.tiled() {
            true => kernel::TILED_STRIP,
            false => STRIP,
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
    pub fn gather(&self, chosen: impl Iterator<Item = usize>, tiles: &mut [Halves]) {
        let of_block = self.steps() * LANES;
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

/// What a point was rounded to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounding {
    /// With tiles: how far the moved point, or its sketch, lies from it, or more; else zero.
    pub error: f32,
    /// Its length, or more; without tiles, that of the point.
    pub norm: f32,
    /// What its scores are to be multiplied with; 1 but for sketches.
    pub scale: f32,
}

impl Rounding {
    const NONE: Self = Self {
        error: 0.0,
        norm: 0.0,
        scale: 1.0,
    };
}

/// A row as the tiles hold it.
pub(crate) struct Rounded {
    /// bf16, 16-bit integers or pairs of 8-bit ones.
    pub values: Vec<u16>,
    turned: Vec<f32>,
    sketched: Vec<f32>,
}

/// A distance in f64 that rounds as a square to this f32, or more: sums of `columns` terms, of
/// which some may have been too small for f32.
#[inline]
pub(crate) fn above(square: f32, columns: usize) -> f32 {
    let relative = 1.0 + 1e-5 + columns as f32 * 1e-8;
    square.sqrt() * relative + 1e-18 * (1.0 + columns as f32)
}

/// Whether f64 may order two distances otherwise than these squares of them, each computed in f32.
#[inline]
pub(crate) fn near_tie(a: f32, b: f32, columns: usize) -> bool {
    let (apart, most, columns) = ((a - b).abs(), a.max(b), columns as f32);
    let clear = apart > most * (5e-5 + columns * 5e-8);
    // What is too small for f32 may be missing.
    !clear || most < 1e-24 * (1.0 + columns).powi(2)
}

/// Up to a thousand rows, evenly spread.
fn sampled(rows: Matrix<'_>) -> impl Iterator<Item = usize> {
    (0..rows.rows()).step_by(sampled_every(rows.rows()))
}

/// The mean of some rows: where the points lie, roughly.
pub(crate) fn mean(rows: Matrix<'_>) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.cols()];
    let taken = sampled(rows).count().max(1);
    for i in sampled(rows) {
        for (s, x) in sums.iter_mut().zip(rows.row(i)) {
            *s += f64::from(*x);
        }
    }
    sums.iter().map(|s| (s / taken as f64) as f32).collect()
}

/// Rows from one that [`mean`] takes to the next.
pub(crate) fn sampled_every(rows: usize) -> usize {
    rows.div_ceil(SAMPLED).max(1)
}

/// The length of an origin, or more.
pub(crate) fn length(origin: &[f32]) -> f64 {
    let square: f64 = origin.iter().map(|x| f64::from(*x).powi(2)).sum();
    square.sqrt() * (1.0 + 1e-12)
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
