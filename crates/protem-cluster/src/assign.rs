//! The nearest centroid of every point, exactly.
//!
//! A pass finds the best score of each point in each group of 16 centroids, in bf16 or in f32;
//! groups that cannot hold the nearest centroid are left out by the window of the pass's error.
//! The others are scored in f32, each group once for all points that ask for it. Where that leaves
//! more than one centroid within f32's own window, `Σ(x − c)²` in f64 decides.
//!
//! So a label is a function of the point and the centroids alone: the lowest of those with the
//! least f64 distance. It depends on no level of instructions, block size or thread.

use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::isa::Isa;
use crate::kernel::{self, LANES, Lanes, STRIP, TOGETHER};
use crate::matrix::Matrix;
use crate::points::Points;
use crate::threads::Threads;
use rayon::prelude::*;

/// A multiple of the strips of every level, 32 and 48.
const STRIPS: usize = 96;
/// Points of a task, at most.
const SPAN: usize = STRIPS * 170;
/// Points of a task for each group: several then share a group's values, while the points stay in
/// the level-2 cache as long as there are not too many groups.
const SHARING: usize = 32;
/// Lines of best scores kept at once: 1 MiB.
const BEST: usize = 1 << 14;
/// Strips whose best scores are kept at once, at least: the centroids are read once for them all.
const TOGETHER_STRIPS: usize = 32;

/// Values of points packed at a time where they are needed only once: 128 MiB.
const BLOCK_VALUES: usize = 1 << 25;

/// Nearest centroids.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Nearest centroid of each point: the lowest of those with the least `Σ(x − c)²`, summed over
    /// the columns in order in f64.
    pub labels: Vec<u32>,
    /// Squared L2 distance to it, `Σ(x − c)²` in f32.
    pub distances: Vec<f32>,
}

/// The nearest of `centroids` (`k × d`) for each of `points` (`n × d`), on `threads` threads or,
/// for `None`, the caller's rayon pool.
///
/// # Errors
/// [`ClusterError::Clusters`] for no centroids, [`ClusterError::Columns`] for different numbers of
/// columns, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`] with the row (of the points
/// first), [`ClusterError::TooMany`], [`ClusterError::Threads`], [`ClusterError::Isa`].
pub fn assign(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: Option<usize>,
) -> Result<Assignment, ClusterError> {
    assign_on(Isa::chosen()?, points, centroids, threads)
}

/// [`assign`] on a level of instructions of one's choice; the result has the same bits.
///
/// # Errors
/// As [`assign`].
pub fn assign_on(
    isa: Isa,
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: Option<usize>,
) -> Result<Assignment, ClusterError> {
    let isa = isa.checked()?;
    let mut out = Assignment {
        labels: vec![0; points.rows()],
        distances: vec![0.0; points.rows()],
    };
    let (labels, distances) = (&mut out.labels, &mut out.distances);
    Threads::new(threads)?.run(|| assign_into(points, centroids, isa, labels, distances))?;
    Ok(out)
}

/// [`assign`] on a level, on the current threads, into slices of the right length.
pub(crate) fn assign_into(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) -> Result<(), ClusterError> {
    if centroids.rows() == 0 {
        return Err(ClusterError::Clusters {
            k: 0,
            points: points.rows(),
        });
    }
    if centroids.cols() != points.cols() {
        return Err(ClusterError::Columns {
            points: points.cols(),
            centroids: centroids.cols(),
        });
    }
    points.check(isa)?;
    centroids.check(isa)?;
    nearest_in_blocks(points, centroids, isa, labels, distances);
    Ok(())
}

/// Labels and distances of points that are checked, packing a block of them at a time: memory does
/// not grow with their number.
pub(crate) fn nearest_in_blocks(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) {
    let rows = (BLOCK_VALUES / points.cols()).max(STRIPS);
    let mut groups = Centroids::default();
    let places = labels.chunks_mut(rows).zip(distances.chunks_mut(rows));
    for (at, (labels, distances)) in places.enumerate() {
        let begin = at * rows;
        let packed = Points::pack(points.between(begin, begin + labels.len()), isa);
        groups.pack(centroids, &packed);
        nearest(&packed, centroids, &groups, labels, distances);
    }
}

/// Labels and distances of points that are checked and packed.
pub(crate) fn nearest(
    points: &Points<'_>,
    rows: Matrix<'_>,
    centroids: &Centroids,
    labels: &mut [u32],
    distances: &mut [f32],
) {
    // Enough tasks to keep every thread busy to the end.
    let share = labels.len().div_ceil(4 * rayon::current_num_threads());
    let sharing = SHARING * centroids.first.len();
    let least = TOGETHER_STRIPS * points.strip();
    let span = share.min(sharing.max(least)).min(SPAN);
    let span = span.max(1).next_multiple_of(STRIPS);
    labels
        .par_chunks_mut(span)
        .zip(distances.par_chunks_mut(span))
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (at, (labels, distances))| {
            let mut task = Span {
                points,
                rows,
                centroids,
                begin: at * span,
                labels,
                scratch,
            };
            task.pass();
            task.score_again();
            task.decide_ties();
            task.measure(distances);
        });
}

