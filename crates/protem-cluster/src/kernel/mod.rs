//! The kernels: all the `unsafe` of this crate (but for the feature `cuda`, see `cuda/kernels.rs`),
//! behind functions that check their sizes.
//!
//! What is computed: the score of a point and a centroid is `x·c − |c|²/2` (moved to a common
//! origin), largest where the distance is smallest. A *group* is 16 centroids, the lanes of a
//! 512-bit vector. A pass takes strips of points against all groups and keeps the best score of
//! each point in each group, so the matrix of scores never exists; the groups that can hold the
//! nearest centroid are then looked into.
//!
//! Every level computes scores within the error that `window.rs` allows; the decisions taken from
//! them, and with them all results, are the same.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(test, target_os = "linux"))]
mod guarded;
mod portable;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod words;

pub(crate) use vectors::{
    add_rows, add_scaled, distance, distances, dot, largest_turned, moved_sums, round_row,
    sketch_row, squares, squares64, turn_row, turn_row_alone,
};

#[cfg(target_arch = "x86_64")]
pub(crate) use vnni::usable as bytes_usable;

use crate::isa::Isa;

/// Centroids of a group.
pub(crate) const LANES: usize = 16;
/// Points of a strip in the f32 passes: three 512-bit vectors, twice three of 256.
pub(crate) const STRIP: usize = 3 * LANES;
/// Points scored together against a group.
pub(crate) const TOGETHER: usize = 4;

/// 16 values, a cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub [f32; LANES]);

impl Lanes {
    pub const ZERO: Self = Self([0.0; LANES]);

    pub const fn all(value: f32) -> Self {
        Self([value; LANES])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn min(self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] < other.0[i] {
                self.0[i]
            } else {
                other.0[i]
            }
        }))
    }

    #[inline(always)]
    pub fn max(self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > other.0[i] {
                self.0[i]
            } else {
                other.0[i]
            }
        }))
    }
}

/// 32 bf16 values or 64 bytes, a cache line and a tile's row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Halves(pub [u16; 2 * LANES]);

impl Halves {
    pub const ZERO: Self = Self([0; 2 * LANES]);
}

/// The f32 pass: a strip of [`STRIP`] points, `points[column · 3 + part]`, against groups of
/// `columns` lines each, `groups[group · columns + column]`, with `first` as first value of each
/// sum: `best[group · 3 + part]`.
///
/// # Panics
/// If the level is not this machine's, or a slice has not the size that the others make it.
pub(crate) fn best_of_groups(
    isa: Isa,
    points: &[Lanes],
    groups: &[Lanes],
    first: &[Lanes],
    best: &mut [Lanes],
) {
    const PARTS: usize = STRIP / LANES;
    let columns = points.len() / PARTS;
    assert_eq!(points.len(), columns * PARTS, "whole columns");
    assert_eq!(groups.len(), first.len() * columns, "a line per column");
    assert_eq!(best.len(), first.len() * PARTS, "a result per group");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::best_of_groups(points, groups, first, best),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::best_of_groups(points, groups, first, best),
        _ => portable::best_of_groups(points, groups, first, best),
    }
}

/// The best scores of 16 points over all groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Highest {
    pub best: Lanes,
    /// What all centroids but one score at most; ∞ where a pass does not tell.
    pub second: Lanes,
}

impl Highest {
    /// Of no group.
    const NOTHING: Self = Self {
        best: Lanes::all(f32::NEG_INFINITY),
        second: Lanes::all(f32::NEG_INFINITY),
    };

    /// Whose second is not known.
    pub const fn alone(best: Lanes) -> Self {
        Self {
            best,
            second: Lanes::all(f32::INFINITY),
        }
    }

    /// Of these groups too.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)] // to be compiled for the caller's vectors
    fn with(&self, other: &Self) -> Self {
        let less = self.best.min(&other.best);
        Self {
            best: self.best.max(&other.best),
            second: self.second.max(&other.second).max(&less),
        }
    }

