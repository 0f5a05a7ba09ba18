//! How well clusters of the features match the classes.

use crate::{Agreement, EvalError, Features};
use protem_cluster::{KMeans, Matrix};

/// Settings of [`cluster_agreement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Clusters.
    pub k: usize,
    /// Lloyd iterations.
    pub iterations: usize,
    /// Restarts, of which the best objective is kept.
    pub restarts: usize,
    /// Seed of k-means.
    pub seed: u64,
}

impl ClusterConfig {
    /// `k` clusters with the E-step's 20 iterations and 5 restarts.
    pub fn new(k: usize, seed: u64) -> Self {
        Self {
            k,
            iterations: 20,
            restarts: 5,
            seed,
        }
    }
}

/// Clusters L2-normalised features by k-means and compares the clusters with the classes; PCL
/// reports the adjusted mutual information (Li et al. 2021).
///
/// # Errors
/// Labels that do not fit the features, or a clustering that cannot be: more clusters than images.
pub fn cluster_agreement(
    features: &Features,
    labels: &[u32],
    config: &ClusterConfig,
) -> Result<Agreement, EvalError> {
    let features = features.clone().normalised();
    let points = Matrix::new(features.values(), features.rows(), features.dim())?;
    let kmeans = KMeans::builder(config.k)
        .iterations(config.iterations)
        .restarts(config.restarts)
        .max_points_per_centroid(1000)
        .seed(config.seed)
        .build()?;
    Agreement::of(&kmeans.fit(points)?.labels, labels)
}
