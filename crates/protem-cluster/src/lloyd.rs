//! Lloyd's iterations from one beginning.

use crate::backend::{Backend, Change, Update};
use crate::empty::{Choice, refill, split};
use crate::error::ClusterError;
use crate::fit::IterationStats;
use crate::settings::{Empty, Init, KMeans};
use crate::source::Source;
use crate::update::normalise;
use rand_chacha::ChaCha8Rng;
use std::ops::ControlFlow;
use std::time::Instant;

/// Hears of each iteration, and may end the clustering.
pub(crate) type Listener<'a> = dyn FnMut(&IterationStats) -> ControlFlow<()> + 'a;

/// What one restart found.
pub(crate) struct Run {
    pub restart: usize,
    /// After the last update.
    pub centroids: Vec<f32>,
    /// As in faiss, the last one before an update.
    pub objective: f64,
    /// The listener ended it.
    pub stopped: bool,
    /// Nothing changed any more, or too little.
    pub converged: bool,
}

/// What restarts share: the points and memory.
pub(crate) struct Lloyd<'a, 'p> {
    kmeans: &'a KMeans,
    source: &'a Source<'p>,
    backend: &'a mut dyn Backend,
    /// The weight of all points.
    total: f64,
    /// What a point has to weigh to count as one: 1, or the least weight if that is less.
    unit: f64,
    labels: Vec<u32>,
    labels_before: Vec<u32>,
    distances: Vec<f32>,
}

impl<'a, 'p> Lloyd<'a, 'p> {
    pub fn new(kmeans: &'a KMeans, source: &'a Source<'p>, backend: &'a mut dyn Backend) -> Self {
        let (n, weights) = (source.rows(), source.weights);
        Self {
            kmeans,
            source,
            backend,
            total: weights.map_or(n as f64, |w| w.iter().map(|w| f64::from(*w)).sum()),
            unit: weights.map_or(1.0, least_or_one),
            labels: vec![0; n],
            labels_before: vec![0; n],
            distances: vec![0.0; n],
        }
    }

    /// One restart, from `centroids`; `iterations` grows by its iterations.
    pub fn run(
        &mut self,
        restart: usize,
        centroids: Vec<f32>,
        iterations: &mut Vec<IterationStats>,
        listener: &mut Listener<'_>,
    ) -> Result<Run, ClusterError> {
        let mut run = Run {
            restart,
            centroids,
            objective: f64::INFINITY,
            stopped: false,
            converged: false,
        };
        let mut rng = self.kmeans.rng(2 * restart as u64 + 1);
        // Whether the centroids are the means of `labels_before`.
        let mut settled = false;
        let warm = matches!(self.kmeans.init, Init::Given(_)) && !self.are_points(&run.centroids);
        self.backend.begin(warm);
        for iteration in 0..self.kmeans.iterations {
            let begun = Instant::now();
            let before = run.objective;
            let to_follow = self.kmeans.iterations - iteration;
            run.objective = self.assign(&run.centroids, to_follow)?;
            let (splits, imbalance) = self.update(&mut run.centroids, settled, &mut rng)?;
            let stats = IterationStats {
                restart,
                iteration,
                objective: run.objective,
                seconds: begun.elapsed().as_secs_f64(),
                imbalance,
                splits,
            };
            iterations.push(stats);
            run.stopped = listener(&stats).is_break();
            let unchanged = settled && splits == 0 && self.labels == self.labels_before;
            std::mem::swap(&mut self.labels, &mut self.labels_before);
            // The first iteration has nothing to gain on.
            let little = self.kmeans.tolerance > 0.0
                && splits == 0
                && before.is_finite()
                && before - run.objective <= self.kmeans.tolerance * before;
            run.converged = unchanged || little;
            if run.stopped || run.converged {
                break;
            }
            settled = splits == 0;
        }
        Ok(run)
    }

    /// Whether centroids are points as they come: means are none, but those of single points.
    fn are_points(&self, centroids: &[f32]) -> bool {
        let cols = self.source.cols();
        let last = centroids.len() - cols;
        [0, last / cols / 2 * cols, last]
            .into_iter()
            .all(|at| self.source.holds(&centroids[at..at + cols]) == Some(true))
    }

    /// Labels and distances for the centroids of the last run.
    pub fn conclude(mut self, run: &Run) -> Result<(Vec<u32>, Vec<f32>), ClusterError> {
        self.assign(&run.centroids, 0)?;
        Ok((self.labels, self.distances))
    }

    /// Labels and distances; returns the objective. So many more assignments follow at most.
    fn assign(&mut self, centroids: &[f32], to_follow: usize) -> Result<f64, ClusterError> {
        self.labels.copy_from_slice(&self.labels_before);
        let (labels, distances) = (&mut self.labels, &mut self.distances);
        self.backend
            .assign(centroids, to_follow, labels, distances)?;
        Ok(objective(&self.distances, self.source.weights))
    }

    /// New centroids, where those there are may be `settled`: the means of the labels before. Returns
    /// how many clusters were empty and filled, and the imbalance before.
    fn update(
        &mut self,
        centroids: &mut [f32],
        settled: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<(usize, f64), ClusterError> {
        let (k, cols) = (self.kmeans.k, self.source.cols());
        let frozen = self.kmeans.frozen_rows(cols);
        let change = Change {
            labels: &self.labels,
            before: settled.then_some(&self.labels_before[..]),
            frozen,
        };
        let Update { mut sizes, moved } = self.backend.update(&change, centroids)?;
        let squares: f64 = sizes.iter().map(|s| s.powi(2)).sum();
        let imbalance = squares * k as f64 / self.total.powi(2);
        let filled = match self.kmeans.empty {
            Empty::Split => {
                let (centroids, sizes) = (&mut centroids[frozen * cols..], &mut sizes[frozen..]);
                split(centroids, sizes, self.unit, cols, rng)
            }
            Empty::Farthest => {
                let choice = Choice {
                    points: self.source,
                    labels: &self.labels,
                    distances: &self.distances,
                    spherical: self.kmeans.spherical,
                };
                refill(&choice, frozen, centroids, &mut sizes)?
            }
        };
        if self.kmeans.spherical {
            let centroids = centroids.chunks_exact_mut(cols).zip(&moved);
            let moved = centroids.filter(|(_, moved)| **moved);
            moved.for_each(|(centroid, _)| normalise(centroid));
        }
        Ok((filled, imbalance))
    }
}

/// The least positive weight, or 1 if that is more.
fn least_or_one(weights: &[f32]) -> f64 {
    let positive = weights.iter().filter(|w| **w > 0.0);
    f64::from(positive.fold(1.0f32, |least, w| least.min(*w)))
}

/// `Σ weight · distance`, in the order of points.
pub(crate) fn objective(distances: &[f32], weights: Option<&[f32]>) -> f64 {
    match weights {
        None => distances.iter().map(|d| f64::from(*d)).sum(),
        Some(weights) => {
            let of = |(d, w): (&f32, &f32)| f64::from(*d) * f64::from(*w);
            distances.iter().zip(weights).map(of).sum()
        }
    }
}