    /// The lane within its group of the centroid that has this score, if the second is known.
    #[inline]
    pub fn lane(score: f32) -> usize {
        (score.to_bits() & NUMBER) as usize
    }
}

/// The last bits of a score, which give way to the number of its centroid's lane where the second best is
/// kept.
const NUMBER: u32 = LANES as u32 - 1;

/// What tiles hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Values {
    Bf16,
    /// Bytes, and first values in i32; a sum of 1 stands for `unit`.
    Int8 {
        unit: f32,
    },
    /// The same of 16 bits.
    Int16 {
        unit: f32,
    },
}

/// Points and centroids in tiles of 16 lines, 32 values of 16 bits or 64 bytes each.
pub(crate) struct Tiled<'a> {
    pub values: Values,
    /// Strips of two blocks of `steps` tiles each; line r of a tile holds columns 2r and 2r + 1 of 16
    /// points, or 4r to 4r + 3 in bytes.
    pub points: &'a [Halves],
    /// Groups of `steps` tiles each, whose lines are centroids; with [`Isa::Avx512`] four columns of all 16.
    pub centroids: &'a [Halves],
    /// A line per group: the first values of its centroids' sums.
    pub first: &'a [Lanes],
    pub steps: usize,
}

impl Tiled<'_> {
    fn strips(&self) -> usize {
        self.points.len() / (2 * self.steps * LANES)
    }
}

/// Points of a strip of tiles.
pub(crate) const TILED_STRIP: usize = 2 * LANES;

/// The pass over tiles, for every strip and group: `best[(strip · groups + group) · 2 + half]`. And the
/// best of each point in all groups: `highest[strip · 2 + half]`, of bf16 and of 16-bit integers with the
/// second, and with the number of its centroid's lane in the last four bits of every score.
///
/// # Panics
/// If the level is not this machine's or has no pass over such values, with AMX if groups are odd in
/// number, or if a slice has not the size that the others make it.
pub(crate) fn best_of_tiles(
    isa: Isa,
    tiled: &Tiled<'_>,
    best: &mut [Lanes],
    highest: &mut [Highest],
) {
    let of_block = tiled.steps * LANES;
    let (groups, strips) = (tiled.first.len(), tiled.strips());
    assert!(tiled.steps > 0, "at least one column");
    assert_eq!(tiled.points.len(), strips * 2 * of_block, "whole strips");
    assert_eq!(tiled.centroids.len(), groups * of_block, "whole groups");
    assert_eq!(best.len(), strips * groups * 2, "a result per group");
    assert_eq!(highest.len(), strips * 2, "a line per half of a strip");
    highest.fill(match tiled.values {
        Values::Bf16 | Values::Int16 { .. } => Highest::NOTHING,
        Values::Int8 { .. } => Highest::alone(Highest::NOTHING.best),
    });
    if best.is_empty() {
        return;
    }
    match (isa, tiled.values) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        (Isa::Amx, Values::Bf16 | Values::Int8 { .. }) => amx::best_of_tiles(tiled, best, highest),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Values::Int8 { unit }) => vnni::best_of_tiles(tiled, unit, best, highest),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Values::Int16 { unit }) => words::best_of_tiles(tiled, unit, best, highest),
        (_, values) => panic!("{isa:?} has no pass over tiles of {values:?}"),
    }
}

/// A group of centroids in bytes, by columns.
pub(crate) struct Group<'a> {
    /// Lines of four columns of each of the 16.
    pub fours: &'a [Halves],
    /// The first values of sums, for bytes of points that are 128 more than they stand for.
    pub first: &'a Lanes,
    /// What a sum of 1 stands for.
    pub unit: f32,
    /// What each lane holds, or [`u32::MAX`] for nothing.
    pub centroids: &'a [u32; LANES],
}

/// Points that want to know which centroids of a group are in question, of bytes.
pub(crate) struct Asking<'a> {
    /// Blocks of tiles, see [`Tiled`].
    pub tiles: &'a [Halves],
    /// Places in these.
    pub points: &'a [u32],
    /// For each place, a centroid that is not asked for, and the score that others must reach.
    pub labels: &'a [u32],
    pub least: &'a [f32],
}

