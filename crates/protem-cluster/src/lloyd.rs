//! Lloyd's iterations from one beginning.

use crate::centroids::Centroids;
use crate::empty::{Choice, refill, split};
use crate::error::ClusterError;
use crate::fit::IterationStats;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::prune::Pruner;
use crate::settings::{Empty, Init, KMeans};
use crate::span::nearest;
use crate::threads::Threads;
use crate::update::{Members, means, normalise};
use rand_chacha::ChaCha8Rng;
use std::ops::ControlFlow;
use std::time::Instant;

/// Hears of each iteration, and may end the clustering.
pub(crate) type Listener<'a> = dyn FnMut(&IterationStats) -> ControlFlow<()> + 'a;

/// What one restart found.
pub(crate) struct Run {
    /// After the last update.
    pub centroids: Vec<f32>,
    /// As in faiss, the last one before an update.
    pub objective: f64,
    /// The listener ended it.
    pub stopped: bool,
}

/// What restarts share: the points and memory.
pub(crate) struct Lloyd<'a> {
    kmeans: &'a KMeans,
    points: &'a Points<'a>,
    weights: Option<&'a [f32]>,
    threads: &'a Threads,
    /// The weight of all points.
    total: f64,
    groups: Centroids,
    pruner: Option<Pruner>,
    members: Members,
    labels: Vec<u32>,
    labels_before: Vec<u32>,
    distances: Vec<f32>,
}

impl<'a> Lloyd<'a> {
    pub fn new(
        kmeans: &'a KMeans,
        points: &'a Points<'a>,
        weights: Option<&'a [f32]>,
        threads: &'a Threads,
    ) -> Self {
        let n = points.rows.rows();
        Self {
            kmeans,
            points,
            weights,
            threads,
            total: weights.map_or(n as f64, |w| w.iter().map(|w| f64::from(*w)).sum()),
            groups: Centroids::default(),
            pruner: kmeans.prune.then(Pruner::default),
            members: Members::default(),
            labels: vec![0; n],
            labels_before: vec![0; n],
            distances: vec![0.0; n],
        }
    }

    /// One restart; `iterations` grows by its iterations.
    pub fn run(
        &mut self,
        restart: usize,
        iterations: &mut Vec<IterationStats>,
        listener: &mut Listener<'_>,
    ) -> Result<Run, ClusterError> {
        let begin = || self.kmeans.beginning(self.points, self.weights, restart);
        let mut run = Run {
            centroids: self.threads.run(begin),
            objective: f64::INFINITY,
            stopped: false,
        };
        let mut rng = self.kmeans.rng(2 * restart as u64 + 1);
        // Whether the centroids are the means of `labels_before`.
        let mut settled = false;
        let warm = matches!(self.kmeans.init, Init::Given(_));
        self.pruner.iter_mut().for_each(|p| p.begin(warm));
        for iteration in 0..self.kmeans.iterations {
            let begun = Instant::now();
            let before = run.objective;
            let to_follow = self.kmeans.iterations - iteration;
            run.objective = self.assign(&run.centroids, to_follow)?;
            let (splits, imbalance) = self.update(&mut run.centroids, settled, &mut rng);
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
            let little = self.kmeans.tolerance > 0.0
                && splits == 0
                && before - run.objective <= self.kmeans.tolerance * before;
            if run.stopped || unchanged || little {
                break;
            }
            settled = splits == 0;
        }
        Ok(run)
    }

    /// Labels and distances for the centroids of the last run.
    pub fn conclude(mut self, run: &Run) -> Result<(Vec<u32>, Vec<f32>), ClusterError> {
        self.assign(&run.centroids, 0)?;
        Ok((self.labels, self.distances))
    }

    /// Which clusters need a new centroid: of settled ones, those with other members than before.
    fn wanted(&self, settled: bool) -> Vec<bool> {
        // A cluster of no weight, or one that fills an empty one, moves with the same members.
        let keep = settled && self.weights.is_none() && !self.members.any_empty();
        let mut wanted = vec![!keep; self.kmeans.k];
        if keep {
            let pairs = self.labels.iter().zip(&self.labels_before);
            for (now, before) in pairs.filter(|(now, before)| now != before) {
                wanted[*now as usize] = true;
                wanted[*before as usize] = true;
            }
        }
        wanted[..self.kmeans.frozen_rows(self.points.rows.cols())].fill(false);
        wanted
    }

    /// Labels and distances; returns the objective. So many more assignments follow at most.
    fn assign(&mut self, centroids: &[f32], to_follow: usize) -> Result<f64, ClusterError> {
        let view = Matrix::new(centroids, self.kmeans.k, self.points.rows.cols())?;
        self.threads.run(|| {
            let (labels, distances) = (&mut self.labels, &mut self.distances);
            if let Some(pruner) = &mut self.pruner {
                labels.copy_from_slice(&self.labels_before);
                let groups = &mut self.groups;
                pruner.assign(self.points, view, to_follow, groups, labels, distances);
            } else {
                self.groups.pack(view, self.points);
                nearest(self.points, view, &self.groups, labels, distances);
            }
        });
        Ok(objective(&self.distances, self.weights))
    }

    /// New centroids, where those there are may be `settled`: the means of the labels before. Returns
    /// how many clusters were empty and filled, and the imbalance before.
    fn update(
        &mut self,
        centroids: &mut [f32],
        settled: bool,
        rng: &mut ChaCha8Rng,
    ) -> (usize, f64) {
        let (rows, isa) = (self.points.rows, self.points.isa);
        let (k, cols) = (self.kmeans.k, rows.cols());
        let frozen = self.kmeans.frozen_rows(cols);
        self.members.sort(&self.labels, k);
        let wanted = self.wanted(settled);
        let (members, weights) = (&self.members, self.weights);
        let mut sizes = self
            .threads
            .run(|| means(rows, isa, weights, members, &wanted, centroids));
        let squares: f64 = sizes.iter().map(|s| s.powi(2)).sum();
        let imbalance = squares * k as f64 / self.total.powi(2);
        let filled = match self.kmeans.empty {
            Empty::Split => {
                let (centroids, sizes) = (&mut centroids[frozen * cols..], &mut sizes[frozen..]);
                split(centroids, sizes, self.total, cols, rng)
            }
            Empty::Farthest => {
                let choice = Choice {
                    points: rows,
                    labels: &self.labels,
                    distances: &self.distances,
                    weights: self.weights,
                };
                refill(&choice, frozen, centroids, &mut sizes)
            }
        };
        if self.kmeans.spherical {
            let centroids = centroids.chunks_exact_mut(cols).zip(&wanted);
            let wanted = centroids.filter(|(_, wanted)| **wanted);
            wanted.for_each(|(centroid, _)| normalise(centroid));
        }
        (filled, imbalance)
    }
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
