//! Leaving out of an iteration what the ones before have ruled out.
//!
//! For each point a list of its nearest groups is kept, with a lower bound on the distance to each
//! of them, and one bound for all others. When centroids move, bounds fall by as much. A few
//! groups move far: those are compared densely with all points from then on, and the bounds of the
//! rest fall by the movement of the slow ones only. A point whose own centroid is nearer than
//! every bound needs its own group scored again and nothing else; one for which the bound of the
//! others no longer tells enough is compared with everything, and gets a new list.
//!
//! Bounds only leave out centroids that are certainly farther than the point's own, so labels and
//! distances have the bits of a full comparison.

use crate::centroids::{Centroids, Groups};
use crate::kernel::{self, Lanes, TOP};
use crate::matrix::Matrix;
use crate::order::alike;
use crate::points::Points;
use crate::span::{Part, Scratch, Span, length, nearest};
use crate::window::{Window, round_up};
use rayon::prelude::*;

/// Groups of a list.
const LISTED: usize = TOP - 1;
/// Groups from which on it may pay: of fewer, a full comparison costs little more than the rest of
/// an iteration.
const FEWEST: usize = 128;
/// Groups whose numbers fit a list.
const MOST: usize = u16::MAX as usize;
/// Points per centroid from which on it is worth its memory.
const SHARING: usize = 16;
/// Iterations before the first lists, unless the start is warm: at first everything moves.
const FULL: usize = 2;
/// Points whose bounds are looked at to choose which groups count as fast.
const SAMPLE: usize = 2048;
/// Numbers of fast groups that are considered, as shares of all.
const SHARES: usize = 48;
/// What an iteration costs beside its comparisons, in comparisons with one group: a full one, a
/// pruned one, and what a point adds that is compared with everything after all. Measured, and
/// only a matter of speed.
const FULL_COST: f32 = 110.0;
const PRUNED_COST: f32 = 80.0;
const FAILED_COST: f32 = 60.0;
/// Share of the cost of a full comparison below which a pruned one is taken.
const WORTH: f32 = 0.6;

/// What is known of a point.
#[derive(Clone, Copy)]
struct Near {
    /// The distance of every centroid that is in no group of the list and in no fast one is at
    /// least this.
    rest: f32,
    /// The same for each group of the list.
    lower: [f32; LISTED],
    groups: [u16; LISTED],
}

/// Bounds over the iterations of one restart.
pub(crate) struct Pruner {
    /// Groups from which on lists are made.
    fewest: usize,
    nears: Vec<Near>,
    /// `|x'|²` of each point, or less.
    squares: Vec<f32>,
    /// Centroids of the iteration before.
    before: Vec<f32>,
    iteration: usize,
    /// Lists are those of the order that holds.
    listed: bool,
    /// A pruned iteration has followed them.
    used: bool,
    /// Iterations to wait before lists are made again, and how long the next time.
    wait: usize,
    patience: usize,
    fast: Vec<bool>,
    fast_groups: Vec<u32>,
    fast_copy: Groups,
}

/// What one pruned iteration knows of the movement.
struct Moved {
    of_group: Vec<f32>,
    /// The most that a group moved which is not fast.
    slow: f32,
}

impl Default for Pruner {
    fn default() -> Self {
        Self {
            fewest: FEWEST,
            nears: Vec::new(),
            squares: Vec::new(),
            before: Vec::new(),
            iteration: 0,
            listed: false,
            used: false,
            wait: 0,
            patience: 1,
            fast: Vec::new(),
            fast_groups: Vec::new(),
            fast_copy: Groups::default(),
        }
    }
}

impl Pruner {
    /// Forgets the last restart. From a warm start little moves.
    pub fn begin(&mut self, warm: bool) {
        self.iteration = if warm { FULL } else { 0 };
        self.listed = false;
        self.wait = 0;
        self.patience = 1;
        self.before.clear();
    }