/// Points and centroids.
#[derive(Default)]
pub(crate) struct Pairs {
    points: Vec<u32>,
    centroids: Vec<u32>,
    count: usize,
}

impl Pairs {
    pub fn clear(&mut self) {
        self.count = 0;
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn push(&mut self, point: u32, centroid: u32) {
        self.make_room(1);
        (self.points[self.count], self.centroids[self.count]) = (point, centroid);
        self.count += 1;
    }

    /// Has room for so many more.
    fn make_room(&mut self, more: usize) {
        let needed = self.count + more;
        if self.points.len() < needed {
            self.points.resize(needed, 0);
            self.centroids.resize(needed, 0);
        }
    }

    pub fn points(&self) -> &[u32] {
        &self.points[..self.count]
    }

    pub fn centroids(&self) -> &[u32] {
        &self.centroids[..self.count]
    }
}

/// Adds to `pairs` each point with each centroid that it asks for: scores are those that [`best_of_tiles`] has
/// the best of.
///
/// # Panics
/// If the level is not this machine's or has no pass over bytes, or a point lies beyond tiles, labels or least
/// scores.
#[inline]
pub(crate) fn in_question(isa: Isa, asking: &Asking<'_>, group: &Group<'_>, pairs: &mut Pairs) {
    let of_block = group.fours.len();
    assert!(of_block.is_multiple_of(LANES), "whole tiles");
    let places = (asking.tiles.len() / of_block * LANES)
        .min(asking.labels.len())
        .min(asking.least.len());
    assert!(
        asking.points.iter().all(|i| (*i as usize) < places),
        "points that are there"
    );
    pairs.make_room(LANES * asking.points.len());
    match isa {
        // SAFETY: every point has its place in tiles, labels and least scores, and there is room.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { vnni::in_question::<false>(asking, group, pairs) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => unsafe { vnni::in_question::<true>(asking, group, pairs) },
        _ => panic!("{isa:?} has no pass over bytes"),
    }
}

/// Tiles of centroids that stay in the level-1 cache while the points go by, 16 KiB.
#[cfg(target_arch = "x86_64")]
const RESIDENT: usize = 16;

/// Transposes 16 points: lane `i` of `lines[column · parts + part]` is a value of point `i`.
///
/// # Panics
/// If the level is not this machine's, there are not 16 points, or a point has not a value for
/// each column of `lines`.
pub(crate) fn transpose(isa: Isa, rows: &[&[f32]], lines: &mut [Lanes], parts: usize, part: usize) {
    let columns = lines.len() / parts;
    assert!(
        rows.len() == LANES && part < parts,
        "16 points, a part of the strip"
    );
    assert!(
        rows.iter().all(|r| r.len() == columns),
        "a value per column"
    );
    let done = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::transpose(rows, lines, parts, part),
        _ => 0,
    };
    for (column, lines) in lines.chunks_exact_mut(parts).enumerate().skip(done) {
        for (value, row) in lines[part].0.iter_mut().zip(rows) {
            *value = row[column];
        }
    }
}

/// What a group holds for a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Leaders {
    /// The best score.
    pub best: f32,
    /// The lanes within the point's window of it.
    pub close: u16,
    /// The best score of the other lanes, if it is asked for; −∞ without any.
    pub next: f32,
}

/// The leaders of one group for four points, with the best scores next to them if `next`.
///
/// # Panics
/// If the level is not this machine's, or a point has not the group's columns.
#[inline]
pub(crate) fn leaders(
    isa: Isa,
    points: [&[f32]; TOGETHER],
    windows: [f32; TOGETHER],
    group: &[Lanes],
    first: &Lanes,
    next: bool,
) -> [Leaders; TOGETHER] {
    for point in points {
        assert_eq!(point.len(), group.len(), "a value per column");
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::leaders(points, windows, group, first, next),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::leaders(points, windows, group, first),
        _ => {
            std::array::from_fn(|i| portable::leaders(&scores(points[i], group, first), windows[i]))
        }
    }
}

