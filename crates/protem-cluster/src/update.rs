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
/// clusters from the first, one is taken with probability `(size − 1)/(n − k)`; its centroid is
/// copied, and the two are moved apart by ±1/1024 of each value. Returns how many were split.
///
/// With `n ≤ k` there may be no cluster with a second point to give, and the empty ones stay.
pub(crate) fn split_empty(
    centroids: &mut [f32],
    sizes: &mut [u32],
    cols: usize,
    rng: &mut impl Rng,
) -> usize {
    const EPSILON: f32 = 1.0 / 1024.0;
    let k = sizes.len();
    let n: usize = sizes.iter().map(|s| *s as usize).sum();
    if n <= k {
        return 0;
    }
    let mut splits = 0;
    for empty in 0..k {
        if sizes[empty] != 0 {
            continue;
        }
        // Ends: the probabilities of one round add up to at least 1.
        let mut donor = 0;
        while rng.random::<f64>() >= (sizes[donor] as f64 - 1.0) / (n - k) as f64 {
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

/// Scales each centroid to length 1; one of zeros stays.
pub(crate) fn normalise(centroids: &mut [f32], cols: usize) {
    for centroid in centroids.chunks_exact_mut(cols) {
        let square: f64 = centroid.iter().map(|x| (*x as f64).powi(2)).sum();
        if square > 0.0 {
            let scale = square.sqrt().recip();
            centroid
                .iter_mut()
                .for_each(|x| *x = (*x as f64 * scale) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn an_empty_cluster_takes_half_of_the_only_donor() {
        // Cluster 2 alone has a second point, so it is the donor whatever is drawn.
        let mut centroids = [1.0, 1.0, 9.0, 9.0, 4.0, -8.0];
        let mut sizes = [1, 0, 5];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let splits = split_empty(&mut centroids, &mut sizes, 2, &mut rng);
        assert_eq!((splits, sizes), (1, [1, 2, 3]));
        let (up, down) = (1.0 + 1.0 / 1024.0, 1.0 - 1.0 / 1024.0);
        let expected = [1.0, 1.0, 4.0 * up, -8.0 * down, 4.0 * down, -8.0 * up];
        assert_eq!(centroids, expected);
    }

    #[test]
    fn donors_are_drawn_in_proportion_to_their_spare_points() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut taken = [0; 3];
        for _ in 0..4000 {
            let (mut centroids, mut sizes) = ([0.0; 4], [31, 1, 0, 11]);
            split_empty(&mut centroids, &mut sizes, 1, &mut rng);
            let donor = [31, 1, 0, 11].iter().zip(&sizes).position(|(a, b)| b < a);
            taken[[0, 1, 0, 2][donor.expect("one donor")]] += 1;
        }
        // Walking 0, 1, 2, 3, 0… with 30/39, 0, −1/39 and 10/39: (30/39) / (1 − 9·29/39²).
        let first = taken[0] as f64 / 4000.0;
        assert!((first - 0.9286).abs() < 0.02 && taken[1] == 0, "{taken:?}");
    }

    #[test]
    fn means_are_those_of_the_members_and_empty_clusters_keep_theirs() {
        let points = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0];
        let mut centroids = [7.0; 6];
        let matrix = Matrix::new(&points, 3, 2).expect("the right length");
        let sizes = means(matrix, &[2, 0, 2], &mut centroids);
        assert_eq!(sizes, [1, 0, 2]);
        assert_eq!(centroids, [2.0, 20.0, 7.0, 7.0, 3.5, 35.0]);
    }
}
