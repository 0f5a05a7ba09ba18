//! New centroids from labels.

use crate::isa::Isa;
use crate::kernel;
use crate::matrix::Matrix;
use rayon::prelude::*;

/// Points of each cluster side by side, in index order.
#[derive(Default)]
pub(crate) struct Members {
    members: Vec<u32>,
    ends: Vec<u32>,
}

impl Members {
    /// A counting sort of the labels, each below `k`.
    pub fn sort(&mut self, labels: &[u32], k: usize) {
        self.ends.clear();
        self.ends.resize(k, 0);
        labels.iter().for_each(|l| self.ends[*l as usize] += 1);
        let mut end = 0;
        for size in &mut self.ends {
            (*size, end) = (end, end + *size);
        }
        self.members.resize(labels.len(), 0);
        for (i, label) in labels.iter().enumerate() {
            let end = &mut self.ends[*label as usize];
            self.members[*end as usize] = i as u32;
            *end += 1;
        }
    }

    /// Whether some cluster has no points.
    pub fn any_empty(&self) -> bool {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).any(|(begin, end)| begin == end)
    }

    /// All points from a cluster's first on, and how many are its own.
    fn from(&self, cluster: usize) -> (&[u32], usize) {
        let begin = cluster.checked_sub(1).map_or(0, |c| self.ends[c]);
        let count = self.ends[cluster] - begin;
        (&self.members[begin as usize..], count as usize)
    }
}

/// Means of the clusters into `centroids` (`k × columns`), and the weights of all; a cluster that is
/// not `wanted` keeps its centroid, and so does one of no weight. Sums run in f64 over points in
/// index order: the same bits whatever the threads.
pub(crate) fn means(
    points: Matrix<'_>,
    isa: Isa,
    weights: Option<&[f32]>,
    members: &Members,
    wanted: &[bool],
    centroids: &mut [f32],
) -> Vec<f64> {
    centroids
        .par_chunks_mut(points.cols())
        .enumerate()
        .map_init(
            || vec![0.0f64; points.cols()],
            |sums, (c, centroid)| {
                let (from, count) = members.from(c);
                let members = &from[..count];
                let weight = match weights {
                    None => members.len() as f64,
                    Some(w) => members.iter().map(|i| f64::from(w[*i as usize])).sum(),
                };
                if weight > 0.0 && wanted[c] {
                    sums.fill(0.0);
                    match weights {
                        None => kernel::add_rows(isa, points, from, count, sums),
                        Some(w) => add_weighted(points, w, members, sums),
                    }
                    for (c, s) in centroid.iter_mut().zip(sums) {
                        *c = (*s / weight) as f32;
                    }
                }
                weight
            },
        )
        .collect()
}

fn add_weighted(points: Matrix<'_>, weights: &[f32], members: &[u32], sums: &mut [f64]) {
    for i in members {
        let weight = f64::from(weights[*i as usize]);
        for (s, x) in sums.iter_mut().zip(points.row(*i as usize)) {
            *s += weight * f64::from(*x);
        }
    }
}

/// Scales a centroid to length 1; one of zeros stays.
pub(crate) fn normalise(centroid: &mut [f32]) {
    let square: f64 = centroid.iter().map(|x| (*x as f64).powi(2)).sum();
    if square > 0.0 {
        let scale = square.sqrt().recip();
        centroid
            .iter_mut()
            .for_each(|x| *x = (*x as f64 * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_members_and_empty_clusters_keep_theirs() {
        let points = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0];
        let matrix = Matrix::new(&points, 3, 2).expect("the right length");
        let mut members = Members::default();
        members.sort(&[2, 0, 2], 3);
        let of = |weights, wanted: [bool; 3]| {
            let mut centroids = [7.0; 6];
            let isa = Isa::Portable;
            let sizes = means(matrix, isa, weights, &members, &wanted, &mut centroids);
            (centroids, sizes)
        };
        let (centroids, sizes) = of(None, [true; 3]);
        assert_eq!(sizes, [1.0, 0.0, 2.0]);
        assert_eq!(centroids, [2.0, 20.0, 7.0, 7.0, 3.5, 35.0]);
        let (centroids, sizes) = of(Some(&[3.0, 0.0, 1.0]), [true; 3]);
        assert_eq!(sizes, [0.0, 0.0, 4.0]);
        assert_eq!(centroids, [7.0, 7.0, 7.0, 7.0, 2.25, 22.5]);
        let (centroids, _) = of(None, [false, true, true]);
        assert_eq!(centroids, [7.0, 7.0, 7.0, 7.0, 3.5, 35.0]);
    }
}