/// A thread's memory.
#[derive(Default)]
struct Scratch {
    /// Best scores, `[strip][group][part]`.
    best: Vec<Lanes>,
    /// A transposed strip.
    strip: Vec<Lanes>,
    /// Groups that can hold the nearest centroid of a point of the span.
    candidates: Vec<(u32, u32)>,
    /// The points of `candidates`, sorted by group; those of group g end at `ends[g]`.
    sorted: Vec<u32>,
    ends: Vec<u32>,
    /// For each point of the span.
    leads: Vec<Lead>,
}

/// The best centroid of a point so far, in f32.
#[derive(Clone, Copy)]
struct Lead {
    score: f32,
    /// Scores closer than this cannot be told apart.
    window: f32,
    /// Another centroid is as close as that.
    tied: bool,
    /// Of those tied, the least distance in f64.
    distance: f64,
}

/// A stretch of points on its way from pass to labels.
struct Span<'a, 'b> {
    points: &'a Points<'a>,
    rows: Matrix<'a>,
    centroids: &'a Centroids,
    begin: usize,
    labels: &'b mut [u32],
    scratch: &'b mut Scratch,
}

impl Span<'_, '_> {
    /// Finds the groups that can hold the nearest centroids.
    fn pass(&mut self) {
        let groups = self.centroids.first.len();
        let strip = self.points.strip();
        let parts = strip / LANES;
        let together = (BEST / (groups * parts)).max(TOGETHER_STRIPS);
        let strips = self.labels.len().div_ceil(strip);
        self.scratch.candidates.clear();
        for first in (0..strips).step_by(together) {
            let count = together.min(strips - first);
            let of_strip = groups * parts;
            let needed = count * of_strip;
            if self.scratch.best.len() < needed {
                self.scratch.best.resize(needed, Lanes::ZERO);
            }
            match self.points.isa {
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                Isa::Amx => self.tiles(first, count),
                _ => self.f32_strips(first, count),
            }
            for at in 0..count {
                for part in 0..parts {
                    let begin = (first + at) * strip + part * LANES;
                    self.candidates(at * of_strip, begin, parts, part);
                }
            }
        }
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn tiles(&mut self, first: usize, count: usize) {
        let steps = crate::points::steps(self.rows.cols());
        let of_strip = 2 * steps * LANES;
        let begin = (self.begin / kernel::amx::POINTS + first) * of_strip;
        kernel::amx::best_of_groups(
            &self.points.tiles[begin..begin + count * of_strip],
            &self.centroids.tiles,
            &self.centroids.first_tiles,
            steps,
            &mut self.scratch.best[..count * self.centroids.first.len() * 2],
        );
    }

    fn f32_strips(&mut self, first: usize, count: usize) {
        let of_strip = self.centroids.first.len() * (STRIP / LANES);
        let scratch = &mut *self.scratch;
        let lines = self.rows.cols() * (STRIP / LANES);
        scratch.strip.resize(lines, Lanes::ZERO);
        for (at, best) in scratch
            .best
            .chunks_exact_mut(of_strip)
            .take(count)
            .enumerate()
        {
            let begin = self.begin + (first + at) * STRIP;
            self.points.transpose(begin, &mut scratch.strip);
            let (lines, starts) = (&self.centroids.lines, &self.centroids.first);
            kernel::best_of_groups(self.points.isa, &scratch.strip, lines, starts, best);
        }
    }

    /// Takes up the candidates of the 16 points from `begin` of the span on, whose best scores lie
    /// from `at` on.
    fn candidates(&mut self, at: usize, begin: usize, parts: usize, part: usize) {
        let Some(count) = self.labels.len().checked_sub(begin).map(|n| n.min(LANES)) else {
            return;
        };
        let window = self.centroids.pass.expect("packed centroids");
        let of_strip = self.centroids.first.len() * parts;
        let scratch = &mut *self.scratch;
        let best = &scratch.best[at..at + of_strip];
        // Lanes beyond the last point find nothing.
        let mut windows = self.points.windows(&window, self.begin + begin);
        windows.0[count..].fill(f32::NEG_INFINITY);
        let candidates = &mut scratch.candidates;
        let isa = self.points.isa;
        kernel::within(isa, best, parts, part, &windows, &mut |group, mask| {
            let mut left = mask;
            while left != 0 {
                let lane = left.trailing_zeros();
                left &= left - 1;
                candidates.push((group as u32, begin as u32 + lane));
            }
        });
    }

    /// Scores the candidates in f32, group by group.
    fn score_again(&mut self) {
        self.sort();
        self.lead();
        let columns = self.rows.cols();
        let scratch = &mut *self.scratch;
        let mut begin = 0;
        for group in 0..self.centroids.first.len() {
            let end = scratch.ends[group] as usize;
            let asking = &scratch.sorted[begin..end];
            let lines = &self.centroids.lines[group * columns..][..columns];
            let row = |i: u32| self.points.rows.row(self.begin + i as usize);
            for (at, some) in asking.chunks(TOGETHER).enumerate() {
                let ahead = begin + (at + 2) * TOGETHER;
                let ahead = scratch.sorted.get(ahead..).unwrap_or_default();
                ahead
                    .iter()
                    .take(TOGETHER)
                    .for_each(|i| kernel::prefetch(row(*i)));
                // The last one fills the places that are left.
                let point = |i: usize| some[i.min(some.len() - 1)];
                let rows = std::array::from_fn(|i| row(point(i)));
                let windows = std::array::from_fn(|i| scratch.leads[point(i) as usize].window);
                let isa = self.points.isa;
                let first = &self.centroids.first[group];
                let found = kernel::leaders(isa, rows, windows, lines, first);
                for (i, (score, mask)) in some.iter().zip(found) {
                    let lead = &mut scratch.leads[*i as usize];
                    if lead.take(score, mask) {
                        let lane = mask.trailing_zeros();
                        self.labels[*i as usize] = (group * LANES) as u32 + lane;
                    }
                }
            }
            begin = end;
        }
    }

    /// Candidates by group, in the order of points.
    fn sort(&mut self) {
        let scratch = &mut *self.scratch;
        scratch.ends.clear();
        scratch.ends.resize(self.centroids.first.len(), 0);
        for (group, _) in &scratch.candidates {
            scratch.ends[*group as usize] += 1;
        }
        let mut end = 0;
        for count in &mut scratch.ends {
            (*count, end) = (end, end + *count);
        }
        scratch.sorted.resize(scratch.candidates.len(), 0);
        for (group, point) in &scratch.candidates {
            let end = &mut scratch.ends[*group as usize];
            scratch.sorted[*end as usize] = *point;
            *end += 1;
        }
    }

    /// A lead for every point that any score beats.
    fn lead(&mut self) {
        let window = self.centroids.exact.expect("packed centroids");
        let origin = self.points.origin_norm;
        let leads = (0..self.labels.len()).map(|i| {
            let (error, norm) = self.points.rounding(self.begin + i);
            // With AMX these are of the moved point.
            let whole = match self.points.isa {
                Isa::Amx => crate::window::round_up(f64::from(error) + f64::from(norm) + origin),
                _ => norm,
            };
            Lead {
                score: f32::NEG_INFINITY,
                window: window.of(0.0, whole),
                tied: false,
                distance: f64::INFINITY,
            }
        });
        self.scratch.leads.clear();
        self.scratch.leads.extend(leads);
    }

    /// Compares by f64 distance what f32 could not tell apart.
    fn decide_ties(&mut self) {
        let scratch = &mut *self.scratch;
        if !scratch.leads.iter().any(|lead| lead.tied) {
            return;
        }
        let columns = self.rows.cols();
        let mut begin = 0;
        for group in 0..self.centroids.first.len() {
            let end = scratch.ends[group] as usize;
            for i in &scratch.sorted[begin..end] {
                let lead = &mut scratch.leads[*i as usize];
                if !lead.tied {
                    continue;
                }
                let point = self.points.rows.row(self.begin + *i as usize);
                let lines = &self.centroids.lines[group * columns..][..columns];
                let scores = kernel::scores(point, lines, &self.centroids.first[group]);
                let centroids = group * LANES..self.rows.rows().min((group + 1) * LANES);
                for (c, score) in centroids.zip(scores.0) {
                    if score < lead.score - lead.window {
                        continue;
                    }
                    let distance = distance64(point, self.rows.row(c));
                    if distance < lead.distance {
                        lead.distance = distance;
                        self.labels[*i as usize] = c as u32;
                    }
                }
            }
            begin = end;
        }
    }

    fn measure(&self, distances: &mut [f32]) {
        for (i, (label, distance)) in self.labels.iter().zip(distances).enumerate() {
            if let Some(ahead) = self.labels.get(i + 8) {
                kernel::prefetch(self.rows.row(*ahead as usize));
            }
            let (x, c) = (
                self.points.rows.row(self.begin + i),
                self.rows.row(*label as usize),
            );
            *distance = kernel::distance(self.points.isa, x, c);
        }
    }
}

impl Lead {
    /// Takes up a group's best score and the lanes close to it; whether it leads now.
    ///
    /// Whatever is within the window of the last lead leaves `tied` set: it was itself close to
    /// the lead when it came, or the lead was close to it.
    #[inline]
    fn take(&mut self, score: f32, close: u16) -> bool {
        if score < self.score - self.window {
            return false;
        }
        let clear = score > self.score + self.window;
        self.tied = !clear || close.count_ones() > 1;
        let leads = score > self.score;
        if leads {
            self.score = score;
        }
        leads
    }
}

/// What decides: `Σ(x − c)²` over the columns in order.
fn distance64(x: &[f32], c: &[f32]) -> f64 {
    let squares = x
        .iter()
        .zip(c)
        .map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2));
    squares.sum()
}
