//! What a clustering is asked to do: settings that are checked once, when they are built.

use crate::error::ClusterError;
use crate::isa::Isa;
use crate::threads::Threads;

/// Where centroids begin.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Init {
    /// Points drawn without replacement, anew for each restart.
    #[default]
    Random,
    /// Points drawn one by one with probability proportional to the squared distance from those
    /// already drawn (k-means++, Arthur and Vassilvitskii 2007), anew for each restart. Takes as
    /// long as some iterations.
    PlusPlus,
    /// These, whole rows of columns, at most k of them: the centroids of an earlier fit for a warm
    /// start. As in faiss, points are drawn for those that are missing; with none missing every
    /// restart would be the same, so there is only one.
    Given(Vec<f32>),
}

/// What becomes of a cluster without points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Empty {
    /// As in faiss: it takes half of another one, drawn by size; the two centroids are moved apart
    /// by ±1/1024. The last iteration may leave clusters empty.
    #[default]
    Split,
    /// It takes the point farthest from its centroid, in the end too: no cluster stays empty as
    /// long as there are k distinct points of positive weight and none is frozen. (With centroids of
    /// length 1, points that differ in their lengths alone count as one.)
    Farthest,
}

/// What computes a clustering. Results have the same bits on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Device {
    /// The processor, with the instructions of [`KMeans::isa`].
    #[default]
    Cpu,
    /// With the feature `cuda`, the first CUDA device if it can be used, holds the points, and there
    /// are enough points and clusters for it to be worth it (2²⁶ pairs of them); else the
    /// processor. [`Fit::device`](crate::Fit::device) says which it was; where there is a driver and
    /// the device could not be used all the same, [`Warning::DeviceUnused`](crate::Warning::DeviceUnused) says why. A device that
    /// could not be opened is not tried again in the same process.
    Auto,
    /// With the feature `cuda`, the CUDA device of this number (0 is the first), of compute
    /// capability 8.0 or above. Points that it cannot hold come in blocks
    /// ([`Warning::InBlocks`](crate::Warning::InBlocks)).
    Cuda(usize),
}

/// Settings of a clustering, not yet checked. Defaults are faiss's, but for the seed, and for the
/// iterations, which are PCL's; PCL also takes 5 restarts and at most 1000 points per centroid.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct KMeansBuilder {
    kmeans: KMeans,
}

