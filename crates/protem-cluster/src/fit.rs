//! What comes of a clustering.

use crate::assign::{Assignment, assign, assign_into};
use crate::error::ClusterError;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::settings::Device;
use crate::threads::Threads;

/// One iteration, as faiss reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IterationStats {
    /// Restart, from 0.
    pub restart: usize,
    /// Iteration of this restart, from 0.
    pub iteration: usize,
    /// Sum of squared distances, times weights, of the points that iterate (the sample, if there is
    /// one) to their nearest centroids, before the iteration's update.
    pub objective: f64,
    /// Seconds that this iteration took.
    pub seconds: f64,
    /// `k·Σ sizes² / n²` before the update: 1 when all clusters are equal, k when one has all.
    pub imbalance: f64,
    /// Empty clusters that were given half of another one, or the farthest point
    /// ([`Empty`](crate::Empty)).
    pub splits: usize,
}

/// Something the caller may want to know, but that does not stop a clustering.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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
    /// Points that the device cannot hold, so that it reads them anew in each iteration.
    #[error("{points} points do not fit into the device's memory: it takes {block} at a time")]
    InBlocks {
        /// Points that iterate.
        points: usize,
        /// Points of a block.
        block: usize,
    },
    /// Clusters that no point is nearest to in the end.
    #[error(
        "{clusters} clusters have no point in the end: ask for fewer, or, where enough points differ, \
         have the farthest fill them"
    )]
    Empty {
        /// How many: [`Empty::Split`](crate::Empty::Split) may leave some to the last iteration, and
        /// [`Empty::Farthest`](crate::Empty::Farthest) only where there are fewer distinct points than
        /// clusters, or some are frozen.
        clusters: usize,
    },
    /// The processor computed though [`Device::Auto`] would have had it a CUDA device: a driver is
    /// there, but something else is missing or in the way.
    #[error("the processor computed it: {reason}")]
    DeviceUnused {
        /// What was missing or in the way.
        reason: String,
    },
}

/// The result of a clustering.
///
/// Two fits of the same points and settings differ in [`IterationStats::seconds`] alone, and so are
/// not equal: compare what is wanted of them.
///
/// With the feature `serde` it is saved with the labels and distances of all points. What assigns
/// other points is `k`, `dim` and `centroids`; as a [`Rows`](crate::Rows) they are saved by
/// themselves, for [`assign`](crate::assign()). JSON gives all `f32` back to the bit, and `f64` with
/// serde_json's feature `float_roundtrip`.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
    /// Points of each cluster, counted from `labels`. A cluster may be empty
    /// ([`Warning::Empty`]).
    pub sizes: Vec<u32>,
    /// Sum of `distances`, times weights: over all points and after the last update, unlike the last
    /// of `iterations`.
    pub objective: f64,
    /// Every iteration of every restart, in order; none when there are as many clusters as points
    /// and none is frozen.
    pub iterations: Vec<IterationStats>,
    /// The restart that found the centroids, the best one; see [`IterationStats::restart`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub restart: usize,
    /// Whether that restart ended because nothing changed any more or, with a tolerance, too little;
    /// not because it was the last iteration, or the listener said so. True where nothing iterates.
    #[cfg_attr(feature = "serde", serde(default))]
    pub converged: bool,
    /// How many points iterated, if not all: those drawn where there are more than
    /// `max_points_per_centroid` allows.
    #[cfg_attr(feature = "serde", serde(default))]
    pub sampled: Option<usize>,
    /// What computed the iterations.
    pub device: Device,
    /// What is unusual about this clustering.
    pub warnings: Vec<Warning>,
}

impl Fit {
    /// The centroids as a view, `k × dim`.
    ///
    /// # Errors
    /// [`ClusterError::Length`] if the fields were changed and no longer belong together.
    pub fn centroid_rows(&self) -> Result<Matrix<'_>, ClusterError> {
        Matrix::new(&self.centroids, self.k, self.dim)
    }

    /// The nearest centroid of each of `points`, which need not be those of the fit, on `threads`
    /// threads or, for `None`, the caller's rayon pool; see [`assign`](crate::assign()).
    ///
    /// # Errors
    /// As [`assign`](crate::assign()); [`ClusterError::Length`] as [`Self::centroid_rows`].
    pub fn predict(
        &self,
        points: Matrix<'_>,
        threads: Option<usize>,
    ) -> Result<Assignment, ClusterError> {
        assign(points, self.centroid_rows()?, threads)
    }

    /// As [`Self::predict`], with labels into `labels` and squared distances into `distances`. A
    /// point's result does not depend on the others. Each call checks all centroids, and with `Some` starts
    /// threads: many points at once cost a tenth to a hundredth of one by one. Of 1,000 clusters and 128
    /// columns, on one core with AVX-512, a point by itself takes 20 µs and one of many 0.8.
    ///
    /// # Errors
    /// As [`Self::predict`], and [`ClusterError::Places`] for slices that have not one place for
    /// each point.
    pub fn predict_into(
        &self,
        points: Matrix<'_>,
        labels: &mut [u32],
        distances: &mut [f32],
        threads: Option<usize>,
    ) -> Result<(), ClusterError> {
        if labels.len() != points.rows() || distances.len() != points.rows() {
            return Err(ClusterError::Places {
                points: points.rows(),
                labels: labels.len(),
                distances: distances.len(),
            });
        }
        let isa = Isa::chosen()?;
        let centroids = self.centroid_rows()?;
        Threads::new(threads)?.run(|| assign_into(points, centroids, isa, labels, distances))
    }
}
