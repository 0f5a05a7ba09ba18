//! Lloyd's algorithm as faiss's `Clustering` runs it.

use crate::assign::{Assignment, nearest};
use crate::error::ClusterError;
use crate::matrix::Matrix;
use crate::update::{means, split_empty};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::ops::ControlFlow;
use std::time::Instant;

/// Where centroids begin.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Init {
    /// Points drawn without replacement.
    #[default]
    Random,
    /// These, `k × columns` values.
    Given(Vec<f32>),
}

/// Settings of a clustering, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeansBuilder {
    kmeans: KMeans,
}

/// A clustering ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    k: usize,
    iterations: usize,
    restarts: usize,
    seed: u64,
    max_points_per_centroid: usize,
    init: Init,
}

/// One iteration, as faiss reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IterationStats {
    /// Restart, from 0.
    pub restart: usize,
    /// Iteration, from 0.
    pub iteration: usize,
    /// Sum of squared distances before the update.
    pub objective: f64,
    /// Seconds of this iteration.
    pub seconds: f64,
    /// `k·Σ sizes² / n²`: 1 when all clusters are equal.
    pub imbalance: f64,
    /// Empty clusters that were given half of another.
    pub splits: usize,
}

/// The result of a clustering.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Number of clusters.
    pub k: usize,
    /// `k × columns`, row-major.
    pub centroids: Vec<f32>,
    /// Nearest centroid of each point.
    pub labels: Vec<u32>,
    /// Squared distance to it.
    pub distances: Vec<f32>,
    /// Points of each cluster.
    pub sizes: Vec<u32>,
    /// Sum of the squared distances of all points.
    pub objective: f64,
    /// Every iteration of every restart.
    pub iterations: Vec<IterationStats>,
}

impl KMeansBuilder {
    /// Lloyd iterations of each restart (20).
    pub fn iterations(mut self, iterations: usize) -> Self {
        self.kmeans.iterations = iterations;
        self
    }

    /// Runs from different beginnings, of which the best objective is kept (1).
    pub fn restarts(mut self, restarts: usize) -> Self {
        self.kmeans.restarts = restarts;
        self
    }

    /// Seed of everything random (0).
    pub fn seed(mut self, seed: u64) -> Self {
        self.kmeans.seed = seed;
        self
    }

    /// A larger set is subsampled to this many points per cluster to find the centroids; all
    /// points are assigned in the end (256, as faiss).
    pub fn max_points_per_centroid(mut self, points: usize) -> Self {
        self.kmeans.max_points_per_centroid = points;
        self
    }

    /// Where centroids begin ([`Init::Random`]).
    pub fn init(mut self, init: Init) -> Self {
        self.kmeans.init = init;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A number that is zero.
    pub fn build(self) -> Result<KMeans, ClusterError> {
        let k = &self.kmeans;
        for (name, value) in [
            ("k", k.k),
            ("iterations", k.iterations),
            ("restarts", k.restarts),
            ("max_points_per_centroid", k.max_points_per_centroid),
        ] {
            if value == 0 {
                return Err(ClusterError::Setting {
                    name,
                    value: "0".into(),
                    rule: "at least 1",
                });
            }
        }
        Ok(self.kmeans)
    }
}

impl KMeans {
    /// Settings for `k` clusters.
    pub fn builder(k: usize) -> KMeansBuilder {
        KMeansBuilder {
            kmeans: KMeans {
                k,
                iterations: 20,
                restarts: 1,
                seed: 0,
                max_points_per_centroid: 256,
                init: Init::Random,
            },
        }
    }

    /// Clusters `points`.
    ///
    /// # Errors
    /// More clusters than points, given centroids of the wrong length, values that are not finite.
    pub fn fit(&self, points: Matrix<'_>) -> Result<Fit, ClusterError> {
        self.fit_with(points, |_| ControlFlow::Continue(()))
    }