/// A clustering ready to run: see [`KMeans::fit`].
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    pub(crate) k: usize,
    pub(crate) iterations: usize,
    pub(crate) restarts: usize,
    pub(crate) seed: u64,
    pub(crate) max_points_per_centroid: usize,
    pub(crate) min_points_per_centroid: usize,
    pub(crate) init: Init,
    pub(crate) spherical: bool,
    pub(crate) frozen: bool,
    pub(crate) tolerance: f64,
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) empty: Empty,
    pub(crate) prune: bool,
    pub(crate) device: Device,
    pub(crate) threads: Option<usize>,
    pub(crate) isa: Option<Isa>,
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
                min_points_per_centroid: 39,
                init: Init::Random,
                spherical: false,
                frozen: false,
                tolerance: 0.0,
                weights: None,
                empty: Empty::Split,
                prune: true,
                device: Device::Cpu,
                threads: None,
                isa: None,
            },
        }
    }

    /// Number of clusters.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// The level of instructions it will use.
    ///
    /// # Errors
    /// [`ClusterError::Isa`] for one that this machine has not.
    pub fn isa(&self) -> Result<Isa, ClusterError> {
        self.isa.map_or_else(Isa::chosen, Isa::checked)
    }
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

    /// A larger set is subsampled to this many points per centroid to find the centroids; all
    /// points are assigned in the end (256).
    pub fn max_points_per_centroid(mut self, points: usize) -> Self {
        self.kmeans.max_points_per_centroid = points;
        self
    }

    /// A smaller set is clustered too, with [`Warning::FewPoints`](crate::Warning::FewPoints)
    /// (39); 0 asks for no warning.
    pub fn min_points_per_centroid(mut self, points: usize) -> Self {
        self.kmeans.min_points_per_centroid = points;
        self
    }

    /// Where centroids begin ([`Init::Random`]).
    pub fn init(mut self, init: Init) -> Self {
        self.kmeans.init = init;
        self
    }

    /// Scale centroids to length 1 at the beginning and after every update (`false`): for points
    /// of length 1, k-means by cosine. Distances and the objective remain squared L2; a centroid
    /// of zeros stays.
    pub fn spherical(mut self, spherical: bool) -> Self {
        self.kmeans.spherical = spherical;
        self
    }

    /// The centroids of [`Init::Given`] stay as they are and only the others move (`false`). They
    /// are never split nor refilled.
    pub fn frozen(mut self, frozen: bool) -> Self {
        self.kmeans.frozen = frozen;
        self
    }

    /// A restart ends once an iteration lowers the objective of the one before by no more than this
    /// share of it (0: once nothing changes).
    pub fn tolerance(mut self, share: f64) -> Self {
        self.kmeans.tolerance = share;
        self
    }

    /// A weight for each point, finite and not negative (all 1). A point of weight 2 counts as two
    /// of weight 1: in means, objectives, imbalance, splits and the draws of [`Init::PlusPlus`];
    /// if the least positive weight is below 1, it takes the place of 1 in splits.
    /// [`Init::Random`] and subsamples draw all alike, but those of weight 0 last.
    pub fn weights(mut self, weights: Vec<f32>) -> Self {
        self.kmeans.weights = Some(weights);
        self
    }

    /// What becomes of clusters without points ([`Empty::Split`]).
    pub fn empty(mut self, empty: Empty) -> Self {
        self.kmeans.empty = empty;
        self
    }

    /// Leave out of an iteration what the ones before have ruled out (`true`), for 44 bytes a
    /// point and another copy of the centroids; done where it pays, from sixteen points a cluster on
    /// and about two thousand clusters with AMX, some hundreds without. The result has the same bits
    /// either way.
    pub fn prune(mut self, prune: bool) -> Self {
        self.kmeans.prune = prune;
        self
    }

    /// What computes iterations and final labels ([`Device::Cpu`]). Draws and the filling of empty
    /// clusters stay on the processor, and [`Self::prune`] is for the processor only.
    pub fn device(mut self, device: Device) -> Self {
        self.kmeans.device = device;
        self
    }

    /// Threads of its own, 4,096 at most; `None` takes the rayon pool of the caller. Results have the same bits
    /// either way.
    pub fn threads(mut self, threads: Option<usize>) -> Self {
        self.kmeans.threads = threads;
        self
    }

    /// The level of vector instructions; `None` takes [`Isa::chosen`]. Results have the same bits
    /// on every level.
    pub fn isa(mut self, isa: Option<Isa>) -> Self {
        self.kmeans.isa = isa;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] for zero clusters, iterations, restarts, points per centroid or
    /// threads; for more threads than 4,096, a tolerance that is not finite or is negative, frozen
    /// centroids that are not given, or weights that are not finite, negative, or all zero.
    /// [`ClusterError::Isa`] for a level this machine has not, [`ClusterError::DeviceMissing`] for
    /// [`Device::Cuda`] without the feature `cuda`.
    pub fn build(self) -> Result<KMeans, ClusterError> {
        let kmeans = self.kmeans;
        let refuse = |name, value: String, rule| Err(ClusterError::Setting { name, value, rule });
        for (name, value) in [
            ("k", kmeans.k),
            ("iterations", kmeans.iterations),
            ("restarts", kmeans.restarts),
            ("max_points_per_centroid", kmeans.max_points_per_centroid),
        ] {
            if value == 0 {
                return refuse(name, "0".into(), "at least 1");
            }
        }
        Threads::check(kmeans.threads)?;
        if !(kmeans.tolerance >= 0.0 && kmeans.tolerance.is_finite()) {
            let value = kmeans.tolerance.to_string();
            return refuse("tolerance", value, "finite and not negative");
        }
        if kmeans.frozen && !matches!(kmeans.init, Init::Given(_)) {
            return refuse("frozen", "true".into(), "false unless centroids are given");
        }
        let weights = kmeans.weights.as_deref().unwrap_or(&[1.0]);
        if let Some(row) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
            let value = format!("{} at row {row}", weights[row]);
            return refuse("weights", value, "finite and not negative");
        }
        // Of none at all, the number is wrong, which the points tell.
        if !weights.is_empty() && !weights.iter().any(|w| *w > 0.0) {
            return refuse("weights", "all zero".into(), "positive somewhere");
        }
        kmeans.isa.map_or(Ok(Isa::Portable), Isa::checked)?;
        if cfg!(not(feature = "cuda")) && matches!(kmeans.device, Device::Cuda(_)) {
            return Err(ClusterError::DeviceMissing {
                reason: "protem-cluster was built without its feature `cuda`".into(),
            });
        }
        Ok(kmeans)
    }
}