    /// Labels and distances for centroids `rows`; both must be those of the iteration before,
    /// except in the first one.
    pub fn assign(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &mut Centroids,
        labels: &mut [u32],
        distances: &mut [f32],
    ) {
        let count = rows.rows().div_ceil(kernel::LANES);
        let enough = labels.len() >= SHARING.saturating_mul(rows.rows());
        let pays = (self.fewest..=MOST).contains(&count) && enough;
        if pays && self.listed {
            centroids.pack(rows, points);
            let moved = self.plan(points, rows, centroids, labels);
            if let Some(moved) = moved {
                self.pruned(points, rows, centroids, &moved, labels, distances);
                self.used = true;
                self.patience = 1;
                self.remember(rows);
                return;
            }
            self.listed = false;
            if !self.used {
                // Too much moves still.
                self.wait = self.patience;
                self.patience *= 2;
            }
        }
        if pays && self.iteration >= FULL && self.wait == 0 {
            centroids.arrange(alike(rows, points.isa));
            centroids.pack(rows, points);
            self.list(points, rows, centroids, labels, distances);
        } else {
            self.wait = self.wait.saturating_sub(1);
            centroids.pack(rows, points);
            nearest(points, rows, centroids, labels, distances);
        }
        self.remember(rows);
    }

    fn remember(&mut self, rows: Matrix<'_>) {
        self.iteration += 1;
        self.before.clear();
        if self.listed {
            self.before
                .extend((0..rows.rows()).flat_map(|c| rows.row(c)));
        }
    }

    /// A full comparison that makes lists.
    fn list(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &Centroids,
        labels: &mut [u32],
        distances: &mut [f32],
    ) {
        if self.squares.len() != labels.len() {
            self.squares = squares(points);
        }
        let nothing = Near {
            rest: 0.0,
            lower: [0.0; LISTED],
            groups: [0; LISTED],
        };
        self.nears.resize(labels.len(), nothing);
        self.fast_groups.clear();
        self.fast.clear();
        self.fast.resize(centroids.groups.len(), false);
        let span = length(points, centroids, labels.len());
        let squares = &self.squares;
        let nears = self.nears.par_chunks_mut(span);
        let places = labels
            .par_chunks_mut(span)
            .zip(distances.par_chunks_mut(span));
        nears.zip(places).enumerate().for_each_init(
            Scratch::default,
            |scratch, (at, (nears, (labels, distances)))| {
                let begin = at * span;
                let mut task = Span {
                    points,
                    rows,
                    centroids,
                    begin,
                    labels,
                    scratch,
                };
                task.scratch.candidates.clear();
                let list = Lists::new(points, centroids, squares, begin);
                task.compare(&centroids.groups, None, &mut |part| list.make(part, nears));
                task.score_again();
                task.decide_ties();
                task.measure(distances, |_, _| true);
            },
        );
        (self.listed, self.used) = (true, false);
    }

    /// Chooses which groups count as fast; nothing if a full comparison is the cheaper way.
    fn plan(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &Centroids,
        labels: &[u32],
    ) -> Option<Moved> {
        let of_group = self.movement(rows, centroids);
        let mut slow: Vec<u32> = (0..of_group.len() as u32)
            .filter(|g| !self.fast[*g as usize])
            .collect();
        slow.sort_by(|a, b| {
            let of = |g: &u32| of_group[*g as usize];
            of(b).total_cmp(&of(a)).then(a.cmp(b))
        });
        let mut gaps = self.gaps(points, rows, labels);
        gaps.sort_by(f32::total_cmp);
        let groups = of_group.len() as f32;
        let cost = |fast: usize| {
            let movement = slow.get(fast).map_or(0.0, |g| of_group[*g as usize]);
            let failing = gaps.partition_point(|gap| *gap <= movement) as f32;
            let dense = (self.fast_groups.len() + fast) as f32;
            dense + failing / gaps.len() as f32 * (groups + FAILED_COST) + PRUNED_COST
        };
        let step = (of_group.len() / SHARES).max(1);
        let choices = (0..=slow.len())
            .step_by(step)
            .map(|fast| (cost(fast), fast));
        let (cost, fast) = choices.min_by(|a, b| a.0.total_cmp(&b.0))?;
        if cost > WORTH * (groups + FULL_COST) {
            return None;
        }
        let moved = slow.get(fast).map_or(0.0, |g| of_group[*g as usize]);
        for group in &slow[..fast] {
            self.fast[*group as usize] = true;
            self.fast_groups.push(*group);
        }
        self.fast_groups.sort_unstable();
        self.fast_copy.select(&centroids.groups, &self.fast_groups);
        Some(Moved {
            of_group,
            slow: moved,
        })
    }

    /// The farthest that a centroid of each group moved.
    fn movement(&self, rows: Matrix<'_>, centroids: &Centroids) -> Vec<f32> {
        let of = |c: &u32| {
            let c = *c as usize;
            let before = &self.before[c * rows.cols()..][..rows.cols()];
            let squares = rows.row(c).iter().zip(before);
            let squares = squares.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            round_up(squares.sum::<f64>().sqrt())
        };
        let mut of_group: Vec<f32> = centroids
            .order
            .par_chunks(kernel::LANES)
            .map(|group| group.iter().map(of).fold(0.0, f32::max))
            .collect();
        // The one that only makes them even holds no centroid.
        of_group.resize(centroids.groups.len(), 0.0);
        of_group
    }

