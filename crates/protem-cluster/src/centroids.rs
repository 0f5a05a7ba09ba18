//! Centroids as the passes read them, prepared in each iteration.

use crate::isa::Isa;
use crate::kernel::{Halves, LANES, Lanes};
use crate::matrix::Matrix;
use crate::points::{Points, steps};
use crate::span::Scratches;
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
    /// With AMX: `steps` tiles per group, rows are centroids; groups are even in number.
    pub tiles: Vec<Halves>,
    /// With AMX: a tile per group, row r holds `−|c'|²/2` of its centroid 16 times.
    pub first_tiles: Vec<Lanes>,
}

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
    /// For who compares with them.
    pub scratches: Scratches,
}

/// Where one group goes.
struct Group<'a> {
    lines: &'a mut [Lanes],
    first: &'a mut Lanes,
    tiles: &'a mut [Halves],
    first_tile: &'a mut [Lanes],
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
        let order = &self.order;
        let groups = order.len() / LANES;
        let of_tiles = match points.isa {
            Isa::Amx => steps(columns) * LANES,
            _ => 0,
        };
        self.groups.lines.resize(groups * columns, Lanes::ZERO);
        self.groups.first.resize(groups, Lanes::ZERO);
        self.groups.tiles.resize(groups * of_tiles, Halves::ZERO);
        self.groups
            .first_tiles
            .resize(of_tiles.min(1) * groups * LANES, Lanes::ZERO);
        // A slice per group, of no tiles where there are none.
        let mut tiles = self.groups.tiles.as_mut_slice();
        let mut first_tiles = self.groups.first_tiles.as_mut_slice();
        let lines = self.groups.lines.chunks_exact_mut(columns);
        let places: Vec<Group<'_>> = lines
            .zip(&mut self.groups.first)
            .map(|(lines, first)| Group {
                lines,
                first,
                tiles: tiles.split_off_mut(..of_tiles).unwrap_or_default(),
                first_tile: first_tiles
                    .split_off_mut(..of_tiles.min(1) * LANES)
                    .unwrap_or_default(),
            })
            .collect();
        let extent = places
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![0u16; of_tiles * 2],
                |rounded, (group, place)| {
                    let members = &order[group * LANES..][..LANES];
                    place.pack(rows, members, points, rounded)
                },
            )
            .reduce(Extent::default, Extent::max);
        self.windows(points.isa, columns, extent);
    }

    fn windows(&mut self, isa: Isa, columns: usize, extent: Extent) {
        let exact = Window::of_f32(columns, &extent);
        self.exact = Some(exact);
        self.pass = Some(match isa {
            Isa::Amx => Window::of_bf16(steps(columns) * 2 * LANES, &extent),
            _ => exact,
        });
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
    fn pack(
        self,
        rows: Matrix<'_>,
        members: &[u32],
        points: &Points<'_>,
        rounded: &mut [u16],
    ) -> Extent {
        let mut extent = Extent {
            origin: points.origin_norm,
            ..Extent::default()
        };
        for (lane, centroid) in members.iter().enumerate() {
            if *centroid == NOBODY {
                self.first.0[lane] = f32::NEG_INFINITY;
                self.first_tile
                    .get_mut(lane)
                    .into_iter()
                    .for_each(|l| *l = Lanes::all(f32::NEG_INFINITY));
                continue;
            }
            let row = rows.row(*centroid as usize);
            for ((line, c), o) in self.lines.iter_mut().zip(row).zip(&points.origin) {
                line.0[lane] = c - o;
            }
            let sums = crate::kernel::moved_sums(points.isa, row, &points.origin);
            self.first.0[lane] = -((sums.square / 2.0 + sums.with_origin) as f32);
            extent.norm = extent.norm.max(sums.true_square.sqrt() * (1.0 + 1e-12));
            if let Some(first) = self.first_tile.get_mut(lane) {
                *first = Lanes::all(-((sums.true_square / 2.0) as f32));
                let (error, _) = crate::kernel::round_row(points.isa, row, &points.origin, rounded);
                extent.rounding = extent.rounding.max(error);
                let lines = rounded.chunks_exact(2 * LANES);
                for (values, tile) in lines.zip(self.tiles.chunks_exact_mut(LANES)) {
                    tile[lane].0.copy_from_slice(values);
                }
            }
        }
        extent
    }
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
