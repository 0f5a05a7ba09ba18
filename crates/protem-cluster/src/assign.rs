//! The nearest centroid of every point, exactly.
//!
//! A pass finds the best score of each point in each group of 16 centroids, in bf16, integers or f32;
//! groups that cannot hold the nearest centroid are left out by the window of the pass's error.
//! Where the pass tells which centroid is best and how good the second is, that may settle it.
//! Of bytes, in which a group costs little, those of a group in question are multiplied once more to
//! find which of its centroids are, and each of these is measured. Otherwise groups are scored in f32,
//! each once for all points that ask for it. Where that leaves more than one centroid that f32 cannot
//! tell apart, `Σ(x − c)²` in f64 decides.
//!
//! So a label is a function of the point and the centroids alone: the lowest of those with the
//! least f64 distance. It depends on no level of instructions, block size or thread.
//!
//! Few points are compared with the centroids as they lie (`few.rs`), with the same result.

use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::few::{few, nearest_of_few};
use crate::forms::once;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::span::{Nearest, nearest};
use crate::threads::Threads;

/// Values of points packed at a time where they are needed only once: 128 MiB.
const BLOCK_VALUES: usize = 1 << 25;

/// Nearest centroids.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Assignment {
    /// Nearest centroid of each point: the lowest of those with the least `Σ(x − c)²`, summed over
    /// the columns in order in f64.
    pub labels: Vec<u32>,
    /// Squared L2 distance to it, `Σ(x − c)²` in f32.
    pub distances: Vec<f32>,
}

/// The nearest of `centroids` (`k × d`) for each of `points` (`n × d`), on `threads` threads or,
/// for `None`, the caller's rayon pool.
///
/// # Errors
/// [`ClusterError::Clusters`] for no centroids, [`ClusterError::Columns`] for different numbers of
/// columns, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`] with the row,
/// [`ClusterError::TooMany`] (of centroids, each of these in [`ClusterError::Centroids`]),
/// [`ClusterError::Isa`]; [`ClusterError::Setting`] for no threads or more than 4,096,
/// [`ClusterError::Threads`] where they cannot be started.
pub fn assign(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: Option<usize>,
) -> Result<Assignment, ClusterError> {
    assign_on(Isa::chosen()?, points, centroids, threads)
}

/// [`assign`] on a level of instructions of one's choice; the result has the same bits.
///
/// # Errors
/// As [`assign`].
pub fn assign_on(
    isa: Isa,
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: Option<usize>,
) -> Result<Assignment, ClusterError> {
    let isa = isa.checked()?;
    let mut out = Assignment {
        labels: vec![0; points.rows()],
        distances: vec![0.0; points.rows()],
    };
    let (labels, distances) = (&mut out.labels, &mut out.distances);
    Threads::new(threads)?.run(|| assign_into(points, centroids, isa, labels, distances))?;
    Ok(out)
}

/// [`assign`] on a level, on the current threads, into slices of the right length.
pub(crate) fn assign_into(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) -> Result<(), ClusterError> {
    if centroids.rows() == 0 {
        return Err(ClusterError::Clusters {
            k: 0,
            points: points.rows(),
        });
    }
    if centroids.cols() != points.cols() {
        return Err(ClusterError::Columns {
            points: points.cols(),
            centroids: centroids.cols(),
        });
    }
    points.check(isa)?;
    let checked = centroids.check_centroids(isa);
    checked.map_err(|error| ClusterError::Centroids(Box::new(error)))?;
    nearest_in_blocks(points, centroids, isa, labels, distances);
    Ok(())
}

/// Labels and distances of points that are checked, packing a block of them at a time: memory does
/// not grow with their number.
pub(crate) fn nearest_in_blocks(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) {
    if points.rows() <= few(points.cols()) {
        return nearest_of_few(points, centroids, isa, labels, distances);
    }
    nearest_of_packed(points, centroids, isa, labels, distances);
}

/// The same, however few points there are.
pub(crate) fn nearest_of_packed(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) {
    let rows = (BLOCK_VALUES / points.cols()).max(1024);
    let mut groups = Centroids::default();
    let places = labels.chunks_mut(rows).zip(distances.chunks_mut(rows));
    for (at, (labels, distances)) in places.enumerate() {
        let begin = at * rows;
        let mut packed = Points::new(points.between(begin, begin + labels.len()), isa);
        packed.repack(once(&packed, centroids.rows()));
        if packed.turn().is_some() {
            packed.square_all();
        }
        groups.pack(centroids, &packed);
        let near = Nearest::new(labels, distances);
        nearest(&packed, centroids, &groups, near);
    }
}
