//! k-means++ (Arthur and Vassilvitskii 2007): first centroids are points, each drawn by its squared
//! distance to the nearest one drawn before it.
//!
//! To compare all points with each new centroid is to read them `k` times. Here they are compared with
//! several at once, by the pass that labels points; in between, distances are those to the centroids
//! compared so far, and so too long. A point that is drawn by such a distance is taken with the
//! probability that the true one is of it, and otherwise another is drawn: what is taken has the
//! distribution of k-means++ all the same.

use crate::isa::Isa;
use crate::kernel;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Points of one task, and of one sum of distances.
const BLOCK: usize = 1024;
/// Centroids that points are compared with at once: this share of those before, so that few points are
/// drawn in vain, but not so few that a pass does not pay, nor more than drawn points should be compared
/// with one by one.
const SHARE: usize = 4;
const LEAST: usize = 8;
const MOST: usize = 256;
/// Points drawn in vain in a row before all are compared.
const IN_VAIN: usize = 4;

/// Centroids drawn so far, and how far from them points lie.
pub(crate) struct Drawn<'a> {
    cols: usize,
    /// Side by side.
    centroids: Vec<f32>,
    /// Centroids that points are yet to be compared with, the last ones.
    pending: usize,
    in_vain: usize,
    weights: Option<&'a [f32]>,
    /// Of each point to the nearest of the others, squared.
    distances: Vec<f32>,
    /// Where those that are due are compared.
    labels: Vec<u32>,
    found: Vec<f32>,
    /// Of the weighted distances of each block.
    sums: Vec<f64>,
}

/// Centroids, side by side, and room for the nearest of them to each point and the distance to it.
pub(crate) struct Due<'a> {
    pub centroids: &'a [f32],
    pub labels: &'a mut [u32],
    pub distances: &'a mut [f32],
}

impl<'a> Drawn<'a> {
    /// Nothing yet: every point is as far as any other. Room for `k` centroids.
    pub fn none(points: usize, weights: Option<&'a [f32]>, k: usize, cols: usize) -> Self {
        let mut drawn = Self {
            cols,
            centroids: Vec::with_capacity(k * cols),
            pending: 0,
            in_vain: 0,
            weights,
            distances: vec![1.0; points],
            labels: vec![0; points],
            found: vec![0.0; points],
            sums: vec![0.0; points.div_ceil(BLOCK)],
        };
        drawn.sum_up();
        drawn
    }

    /// All of them, side by side.
    pub fn into_centroids(self) -> Vec<f32> {
        self.centroids
    }

    /// Those that all points are to be compared with before another is drawn; none while distances are
    /// good enough.
    pub fn due(&mut self) -> Option<Due<'_>> {
        let enough = match self.centroids.len() / self.cols - self.pending {
            0 => 1,
            compared => (compared / SHARE).clamp(LEAST, MOST),
        };
        let due = self.pending >= enough || self.pending > 0 && self.in_vain >= IN_VAIN;
        due.then_some(Due {
            centroids: &self.centroids[self.compared()..],
            labels: &mut self.labels,
            distances: &mut self.found,
        })
    }

    /// Where those begin that points are yet to be compared with.
    fn compared(&self) -> usize {
        self.centroids.len() - self.pending * self.cols
    }

    /// Takes in the distances to those that were due.
    pub fn lower(&mut self) {
        if self.compared() == 0 {
            self.distances.fill(f32::INFINITY);
        }
        let both = self.distances.par_iter_mut().zip(&self.found);
        let both = both.with_min_len(BLOCK);
        both.for_each(|(distance, found)| *distance = distance.min(*found));
        (self.pending, self.in_vain) = (0, 0);
        self.sum_up();
    }

    fn sum_up(&mut self) {
        let (weights, blocks) = (self.weights, self.distances.par_chunks(BLOCK));
        let sums = self.sums.par_iter_mut().zip(blocks).enumerate();
        sums.for_each(|(block, (sum, distances))| {
            *sum = weighted(weights, block, distances).map(|(_, of)| of).sum();
        });
    }

    /// A point by its share of all weighted distances, as far as these are known; none where they are all
    /// zero.
    pub fn propose(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        self.at(rng.random())
    }

    fn at(&self, share: f64) -> Option<usize> {
        let target = share * self.sums.iter().sum::<f64>();
        let (mut before, mut last) = (0.0, None);
        for (block, sum) in self.sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            last = Some(block);
            if before + sum > target {
                break;
            }
            before += sum;
        }
        let block = last?;
        let distances = &self.distances[block * BLOCK..];
        let distances = &distances[..BLOCK.min(distances.len())];
        let mut found = None;
        for (i, of) in weighted(self.weights, block, distances).filter(|(_, of)| *of > 0.0) {
            before += of;
            found = Some(i);
            if before > target {
                break;
            }
        }
        found
    }

    /// Takes a point that was proposed, or leaves it.
    pub fn consider(&mut self, isa: Isa, point: usize, row: &[f32], rng: &mut ChaCha8Rng) {
        let known = self.distances[point];
        let nearer = self.centroids[self.compared()..].chunks_exact(self.cols);
        let true_one = nearer
            .map(|centroid| kernel::distance(isa, row, centroid))
            .fold(known, f32::min);
        if rng.random::<f64>() * f64::from(known) < f64::from(true_one) {
            self.take(row);
        } else {
            self.in_vain += 1;
        }
    }

    /// One more centroid.
    pub fn take(&mut self, row: &[f32]) {
        self.centroids.extend_from_slice(row);
        self.pending += 1;
        self.in_vain = 0;
    }

    /// Whether there are `k`.
    pub fn are(&self, k: usize) -> bool {
        self.centroids.len() == k * self.cols
    }
}

