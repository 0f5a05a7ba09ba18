//! Centroids as the passes read them, prepared in each iteration.

use crate::isa::Isa;
use crate::kernel::{self, Halves, LANES, Lanes};
use crate::matrix::Matrix;
use crate::points::{Form, Points, Rounded};
use crate::scratch::Scratches;
use crate::window::{Extent, Window};
use rayon::prelude::*;

/// Groups of 16 centroids, moved by the points' origin.
#[derive(Default)]
pub(crate) struct Groups {
    /// Line `group · columns + column`, a lane per centroid, in f32.
    pub lines: Vec<Lanes>,
    /// A line per group: first values of the f32 sums, `−(|ĉ|²/2 + o·ĉ)`, and −∞ where there is
    /// no centroid.
    pub first: Vec<Lanes>,
    /// Where the pass is over tiles of centroids: `steps` of them per group, rows are centroids; with AMX,
    /// groups are even in number.
    pub tiles: Vec<Halves>,
    /// With tiles: a line per group, `−|c'|²/2` of its centroids, and the least value where there is
    /// none; of integers, whole numbers of `unit`.
    pub first_of_tiles: Vec<Lanes>,
    /// Of bytes: `steps` tiles per group of four columns of its centroids in a line.
    pub fours: Vec<Halves>,
    /// The first values that go with them, of sums with points whose bytes are 128 more than meant.
    pub first_of_fours: Vec<Lanes>,
    /// What 1 stands for in sums of integers' products.
    pub unit: f32,
}

/// Lengths of sketches from which on their windows leave nothing out.
const MOST: f64 = 1e18;

/// In the place of a centroid: there is none in this lane.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Centroids in groups.
#[derive(Default)]
pub(crate) struct Centroids {
    pub groups: Groups,
    /// Which centroid lies in each lane of each group, in turn: each of the k once, in any order,
    /// and [`NOBODY`] in other lanes.
    pub order: Vec<u32>,
    /// Where in `order` each centroid is.
    pub places: Vec<u32>,
    /// Of the pass.
    pub pass: Option<Window>,
    /// Of scores in f32.
    pub exact: Option<Window>,
    /// Of the pass if tiles held integers, roughly, where they could and do not.
    pub narrow: Option<Window>,
    /// Those of the centroids, side by side, where points have sketches.
    sketches: Vec<f32>,
    /// What scores of the pass are higher by than meant.
    pub offset: f32,
    /// For who compares with them.
    pub scratches: Scratches,
}

/// Where one group goes.
struct Group<'a> {
    lines: &'a mut [Lanes],
    first: &'a mut Lanes,
    tiles: &'a mut [Halves],
    first_of_tiles: Option<&'a mut Lanes>,
    fours: &'a mut [Halves],
    first_of_fours: Option<&'a mut Lanes>,
}

impl Centroids {
    /// Puts `k` centroids into an order, which is filled up to whole groups; without one, the order
    /// of their indices holds.
    pub fn arrange(&mut self, mut order: Vec<u32>, k: usize, isa: Isa) {
        order.resize(groups(order.len(), isa) * LANES, NOBODY);
        self.places.resize(k, 0);
        for (place, centroid) in order.iter().enumerate() {
            if *centroid != NOBODY {
                self.places[*centroid as usize] = place as u32;
            }
        }
        self.order = order;
    }

    /// Prepares `rows` (`k × columns`) for `points`, in memory used before.
    pub fn pack(&mut self, rows: Matrix<'_>, points: &Points<'_>) {
        let columns = rows.cols();
        if self.places.len() != rows.rows() {
            let k = rows.rows();
            self.arrange((0..k as u32).collect(), k, points.isa);
        }
        let longest_sketch = self.sketch(rows, points);
        let rounded = Self::rounded(&self.sketches, rows, points);
        let step = Self::step(rounded, points);
        self.groups.unit = match (points.sketch(), points.turn()) {
            (Some(sketch), _) => sketch.turn.unit_of(step) as f32,
            (None, Some(turn)) => turn.unit(step) as f32,
            (None, None) => 1.0,
        };
        let order = &self.order;
        let groups = order.len() / LANES;
        let lines_of = |wanted: bool| points.steps() * LANES * usize::from(wanted);
        let of_tiles = lines_of(points.tiled() && !points.passes_over_fours());
        let of_fours = lines_of(points.in_bytes());
        self.groups.lines.resize(groups * columns, Lanes::ZERO);
        self.groups.first.resize(groups, Lanes::ZERO);
        self.groups.tiles.resize(groups * of_tiles, Halves::ZERO);
        self.groups.fours.resize(groups * of_fours, Halves::ZERO);
        let firsts = |of_group: usize| groups * of_group.min(1);
        self.groups
            .first_of_tiles
            .resize(firsts(of_tiles), Lanes::ZERO);
        self.groups
            .first_of_fours
            .resize(firsts(of_fours), Lanes::ZERO);
        // A slice per group, of no tiles where there are none.
        let mut tiles = self.groups.tiles.as_mut_slice();
        let mut first_of_tiles = self.groups.first_of_tiles.iter_mut();
        let mut fours = self.groups.fours.as_mut_slice();
        let mut first_of_fours = self.groups.first_of_fours.iter_mut();
        let lines = self.groups.lines.chunks_exact_mut(columns);
        let places: Vec<Group<'_>> = lines
            .zip(&mut self.groups.first)
            .map(|(lines, first)| Group {
                lines,
                first,
                tiles: tiles.split_off_mut(..of_tiles).unwrap_or_default(),
                first_of_tiles: first_of_tiles.next(),
                fours: fours.split_off_mut(..of_fours).unwrap_or_default(),
                first_of_fours: first_of_fours.next(),
            })
            .collect();
        let extent = places
            .into_par_iter()
            .enumerate()
            .map_init(
                || points.rounded(),
                |room, (group, place)| {
                    let members = &order[group * LANES..][..LANES];
                    place.pack([rows, rounded], members, points, step, room)
                },
            )
            .reduce(Extent::default, Extent::max);
        self.windows(points, step, &extent, longest_sketch);
    }

