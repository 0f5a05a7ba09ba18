//! What an iteration is to cost: which centroids count as fast, and whether new lists are cheaper.

use super::Pruner;
use super::lists::Moved;
use crate::centroids::NOBODY;
use crate::kernel::{self, LANES};
use crate::matrix::Matrix;
use crate::points::{Points, above};
use crate::window::round_up;
use rayon::prelude::*;

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

/// A choice of fast centroids.
struct Plan {
    /// How many of the slow ones become fast.
    faster: usize,
    cost: f32,
}

impl Pruner {
    /// What making lists costs a point.
    pub(super) fn of_lists(&self, points: &Points<'_>) -> f32 {
        self.all(points) + LIST_COST
    }

    /// Cycles of comparing a point with all slow centroids where lists were made.
    fn all(&self, points: &Points<'_>) -> f32 {
        self.regular() as f32 * points.group_cycles() as f32
    }

    /// Chooses which centroids count as fast; nothing if new lists or a full comparison are the
    /// cheaper way.
    pub(super) fn plan(
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
}
