//! Centroids that are near, by a pass over integers, for points of which nothing is known.

use super::Span;
use crate::centroids::NOBODY;
use crate::kernel::{Highest, LANES};
use std::ops::Range;

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
        for group in 0..self.centroids.groups.len() {
            pairs.clear();
            self.look_into(group, &mut pairs);
            for (point, centroid) in pairs.points().iter().zip(pairs.centroids()) {
                self.labels[*point as usize] = *centroid;
            }
        }
        self.scratch.pairs = pairs;
    }
}