/// `Σ(x − c)²` of four pairs, summed in any order.
///
/// # Panics
/// If rows differ in length, or the level has no passes over bytes, beside which these are needed.
#[inline]
pub(crate) fn rough_distances(
    isa: Isa,
    points: [&[f32]; TOGETHER],
    centroids: [&[f32]; TOGETHER],
) -> [f32; TOGETHER] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::rough_distances(points, centroids),
        _ => panic!("{isa:?} has no pass over bytes"),
    }
}

/// The scores of a point against one group, in plain Rust.
pub(crate) fn scores(point: &[f32], group: &[Lanes], first: &Lanes) -> Lanes {
    portable::scores(point, group, first)
}

/// Asks for a point's values before they are needed.
#[inline]
pub(crate) fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LANES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing; SSE is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// The best of 16 points over all groups; `best[group · parts + part]`.
///
/// # Panics
/// If the level is not this machine's, or `part` is not below `parts`.
#[inline]
pub(crate) fn highest(isa: Isa, best: &[Lanes], parts: usize, part: usize) -> Lanes {
    assert!(part < parts, "a part of the strip");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::highest(best, parts, part),
        _ => portable::highest(best, parts, part),
    }
}

/// Groups that [`top`] finds for each point.
pub(crate) const TOP: usize = 7;

/// The best scores of 16 points and the groups that have them, the best first, as numbers with the
/// order of the scores: a group's number takes the last bits of its score.
#[derive(Clone, Copy)]
pub(crate) struct Top {
    keys: [Lanes; TOP],
    /// The bits of the number.
    number: u32,
}

impl Top {
    /// Of as many groups.
    fn of(groups: usize) -> Self {
        let number = (groups.next_power_of_two() - 1) as u32;
        let least = f32::from_bits(f32::MIN.to_bits() & !number);
        Self {
            keys: [Lanes::all(least); TOP],
            number,
        }
    }

    /// The score of that place, or somewhat more; very low where there are fewer groups.
    #[inline]
    pub fn score(&self, place: usize, lane: usize) -> f32 {
        let key = self.keys[place].0[lane];
        let bits = key.to_bits();
        f32::from_bits(match key.is_sign_negative() {
            true => bits & !self.number,
            false => bits | self.number,
        })
    }

    #[inline]
    pub fn group(&self, place: usize, lane: usize) -> u32 {
        self.keys[place].0[lane].to_bits() & self.number
    }
}

/// The best scores of 16 points over all groups; `best[group · parts + part]`.
///
/// # Panics
/// As [`highest`].
pub(crate) fn top(isa: Isa, best: &[Lanes], parts: usize, part: usize) -> Top {
    assert!(part < parts, "a part of the strip");
    let mut top = Top::of(best.len() / parts);
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::top(best, parts, part, &mut top),
        _ => portable::top(best, parts, part, &mut top),
    }
    top
}

/// Calls `found(group, lanes)` for each group of a strip's part in which some lane's best reaches
/// its threshold. Lane `l` is bit `l`; a lane whose threshold is ∞ is never found.
///
/// # Panics
/// As [`highest`].
#[inline]
pub(crate) fn reaching(
    isa: Isa,
    best: &[Lanes],
    parts: usize,
    part: usize,
    threshold: &Lanes,
    found: &mut impl FnMut(usize, u16),
) {
    assert!(part < parts, "a part of the strip");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => avx512::reaching(best, parts, part, threshold, found),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::reaching(best, parts, part, threshold, found),
        _ => portable::reaching(best, parts, part, threshold, found),
    }
}

/// A file's bytes, as the system maps them.
#[cfg(feature = "npy")]
pub(crate) fn map(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the bytes are read as plain numbers only, whatever they are. That nobody changes or
    // shortens the file meanwhile is what `Npy::open` asks of its caller in its documentation; no
    // program can check it.
    unsafe { memmap2::Mmap::map(file) }
}
