//! Leaving out of an iteration what the ones before have ruled out.
//!
//! For each point a list of its nearest groups is kept, with bounds (`lists.rs`). When centroids
//! move, bounds fall by as much. A few centroids move far: those leave their groups for others at
//! the end, which are compared densely with all points from then on, and bounds fall by the
//! movement of the slow ones only. How many count as fast is chosen in each iteration, where the
//! dense comparisons and those of points whose bounds no longer tell enough cost least together.
//! Once an iteration would cost more than those since the lists were made did on average, and enough
//! are to come, it makes new lists.
//!
//! Bounds only leave out centroids that are certainly farther than the point's own, so labels and
//! distances have the bits of a full comparison.

mod lists;

use crate::centroids::{Centroids, NOBODY};
use crate::kernel::{self, LANES};
use crate::matrix::Matrix;
use crate::order::alike;
use crate::points::Points;
use crate::span::{Span, length, nearest};
use crate::window::round_up;
use lists::{Lists, Moved, Near, above, pruned_span, squares};
use rayon::prelude::*;

/// Cycles of comparing a point with all groups from which on it may pay: of fewer, a full comparison
/// costs little more than the rest of an iteration.
const FEWEST: f64 = 640.0;
/// Groups whose numbers fit a list.
const MOST: usize = u16::MAX as usize;
/// Points per centroid from which on it is worth its memory.
const SHARING: usize = 16;
/// Iterations before the first lists, unless the start is warm: at first everything moves.
const FULL: usize = 3;
/// Points whose bounds are looked at to choose which centroids count as fast.
const SAMPLE: usize = 2048;
/// Numbers of fast centroids that are considered, as shares of all.
const SHARES: usize = 64;
/// What an iteration costs a point beside its comparisons with groups, in cycles at 128 columns: a full
/// one, one that makes lists, a pruned one. Measured, and only a matter of speed.
const FULL_COST: f32 = 1100.0;
const LIST_COST: f32 = 1600.0;
const PRUNED_COST: f32 = 660.0;
/// The same for each group of fast centroids, of which some are scored again, and for a point that is
/// compared with everything after all.
const FAST_COST: f32 = 6.0;
const FAILED_COST: f32 = 3000.0;
/// Share of the cost of a full comparison below which a pruned one is taken.
const WORTH: f32 = 0.75;

/// Bounds over the iterations of one restart.
pub(crate) struct Pruner {
    /// Cycles of a full comparison from which on lists are made.
    fewest: f64,
    nears: Vec<Near>,
    /// `|x'|²` of each point, or less.
    squares: Vec<f32>,
    /// Centroids of the iteration before.
    before: Vec<f32>,
    iteration: usize,
    /// The order of centroids when lists were made; they are of its groups.
    home: Vec<u32>,
    fast: Vec<bool>,
    /// Iterations since lists were made, the one that made them included; 0 without lists.
    listed: usize,
    /// What these cost a point together, in cycles, and what the first pruned one did.
    cost: f32,
    first: f32,
    /// Iterations to wait before lists are made again, and how long the next time.
    wait: usize,
    patience: usize,
}

/// A choice of fast centroids.
struct Plan {
    /// How many of the slow ones become fast.
    faster: usize,
    cost: f32,
}

impl Default for Pruner {
    fn default() -> Self {
        Self {
            fewest: FEWEST,
            nears: Vec::new(),
            squares: Vec::new(),
            before: Vec::new(),
            iteration: 0,
            home: Vec::new(),
            fast: Vec::new(),
            listed: 0,
            cost: 0.0,
            first: 0.0,
            wait: 0,
            patience: 1,
        }
    }
}

impl Pruner {
    /// Forgets the last restart. From a warm start little moves.
    pub fn begin(&mut self, warm: bool) {
        self.iteration = if warm { FULL } else { 0 };
        self.listed = 0;
        self.wait = 0;
        self.patience = 1;
        self.before.clear();
    }

