//! Exact k-means with the semantics of faiss's `Clustering`, and the concentration of PCL.
//!
//! [`KMeans`] clusters a borrowed [`Matrix`] of `f32` points: random, k-means++ or given initial
//! centroids, Lloyd iterations, restarts, weights, subsampling, splitting of empty clusters. The
//! result is a [`Fit`], which predicts the labels of other points; [`assign()`] does that for any
//! centroids. [`concentration()`] turns a fit into the temperatures of prototypes (Li et al. 2021,
//! eq. 12).
//!
//! A label is the lowest index among the centroids of least `Σ(x − c)²` in f64: the same bits on
//! every level of instructions ([`Isa`]), with and without pruning, on any number of threads, and (with
//! the feature `cuda`) on a GPU.
//!
//! ```
//! use protem_cluster::{KMeans, Matrix};
//!
//! let points = [0.0, 0.1, 5.0, 5.2, 9.9, 10.0];
//! let kmeans = KMeans::builder(3).restarts(10).min_points_per_centroid(0).build()?;
//! let fit = kmeans.fit(Matrix::new(&points, 6, 1)?)?;
//! assert_eq!(fit.sizes, [2, 2, 2]);
//! # Ok::<(), protem_cluster::ClusterError>(())
//! ```
//!
//! The crate knows nothing of where points come from.

// Says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod assign;
mod backend;
mod bf16;
mod centroids;
mod concentration;
mod convert;
#[cfg(feature = "cuda")]
mod cuda;
mod empty;
mod error;
mod few;
mod fit;
mod forms;
mod init;
mod integers;
mod isa;
mod kernel;
mod kmeans;
mod lloyd;
mod matrix;
#[cfg(feature = "npy")]
mod npy;
mod order;
mod part;
mod plus_plus;
mod points;
mod prune;
mod scratch;
mod settings;
mod sketch;
mod source;
mod span;
mod threads;
mod update;
mod window;

pub use assign::{Assignment, assign, assign_on};
pub use concentration::{ConcentrationParams, concentration};
#[cfg(feature = "cuda")]
pub use cuda::{CudaDevice, DevicePoints, KernelTime, cuda_device, time_kernels};
pub use error::ClusterError;
pub use fit::{Fit, IterationStats, Warning};
pub use isa::Isa;
pub use matrix::{Matrix, Rows};
#[cfg(feature = "npy")]
pub use npy::{Npy, NpyError};
pub use settings::{Device, Empty, Init, KMeans, KMeansBuilder};

/// The README's example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
