//! Lloyd's algorithm as faiss's `Clustering` runs it.

use crate::assign::nearest;
use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::fit::{Fit, IterationStats, Warning};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::settings::{Init, KMeans};
use crate::threads::Threads;
use crate::update::{means, normalise, split_empty};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::ops::ControlFlow;
use std::time::Instant;

/// What one restart found.
struct Run {
    centroids: Vec<f32>,
    objective: f64,
    stopped: bool,
}

impl KMeans {
    /// Clusters `points` (`n × d`).
    ///
    /// With as many clusters as points, each point is a centroid, in order, and nothing iterates.
    ///
    /// # Errors
    /// [`ClusterError::Clusters`] for more clusters than points, [`ClusterError::Init`] for given
    /// centroids of the wrong number, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`]
    /// with the row, [`ClusterError::TooMany`], [`ClusterError::Threads`].
    pub fn fit(&self, points: Matrix<'_>) -> Result<Fit, ClusterError> {
        self.fit_with(points, |_| ControlFlow::Continue(()))
    }

    /// Clusters `points`, calling `listener` on this thread after each iteration. When it answers
    /// [`ControlFlow::Break`], the best centroids so far are taken and all points assigned.
    ///
    /// A restart ends before its last iteration once nothing changes any more: the rest would
    /// repeat it to the bit.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn fit_with(
        &self,
        points: Matrix<'_>,
        mut listener: impl FnMut(&IterationStats) -> ControlFlow<()>,
    ) -> Result<Fit, ClusterError> {
        let isa = Isa::chosen()?;
        let threads = Threads::new(self.threads)?;
        threads.run(|| self.check(points, isa))?;
        let mut iterations = Vec::new();
        let centroids = if self.k == points.rows() {
            self.shaped(gather(points, 0..self.k), points.cols())
        } else {
            self.best_of_restarts(points, &threads, &mut iterations, &mut listener)?
        };
        let view = Matrix::new(&centroids, self.k, points.cols())?;
        let (mut labels, mut distances) = (vec![0; points.rows()], vec![0.0; points.rows()]);
        threads.run(|| {
            let packed = Points::pack(points, isa);
            let mut groups = Centroids::default();
            groups.pack(view, &packed);
            nearest(&packed, view, &groups, &mut labels, &mut distances);
        });
        let mut sizes = vec![0; self.k];
        labels.iter().for_each(|l| sizes[*l as usize] += 1);
        Ok(Fit {
            k: self.k,
            dim: points.cols(),
            objective: distances.iter().map(|d| *d as f64).sum(),
            centroids,
            labels,
            distances,
            sizes,
            iterations,
            warnings: self.warnings(points.rows()),
        })
    }

    fn check(&self, points: Matrix<'_>, isa: Isa) -> Result<(), ClusterError> {
        if self.k > points.rows() {
            return Err(ClusterError::Clusters {
                k: self.k,
                points: points.rows(),
            });
        }
        points.check(isa)?;
        let Init::Given(values) = &self.init else {
            return Ok(());
        };
        let view = Matrix::new(values, self.k, points.cols()).map_err(|_| ClusterError::Init {
            k: self.k,
            cols: points.cols(),
            found: values.len(),
        })?;
        view.check(isa)
    }

    fn warnings(&self, points: usize) -> Vec<Warning> {
        let few = points < self.k.saturating_mul(self.min_points_per_centroid);
        let warning = Warning::FewPoints {
            points,
            k: self.k,
            minimum: self.min_points_per_centroid,
        };
        few.then_some(warning).into_iter().collect()
    }

    fn best_of_restarts(
        &self,
        points: Matrix<'_>,
        threads: &Threads,
        iterations: &mut Vec<IterationStats>,
        listener: &mut impl FnMut(&IterationStats) -> ControlFlow<()>,
    ) -> Result<Vec<f32>, ClusterError> {
        let sample = self.subsample(points);
        let training = match &sample {
            Some(values) => Matrix::new(values, values.len() / points.cols(), points.cols())?,
            None => points,
        };
        let restarts = match self.init {
            Init::Random => self.restarts,
            Init::Given(_) => 1,
        };
        let mut best = self.run(training, 0, threads, iterations, listener)?;
        for restart in 1..restarts {
            if best.stopped {
                break;
            }
            let run = self.run(training, restart, threads, iterations, listener)?;
            if run.objective < best.objective {
                best = run;
            } else {
                best.stopped = run.stopped;
            }
        }
        Ok(best.centroids)
    }

    /// One restart. Its objective is, as in faiss, the last one before an update.
    fn run(
        &self,
        points: Matrix<'_>,
        restart: usize,
        threads: &Threads,
        iterations: &mut Vec<IterationStats>,
        listener: &mut impl FnMut(&IterationStats) -> ControlFlow<()>,
    ) -> Result<Run, ClusterError> {
        let mut run = Run {
            centroids: self.beginning(points, restart),
            objective: f64::INFINITY,
            stopped: false,
        };
        let mut rng = self.rng(2 * restart as u64 + 1);
        // Labels that the centroids are the means of.
        let isa = Isa::chosen()?;
        let packed = threads.run(|| Points::pack(points, isa));
        let mut groups = Centroids::default();
        let mut distances = vec![0.0; points.rows()];
        let mut settled: Option<Vec<u32>> = None;
        for iteration in 0..self.iterations {
            let begun = Instant::now();
            let view = Matrix::new(&run.centroids, self.k, points.cols())?;
            let mut labels = vec![0; points.rows()];
            threads.run(|| {
                groups.pack(view, &packed);
                nearest(&packed, view, &groups, &mut labels, &mut distances);
            });
            run.objective = distances.iter().map(|d| *d as f64).sum();
            let mut sizes = threads.run(|| means(points, isa, &labels, &mut run.centroids));
            let squares: f64 = sizes.iter().map(|s| (*s as f64).powi(2)).sum();
            let splits = split_empty(&mut run.centroids, &mut sizes, points.cols(), &mut rng);
            if self.spherical {
                normalise(&mut run.centroids, points.cols());
            }
            let stats = IterationStats {
                restart,
                iteration,
                objective: run.objective,
                seconds: begun.elapsed().as_secs_f64(),
                imbalance: squares * self.k as f64 / (points.rows() as f64).powi(2),
                splits,
            };
            iterations.push(stats);
            run.stopped = listener(&stats).is_break();
            let nothing_changed = splits == 0 && settled.as_ref() == Some(&labels);
            if run.stopped || nothing_changed {
                break;
            }
            settled = (splits == 0).then_some(labels);
        }
        Ok(run)
    }

    fn beginning(&self, points: Matrix<'_>, restart: usize) -> Vec<f32> {
        let centroids = match &self.init {
            Init::Given(values) => values.clone(),
            Init::Random => {
                let drawn = self.permutation(points.rows(), 2 * restart as u64);
                gather(points, drawn.into_iter().take(self.k))
            }
        };
        self.shaped(centroids, points.cols())
    }

    fn shaped(&self, mut centroids: Vec<f32>, cols: usize) -> Vec<f32> {
        if self.spherical {
            normalise(&mut centroids, cols);
        }
        centroids
    }

    /// The points that find the centroids when there are too many, in drawn order.
    fn subsample(&self, points: Matrix<'_>) -> Option<Vec<f32>> {
        let limit = self.k.saturating_mul(self.max_points_per_centroid);
        (points.rows() > limit).then(|| {
            let drawn = self.permutation(points.rows(), u64::MAX);
            gather(points, drawn.into_iter().take(limit))
        })
    }

    fn permutation(&self, n: usize, stream: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.rng(stream));
        order
    }

    /// Restart r draws its beginning from stream 2r and its splits from 2r + 1.
    fn rng(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream);
        rng
    }
}

fn gather(points: Matrix<'_>, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|i| points.row(i)).copied().collect()
}