    /// How much the bound of the rest of some points may fall.
    fn gaps(&self, points: &Points<'_>, rows: Matrix<'_>, labels: &[u32]) -> Vec<f32> {
        let every = labels.len().div_ceil(SAMPLE);
        let sampled = (0..labels.len()).step_by(every);
        let gap = |i: usize| {
            let (x, c) = (points.rows.row(i), rows.row(labels[i] as usize));
            let distance = kernel::distance(points.isa, x, c);
            self.nears[i].rest - above(distance, rows.cols())
        };
        sampled.map(gap).collect()
    }

    fn pruned(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &Centroids,
        moved: &Moved,
        labels: &mut [u32],
        distances: &mut [f32],
    ) {
        let span = length(points, centroids, labels.len());
        let (squares, fast) = (&self.squares, &self.fast);
        let (fast_groups, fast_copy) = (&self.fast_groups, &self.fast_copy);
        let nears = self.nears.par_chunks_mut(span);
        let places = labels
            .par_chunks_mut(span)
            .zip(distances.par_chunks_mut(span));
        nears.zip(places).enumerate().for_each_init(
            Scratch::default,
            |scratch, (at, (nears, (labels, distances)))| {
                let begin = at * span;
                let task = Span {
                    points,
                    rows,
                    centroids,
                    begin,
                    labels,
                    scratch,
                };
                let lists = Lists::new(points, centroids, squares, begin);
                let fast = Fast {
                    is: fast,
                    groups: fast_groups,
                    copy: fast_copy,
                };
                pruned_span(task, &lists, &fast, moved, nears, distances);
            },
        );
    }
}

/// The groups that are compared with every point.
struct Fast<'a> {
    is: &'a [bool],
    groups: &'a [u32],
    copy: &'a Groups,
}

fn pruned_span(
    mut task: Span<'_, '_>,
    lists: &Lists<'_>,
    fast: &Fast<'_>,
    moved: &Moved,
    nears: &mut [Near],
    distances: &mut [f32],
) {
    let columns = task.rows.cols();
    task.measure(distances, |_, _| true);
    let mut before = std::mem::take(&mut task.scratch.before);
    let mut chosen = std::mem::take(&mut task.scratch.chosen);
    let mut candidates = std::mem::take(&mut task.scratch.candidates);
    before.clear();
    before.extend_from_slice(task.labels);
    chosen.clear();
    candidates.clear();
    for (i, near) in nears.iter_mut().enumerate() {
        let own = task.centroids.places[before[i] as usize] / kernel::LANES as u32;
        let distance = above(distances[i], columns);
        near.rest = fall(near.rest, moved.slow);
        if near.rest <= distance {
            chosen.push(i as u32);
            continue;
        }
        if !fast.is[own as usize] {
            candidates.push((own, i as u32));
        }
        for (group, lower) in near.groups.iter().zip(&mut near.lower) {
            let at = usize::from(*group);
            *lower = fall(*lower, moved.of_group[at]);
            if *lower <= distance && !fast.is[at] && at != own as usize {
                candidates.push((u32::from(*group), i as u32));
            }
        }
    }
    if !fast.groups.is_empty() {
        task.pass(fast.copy, None, &mut |part| {
            let threshold = lists.reach(part, nears, distances, columns);
            part.reaching(&threshold, |group, lane| {
                candidates.push((fast.groups[group], part.point(lane) as u32));
            });
        });
    }
    task.scratch.candidates = candidates;
    let all = &task.centroids.groups;
    task.compare(all, Some(&chosen), &mut |part| lists.make(part, nears));
    task.score_again();
    task.decide_ties();
    task.measure(distances, |i, label| label != before[i]);
    (task.scratch.before, task.scratch.chosen) = (before, chosen);
}

/// What turns scores into bounds.
struct Lists<'a> {
    points: &'a Points<'a>,
    window: Window,
    squares: &'a [f32],
    begin: usize,
}

impl<'a> Lists<'a> {
    fn new(
        points: &'a Points<'a>,
        centroids: &Centroids,
        squares: &'a [f32],
        begin: usize,
    ) -> Self {
        Self {
            points,
            window: centroids.pass.expect("packed centroids"),
            squares,
            begin,
        }
    }

