//! What is known of points' nearest centroids before groups are left out: a centroid that is near, and how
//! near.

use super::Span;
use crate::centroids::NOBODY;
use crate::kernel::{self, Highest, LANES};
use std::ops::Range;

/// Points whose rows are asked for before they are measured.
const AHEAD: usize = 8;

impl Span<'_, '_> {
    /// Labels points of a batch, of integers, with the centroids that score highest.
    pub(super) fn guess(&mut self, batch: Range<usize>) {
        self.labels[batch.clone()].fill(NOBODY);
        match self.points.in_bytes() {
            true => self.guess_by_lanes(batch.clone()),
            false => self.guess_by_numbers(batch.clone()),
        }
        // Where scores are no numbers.
        for label in &mut self.labels[batch] {
            if *label == NOBODY {
                *label = 0;
            }
        }
    }

    /// The number of the highest score's lane is in the score.
    fn guess_by_numbers(&mut self, batch: Range<usize>) {
        let order = &self.centroids.order;
        let groups = self.centroids.groups.len();
        self.visit(groups, None, batch, &mut |part, labels| {
            let highest = part.only_points(&part.highest.best.0);
            part.reaching(&highest, |group, lane| {
                let of_group = Highest::lane(highest.0[lane]);
                labels[part.point(lane)] = order[group * LANES + of_group];
            });
        });
    }

    fn guess_by_lanes(&mut self, batch: Range<usize>) {
        let scratch = &mut *self.scratch;
        std::mem::swap(&mut scratch.candidates, &mut scratch.guesses);
        scratch.candidates.clear();
        self.find(batch, |part| part.only_points(&part.highest.best.0));
        self.sort();
        let scratch = &mut *self.scratch;
        std::mem::swap(&mut scratch.candidates, &mut scratch.guesses);
        let mut pairs = std::mem::take(&mut scratch.pairs);
        pairs.clear();
        for group in 0..self.centroids.groups.len() {
            self.look_into(group, &mut pairs);
        }
        for (point, centroid) in pairs.points().iter().zip(pairs.centroids()) {
            self.labels[*point as usize] = *centroid;
        }
        self.scratch.pairs = pairs;
    }

    /// Distances of some points to the centroids that labels name, and what those score at least.
    pub(super) fn know(&mut self, points: Range<usize>, distances: &mut [f32]) {
        self.scratch
            .known
            .resize(self.labels.len(), f32::NEG_INFINITY);
        for i in points.clone() {
            let ahead = i + AHEAD;
            if ahead < points.end {
                kernel::prefetch(self.row(ahead));
                kernel::prefetch(self.centroid(self.labels[ahead]));
            }
            distances[i] = self.distance(i, self.labels[i]);
            self.scratch.known[i] = self.points.score(self.begin + i, distances[i]);
        }
    }

    pub(super) fn row(&self, point: usize) -> &[f32] {
        self.points.rows.row(self.begin + point)
    }

    pub(super) fn centroid(&self, centroid: u32) -> &[f32] {
        self.rows.row(centroid as usize)
    }

    pub(super) fn distance(&self, point: usize, centroid: u32) -> f32 {
        let (x, c) = (self.row(point), self.centroid(centroid));
        kernel::distance(self.points.isa, x, c)
    }
}