    /// Labels and distances for centroids `rows`; both must be those of the iteration before,
    /// except in the first one. So many more are to follow at most.
    pub fn assign(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        to_follow: usize,
        centroids: &mut Centroids,
        labels: &mut [u32],
        distances: &mut [f32],
    ) {
        let count = rows.rows().div_ceil(LANES);
        let enough = labels.len() >= SHARING.saturating_mul(rows.rows());
        let cycles = count as f64 * points.group_cycles();
        let pays = cycles >= self.fewest && count <= MOST && enough;
        let moved = match self.listed {
            0 => None,
            _ => self.plan(points, rows, to_follow, labels),
        };
        if let Some(moved) = moved {
            centroids.arrange(self.layout(), rows.rows(), points.isa);
            centroids.pack(rows, points);
            self.pruned(points, rows, centroids, &moved, labels, distances);
            self.patience = 1;
        } else if pays && self.iteration >= FULL && self.wait == 0 && to_follow > 0 {
            centroids.arrange(alike(rows, points.isa), rows.rows(), points.isa);
            centroids.pack(rows, points);
            self.list(points, rows, centroids, labels, distances);
            self.cost = self.all(points) + LIST_COST;
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
        if self.listed > 0 {
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
        self.nears.resize(labels.len(), Near::NOTHING);
        self.fast.clear();
        self.fast.resize(rows.rows(), false);
        self.home.clone_from(&centroids.order);
        let span = length(points, centroids, labels.len());
        let squares = &self.squares;
        let regular = self.regular();
        let nears = self.nears.par_chunks_mut(span);
        let places = labels
            .par_chunks_mut(span)
            .zip(distances.par_chunks_mut(span));
        let tasks = nears.zip(places).enumerate();
        tasks.for_each(|(at, (nears, (labels, distances)))| {
            centroids.scratches.with(|scratch| {
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
                let list = Lists::new(points, centroids, squares, regular, begin);
                task.compare(None, false, &mut |part| list.make(part, nears));
                task.score_again(true);
                task.decide_ties();
                list.make_own(&task.scratch.leads, nears);
                task.measure(distances, |_, _| true);
            });
        });
        self.listed = 1;
    }

    /// Cycles of comparing a point with all slow centroids where lists were made.
    fn all(&self, points: &Points<'_>) -> f32 {
        self.regular() as f32 * points.group_cycles() as f32
    }

    /// Groups of the slow centroids; those of the fast ones follow.
    fn regular(&self) -> usize {
        self.home.len() / LANES
    }

    /// Chooses which centroids count as fast; nothing if new lists or a full comparison are the
    /// cheaper way.
    fn plan(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        to_follow: usize,
        labels: &[u32],
    ) -> Option<Moved> {
        let movement = self.movement(rows);
        let mut slow: Vec<u32> = (0..rows.rows() as u32)
            .filter(|c| !self.fast[*c as usize])
            .collect();
        slow.sort_by(|a, b| {
            let of = |c: &u32| movement[*c as usize];
            of(b).total_cmp(&of(a)).then(a.cmp(b))
        });
        let most = |faster: usize| slow.get(faster).map_or(0.0, |c| movement[*c as usize]);
        let gaps = self.gaps(points, rows, labels);
        let plan = self.cheapest(&gaps, slow.len(), points.group_cycles() as f32, most)?;
        if self.ends(plan.cost, self.all(points), to_follow) {
            if self.listed == 1 {
                // Too much moves still.
                self.wait = self.patience;
                self.patience *= 2;
            }
            self.listed = 0;
            return None;
        }
        if self.listed == 1 {
            self.first = plan.cost;
        }
        self.listed += 1;
        self.cost += plan.cost;
        for centroid in &slow[..plan.faster] {
            self.fast[*centroid as usize] = true;
        }
        let of = |c: &u32| match *c {
            NOBODY => 0.0,
            c if self.fast[c as usize] => 0.0,
            c => movement[c as usize],
        };
        let groups = self.home.chunks_exact(LANES);
        Some(Moved {
            of_group: groups
                .map(|g| g.iter().map(of).fold(0.0, f32::max))
                .collect(),
            slow: most(plan.faster),
            of_centroid: movement,
        })
    }

    /// Whether an iteration of that cost is better a full one, whose comparisons cost `all`.
    fn ends(&self, cost: f32, all: f32, to_follow: usize) -> bool {
        if self.listed == 1 || to_follow == 0 {
            return cost > WORTH * (all + FULL_COST);
        }
        let average = self.cost / self.listed as f32;
        let to_follow = to_follow as f32;
        cost > average && cost * (to_follow + 1.0) > all + LIST_COST + self.first * to_follow
    }

    /// Of several numbers of fast centroids the one that costs least, where `most(faster)` is the
    /// movement of the others, `gaps` are sorted, and comparing with a group takes so many cycles.
    fn cheapest(
        &self,
        gaps: &[f32],
        slow: usize,
        group: f32,
        most: impl Fn(usize) -> f32,
    ) -> Option<Plan> {
        let regular = self.regular() as f32;
        let fast = self.fast.len() - slow;
        let cost = |faster: usize| {
            let failing = gaps.partition_point(|gap| *gap <= most(faster)) as f32;
            let dense = (fast + faster) as f32 / LANES as f32;
            let of_failed = (regular + dense) * group + FAILED_COST;
            dense * (group + FAST_COST) + failing / gaps.len() as f32 * of_failed + PRUNED_COST
        };
        let step = (self.fast.len() / SHARES).next_multiple_of(2 * LANES);
        let choices = (0..slow).step_by(step.max(1)).chain([slow]);
        choices
            .map(|faster| Plan {
                faster,
                cost: cost(faster),
            })
            .min_by(|a, b| a.cost.total_cmp(&b.cost))
    }

    /// Slow centroids where they were when lists were made, fast ones after them.
    fn layout(&self) -> Vec<u32> {
        let is_fast = |c: u32| c != NOBODY && self.fast[c as usize];
        let slow = self.home.iter().map(|c| match is_fast(*c) {
            true => NOBODY,
            false => *c,
        });
        let fast = self.home.iter().copied().filter(|c| is_fast(*c));
        slow.chain(fast).collect()
    }

    /// How far each centroid moved, or more.
    fn movement(&self, rows: Matrix<'_>) -> Vec<f32> {
        let before = self.before.par_chunks_exact(rows.cols());
        let of = |(c, before): (usize, &[f32])| {
            let squares = rows.row(c).iter().zip(before);
            let squares = squares.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            match squares.sum::<f64>() {
                0.0 => 0.0,
                sum => round_up(sum.sqrt()),
            }
        };
        before.enumerate().map(of).collect()
    }

    /// How much the bound of the rest of some points may fall, in order.
    fn gaps(&self, points: &Points<'_>, rows: Matrix<'_>, labels: &[u32]) -> Vec<f32> {
        let every = labels.len().div_ceil(SAMPLE);
        let sampled = (0..labels.len()).step_by(every);
        let gap = |i: usize| {
            let (x, c) = (points.rows.row(i), rows.row(labels[i] as usize));
            let distance = kernel::distance(points.isa, x, c);
            self.nears[i].rest() - above(distance, rows.cols())
        };
        let mut gaps: Vec<f32> = sampled.map(gap).collect();
        gaps.sort_by(f32::total_cmp);
        gaps
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
        let (squares, regular) = (&self.squares, self.regular());
        let nears = self.nears.par_chunks_mut(span);
        let places = labels
            .par_chunks_mut(span)
            .zip(distances.par_chunks_mut(span));
        let tasks = nears.zip(places).enumerate();
        tasks.for_each(|(at, (nears, (labels, distances)))| {
            centroids.scratches.with(|scratch| {
                let begin = at * span;
                let task = Span {
                    points,
                    rows,
                    centroids,
                    begin,
                    labels,
                    scratch,
                };
                let lists = Lists::new(points, centroids, squares, regular, begin);
                pruned_span(task, &lists, moved, nears, distances);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::span::tests::{nearest_of, numbers};

    #[test]
    fn most_is_left_out_and_nothing_changes() {
        let (n, k, d) = (10_240, 640, 36);
        let places = numbers(k * d, 1);
        let noise = numbers(n * d, 3);
        let near = |i: usize| places[(i / d % k) * d + i % d] + 0.1 * noise[i];
        let points: Vec<f32> = (0..n * d).map(near).collect();
        let matrix = Matrix::new(&points, n, d).expect("the right length");
        for isa in Isa::available() {
            let mut packed = Points::pack(matrix, *isa);
            let mut pruner = Pruner {
                fewest: 0.0,
                ..Pruner::default()
            };
            pruner.begin(false);
            let mut groups = Centroids::default();
            let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
            let mut used = 0;
            let mut centroids = places.clone();
            for iteration in 0..12 {
                // A few move far, the others a little less each time; a third stays.
                let step = 0.1f32 * 0.5f32.powi(iteration);
                for (i, c) in centroids.iter_mut().enumerate() {
                    if (i / d + iteration as usize).is_multiple_of(3) {
                        continue;
                    }
                    let far = if i / d % 50 == 0 { 0.3 } else { 0.0 };
                    *c += (step + far) * noise[(i + iteration as usize) % noise.len()];
                }
                let rows = Matrix::new(&centroids, k, d).expect("the right length");
                let to_follow = 11 - iteration as usize;
                let places = (&mut labels[..], &mut distances[..]);
                pruner.assign(&packed, rows, to_follow, &mut groups, places.0, places.1);
                used += usize::from(pruner.listed > 1);
                let expected = nearest_of(&packed, rows);
                assert_eq!((&labels, &distances), (&expected.0, &expected.1), "{isa:?}");
                // With AMX, the second half is in 8 bits; what is known of points stays true.
                packed.repack(iteration >= 5);
            }
            assert!(used >= 5, "{isa:?}: only {used} iterations were pruned");
        }
    }
}
