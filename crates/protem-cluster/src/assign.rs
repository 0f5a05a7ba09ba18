//! The nearest centroid of every point.
//!
//! A block of points against a block of centroids is one matrix product, which stays in the
//! cache; the score of a pair is `x·c − |c|²/2`, largest where the distance is smallest. The
//! winner's distance is then taken anew as `Σ(x − c)²`, free of cancellation.

use crate::error::ClusterError;
use crate::matrix::Matrix;
use rayon::prelude::*;

/// Points of a block: fixed, so that results do not depend on the number of threads.
const POINTS: usize = 256;
/// Centroids of a block.
const CENTROIDS: usize = 512;

/// Nearest centroids.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Nearest centroid of each point; of equally near ones the lowest.
    pub labels: Vec<u32>,
    /// Squared distance to it.
    pub distances: Vec<f32>,
}

/// The nearest of `centroids` for each of `points`.
///
/// # Errors
/// Different numbers of columns, no centroids, or values that are not finite.
pub fn assign(points: Matrix<'_>, centroids: Matrix<'_>) -> Result<Assignment, ClusterError> {
    points.check_finite()?;
    centroids.check_finite()?;
    if centroids.rows() == 0 {
        return Err(ClusterError::Clusters {
            k: 0,
            points: points.rows(),
        });
    }
    if centroids.cols() != points.cols() {
        return Err(ClusterError::Setting {
            name: "columns of the centroids",
            value: centroids.cols().to_string(),
            rule: "the points' number of columns",
        });
    }
    Ok(nearest(points, centroids))
}

/// [`assign`] for inputs already checked.
pub(crate) fn nearest(points: Matrix<'_>, centroids: Matrix<'_>) -> Assignment {
    let half_norms: Vec<f32> = (0..centroids.rows())
        .map(|j| centroids.row(j).iter().map(|c| c * c).sum::<f32>() * 0.5)
        .collect();
    let mut out = Assignment {
        labels: vec![0; points.rows()],
        distances: vec![0.0; points.rows()],
    };
    out.labels
        .par_chunks_mut(POINTS)
        .zip(out.distances.par_chunks_mut(POINTS))
        .enumerate()
        .for_each_init(
            || vec![0.0f32; POINTS * CENTROIDS],
            |scores, (block, (labels, distances))| {
                nearest_of_block(
                    points,
                    centroids,
                    &half_norms,
                    block * POINTS,
                    labels,
                    scores,
                );
                for (i, (label, distance)) in labels.iter().zip(distances).enumerate() {
                    let (x, c) = (
                        points.row(block * POINTS + i),
                        centroids.row(*label as usize),
                    );
                    *distance = squared_distance(x, c);
                }
            },
        );
    out
}

fn nearest_of_block(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    half_norms: &[f32],
    first: usize,
    labels: &mut [u32],
    scores: &mut [f32],
) {
    let mut best = vec![f32::NEG_INFINITY; labels.len()];
    for begin in (0..centroids.rows()).step_by(CENTROIDS) {
        let count = CENTROIDS.min(centroids.rows() - begin);
        products(points, first, labels.len(), centroids, begin, count, scores);
        for (i, row) in scores
            .chunks_exact(CENTROIDS)
            .take(labels.len())
            .enumerate()
        {
            for (j, (product, half)) in row
                .iter()
                .zip(&half_norms[begin..begin + count])
                .enumerate()
            {
                let score = product - half;
                if score > best[i] {
                    best[i] = score;
                    labels[i] = (begin + j) as u32;
                }
            }
        }
    }
}

/// `scores[i][j] = x_i · c_j`, rows of `scores` a block of centroids apart.
fn products(
    points: Matrix<'_>,
    first: usize,
    rows: usize,
    centroids: Matrix<'_>,
    begin: usize,
    count: usize,
    scores: &mut [f32],
) {
    assert!(
        scores.len() >= rows * CENTROIDS
            && first + rows <= points.rows()
            && begin + count <= centroids.rows()
    );
    // SAFETY: `Matrix` holds its rows inside its data, the assert bounds the rows that are used
    // and the result; `scores` is borrowed mutably, so nothing overlaps it.
    unsafe {
        gemm::gemm(
            rows,
            count,
            points.cols(),
            scores.as_mut_ptr(),
            1,
            CENTROIDS as isize,
            false,
            points.from_row(first).as_ptr(),
            1,
            points.stride() as isize,
            centroids.from_row(begin).as_ptr(),
            centroids.stride() as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

pub(crate) fn squared_distance(x: &[f32], c: &[f32]) -> f32 {
    // Sixteen sums side by side: a fixed order that the compiler can vectorise.
    let mut sums = [0.0f32; 16];
    let (xs, cs) = (x.chunks_exact(16), c.chunks_exact(16));
    let rest: f32 = xs
        .remainder()
        .iter()
        .zip(cs.remainder())
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    for (a, b) in xs.zip(cs) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f32>() + rest
}
