//! What becomes of clusters without points.

use crate::error::ClusterError;
use crate::source::Source;
use rand::{Rng, RngExt};

/// Gives every empty cluster half of another one, as faiss's `split_clusters`: walking round the
/// clusters from the first, one is taken with probability `(size − 1)/(n − k)`; its centroid is
/// copied, and the two are moved apart by ±1/1024 of each value. Returns how many were split.
///
/// `centroids` and `sizes` (weights of the clusters) are those of the clusters that may move, `n`
/// the weight of all points. Where no cluster has more than one point's weight to give, the empty
/// ones stay.
pub(crate) fn split(
    centroids: &mut [f32],
    sizes: &mut [f64],
    n: f64,
    cols: usize,
    rng: &mut impl Rng,
) -> usize {
    const EPSILON: f32 = 1.0 / 1024.0;
    let k = sizes.len();
    let mut splits = 0;
    for empty in 0..k {
        if sizes[empty] != 0.0 {
            continue;
        }
        // Ends: some probability is positive.
        if n <= k as f64 || !sizes.iter().any(|size| *size > 1.0) {
            break;
        }
        let mut donor = 0;
        while rng.random::<f64>() >= (sizes[donor] - 1.0) / (n - k as f64) {
            donor = (donor + 1) % k;
        }
        let (from, to) = (donor * cols, empty * cols);
        centroids.copy_within(from..from + cols, to);
        for j in 0..cols {
            let up = if j % 2 == 0 { EPSILON } else { -EPSILON };
            centroids[to + j] *= 1.0 + up;
            centroids[from + j] *= 1.0 - up;
        }
        // Points are whole, weights need not be.
        let half = sizes[donor] / 2.0;
        let whole = sizes[donor].fract() == 0.0;
        sizes[empty] = if whole { half.floor() } else { half };
        sizes[donor] -= sizes[empty];
        splits += 1;
    }
    splits
}

/// What [`refill`] chooses from.
pub(crate) struct Choice<'a, 'p> {
    pub points: &'a Source<'p>,
    pub labels: &'a [u32],
    /// Of each point to its centroid.
    pub distances: &'a [f32],
}

/// Puts the centroid of every empty cluster on the point farthest from its own centroid, of those
/// that do not lie on one; the lowest of equal ones. Takes no two equal points, none of no weight
/// and none that is alone in its cluster. `sizes` are the weights of all clusters, the first
/// `frozen` keep their centroids. Returns how many were refilled.
pub(crate) fn refill(
    choice: &Choice<'_, '_>,
    frozen: usize,
    centroids: &mut [f32],
    sizes: &mut [f64],
) -> Result<usize, ClusterError> {
    let empty: Vec<usize> = (frozen..sizes.len()).filter(|c| sizes[*c] == 0.0).collect();
    if empty.is_empty() {
        return Ok(0);
    }
    let weight = |i: usize| choice.points.weights.map_or(1.0, |w| f64::from(w[i]));
    let far = |i: &usize| choice.distances[*i] > 0.0 && weight(*i) > 0.0;
    let mut farthest: Vec<usize> = (0..choice.labels.len()).filter(far).collect();
    farthest.sort_by(|a, b| {
        let distance = |i: &usize| choice.distances[*i];
        distance(b).total_cmp(&distance(a)).then(a.cmp(b))
    });
    let cols = choice.points.cols();
    let mut counts = vec![0u32; sizes.len()];
    let weighing = (0..choice.labels.len()).filter(|i| weight(*i) > 0.0);
    weighing.for_each(|i| counts[choice.labels[i] as usize] += 1);
    // Points that were taken, and for which cluster.
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut empty = empty.into_iter();
    let mut cluster = empty.next();
    for i in farthest {
        let Some(to) = cluster else { break };
        if counts[choice.labels[i] as usize] < 2 {
            continue;
        }
        let row = choice.points.take(&[i])?;
        // Equal points have equal distances, and so lie side by side.
        let same = |t: &&(usize, usize)| choice.distances[t.0] == choice.distances[i];
        let mut equals = taken.iter().rev().take_while(same);
        if equals.any(|(_, of)| centroids[of * cols..][..cols] == row) {
            continue;
        }
        centroids[to * cols..][..cols].copy_from_slice(&row);
        let from = choice.labels[i] as usize;
        counts[from] -= 1;
        sizes[from] -= weight(i);
        sizes[to] = weight(i);
        taken.push((i, to));
        cluster = empty.next();
    }
    Ok(taken.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::matrix::Matrix;
    use crate::source::Place;
    use crate::threads::Threads;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn an_empty_cluster_takes_half_of_the_only_donor() {
        // Cluster 2 alone has a second point, so it is the donor whatever is drawn.
        let mut centroids = [1.0, 1.0, 9.0, 9.0, 4.0, -8.0];
        let mut sizes = [1.0, 0.0, 5.0];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let splits = split(&mut centroids, &mut sizes, 6.0, 2, &mut rng);
        assert_eq!((splits, sizes), (1, [1.0, 2.0, 3.0]));
        let (up, down) = (1.0 + 1.0 / 1024.0, 1.0 - 1.0 / 1024.0);
        let expected = [1.0, 1.0, 4.0 * up, -8.0 * down, 4.0 * down, -8.0 * up];
        assert_eq!(centroids, expected);
    }

    #[test]
    fn donors_are_drawn_in_proportion_to_their_spare_points() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let before = [31.0, 1.0, 0.0, 11.0];
        let mut taken = [0; 3];
        for _ in 0..4000 {
            let (mut centroids, mut sizes) = ([0.0; 4], before);
            split(&mut centroids, &mut sizes, 43.0, 1, &mut rng);
            let donor = before.iter().zip(&sizes).position(|(a, b)| b < a);
            taken[[0, 1, 0, 2][donor.expect("one donor")]] += 1;
        }
        // Walking 0, 1, 2, 3, 0… with 30/39, 0, −1/39 and 10/39: (30/39) / (1 − 9·29/39²).
        let first = taken[0] as f64 / 4000.0;
        assert!((first - 0.9286).abs() < 0.02 && taken[1] == 0, "{taken:?}");
    }

    #[test]
    fn no_donor_leaves_the_empty_ones() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut centroids, mut sizes) = ([0.0; 3], [1.0, 0.0, 1.0]);
        // One more point belongs to a cluster that may not move.
        assert_eq!(split(&mut centroids, &mut sizes, 9.0, 1, &mut rng), 0);
    }

    #[test]
    fn the_farthest_points_fill_up() {
        let values = [0.0, 5.0, 5.0, 4.0, 9.0];
        let points = Matrix::new(&values, 5, 1).expect("the right length");
        let threads = Threads::new(None).expect("threads");
        let choice = Choice {
            points: &Source::new(Place::Host(points), None, Isa::Portable, &threads),
            labels: &[0, 0, 0, 0, 1],
            distances: &[9.0, 4.0, 4.0, 1.0, 100.0],
        };
        let (mut centroids, mut sizes) = ([3.0, -1.0, 7.0, 7.0, 7.0], [4.0, 1.0, 0.0, 0.0, 0.0]);
        // Not the last point, which is alone; one of the two equal ones.
        let filled = refill(&choice, 0, &mut centroids, &mut sizes);
        assert_eq!(filled, Ok(3));
        assert_eq!(centroids, [3.0, -1.0, 0.0, 5.0, 4.0]);
        assert_eq!(sizes, [1.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
