//! Labels and distances from candidates: exact, the same bits on every level.

use super::Span;
use crate::centroids::NOBODY;
use crate::kernel::{self, LANES, Leaders, TOGETHER};
use crate::matrix::Matrix;
use std::ops::Range;

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
    /// Labels the points of the candidates, which must be all that a point has, and has no candidates
    /// then; where leads are asked for [`Lead::others`], with the scores `next` to the best.
    pub fn settle(&mut self, next: bool) {
        self.score_again(next);
        self.decide_ties();
        self.scratch.candidates.clear();
    }

    /// Scores the candidates in f32, group by group.
    fn score_again(&mut self, next: bool) {
        self.sort();
        let mut leads = std::mem::take(&mut self.scratch.leads);
        for group in 0..self.centroids.groups.len() {
            let order = &self.centroids.order[group * LANES..];
            let candidates = self.candidates(group);
            for at in (candidates.start..candidates.end).step_by(TOGETHER) {
                let found = self.leaders(group, at..candidates.end, next, |i| leads[i].window);
                let some = &self.scratch.sorted[at..candidates.end];
                for (i, leaders) in some.iter().zip(found) {
                    if leads[*i as usize].take(leaders) {
                        let lane = leaders.close.trailing_zeros() as usize;
                        self.labels[*i as usize] = order[lane];
                    }
                }
            }
        }
        self.scratch.leads = leads;
    }

    /// Where in `sorted` the points of a group's candidates are.
    pub(super) fn candidates(&self, group: usize) -> Range<usize> {
        let ends = &self.scratch.ends;
        let begin = group.checked_sub(1).map_or(0, |last| ends[last]);
        begin as usize..ends[group] as usize
    }

    /// Leaders of a group for the first four of these of its candidates, or fewer.
    pub(super) fn leaders(
        &self,
        group: usize,
        candidates: Range<usize>,
        next: bool,
        window: impl Fn(usize) -> f32,
    ) -> [Leaders; TOGETHER] {
        let (isa, columns) = (self.points.isa, self.points.rows.cols());
        let sorted = &self.scratch.sorted;
        let ahead = sorted.get(candidates.start + 2 * TOGETHER..);
        let ahead = ahead.unwrap_or_default().iter().take(TOGETHER);
        ahead.for_each(|i| kernel::prefetch(self.row(*i as usize)));
        // The last one fills the places that are left.
        let point = |i: usize| sorted[(candidates.start + i).min(candidates.end - 1)] as usize;
        let rows = std::array::from_fn(|i| self.row(point(i)));
        let windows = std::array::from_fn(|i| window(point(i)));
        let groups = &self.centroids.groups;
        let lines = &groups.lines[group * columns..][..columns];
        kernel::leaders(isa, rows, windows, lines, &groups.first[group], next)
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
    pub fn lead(&mut self) {
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
    fn decide_ties(&mut self) {
        let scratch = &mut *self.scratch;
        if !scratch.leads.iter().any(|lead| lead.tied) {
            return;
        }
        let columns = self.rows.cols();
        let groups = &self.centroids.groups;
        let mut begin = 0;
        for group in 0..groups.len() {
            let end = scratch.ends[group] as usize;
            let order = &self.centroids.order[group * LANES..][..LANES];
            // The last label and, once it comes again, the lanes that cannot win against it.
            let mut last = (NOBODY, None);
            for i in &scratch.sorted[begin..end] {
                let lead = &mut scratch.leads[*i as usize];
                if !lead.tied {
                    continue;
                }
                let label = &mut self.labels[*i as usize];
                let vain = match last {
                    (before, lanes) if before == *label => {
                        let lanes = lanes.unwrap_or_else(|| vain_lanes(self.rows, order, before));
                        last.1 = Some(lanes);
                        lanes
                    }
                    _ => {
                        last = (*label, None);
                        0
                    }
                };
                if vain == u16::MAX {
                    continue;
                }
                let point = self.points.rows.row(self.begin + *i as usize);
                let lines = &groups.lines[group * columns..][..columns];
                let scores = kernel::scores(point, lines, &groups.first[group]);
                for (lane, (c, score)) in order.iter().zip(scores.0).enumerate() {
                    // Not of scores that overflowed and are no numbers.
                    let clear = score < lead.score - lead.window;
                    let vain = *c == NOBODY || vain >> lane & 1 == 1;
                    // Of few columns a distance costs no more.
                    let twin = || columns >= LANES && later_twin(self.rows, *c, *label);
                    if clear || vain || twin() {
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

    /// Distances of those of these points for which `needed(point of the span, label)`.
    pub fn measure(
        &self,
        points: Range<usize>,
        distances: &mut [f32],
        needed: impl Fn(usize, u32) -> bool,
    ) {
        for i in points.clone() {
            let label = self.labels[i];
            if !needed(i, label) {
                continue;
            }
            let ahead = i + AHEAD;
            if ahead < points.end {
                kernel::prefetch(self.row(ahead));
                kernel::prefetch(self.centroid(self.labels[ahead]));
            }
            distances[i] = kernel::distance(self.points.isa, self.row(i), self.centroid(label));
        }
    }

    pub(super) fn row(&self, point: usize) -> &[f32] {
        self.points.rows.row(self.begin + point)
    }

    pub(super) fn centroid(&self, centroid: u32) -> &[f32] {
        self.rows.row(centroid as usize)
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

/// The lanes of a group in which is nobody, or a centroid that equals that of a label and comes after
/// it: whatever the point, it is as far, and the lower one wins. (Where it is the nearest so is the other,
/// which then is among the candidates too.)
fn vain_lanes(rows: Matrix<'_>, group: &[u32], label: u32) -> u16 {
    let vain = |c: u32| c == NOBODY || later_twin(rows, c, label);
    let lanes = group.iter().enumerate();
    lanes.fold(0, |mask, (lane, c)| mask | u16::from(vain(*c)) << lane)
}

/// Whether a centroid is another one's equal to the bit, of a higher index.
pub(super) fn later_twin(rows: Matrix<'_>, centroid: u32, of: u32) -> bool {
    centroid > of && same_bits(rows.row(centroid as usize), rows.row(of as usize))
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    // Most differ in the first value, and others soon: the rest is compared some at a time.
    if a[0].to_bits() != b[0].to_bits() {
        return false;
    }
    let (a, b) = (a.chunks(LANES), b.chunks(LANES));
    a.zip(b).all(|(a, b)| {
        let pairs = a.iter().zip(b);
        pairs.fold(true, |same, (a, b)| same & (a.to_bits() == b.to_bits()))
    })
}

/// What decides: `Σ(x − c)²` over the columns in order.
pub(crate) fn distance64(x: &[f32], c: &[f32]) -> f64 {
    let squares = x
        .iter()
        .zip(c)
        .map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2));
    squares.sum()
}