/// Places and weighted distances of a block's points.
fn weighted(
    weights: Option<&[f32]>,
    block: usize,
    distances: &[f32],
) -> impl Iterator<Item = (usize, f64)> {
    let points = block * BLOCK..;
    points.zip(distances).map(move |(i, distance)| {
        let weight = weights.map_or(1.0, |weights| f64::from(weights[i]));
        (i, f64::from(*distance) * weight)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn of(distances: &[f32], weights: Option<&'static [f32]>) -> Drawn<'static> {
        let mut drawn = Drawn::none(distances.len(), weights, 1, 1);
        drawn.distances.copy_from_slice(distances);
        drawn.sum_up();
        drawn
    }

    #[test]
    fn points_are_drawn_by_weighted_distance() {
        let drawn = of(&[0.0, 1.0, 0.0, 3.0], None);
        let at = [0.0, 0.24, 0.26, 0.999].map(|share| drawn.at(share));
        assert_eq!(at, [1, 1, 3, 3].map(Some));
        let drawn = of(&[0.0, 1.0, 0.0, 3.0], Some(&[1.0, 1.0, 1.0, 0.0]));
        assert_eq!(drawn.at(0.9), Some(1));
        assert_eq!(of(&[0.0; 3], None).at(0.5), None);
    }

    #[test]
    fn draws_reach_every_block_and_no_point_without_distance() {
        let places = [5, BLOCK - 1, BLOCK, 2 * BLOCK + 7];
        let mut distances = vec![0.0; 3 * BLOCK];
        places.iter().for_each(|i| distances[*i] = 1.0);
        let drawn = of(&distances, None);
        let [a, b, c, d] = places;
        let at = [0.1, 0.3, 0.6, 0.9, 1.0].map(|share| drawn.at(share));
        assert_eq!(at, [a, b, c, d, d].map(Some));
    }

    /// Points on a line, and the exact distribution of the third centroid after the first two.
    #[test]
    fn what_is_taken_is_distributed_by_true_distances() {
        const DRAWS: usize = 20_000;
        let points = [0.0f32, 1.0, 3.0, 4.0, 9.0];
        let first = 4;
        let squared = |i: usize, c: usize| (points[i] - points[c]).powi(2);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut times = [[0usize; 5]; 5];
        for _ in 0..DRAWS {
            // After the first, points are compared with none: distances are stale for the third.
            let mut drawn = of(&[0, 1, 2, 3, 4].map(|i| squared(i, first)), None);
            let mut taken = Vec::new();
            while taken.len() < 2 {
                let i = drawn.propose(&mut rng).expect("points away from the first");
                drawn.consider(Isa::Portable, i, &[points[i]], &mut rng);
                if drawn.pending > taken.len() {
                    taken.push(i);
                }
            }
            times[taken[0]][taken[1]] += 1;
        }
        let total: f32 = (0..5).map(|i| squared(i, first)).sum();
        for (second, times) in times.iter().enumerate() {
            let left = |i: usize| squared(i, first).min(squared(i, second));
            let rest: f32 = (0..5).map(left).sum();
            for (third, times) in times.iter().enumerate() {
                let share = squared(second, first) / total * left(third) / rest;
                let found = *times as f32 / DRAWS as f32;
                // Four deviations.
                let off = 4.0 * (share / DRAWS as f32).sqrt();
                assert!(
                    (found - share).abs() <= off,
                    "{second} {third}: {found} for {share}"
                );
            }
        }
    }

    #[test]
    fn points_are_compared_before_many_are_drawn_in_vain() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut drawn = of(&[4.0, 4.0, 0.0, 0.0], None);
        drawn.centroids = vec![0.0; 40];
        assert!(drawn.due().is_none());
        // All that is far has a centroid now, which distances do not tell.
        drawn.take(&[2.0]);
        assert!(drawn.due().is_none());
        for _ in 0..IN_VAIN {
            let i = drawn.propose(&mut rng).expect("stale distances");
            drawn.consider(Isa::Portable, i, &[2.0], &mut rng);
        }
        let due = drawn.due().expect("one that is due");
        assert_eq!(due.centroids, [2.0]);
        due.distances.fill(0.0);
        drawn.lower();
        assert!(drawn.due().is_none() && drawn.propose(&mut rng).is_none());
    }
}
