//! A clustering from beginning to end, as faiss's `Clustering` runs it.

use crate::empty::{Choice, refill};
use crate::error::ClusterError;
use crate::fit::{Fit, IterationStats, Warning};
use crate::lloyd::{Listener, Lloyd, objective};
use crate::matrix::Matrix;
use crate::settings::{Empty, Init, KMeans};
use crate::source::{Place, Source};
use crate::threads::Threads;
use std::ops::ControlFlow;

/// What restarts lead to.
struct Best {
    centroids: Vec<f32>,
    /// Labels and distances of all points, where they are known already.
    nearest: Option<(Vec<u32>, Vec<f32>)>,
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
    /// points, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`] with the row (of given
    /// centroids in [`ClusterError::Initial`]), [`ClusterError::TooMany`],
    /// [`ClusterError::Threads`], [`ClusterError::Isa`]; on a CUDA device
    /// also [`ClusterError::DeviceMissing`], [`ClusterError::DeviceCompile`],
    /// [`ClusterError::DeviceMemory`], [`ClusterError::DeviceFull`] and
    /// [`ClusterError::DeviceFailed`].
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
        self.fit_place(Place::Host(points), &mut listener)
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
        self.fit_each(Place::Host(points), ks, &mut listener)
    }

    pub(crate) fn fit_place(
        &self,
        points: Place<'_>,
        listener: &mut Listener<'_>,
    ) -> Result<Fit, ClusterError> {
        let threads = Threads::new(self.threads)?;
        let mut source = self.source(points, &threads)?;
        self.fit_source(&mut source, &threads, listener)
    }

    pub(crate) fn fit_each(
        &self,
        points: Place<'_>,
        ks: &[usize],
        listener: &mut dyn FnMut(usize, &IterationStats) -> ControlFlow<()>,
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
            kmeans.check_sizes(&points)?;
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
        &'a self,
        points: Place<'a>,
        threads: &'a Threads,
    ) -> Result<Source<'a>, ClusterError> {
        self.check_sizes(&points)?;
        let isa = self.isa()?;
        points.check(isa, threads)?;
        if let Init::Given(values) = &self.init {
            let rows = values.len() / points.cols();
            let check = || Matrix::new(values, rows, points.cols())?.check_centroids(isa);
            let checked = threads.run(check);
            checked.map_err(|error| ClusterError::Initial(Box::new(error)))?;
        }
        Ok(Source::new(points, self.weights.as_deref(), isa, threads))
    }

    fn check_sizes(&self, points: &Place<'_>) -> Result<(), ClusterError> {
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
        let (n, cols) = (source.rows(), source.cols());
        let limit = self.k.saturating_mul(self.max_points_per_centroid);
        let (device, warning) = source.device(self, limit.min(n));
        let mut fit = Fit {
            k: self.k,
            dim: cols,
            centroids: Vec::new(),
            labels: Vec::new(),
            distances: Vec::new(),
            sizes: Vec::new(),
            objective: 0.0,
            iterations: Vec::new(),
            restart: 0,
            converged: false,
            sampled: None,
            device,
            warnings: self.warnings(n),
        };
        fit.warnings.extend(warning);
        let best = if self.k == n && !self.frozen {
            let all: Vec<usize> = (0..n).collect();
            fit.converged = true;
            Best {
                centroids: self.shaped(source.take(&all)?, cols),
                nearest: None,
            }
        } else if n <= limit {
            self.restarts(source, &mut fit, listener, true)?
        } else {
            let drawn = self.subsample(n, limit);
            fit.sampled = Some(drawn.len());
            let of = |weights: &[f32]| drawn.iter().map(|i| weights[*i]).collect();
            let weights: Option<Vec<f32>> = source.weights.map(of);
            let sample = source.sample(&drawn, self.k)?;
            let place = sample.place(cols)?;
            let mut sample = Source::new(place, weights.as_deref(), source.isa, threads);
            self.restarts(&mut sample, &mut fit, listener, false)?
        };
        fit.centroids = best.centroids;
        let known = best.nearest.is_some();
        let nearest = best.nearest;
        (fit.labels, fit.distances) = nearest.unwrap_or_else(|| (vec![0; n], vec![0.0; n]));
        self.conclude(source, &mut fit, known)?;
        Ok(fit)
    }

    /// Assigns all points to the centroids found, unless that is `known`; warns of clusters without any.
    fn conclude(
        &self,
        source: &mut Source<'_>,
        fit: &mut Fit,
        mut known: bool,
    ) -> Result<(), ClusterError> {
        let mut last = f64::INFINITY;
        // Ends: a centroid that is put on a point keeps it, and no two are put on equal ones.
        loop {
            let view = Matrix::new(&fit.centroids, fit.k, fit.dim)?;
            if !std::mem::take(&mut known) {
                let (labels, distances) = (&mut fit.labels, &mut fit.distances);
                source.nearest(self, fit.device, view, labels, distances)?;
            }
            fit.objective = objective(&fit.distances, source.weights);
            // Normalised, it leaves the point again; then the objective need not fall.
            let ends = self.spherical && fit.objective >= last;
            if self.empty == Empty::Split || ends || !self.refilled(source, fit)? {
                break;
            }
            last = fit.objective;
        }
        fit.sizes = vec![0; fit.k];
        fit.labels.iter().for_each(|l| fit.sizes[*l as usize] += 1);
        let clusters = fit.sizes.iter().filter(|size| **size == 0).count();
        let warning = Warning::Empty { clusters };
        fit.warnings.extend((clusters > 0).then_some(warning));
        Ok(())
    }

    /// Moves centroids without points onto points; whether there were any.
    fn refilled(&self, points: &Source<'_>, fit: &mut Fit) -> Result<bool, ClusterError> {
        let mut sizes = vec![0.0; fit.k];
        for (i, label) in fit.labels.iter().enumerate() {
            sizes[*label as usize] += points.weights.map_or(1.0, |w| f64::from(w[i]));
        }
        let choice = Choice {
            points,
            labels: &fit.labels,
            distances: &fit.distances,
            spherical: self.spherical,
        };
        let frozen = self.frozen_rows(fit.dim);
        let filled = refill(&choice, frozen, &mut fit.centroids, &mut sizes)?;
        // Of those that stay, labels and distances are known already: normalised anew they would differ
        // in their last bits.
        if filled > 0 {
            fit.centroids = self.shaped(std::mem::take(&mut fit.centroids), fit.dim);
        }
        Ok(filled > 0)
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

    /// Finds centroids on the device of `fit`, which hears of iterations and warnings. Points that
    /// are not `all` of them need no labels in the end.
    fn restarts(
        &self,
        source: &mut Source<'_>,
        fit: &mut Fit,
        listener: &mut Listener<'_>,
        all: bool,
    ) -> Result<Best, ClusterError> {
        let restarts = match &self.init {
            Init::Given(values) if values.len() == self.k * source.cols() => 1,
            _ => self.restarts,
        };
        let mut backend = source.backend(self, fit.device)?;
        fit.warnings.extend(backend.warning());
        let iterations = &mut fit.iterations;
        let mut lloyd = Lloyd::new(self, source, backend.as_mut());
        let mut best = lloyd.run(0, self.beginning(source, 0)?, iterations, listener)?;
        let mut last = true;
        for restart in 1..restarts {
            if best.stopped {
                break;
            }
            let beginning = self.beginning(source, restart)?;
            let run = lloyd.run(restart, beginning, iterations, listener)?;
            last = run.objective < best.objective;
            if last {
                best = run;
            } else {
                best.stopped = run.stopped;
            }
        }
        (fit.restart, fit.converged) = (best.restart, best.converged);
        Ok(Best {
            nearest: (all && last).then(|| lloyd.conclude(&best)).transpose()?,
            centroids: best.centroids,
        })
    }

    /// The points that find the centroids when there are too many, in drawn order.
    fn subsample(&self, n: usize, limit: usize) -> Vec<usize> {
        let mut drawn = self.permutation(n, self.weights.as_deref(), u64::MAX);
        drawn.truncate(limit);
        drawn
    }
}