    /// Makes sketches of the centroids, if points have some; the length of the longest.
    ///
    /// Half their squares are the last values, less what is common to them: so points may be scaled.
    fn sketch(&mut self, rows: Matrix<'_>, points: &Points<'_>) -> f64 {
        self.offset = 0.0;
        let Some(sketch) = points.sketch() else {
            self.sketches = Vec::new();
            return 0.0;
        };
        self.sketches.resize(rows.rows() * sketch.len(), 0.0);
        let sketches = self.sketches.par_chunks_exact_mut(sketch.len());
        let all = sketches.enumerate().with_min_len(64);
        let squares = all.map(|(c, values)| {
            let row = rows.row(c);
            kernel::sketch_row(points.isa, row, &points.origin, sketch, values);
            kernel::moved_sums(points.isa, row, &points.origin).true_square
        });
        let squares: Vec<f64> = squares.collect();
        let least = squares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = squares.iter().copied().fold(0.0, f64::max);
        self.offset = ((least + most) / 4.0) as f32;
        let offset = f64::from(self.offset);
        let sketches = self.sketches.chunks_exact_mut(sketch.len());
        let lengths = sketches.zip(squares).map(|(values, square)| {
            sketch.put_bias(values, offset - square / 2.0);
            kernel::squares64(points.isa, values).sqrt()
        });
        lengths.fold(0.0, f64::max) * (1.0 + 1e-9)
    }

    /// What of the centroids is rounded: they or their sketches.
    fn rounded<'a>(sketches: &'a [f32], rows: Matrix<'a>, points: &Points<'_>) -> Matrix<'a> {
        let Some(sketch) = points.sketch() else {
            return rows;
        };
        Matrix::new(sketches, rows.rows(), sketch.len()).expect("a sketch of each")
    }

    /// The step by which centroids, or their sketches, are rounded to integers, if they are.
    fn step(rows: Matrix<'_>, points: &Points<'_>) -> f32 {
        let Some(turn) = points.turn() else {
            return 1.0;
        };
        let (isa, origin) = (points.isa, points.subtracted());
        let (square, largest) = (0..rows.rows())
            .into_par_iter()
            .with_min_len(256)
            .map_init(
                || vec![0.0; turn.columns()],
                |turned, c| {
                    let row = rows.row(c);
                    let square = kernel::distance(isa, row, origin);
                    (
                        square,
                        kernel::largest_turned(isa, row, origin, turn, turned),
                    )
                },
            )
            .reduce(|| (0.0, 0.0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        match points.sketch() {
            Some(_) => turn.least_step(largest),
            None => turn.step_of_centroids(f64::from(square).sqrt(), largest),
        }
    }

    fn windows(&mut self, points: &Points<'_>, step: f32, extent: &Extent, longest_sketch: f64) {
        let columns = points.rows.cols();
        let exact = Window::of_f32(columns, extent);
        self.exact = Some(exact);
        self.pass = Some(match (&points.form, points.turn()) {
            (Form::Sketch(sketch), Some(turn)) => {
                let extent = Extent {
                    norm: longest_sketch,
                    ..*extent
                };
                // A number in the last bits of a sum takes up to 15 from it.
                let numbered = match turn.width.numbered() {
                    true => 15.0 * turn.unit_of(step) * turn.longest_step(),
                    false => 0.0,
                };
                let left = sketch.excess() * extent.norm + numbered;
                match extent.norm < MOST && extent.rounding < MOST {
                    true => Window::of_sketches(columns, left, &extent),
                    false => Window::EVERYTHING,
                }
            }
            (_, Some(turn)) => match turn.first(extent.norm * extent.norm / 2.0, step) {
                Some(_) => {
                    let numbered = turn.width.numbered();
                    Window::of_integers(columns, self.groups.unit, numbered, extent)
                }
                None => Window::EVERYTHING,
            },
            (_, None) if points.tiled() => Window::of_bf16(points.steps() * 2 * LANES, extent),
            (_, None) => exact,
        });
        let other = points.integers.as_ref().filter(|_| points.turn().is_none());
        self.narrow =
            other.map(|turn| Window::expected_of_integers(turn.error(), turn.longest, extent));
    }
}

impl Groups {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.first.len()
    }
}

