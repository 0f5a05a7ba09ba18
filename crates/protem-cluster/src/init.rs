//! Where centroids begin.

use crate::error::ClusterError;
use crate::plus_plus::Drawn;
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
        let mut drawn = Drawn::none(n, points.weights, self.k, points.cols());
        while !drawn.are(self.k) {
            points.compare(&mut drawn, self.k)?;
            if let Some(at) = drawn.propose(&mut rng) {
                let row = points.take(&[at])?;
                drawn.consider(points.isa, at, &row, &mut rng);
            } else {
                // Every point lies on a centroid: any will do.
                let any = (rng.random::<f64>() * n as f64) as usize % n;
                drawn.take(&points.take(&[any])?);
            }
        }
        Ok(drawn.into_centroids())
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