    /// Clusters `points`, telling each iteration, after which the listener may end the restart.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn fit_with(
        &self,
        points: Matrix<'_>,
        mut listener: impl FnMut(&IterationStats) -> ControlFlow<()>,
    ) -> Result<Fit, ClusterError> {
        self.check(points)?;
        let sample = self.subsample(points);
        let training = match &sample {
            Some(values) => Matrix::new(values, values.len() / points.cols(), points.cols())?,
            None => points,
        };
        let mut iterations = Vec::new();
        let mut best: Option<(f64, Vec<f32>)> = None;
        for restart in 0..self.restarts {
            let centroids = self.lloyd(training, restart, &mut iterations, &mut listener);
            let objective = iterations
                .last()
                .map_or(f64::INFINITY, |i: &IterationStats| i.objective);
            if best.as_ref().is_none_or(|(least, _)| objective < *least) {
                best = Some((objective, centroids));
            }
        }
        let (_, centroids) = best.expect("at least one restart");
        let Assignment { labels, distances } =
            nearest(points, Matrix::new(&centroids, self.k, points.cols())?);
        let mut sizes = vec![0; self.k];
        labels.iter().for_each(|l| sizes[*l as usize] += 1);
        let objective = distances.iter().map(|d| *d as f64).sum();
        Ok(Fit {
            k: self.k,
            centroids,
            labels,
            distances,
            sizes,
            objective,
            iterations,
        })
    }

    fn check(&self, points: Matrix<'_>) -> Result<(), ClusterError> {
        if self.k > points.rows() {
            return Err(ClusterError::Clusters {
                k: self.k,
                points: points.rows(),
            });
        }
        points.check_finite()?;
        match &self.init {
            Init::Given(values) => Matrix::new(values, self.k, points.cols())?.check_finite(),
            Init::Random => Ok(()),
        }
    }

    /// The points that find the centroids when there are too many, in drawn order.
    fn subsample(&self, points: Matrix<'_>) -> Option<Vec<f32>> {
        let limit = self.k.saturating_mul(self.max_points_per_centroid);
        (points.rows() > limit).then(|| {
            let drawn = self.permutation(points.rows(), u64::MAX);
            drawn[..limit]
                .iter()
                .flat_map(|i| points.row(*i))
                .copied()
                .collect()
        })
    }

    fn permutation(&self, n: usize, stream: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.rng(stream));
        order
    }

    fn rng(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream);
        rng
    }

    fn lloyd(
        &self,
        points: Matrix<'_>,
        restart: usize,
        iterations: &mut Vec<IterationStats>,
        listener: &mut impl FnMut(&IterationStats) -> ControlFlow<()>,
    ) -> Vec<f32> {
        let cols = points.cols();
        let mut centroids: Vec<f32> = match &self.init {
            Init::Given(values) => values.clone(),
            Init::Random => {
                let drawn = self.permutation(points.rows(), 2 * restart as u64);
                drawn[..self.k]
                    .iter()
                    .flat_map(|i| points.row(*i))
                    .copied()
                    .collect()
            }
        };
        let mut rng = self.rng(2 * restart as u64 + 1);
        for iteration in 0..self.iterations {
            let begun = Instant::now();
            let view = Matrix::new(&centroids, self.k, cols).expect("k rows");
            let assignment = nearest(points, view);
            let mut sizes = means(points, &assignment.labels, &mut centroids);
            let squares: f64 = sizes.iter().map(|s| (*s as f64).powi(2)).sum();
            let splits = split_empty(&mut centroids, &mut sizes, cols, &mut rng);
            let stats = IterationStats {
                restart,
                iteration,
                objective: assignment.distances.iter().map(|d| *d as f64).sum(),
                seconds: begun.elapsed().as_secs_f64(),
                imbalance: squares * self.k as f64 / (points.rows() as f64).powi(2),
                splits,
            };
            iterations.push(stats);
            if listener(&stats).is_break() {
                break;
            }
        }
        centroids
    }
}
