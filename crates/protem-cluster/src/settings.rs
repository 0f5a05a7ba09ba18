//! What a clustering is asked to do: settings that are checked once, when they are built.

use crate::error::ClusterError;

/// Where centroids begin.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Init {
    /// Points drawn without replacement, anew for each restart.
    #[default]
    Random,
    /// These, `k × columns` values. Every restart would be the same, so there is only one.
    Given(Vec<f32>),
}

/// Settings of a clustering, not yet checked. Defaults are faiss's, but for the iterations, which
/// are PCL's; PCL also takes 5 restarts and at most 1000 points per centroid.
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
    pub(crate) threads: Option<usize>,
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
                threads: None,
            },
        }
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

    /// Threads of its own; `None` takes the rayon pool of the caller. Results have the same bits
    /// either way.
    pub fn threads(mut self, threads: Option<usize>) -> Self {
        self.kmeans.threads = threads;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] for zero clusters, iterations, restarts, points per centroid or
    /// threads, or for a least number of points per centroid above the largest.
    pub fn build(self) -> Result<KMeans, ClusterError> {
        let kmeans = self.kmeans;
        for (name, value) in [
            ("k", kmeans.k),
            ("iterations", kmeans.iterations),
            ("restarts", kmeans.restarts),
            ("max_points_per_centroid", kmeans.max_points_per_centroid),
            ("threads", kmeans.threads.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(ClusterError::Setting {
                    name,
                    value: "0".into(),
                    rule: "at least 1",
                });
            }
        }
        if kmeans.min_points_per_centroid > kmeans.max_points_per_centroid {
            return Err(ClusterError::Setting {
                name: "min_points_per_centroid",
                value: kmeans.min_points_per_centroid.to_string(),
                rule: "at most max_points_per_centroid",
            });
        }
        Ok(kmeans)
    }
}
