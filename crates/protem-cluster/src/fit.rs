//! What comes of a clustering.

/// One iteration, as faiss reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IterationStats {
    /// Restart, from 0.
    pub restart: usize,
    /// Iteration of this restart, from 0.
    pub iteration: usize,
    /// Sum of squared distances of the training points to their nearest centroids, before the
    /// iteration's update.
    pub objective: f64,
    /// Seconds that this iteration took.
    pub seconds: f64,
    /// `k·Σ sizes² / n²` before the update: 1 when all clusters are equal, k when one has all.
    pub imbalance: f64,
    /// Empty clusters that were given half of another one.
    pub splits: usize,
}

/// Something the caller may want to know, but that does not stop a clustering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// Too few points per centroid for centroids to mean much.
    #[error(
        "{points} points for {k} clusters: at least {} are recommended ({minimum} per centroid)",
        k.saturating_mul(*minimum)
    )]
    FewPoints {
        /// Points there are.
        points: usize,
        /// Clusters asked for.
        k: usize,
        /// Least number of points per centroid.
        minimum: usize,
    },
}

/// The result of a clustering.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Number of clusters.
    pub k: usize,
    /// Values of a point and of a centroid.
    pub dim: usize,
    /// `k × dim`, row-major, not normalised (unless the clustering is spherical).
    pub centroids: Vec<f32>,
    /// Nearest centroid of each point.
    pub labels: Vec<u32>,
    /// Squared L2 distance of each point to that centroid.
    pub distances: Vec<f32>,
    /// Points of each cluster, counted from `labels`. A cluster may be empty.
    pub sizes: Vec<u32>,
    /// Sum of `distances`: over all points and after the last update, unlike the last of
    /// `iterations`.
    pub objective: f64,
    /// Every iteration of every restart, in order; none when there are as many clusters as points.
    pub iterations: Vec<IterationStats>,
    /// What is unusual about this clustering.
    pub warnings: Vec<Warning>,
}