/// Groups for so many lanes; tiles are multiplied in pairs.
fn groups(lanes: usize, isa: Isa) -> usize {
    match isa {
        Isa::Amx => lanes.div_ceil(2 * LANES) * 2,
        _ => lanes.div_ceil(LANES),
    }
}

impl Group<'_> {
    /// Of centroids, and what of them is rounded.
    fn pack(
        mut self,
        [rows, to_round]: [Matrix<'_>; 2],
        members: &[u32],
        points: &Points<'_>,
        step: f32,
        rounded: &mut Rounded,
    ) -> Extent {
        let first_of = |half_square: f64| match (&points.form, points.turn()) {
            (_, None) => -(half_square as f32),
            // It is among the values.
            (Form::Sketch(_), _) => 0.0,
            // Where it is too large, the window leaves nothing out.
            (_, Some(turn)) => f32::from_bits(turn.first(half_square, step).unwrap_or(0) as u32),
        };
        let nobody = match points.turn() {
            // A number in its last bits keeps it one.
            None => f32::MIN,
            Some(_) => f32::from_bits(i32::MIN as u32),
        };
        let mut extent = Extent {
            origin: points.origin_norm,
            ..Extent::default()
        };
        for (lane, centroid) in members.iter().enumerate() {
            if *centroid == NOBODY {
                self.first.0[lane] = f32::NEG_INFINITY;
                rounded.values.fill(0);
                self.put(lane, &rounded.values, nobody);
                continue;
            }
            let row = rows.row(*centroid as usize);
            for ((line, c), o) in self.lines.iter_mut().zip(row).zip(&points.origin) {
                line.0[lane] = c - o;
            }
            let sums = kernel::moved_sums(points.isa, row, &points.origin);
            self.first.0[lane] = -((sums.square / 2.0 + sums.with_origin) as f32);
            extent.norm = extent.norm.max(sums.true_square.sqrt() * (1.0 + 1e-12));
            if points.tiled() {
                let (error, _) =
                    points.round_centroid(to_round.row(*centroid as usize), step, rounded);
                extent.rounding = extent.rounding.max(error);
                self.put(lane, &rounded.values, first_of(sums.true_square / 2.0));
            }
        }
        extent
    }

    /// Puts a centroid, as it was rounded, where its lane is.
    fn put(&mut self, lane: usize, rounded: &[u16], first: f32) {
        if let Some(first_of_tiles) = &mut self.first_of_tiles {
            first_of_tiles.0[lane] = first;
        }
        let lines = rounded.chunks_exact(2 * LANES);
        for (values, tile) in lines.zip(self.tiles.chunks_exact_mut(LANES)) {
            tile[lane].0.copy_from_slice(values);
        }
        if let Some(first_of_fours) = &mut self.first_of_fours {
            let first = first.to_bits() as i32;
            let first = first.wrapping_sub(128 * sum_of_bytes(rounded));
            first_of_fours.0[lane] = f32::from_bits(first as u32);
        }
        for (values, fours) in rounded.chunks_exact(2).zip(&mut *self.fours) {
            fours.0[2 * lane..][..2].copy_from_slice(values);
        }
    }
}

/// Of signed bytes, two in a value.
fn sum_of_bytes(pairs: &[u16]) -> i32 {
    let bytes = pairs.iter().flat_map(|pair| pair.to_le_bytes());
    bytes.map(|byte| i32::from(byte as i8)).sum()
}

/// Sums over the columns of `ĉ = c − o` rounded to f32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MovedSums {
    /// `|ĉ|²`.
    pub square: f64,
    /// `o·ĉ`.
    pub with_origin: f64,
    /// `|c − o|²`, not rounded.
    pub true_square: f64,
}

#[inline(always)]
pub(crate) fn moved_sums_of(c: &[f32], origin: &[f32]) -> MovedSums {
    let mut sums = [[0.0f64; LANES / 2]; 3];
    let mut one = |c: f32, o: f32, lane: usize| {
        let moved = f64::from(c - o);
        let whole = f64::from(c) - f64::from(o);
        sums[0][lane] += moved * moved;
        sums[1][lane] += moved * f64::from(o);
        sums[2][lane] += whole * whole;
    };
    const WIDTH: usize = LANES / 2;
    let (cs, os) = (c.chunks_exact(WIDTH), origin.chunks_exact(WIDTH));
    let rest = cs.remainder().iter().zip(os.remainder());
    for (c, o) in cs.clone().zip(os) {
        for lane in 0..WIDTH {
            one(c[lane], o[lane], lane);
        }
    }
    for (c, o) in rest {
        one(*c, *o, 0);
    }
    let [square, with_origin, true_square] = sums.map(|s| s.iter().sum());
    MovedSums {
        square,
        with_origin,
        true_square,
    }
}
