//! A clustering from beginning to end, as faiss's `Clustering` runs it.

use crate::assign::nearest_in_blocks;
use crate::backend::{Backend, Cpu};
use crate::centroids::Centroids;
use crate::empty::{Choice, refill};
use crate::error::ClusterError;
use crate::fit::{Fit, IterationStats, Warning};
use crate::isa::Isa;
use crate::lloyd::{Listener, Lloyd, objective};
use crate::matrix::Matrix;
use crate::points::Points;
use crate::settings::{Device, Empty, Init, KMeans};
use crate::span::nearest;
use crate::threads::Threads;
use std::ops::ControlFlow;

/// Points of a clustering, packed once they are needed.
struct Source<'a> {
    rows: Matrix<'a>,
    isa: Isa,
    packed: Option<Points<'a>>,
}

/// What restarts lead to.
struct Best {
    centroids: Vec<f32>,
    /// Labels and distances of all points, where they are known already.
    nearest: Option<(Vec<u32>, Vec<f32>)>,
}

impl<'a> Source<'a> {
    fn packed(&mut self, threads: &Threads) -> &mut Points<'a> {
        let (rows, isa) = (self.rows, self.isa);
        self.packed
            .get_or_insert_with(|| threads.run(|| Points::pack(rows, isa)))
    }
}

