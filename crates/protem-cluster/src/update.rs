//! New centroids from labels, and what becomes of clusters without points.

use crate::matrix::Matrix;
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// Means of the clusters into `centroids` (`k × cols`); a cluster without points keeps its
/// centroid. Sums run in f64 over points in index order: the same bits whatever the threads.
pub(crate) fn means(points: Matrix<'_>, labels: &[u32], centroids: &mut [f32]) -> Vec<u32> {
    let (k, cols) = (centroids.len() / points.cols(), points.cols());
    let mut sizes = vec![0u32; k];
    labels.iter().for_each(|l| sizes[*l as usize] += 1);
    // Counting sort: the points of a cluster side by side, in index order.
    let mut ends: Vec<usize> = Vec::with_capacity(k);
    let mut end = 0;
    for size in &sizes {
        ends.push(end);
        end += *size as usize;
    }
    let mut members = vec![0u32; labels.len()];
    for (i, label) in labels.iter().enumerate() {
        members[ends[*label as usize]] = i as u32;
        ends[*label as usize] += 1;
    }
    centroids
        .par_chunks_mut(cols)
        .enumerate()
        .for_each(|(c, centroid)| {
            let members = &members[ends[c] - sizes[c] as usize..ends[c]];
            if members.is_empty() {
                return;
            }
            let mut sums = vec![0.0f64; cols];
            for i in members {
                for (s, x) in sums.iter_mut().zip(points.row(*i as usize)) {
                    *s += *x as f64;
                }
            }
            for (c, s) in centroid.iter_mut().zip(sums) {
                *c = (s / members.len() as f64) as f32;
            }
        });
    sizes
}

/// Gives every empty cluster half of another one, as faiss's `split_clusters`: walking round the
/// clusters, one is taken with probability `(size − 1)/(n − k)`; its centroid is copied and the
/// two are moved apart by ±1/1024 of each value. Returns how many were split.
///
/// Where no cluster has a second point to give (then `n ≤ k` or fewer are empty than there are
/// duplicates) the empty ones stay.
pub(crate) fn split_empty(
    centroids: &mut [f32],
    sizes: &mut [u32],
    cols: usize,
    rng: &mut impl Rng,
) -> usize {
    const EPSILON: f32 = 1.0 / 1024.0;
    let (k, n) = (
        sizes.len(),
        sizes.iter().map(|s| *s as usize).sum::<usize>(),
    );
    let mut splits = 0;
    for empty in 0..k {
        if sizes[empty] != 0 || n <= k {
            continue;
        }
        let mut donor = 0;
        loop {
            let probability = (sizes[donor] as f64 - 1.0) / (n - k) as f64;
            if rng.random::<f64>() < probability {
                break;
            }
            donor = (donor + 1) % k;
        }
        let (from, to) = (donor * cols, empty * cols);
        centroids.copy_within(from..from + cols, to);
        for j in 0..cols {
            let up = if j % 2 == 0 { EPSILON } else { -EPSILON };
            centroids[to + j] *= 1.0 + up;
            centroids[from + j] *= 1.0 - up;
        }
        sizes[empty] = sizes[donor] / 2;
        sizes[donor] -= sizes[empty];
        splits += 1;
    }
    splits
}
