//! k-means with the semantics of faiss's `Clustering`, and the concentration of PCL.
//!
//! [`KMeans`] clusters a borrowed [`Matrix`] of `f32` points: random or given initial centroids,
//! Lloyd iterations, restarts, subsampling, splitting of empty clusters. The same seed gives the
//! same bits whatever the number of threads. [`concentration()`] turns the result into the
//! temperatures of prototypes (Li et al. 2021, eq. 12).
//!
//! The crate knows nothing of where points come from.

mod assign;
mod bf16;
mod centroids;
mod concentration;
mod convert;
mod empty;
mod error;
mod fit;
mod init;
mod isa;
mod kernel;
mod kmeans;
mod lloyd;
mod matrix;
#[cfg(feature = "npy")]
mod npy;
mod order;
mod points;
mod prune;
mod settings;
mod span;
mod threads;
mod update;
mod window;

pub use assign::{Assignment, assign, assign_on};
pub use concentration::{ConcentrationParams, concentration};
pub use error::ClusterError;
pub use fit::{Fit, IterationStats, Warning};
pub use isa::Isa;
pub use matrix::{Matrix, Rows};
#[cfg(feature = "npy")]
pub use npy::{Npy, NpyError};
pub use settings::{Empty, Init, KMeans, KMeansBuilder};

/// The README's example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