    /// New lists for the points of a part, from their best scores in all groups.
    fn make(&self, part: &Part<'_>, nears: &mut [Near]) {
        let top = kernel::top(part.isa, part.best, part.parts, part.part);
        for lane in 0..part.count {
            let i = self.begin + part.point(lane);
            let (error, norm) = self.points.rounding(i);
            let window = self.window.of(error, norm);
            // |x − c|² = |x'|² − 2S, and S is at most the score and half a window.
            let square = self.squares[i];
            let lower = |score: f32| {
                let least = square * (1.0 - 1e-6) - 2.0 * score - window;
                least.max(0.0).sqrt() * (1.0 - 1e-5)
            };
            nears[part.point(lane)] = Near {
                rest: lower(top.scores[LISTED][lane]),
                lower: std::array::from_fn(|j| lower(top.scores[j][lane])),
                groups: std::array::from_fn(|j| top.groups[j][lane] as u16),
            };
        }
    }

    /// The scores that a group must reach to hold a centroid as near as a point's own; none does
    /// for points that are compared with everything anyway.
    fn reach(&self, part: &Part<'_>, nears: &[Near], distances: &[f32], columns: usize) -> Lanes {
        let mut threshold = Lanes::all(f32::INFINITY);
        for lane in 0..part.count {
            let at = part.point(lane);
            let distance = above(distances[at], columns);
            if nears[at].rest <= distance {
                continue;
            }
            let (error, norm) = self.points.rounding(self.begin + at);
            let square = self.squares[self.begin + at] * (1.0 - 1e-6);
            let score = (square - distance * distance * (1.0 + 1e-5)) / 2.0;
            threshold.0[lane] = score - self.window.of(error, norm);
        }
        threshold
    }
}

/// A bound after a movement.
#[inline]
fn fall(bound: f32, movement: f32) -> f32 {
    let left = bound - movement;
    left - left.abs() * 1e-6
}

/// A distance in f64 that rounds as a square to this f32, or more: sums of `columns` terms, of
/// which some may have been too small for f32.
#[inline]
fn above(square: f32, columns: usize) -> f32 {
    let relative = 1.0 + 1e-5 + columns as f32 * 1e-8;
    square.sqrt() * relative + 1e-18 * (1.0 + columns as f32)
}

/// `|x'|²` of each point, or less.
fn squares(points: &Points<'_>) -> Vec<f32> {
    let of = |i: usize| {
        let sums = kernel::moved_sums(points.isa, points.rows.row(i), &points.origin);
        (sums.true_square * (1.0 - 1e-6)) as f32
    };
    let n = points.rows.rows();
    (0..n).into_par_iter().with_min_len(1024).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn most_is_left_out_and_nothing_changes() {
        let (n, k, d) = (10_240, 640, 12);
        let places = numbers(k * d, 1);
        let noise = numbers(n * d, 2);
        let near = |i: usize| places[(i / d % k) * d + i % d] + 0.1 * noise[i];
        let points: Vec<f32> = (0..n * d).map(near).collect();
        let matrix = Matrix::new(&points, n, d).expect("the right length");
        for isa in Isa::available() {
            let packed = Points::pack(matrix, *isa);
            let mut pruner = Pruner {
                fewest: 16,
                ..Pruner::default()
            };
            pruner.begin(false);
            let (mut groups, mut plain) = (Centroids::default(), Centroids::default());
            let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
            let mut expected = (vec![0; n], vec![0.0; n]);
            let mut used = 0;
            let mut centroids = places.clone();
            for iteration in 0..12 {
                // A few move far, the others a little less each time.
                let step = 0.1f32 * 0.5f32.powi(iteration);
                for (i, c) in centroids.iter_mut().enumerate() {
                    let far = if i / d % 50 == 0 { 0.3 } else { 0.0 };
                    *c += (step + far) * noise[(i + iteration as usize) % noise.len()];
                }
                let rows = Matrix::new(&centroids, k, d).expect("the right length");
                pruner.assign(&packed, rows, &mut groups, &mut labels, &mut distances);
                used += usize::from(pruner.listed && pruner.used);
                plain.pack(rows, &packed);
                nearest(&packed, rows, &plain, &mut expected.0, &mut expected.1);
                assert_eq!((&labels, &distances), (&expected.0, &expected.1), "{isa:?}");
            }
            assert!(used >= 5, "{isa:?}: only {used} iterations were pruned");
        }
    }
}
