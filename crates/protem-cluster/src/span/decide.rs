//! Labels and distances from candidates: exact, the same bits on every level.

use super::Span;
use crate::centroids::NOBODY;
use crate::kernel::{self, LANES, Leaders, TOGETHER};

/// Points whose rows are asked for before they are measured.
const AHEAD: usize = 8;

/// The best centroid of a point so far, in f32.
#[derive(Clone, Copy)]
pub(crate) struct Lead {
    score: f32,
    /// Scores closer than this cannot be told apart.
    window: f32,
    /// Another centroid is as close as that.
    tied: bool,
    /// The best score of the others in its group that are not.
    next: f32,
    /// Of those tied, the least distance in f64.
    distance: f64,
}

impl Span<'_, '_> {
    /// Scores the candidates in f32, group by group, several points at once; where leads are asked for
    /// [`Lead::others`], with the scores `next` to the best.
    pub fn score_again(&mut self, next: bool) {
        self.sort();
        self.lead();
        let (isa, columns) = (self.points.isa, self.points.rows.cols());
        let groups = &self.centroids.groups;
        let scratch = &mut *self.scratch;
        let mut begin = 0;
        for group in 0..groups.len() {
            let end = scratch.ends[group] as usize;
            let lines = &groups.lines[group * columns..][..columns];
            let order = &self.centroids.order[group * LANES..];
            let row = |i: u32| self.points.rows.row(self.begin + i as usize);
            for (at, some) in scratch.sorted[begin..end].chunks(TOGETHER).enumerate() {
                let ahead = begin + (at + 2) * TOGETHER;
                let ahead = scratch.sorted.get(ahead..).unwrap_or_default();
                let ahead = ahead.iter().take(TOGETHER);
                ahead.for_each(|i| kernel::prefetch(row(*i)));
                // The last one fills the places that are left.
                let point = |i: usize| some[i.min(some.len() - 1)];
                let rows = std::array::from_fn(|i| row(point(i)));
                let windows = std::array::from_fn(|i| scratch.leads[point(i) as usize].window);
                let found = kernel::leaders(isa, rows, windows, lines, &groups.first[group], next);
                for (i, leaders) in some.iter().zip(found) {
                    if scratch.leads[*i as usize].take(leaders) {
                        let lane = leaders.close.trailing_zeros() as usize;
                        self.labels[*i as usize] = order[lane];
                    }
                }
            }
            begin = end;
        }
    }

    /// Candidates by group, in the order of points.
    pub(super) fn sort(&mut self) {
        let scratch = &mut *self.scratch;
        scratch.ends.clear();
        scratch.ends.resize(self.centroids.groups.len(), 0);
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
        let leads = (0..self.labels.len()).map(|i| Lead {
            score: f32::NEG_INFINITY,
            window: window.of_length(0.0, self.points.norm(self.begin + i)),
            tied: false,
            next: f32::NEG_INFINITY,
            distance: f64::INFINITY,
        });
        self.scratch.leads.clear();
        self.scratch.leads.extend(leads);
    }

    /// Compares by f64 distance what f32 could not tell apart.
    pub fn decide_ties(&mut self) {
        let scratch = &mut *self.scratch;
        if !scratch.leads.iter().any(|lead| lead.tied) {
            return;
        }
        let columns = self.rows.cols();
        let groups = &self.centroids.groups;
        let mut begin = 0;
        for group in 0..groups.len() {
            let end = scratch.ends[group] as usize;
            let order = self.centroids.order.iter().skip(group * LANES);
            for i in &scratch.sorted[begin..end] {
                let lead = &mut scratch.leads[*i as usize];
                if !lead.tied {
                    continue;
                }
                let point = self.points.rows.row(self.begin + *i as usize);
                let lines = &groups.lines[group * columns..][..columns];
                let scores = kernel::scores(point, lines, &groups.first[group]);
                let label = &mut self.labels[*i as usize];
                for (c, score) in order.clone().zip(scores.0) {
                    if *c == NOBODY || score < lead.score - lead.window {
                        continue;
                    }
                    let distance = distance64(point, self.rows.row(*c as usize));
                    // The order of groups need not be that of indices.
                    if distance < lead.distance || distance == lead.distance && c < label {
                        (lead.distance, *label) = (distance, *c);
                    }
                }
            }
            begin = end;
        }
    }

    /// Distances of the points for which `needed(point of the span, label)`.
    pub fn measure(&self, distances: &mut [f32], needed: impl Fn(usize, u32) -> bool) {
        for (i, (label, distance)) in self.labels.iter().zip(distances).enumerate() {
            if !needed(i, *label) {
                continue;
            }
            if let Some(ahead) = self.labels.get(i + AHEAD) {
                kernel::prefetch(self.points.rows.row(self.begin + i + AHEAD));
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
    fn take(&mut self, leaders: Leaders) -> bool {
        let score = leaders.best;
        if score < self.score - self.window {
            return false;
        }
        let clear = score > self.score + self.window;
        self.tied = !clear || leaders.close.count_ones() > 1;
        let leads = score > self.score;
        if leads {
            (self.score, self.next) = (score, leaders.next);
        }
        leads
    }

    /// What every other centroid of the best one's group scores at most, and the window of that, if
    /// any group was scored at all.
    pub fn others(&self) -> Option<(f32, f32)> {
        let next = if self.tied { f32::INFINITY } else { self.next };
        (self.score > f32::NEG_INFINITY).then_some((next, self.window))
    }
}

/// What decides: `Σ(x − c)²` over the columns in order.
pub(super) fn distance64(x: &[f32], c: &[f32]) -> f64 {
    let squares = x
        .iter()
        .zip(c)
        .map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2));
    squares.sum()
}
