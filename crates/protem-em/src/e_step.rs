//! The E-step: cluster the key encoder's embeddings of the training set into prototypes.

use crate::error::EmError;
use crate::events::Event;
use crate::features::normalise_rows;
use crate::settings::Plan;
use candle_core::{Device, Tensor};
use protem_cluster::{ConcentrationParams, Init, KMeans, Matrix, concentration};
use protem_loss::{LossError, Prototypes};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// One clustering of the training set, and what training and the next E-step need of it.
#[derive(Debug, Clone)]
pub struct Clustering {
    /// Cluster of each image.
    pub labels: Vec<u32>,
    /// `k × dim`, not normalised: where a warm start begins.
    pub centroids: Vec<f32>,
    /// Temperature of each prototype.
    pub concentration: Vec<f32>,
    /// Normalised centroids and their temperatures as tensors.
    pub prototypes: Prototypes,
}

impl Clustering {
    /// From its stored parts; prototypes are the normalised centroids.
    ///
    /// # Errors
    /// If the parts do not belong together.
    pub fn new(
        labels: Vec<u32>,
        centroids: Vec<f32>,
        concentration: Vec<f32>,
        dim: usize,
    ) -> Result<Self, EmError> {
        let k = concentration.len();
        if let Some(id) = labels.iter().find(|label| **label as usize >= k) {
            return Err(EmError::Loss(LossError::UnknownPrototype {
                what: "labels",
                id: *id,
                count: k,
            }));
        }
        let mut vectors = centroids.clone();
        normalise_rows(&mut vectors, dim.max(1));
        let vectors = Tensor::from_vec(vectors, (k, dim), &Device::Cpu)?;
        let temperatures = Tensor::from_slice(&concentration, k, &Device::Cpu)?;
        Ok(Self {
            labels,
            centroids,
            concentration,
            prototypes: Prototypes::new(vectors, temperatures)?,
        })
    }

    /// Number of prototypes.
    pub fn k(&self) -> usize {
        self.concentration.len()
    }
}

/// What is worth telling of one clustering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusteringReport {
    /// Number of prototypes.
    pub k: usize,
    /// Sum of squared distances to the final centroids.
    pub objective: f64,
    /// Seconds that k-means and concentration took.
    pub seconds: f64,
    /// Clusters that ended without a point.
    pub empty: usize,
    /// Least and greatest concentration.
    pub concentration: (f32, f32),
    /// Adjusted mutual information with the previous E-step's labels.
    pub ami_previous: Option<f64>,
}

impl ClusteringReport {
    /// As what is told of the E-step before `epoch` (from 1), after `step` steps.
    pub(crate) fn event(&self, epoch: usize, step: u64) -> Event {
        Event::EStep {
            epoch,
            step,
            k: self.k,
            objective: self.objective,
            ami_previous: self.ami_previous,
            empty: self.empty,
            concentration_min: f64::from(self.concentration.0),
            concentration_max: f64::from(self.concentration.1),
            seconds: self.seconds,
        }
    }
}

/// L2-normalised embeddings of the images that could be read.
pub(crate) struct Embeddings<'a> {
    /// `images × dim`, row-major.
    pub rows: &'a [f32],
    pub dim: usize,
    /// Which images they are of, in order.
    pub images: &'a [u32],
    /// Images of the set.
    pub of: usize,
}

impl Embeddings<'_> {
    /// What the images have of all images' `labels`.
    fn taken(&self, labels: &[u32]) -> Vec<u32> {
        self.images.iter().map(|i| labels[*i as usize]).collect()
    }

    /// Labels of all images from the images' own. One that could not be read gets the first cluster;
    /// it is in no batch, unless what kept it from being read has passed.
    fn spread(&self, labels: Vec<u32>) -> Vec<u32> {
        if labels.len() == self.of {
            return labels;
        }
        let mut all = vec![0; self.of];
        for (image, label) in self.images.iter().zip(labels) {
            all[*image as usize] = label;
        }
        all
    }
}

/// Clustering `i` of an E-step, into `k` clusters, by k-means (PCL §3.2 and the reference's `run_kmeans`);
/// nothing if it was stopped. Its seed is `i`, as in the reference, moved by the run's own.
///
/// # Errors
/// Embeddings that are not finite, or fewer than the clusters asked for.
pub(crate) fn cluster(
    plan: &Plan,
    (i, k): (usize, usize),
    embeddings: &Embeddings<'_>,
    previous: Option<&Clustering>,
    stop: &AtomicBool,
) -> Result<Option<(Clustering, ClusteringReport)>, EmError> {
    let begun = std::time::Instant::now();
    let (rows, dim) = (embeddings.images.len(), embeddings.dim);
    let points = Matrix::new(embeddings.rows, rows, dim)?;
    let config = &plan.e_step;
    let before = previous.filter(|c| c.k() == k);
    let warm = before.filter(|_| config.warm_start);
    let kmeans = KMeans::builder(k)
        .iterations(config.iterations)
        .restarts(if warm.is_some() { 1 } else { config.restarts })
        .seed(plan.seed.wrapping_add(i as u64))
        .max_points_per_centroid(config.max_points_per_centroid)
        .init(warm.map_or(Init::Random, |c| Init::Given(c.centroids.clone())))
        .build()?;
    let mut stopped = false;
    let fit = kmeans.fit_with(points, |_| {
        stopped = stop.load(Ordering::Relaxed);
        match stopped {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    if stopped {
        return Ok(None);
    }
    let distances: Vec<f32> = fit.distances.iter().map(|d| d.max(0.0).sqrt()).collect();
    let parameters = ConcentrationParams {
        temperature: plan.temperature,
        smoothing: config.smoothing,
        percentiles: config.percentiles.into(),
    };
    let phi = concentration(&distances, &fit.labels, k, &parameters)?;
    let report = ClusteringReport {
        k,
        objective: fit.objective,
        seconds: begun.elapsed().as_secs_f64(),
        concentration: phi
            .iter()
            .fold((f32::INFINITY, 0.0), |(l, h), p| (l.min(*p), h.max(*p))),
        empty: fit.sizes.iter().filter(|n| **n == 0).count(),
        ami_previous: before
            .map(|c| protem_eval::ami(&fit.labels, &embeddings.taken(&c.labels)))
            .transpose()?,
    };
    tracing::debug!(
        k,
        seconds = report.seconds,
        objective = report.objective,
        "clustered"
    );
    let labels = embeddings.spread(fit.labels);
    let clustering = Clustering::new(labels, fit.centroids, phi, dim)?;
    Ok(Some((clustering, report)))
}
