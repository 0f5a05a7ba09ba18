//! What `cluster` and `assign` take.

use super::Switch;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Points: a .npy file with a two-dimensional array of numbers, a row for each point, or a Parquet file
    /// with a column `features` of lists of floats. A large array of 32-bit floats is mapped into memory:
    /// nobody may change it meanwhile.
    #[arg(long)]
    pub input: PathBuf,
    /// Numbers of clusters, with commas between them.
    #[arg(long, value_delimiter = ',', required = true)]
    pub k: Vec<usize>,
    /// Iterations of each restart.
    #[arg(long, default_value_t = 20)]
    pub iters: usize,
    /// Runs from different beginnings, of which the best is kept.
    #[arg(long, default_value_t = 1)]
    pub restarts: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What centroids are in the beginning: `random`, points drawn; `k-means++`, points drawn far from
    /// each other, which takes as long as some iterations; or a file of an array like the input, and
    /// points drawn for those that are missing. Of no use with as many clusters as points, which are
    /// the centroids then; with all of them given, restarts would all be the same, and one is made.
    #[arg(long, value_name = "random|k-means++|FILE", default_value = "random")]
    pub init: Beginning,
    /// End a restart once an iteration lowers the objective by no more than this share of it; at 0 once
    /// nothing changes.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub tolerance: f64,
    /// What becomes of a cluster without points.
    #[arg(long, value_enum, default_value_t = WhenEmpty::Split)]
    pub empty: WhenEmpty,
    /// Scale centroids to length 1 after every update, which suits points of length 1.
    #[arg(long)]
    pub spherical: bool,
    /// Points per centroid that iterations use at most; the rest is only assigned in the end.
    #[arg(long, default_value_t = 256)]
    pub max_points_per_centroid: usize,
    /// Leave out comparisons whose result is known beforehand; the clustering is the same.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub prune: Switch,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Folder for centroids.npy, labels.npy (32 bits, unsigned) and distances.npy (squared, as k-means
    /// sums them); with several K, a folder in it for each. Files of these names are replaced, others
    /// stay.
    #[arg(long)]
    pub out: PathBuf,
    /// Print JSON, a line for each K; `iterations` are those of all restarts.
    #[arg(long)]
    pub json: bool,
}

/// What centroids are in the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    Random,
    PlusPlus,
    Given(PathBuf),
}

impl From<OsString> for Beginning {
    fn from(value: OsString) -> Self {
        match value.to_str() {
            Some("random") => Self::Random,
            Some("k-means++") => Self::PlusPlus,
            _ => Self::Given(value.into()),
        }
    }
}

impl Beginning {
    /// The file it names.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Given(path) => Some(path),
            Self::Random | Self::PlusPlus => None,
        }
    }
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::PlusPlus => f.write_str("k-means++"),
            Self::Given(path) => path.display().fmt(f),
        }
    }
}

/// What becomes of a cluster without points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenEmpty {
    /// It takes half of another, as in faiss; the last iteration may leave some empty.
    Split,
    /// It takes the point farthest from its centroid: none stays empty while there are k distinct points,
    /// with --spherical k directions.
    Farthest,
}

/// Arguments of `assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// Points: a .npy file with a two-dimensional array of numbers, a row for each point, or a Parquet file
    /// with a column `features` of lists of floats. A large array of 32-bit floats is mapped into memory:
    /// nobody may change it meanwhile.
    #[arg(long)]
    pub input: PathBuf,
    /// Centroids: an array with rows of as many values, such as the centroids.npy of `protem cluster`.
    #[arg(long)]
    pub centroids: PathBuf,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Folder for labels.npy (32 bits, unsigned) and distances.npy (squared). Files of these names are
    /// replaced, others stay.
    #[arg(long)]
    pub out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
