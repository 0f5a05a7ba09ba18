//! Leaving out of an iteration what the ones before have ruled out.
//!
//! For each point a list of its nearest groups is kept, with bounds (`lists.rs`). When centroids
//! move, bounds fall by as much. A few centroids move far: those leave their groups for others at
//! the end, which are compared densely with all points from then on, and bounds fall by the
//! movement of the slow ones only. How many count as fast is chosen in each iteration, where the
//! dense comparisons and those of points whose bounds no longer tell enough cost least together
//! (`plan.rs`). Once an iteration would cost more than those since the lists were made did on average,
//! and enough are to come, it makes new lists.
//!
//! Bounds only leave out centroids that are certainly farther than the point's own, so labels and
//! distances have the bits of a full comparison.

mod lists;
mod plan;

use crate::centroids::{Centroids, NOBODY};
use crate::kernel::LANES;
use crate::matrix::Matrix;
use crate::order::alike;
use crate::part::Part;
use crate::points::Points;
use crate::span::{Nearest, Span, length, nearest};
use lists::{Lists, Moved, Near, pruned_span};
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

/// Bounds over the iterations of one restart.
pub(crate) struct Pruner {
    /// Cycles of a full comparison from which on lists are made.
    fewest: f64,
    nears: Vec<Near>,
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

impl Default for Pruner {
    fn default() -> Self {
        Self {
            fewest: FEWEST,
            nears: Vec::new(),
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
    /// Whether points are compared by lists for now.
    pub fn has_lists(&self) -> bool {
        self.listed > 0
    }

    /// Forgets the last restart. From a warm start little moves.
    pub fn begin(&mut self, warm: bool) {
        self.iteration = if warm { FULL } else { 0 };
        self.listed = 0;
        self.wait = 0;
        self.patience = 1;
        self.before.clear();
    }

    /// Labels and distances for centroids `rows`; unless they are new, both must be those of the
    /// iteration before. So many more are to follow at most.
    pub fn assign(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        to_follow: usize,
        centroids: &mut Centroids,
        near: Nearest<'_>,
    ) {
        let count = rows.rows().div_ceil(LANES);
        let enough = near.labels.len() >= SHARING.saturating_mul(rows.rows());
        let cycles = count as f64 * points.group_cycles();
        let pays = cycles >= self.fewest && count <= MOST && enough;
        let moved = match self.listed {
            0 => None,
            _ => self.plan(points, rows, to_follow, near.labels),
        };
        if let Some(moved) = moved {
            centroids.arrange(self.layout(), rows.rows(), points.isa);
            centroids.pack(rows, points);
            self.pruned(points, rows, centroids, &moved, near);
            self.patience = 1;
        } else if pays && self.iteration >= FULL && self.wait == 0 && to_follow > 0 {
            centroids.arrange(alike(rows, points.isa), rows.rows(), points.isa);
            centroids.pack(rows, points);
            self.list(points, rows, centroids, near);
            self.cost = self.of_lists(points);
        } else {
            self.wait = self.wait.saturating_sub(1);
            centroids.pack(rows, points);
            nearest(points, rows, centroids, near);
        }
        self.remember(rows);
    }

    fn remember(&mut self, rows: Matrix<'_>) {
        self.iteration += 1;
        self.before.clear();
        if self.listed > 0 {
            for c in 0..rows.rows() {
                self.before.extend_from_slice(rows.row(c));
            }
        }
    }

    /// A full comparison that makes lists.
    fn list(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &Centroids,
        near: Nearest<'_>,
    ) {
        self.nears.resize(near.labels.len(), Near::NOTHING);
        self.fast.clear();
        self.fast.resize(rows.rows(), false);
        self.home.clone_from(&centroids.order);
        let span = length(points, centroids, near.labels.len());
        let regular = self.regular();
        let nears = self.nears.par_chunks_mut(span);
        let places = near
            .labels
            .par_chunks_mut(span)
            .zip(near.distances.par_chunks_mut(span));
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
                let list = Lists::new(points, centroids, regular, begin);
                let mut make = |part: &Part<'_>| list.make(part, nears);
                task.nearest(near.known, false, distances, &mut make);
                list.make_own(&task.scratch.leads, nears);
            });
        });
        self.listed = 1;
    }

    /// Groups of the slow centroids; those of the fast ones follow.
    fn regular(&self) -> usize {
        self.home.len() / LANES
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

    fn pruned(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        centroids: &Centroids,
        moved: &Moved,
        near: Nearest<'_>,
    ) {
        let span = length(points, centroids, near.labels.len());
        let regular = self.regular();
        let nears = self.nears.par_chunks_mut(span);
        let places = near
            .labels
            .par_chunks_mut(span)
            .zip(near.distances.par_chunks_mut(span));
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
                let lists = Lists::new(points, centroids, regular, begin);
                pruned_span(task, &lists, moved, nears, distances);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::points::Form;
    use crate::sketch::{Axes, SHORTEST, Sketch};
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
            packed.square_all();
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
                let near = Nearest {
                    labels: &mut labels,
                    distances: &mut distances,
                    known: iteration > 0,
                };
                pruner.assign(&packed, rows, to_follow, &mut groups, near);
                used += usize::from(pruner.listed > 1);
                let expected = nearest_of(&packed, rows);
                assert_eq!((&labels, &distances), (&expected.0, &expected.1), "{isa:?}");
                // In another form, what is known of points stays true.
                if let (4 | 7, Some(width)) = (iteration, isa.integers()) {
                    let axes = Axes::of(matrix, &packed.origin, 20, *isa);
                    let sketch = Sketch::new(&axes, SHORTEST, width, packed.typical as f32);
                    packed.repack(match iteration {
                        4 => Form::Integers,
                        _ => Form::Sketch(sketch),
                    });
                }
            }
            assert!(used >= 5, "{isa:?}: only {used} iterations were pruned");
        }
    }
}