impl KMeans {
    /// Clusters `points` (`n × d`).
    ///
    /// With as many clusters as points, each point is a centroid, in order, and nothing iterates
    /// (unless centroids are frozen).
    ///
    /// # Errors
    /// [`ClusterError::Clusters`] for more clusters than points, [`ClusterError::Init`] for given
    /// centroids of the wrong number, [`ClusterError::Weights`] for another number of weights than
    /// points, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`] with the row,
    /// [`ClusterError::TooMany`], [`ClusterError::Threads`], [`ClusterError::Isa`].
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
        let threads = Threads::new(self.threads)?;
        let mut source = self.source(points, &threads)?;
        self.fit_source(&mut source, &threads, &mut listener)
    }

    /// Clusters `points` once for each of `ks`, with these settings but for the number of
    /// clusters. Checks and packs the points once; the results are those of separate fits.
    ///
    /// # Errors
    /// As [`Self::fit`], before anything is computed; [`ClusterError::Clusters`] also for a `k` of
    /// zero.
    pub fn fit_many(&self, points: Matrix<'_>, ks: &[usize]) -> Result<Vec<Fit>, ClusterError> {
        self.fit_many_with(points, ks, |_, _| ControlFlow::Continue(()))
    }

    /// As [`Self::fit_many`], calling `listener` on this thread after each iteration with the place
    /// in `ks`. When it answers [`ControlFlow::Break`], that clustering ends as in
    /// [`Self::fit_with`], and the others are made all the same: each of them asks again after its
    /// first iteration.
    ///
    /// # Errors
    /// As [`Self::fit_many`].
    pub fn fit_many_with(
        &self,
        points: Matrix<'_>,
        ks: &[usize],
        mut listener: impl FnMut(usize, &IterationStats) -> ControlFlow<()>,
    ) -> Result<Vec<Fit>, ClusterError> {
        let threads = Threads::new(self.threads)?;
        let each: Vec<Self> = ks
            .iter()
            .map(|k| Self {
                k: *k,
                ..self.clone()
            })
            .collect();
        for kmeans in &each {
            kmeans.check_sizes(points)?;
        }
        let Some(first) = each.first() else {
            return Ok(Vec::new());
        };
        let mut source = first.source(points, &threads)?;
        let each = each.iter().enumerate();
        each.map(|(at, kmeans)| {
            kmeans.fit_source(&mut source, &threads, &mut |stats| listener(at, stats))
        })
        .collect()
    }

    /// Points that are checked.
    fn source<'a>(
        &self,
        points: Matrix<'a>,
        threads: &Threads,
    ) -> Result<Source<'a>, ClusterError> {
        self.check_sizes(points)?;
        let isa = match self.device {
            // Tiles would not be used.
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => self.isa()?.min(Isa::Avx512),
            _ => self.isa()?,
        };
        threads.run(|| points.check(isa))?;
        if let Init::Given(values) = &self.init {
            let rows = values.len() / points.cols();
            threads.run(|| Matrix::new(values, rows, points.cols())?.check(isa))?;
        }
        Ok(Source {
            rows: points,
            isa,
            packed: None,
        })
    }

    fn check_sizes(&self, points: Matrix<'_>) -> Result<(), ClusterError> {
        if self.k == 0 || self.k > points.rows() {
            return Err(ClusterError::Clusters {
                k: self.k,
                points: points.rows(),
            });
        }
        if let Some(weights) = &self.weights
            && weights.len() != points.rows()
        {
            return Err(ClusterError::Weights {
                points: points.rows(),
                found: weights.len(),
            });
        }
        if let Init::Given(values) = &self.init {
            let rows = values.len() / points.cols();
            if rows == 0 || rows > self.k || rows * points.cols() != values.len() {
                return Err(ClusterError::Init {
                    k: self.k,
                    cols: points.cols(),
                    found: values.len(),
                });
            }
        }
        Ok(())
    }

    fn fit_source(
        &self,
        source: &mut Source<'_>,
        threads: &Threads,
        listener: &mut Listener<'_>,
    ) -> Result<Fit, ClusterError> {
        let rows = source.rows;
        let limit = self.k.saturating_mul(self.max_points_per_centroid);
        let device = self.chosen_device(rows, limit.min(rows.rows()));
        let mut iterations = Vec::new();
        let best = if self.k == rows.rows() && !self.frozen {
            let points = (0..self.k).flat_map(|i| rows.row(i)).copied().collect();
            Best {
                centroids: self.shaped(points, rows.cols()),
                nearest: None,
            }
        } else {
            self.best_of_restarts(source, device, threads, &mut iterations, listener)?
        };
        let (n, cols) = (rows.rows(), rows.cols());
        let known = best.nearest.is_some();
        let (labels, distances) = best.nearest.unwrap_or_else(|| (vec![0; n], vec![0.0; n]));
        let mut fit = Fit {
            k: self.k,
            dim: cols,
            centroids: best.centroids,
            labels,
            distances,
            sizes: Vec::new(),
            objective: 0.0,
            iterations,
            device,
            warnings: self.warnings(n),
        };
        self.conclude(source, threads, &mut fit, known)?;
        Ok(fit)
    }

    /// Assigns all points to the centroids found, unless that is `known`.
    fn conclude(
        &self,
        source: &Source<'_>,
        threads: &Threads,
        fit: &mut Fit,
        mut known: bool,
    ) -> Result<(), ClusterError> {
        let weights = self.weights.as_deref();
        let mut groups = Centroids::default();
        let mut last = f64::INFINITY;
        loop {
            let view = Matrix::new(&fit.centroids, fit.k, fit.dim)?;
            let (labels, distances) = (&mut fit.labels, &mut fit.distances);
            if !std::mem::take(&mut known) {
                threads.run(|| {
                    let (rows, isa) = (source.rows, source.isa);
                    match (fit.device, &source.packed) {
                        #[cfg(feature = "cuda")]
                        (Device::Cuda(ordinal), _) => {
                            let nearest = crate::cuda::nearest_in_blocks;
                            nearest(ordinal, rows, view, isa, labels, distances)?;
                        }
                        (_, None) => nearest_in_blocks(rows, view, isa, labels, distances),
                        (_, Some(points)) => {
                            groups.pack(view, points);
                            nearest(points, view, &groups, labels, distances);
                        }
                    }
                    Ok::<(), ClusterError>(())
                })?;
            }
            fit.objective = objective(&fit.distances, weights);
            // Every centroid put on a point lowers the objective; normalised, it need not.
            if self.empty == Empty::Split
                || fit.objective >= last
                || !self.refilled(source.rows, fit)
            {
                break;
            }
            last = fit.objective;
        }
        fit.sizes = vec![0; fit.k];
        fit.labels.iter().for_each(|l| fit.sizes[*l as usize] += 1);
        Ok(())
    }

    /// Moves centroids without points onto points; whether there were any.
    fn refilled(&self, points: Matrix<'_>, fit: &mut Fit) -> bool {
        let weights = self.weights.as_deref();
        let mut sizes = vec![0.0; fit.k];
        for (i, label) in fit.labels.iter().enumerate() {
            sizes[*label as usize] += weights.map_or(1.0, |w| f64::from(w[i]));
        }
        let choice = Choice {
            points,
            labels: &fit.labels,
            distances: &fit.distances,
            weights,
        };
        let frozen = self.frozen_rows(fit.dim);
        let filled = refill(&choice, frozen, &mut fit.centroids, &mut sizes);
        fit.centroids = self.shaped(std::mem::take(&mut fit.centroids), fit.dim);
        filled > 0
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
        source: &mut Source<'_>,
        device: Device,
        threads: &Threads,
        iterations: &mut Vec<IterationStats>,
        listener: &mut Listener<'_>,
    ) -> Result<Best, ClusterError> {
        let cols = source.rows.cols();
        let Some((values, weights)) = self.subsample(source.rows) else {
            let points = source.packed(threads);
            let weights = self.weights.as_deref();
            return self.restarts(points, weights, device, threads, iterations, listener);
        };
        let rows = Matrix::new(&values, values.len() / cols, cols)?;
        let mut points = threads.run(|| Points::pack(rows, source.isa));
        let best = self.restarts(
            &mut points,
            weights.as_deref(),
            device,
            threads,
            iterations,
            listener,
        )?;
        // Those of the drawn points.
        Ok(Best {
            nearest: None,
            ..best
        })
    }

    fn restarts(
        &self,
        points: &mut Points<'_>,
        weights: Option<&[f32]>,
        device: Device,
        threads: &Threads,
        iterations: &mut Vec<IterationStats>,
        listener: &mut Listener<'_>,
    ) -> Result<Best, ClusterError> {
        let restarts = match &self.init {
            Init::Given(values) if values.len() == self.k * points.rows.cols() => 1,
            _ => self.restarts,
        };
        let (rows, isa) = (points.rows, points.isa);
        let mut backend: Box<dyn Backend> = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(ordinal) => {
                Box::new(crate::cuda::Cuda::new(ordinal, points, weights, self.k)?)
            }
            _ => Box::new(Cpu::new(self, points, weights, threads)),
        };
        let mut lloyd = Lloyd::new(self, rows, weights, backend.as_mut());
        let begin = |restart| threads.run(|| self.beginning(rows, isa, weights, restart));
        let mut best = lloyd.run(0, begin(0), iterations, listener)?;
        let mut last = true;
        for restart in 1..restarts {
            if best.stopped {
                break;
            }
            let run = lloyd.run(restart, begin(restart), iterations, listener)?;
            last = run.objective < best.objective;
            if last {
                best = run;
            } else {
                best.stopped = run.stopped;
            }
        }
        Ok(Best {
            nearest: last.then(|| lloyd.conclude(&best)).transpose()?,
            centroids: best.centroids,
        })
    }

    /// The points that find the centroids when there are too many, in drawn order, and their
    /// weights.
    fn subsample(&self, points: Matrix<'_>) -> Option<(Vec<f32>, Option<Vec<f32>>)> {
        let limit = self.k.saturating_mul(self.max_points_per_centroid);
        if points.rows() <= limit {
            return None;
        }
        let mut drawn = self.permutation(points.rows(), u64::MAX);
        drawn.truncate(limit);
        let values = drawn.iter().flat_map(|i| points.row(*i)).copied().collect();
        let of = |weights: &Vec<f32>| drawn.iter().map(|i| weights[*i]).collect();
        Some((values, self.weights.as_ref().map(of)))
    }
}
