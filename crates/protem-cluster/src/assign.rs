//! The nearest centroid of every point.
//!
//! A block of points against a block of centroids is one matrix product whose result stays in the
//! cache; the score of a pair is `x·c − |c|²/2`, largest where the distance is smallest. The
//! winner's distance is then taken anew as `Σ(x − c)²`, free of the score's cancellation.
//!
//! Blocks depend on the shapes alone and each is computed by one thread, so the bits of a result
//! do not depend on the number of threads.

use crate::error::ClusterError;
use crate::matrix::Matrix;
use crate::threads::Threads;
use rayon::prelude::*;

/// Points of a block.
const POINTS: usize = 256;
/// Centroids of a block, at most: 256 × 512 scores are half of a usual level-2 cache.
const CENTROIDS: usize = 512;
/// Scores compared side by side, for the compiler to vectorise.
const LANES: usize = 16;

/// Nearest centroids.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Nearest centroid of each point. Where the f32 scores of several are equal, as those of
    /// equal centroids are, the lowest; centroids whose distances differ by less than the
    /// rounding of a score (about `1e-7·(|x|² + |c|²)`) may be taken for one another.
    pub labels: Vec<u32>,
    /// Squared L2 distance to it, `Σ(x − c)²` in f32.
    pub distances: Vec<f32>,
}

/// The nearest of `centroids` (`k × d`) for each of `points` (`n × d`), on `threads` threads or,
/// for `None`, the caller's rayon pool.
///
/// # Errors
/// [`ClusterError::Clusters`] for no centroids, [`ClusterError::Columns`] for different numbers of
/// columns, [`ClusterError::NotFinite`] and [`ClusterError::TooLarge`] with the row (of the points
/// first), [`ClusterError::TooMany`], [`ClusterError::Threads`].
pub fn assign(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: Option<usize>,
) -> Result<Assignment, ClusterError> {
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
    points.check()?;
    centroids.check()?;
    Ok(Threads::new(threads)?.run(|| nearest(points, centroids)))
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
            || vec![0.0f32; POINTS * CENTROIDS.min(centroids.rows())],
            |scores, (block, (labels, distances))| {
                let first = block * POINTS;
                nearest_of_block(points, centroids, &half_norms, first, labels, scores);
                for (i, (label, distance)) in labels.iter().zip(distances).enumerate() {
                    let (x, c) = (points.row(first + i), centroids.row(*label as usize));
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
    let k = centroids.rows();
    // Blocks of one width, the last of them moved back inside: a narrower product could round
    // differently, and equal centroids would no longer have equal scores.
    let width = k.div_ceil(k.div_ceil(CENTROIDS));
    let mut best = vec![f32::NEG_INFINITY; labels.len()];
    for begin in (0..k).step_by(width).map(|begin| begin.min(k - width)) {
        products(points, first, labels.len(), centroids, begin, width, scores);
        let halves = &half_norms[begin..begin + width];
        let rows = scores.chunks_exact(width);
        for ((row, best), label) in rows.zip(&mut best).zip(labels.iter_mut()) {
            let (score, at) = largest(row, halves);
            if score > *best {
                (*best, *label) = (score, begin as u32 + at);
            }
        }
    }
}

/// The largest `products[j] − halves[j]` and the lowest `j` that has it.
fn largest(products: &[f32], halves: &[f32]) -> (f32, u32) {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut chunk_of_best = [0u32; LANES];
    let (p, h) = (products.chunks_exact(LANES), halves.chunks_exact(LANES));
    let rest = p.remainder().iter().zip(h.remainder());
    let rest_begin = products.len() - p.remainder().len();
    for (chunk, (p, h)) in p.zip(h).enumerate() {
        for lane in 0..LANES {
            let score = p[lane] - h[lane];
            let better = score > best[lane];
            best[lane] = if better { score } else { best[lane] };
            chunk_of_best[lane] = if better {
                chunk as u32
            } else {
                chunk_of_best[lane]
            };
        }
    }
    let lanes = best.iter().zip(chunk_of_best).enumerate();
    let of_lanes = lanes.map(|(lane, (score, chunk))| (*score, chunk * LANES as u32 + lane as u32));
    let of_rest = rest
        .enumerate()
        .map(|(j, (p, h))| (p - h, (rest_begin + j) as u32));
    of_lanes
        .chain(of_rest)
        .fold((f32::NEG_INFINITY, 0), |a, b| {
            if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) {
                b
            } else {
                a
            }
        })
}

/// `scores[i · width + j] = x_{first + i} · c_{begin + j}` for `rows` points and `width` centroids.
fn products(
    points: Matrix<'_>,
    first: usize,
    rows: usize,
    centroids: Matrix<'_>,
    begin: usize,
    width: usize,
    scores: &mut [f32],
) {
    assert!(
        scores.len() >= rows * width
            && first + rows <= points.rows()
            && begin + width <= centroids.rows()
            && points.cols() == centroids.cols()
    );
    // SAFETY: `Matrix` holds its rows inside its data, the assert bounds the rows and columns that
    // are read and the scores that are written; `scores` is borrowed mutably, so nothing overlaps.
    unsafe {
        gemm::gemm(
            rows,
            width,
            points.cols(),
            scores.as_mut_ptr(),
            1,
            width as isize,
            false,
            points.rows_from(first).as_ptr(),
            1,
            points.stride() as isize,
            centroids.rows_from(begin).as_ptr(),
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

fn squared_distance(x: &[f32], c: &[f32]) -> f32 {
    // Sums side by side: a fixed order that the compiler can vectorise.
    let mut sums = [0.0f32; LANES];
    let (xs, cs) = (x.chunks_exact(LANES), c.chunks_exact(LANES));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_lowest_index_wins() {
        for len in [1, 15, 16, 17, 40, 512] {
            let halves = vec![0.0; len];
            for (a, b) in [(0, len - 1), (len / 2, len - 1), (len / 3, len / 2)] {
                let mut products = vec![-1.0; len];
                (products[a], products[b]) = (2.0, 2.0);
                assert_eq!(largest(&products, &halves), (2.0, a as u32), "{len}");
            }
        }
    }
}
