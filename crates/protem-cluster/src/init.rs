//! Where centroids begin.

use crate::error::ClusterError;
use crate::settings::{Init, KMeans};
use crate::source::Source;
use crate::update::normalise;
use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

impl KMeans {
    /// The first centroids of a restart, `k × columns`.
    pub(crate) fn beginning(
        &self,
        points: &Source<'_>,
        restart: usize,
    ) -> Result<Vec<f32>, ClusterError> {
        let cols = points.cols();
        let mut centroids = match &self.init {
            Init::Given(values) => values.clone(),
            Init::Random => Vec::new(),
            Init::PlusPlus => self.plus_plus(points, restart)?,
        };
        let missing = self.k - centroids.len() / cols;
        if missing > 0 {
            let stream = 2 * restart as u64;
            let mut drawn = self.permutation(points.rows(), points.weights, stream);
            drawn.truncate(missing);
            let drawn = points.take(&drawn)?;
            if centroids.is_empty() {
                centroids = drawn;
            } else {
                centroids.extend(drawn);
            }
        }
        Ok(self.shaped(centroids, cols))
    }

    /// As many rows as are never moved.
    pub(crate) fn frozen_rows(&self, cols: usize) -> usize {
        match &self.init {
            Init::Given(values) if self.frozen => values.len() / cols,
            _ => 0,
        }
    }

    pub(crate) fn shaped(&self, mut centroids: Vec<f32>, cols: usize) -> Vec<f32> {
        if self.spherical {
            let frozen = self.frozen_rows(cols) * cols;
            centroids[frozen..]
                .chunks_exact_mut(cols)
                .for_each(normalise);
        }
        centroids
    }

    fn plus_plus(&self, points: &Source<'_>, restart: usize) -> Result<Vec<f32>, ClusterError> {
        let n = points.rows();
        let mut rng = self.rng(2 * restart as u64);
        let mut centroids = Vec::with_capacity(self.k * points.cols());
        let weight = |i: usize| points.weights.map_or(1.0, |w| f64::from(w[i]));
        // Before the first draw every point is as far as any other.
        let mut distances = vec![1.0f32; n];
        for drawn in 0..self.k {
            let at = draw(&distances, weight, rng.random()).unwrap_or_else(|| {
                // Every point lies on a centroid: any will do.
                (rng.random::<f64>() * n as f64) as usize % n
            });
            let row = points.take(&[at])?;
            if drawn == 0 {
                distances.fill(f32::INFINITY);
            }
            points.lower(&row, &mut distances)?;
            centroids.extend(row);
        }
        Ok(centroids)
    }

    /// `0..n` in an order drawn from a stream of the seed; points of no weight come last.
    pub(crate) fn permutation(&self, n: usize, weights: Option<&[f32]>, stream: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.rng(stream));
        if let Some(weights) = weights {
            order.sort_by_key(|i| weights[*i] == 0.0);
        }
        order
    }

    /// Restart r draws its beginning from stream 2r and its splits from 2r + 1.
    pub(crate) fn rng(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream);
        rng
    }
}

/// The point at share `at` of all weighted distances; none where they are all zero.
fn draw(distances: &[f32], weight: impl Fn(usize) -> f64, at: f64) -> Option<usize> {
    let of = |i: usize| f64::from(distances[i]) * weight(i);
    let target = at * (0..distances.len()).map(of).sum::<f64>();
    let mut sum = 0.0;
    let mut last = None;
    for i in (0..distances.len()).filter(|i| of(*i) > 0.0) {
        sum += of(i);
        last = Some(i);
        if sum > target {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_drawn_by_weighted_distance() {
        let distances = [0.0, 1.0, 0.0, 3.0];
        let at = |share| draw(&distances, |_| 1.0, share);
        assert_eq!(
            [at(0.0), at(0.24), at(0.26), at(0.999)],
            [1, 1, 3, 3].map(Some)
        );
        assert_eq!(draw(&distances, |i| [1.0, 1.0, 1.0, 0.0][i], 0.9), Some(1));
        assert_eq!(draw(&[0.0; 3], |_| 1.0, 0.5), None);
    }
}
