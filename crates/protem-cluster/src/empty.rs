//! What becomes of clusters without points.

use crate::error::ClusterError;
use crate::source::Source;
use crate::update::normalise;
use rand::{Rng, RngExt};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Gives every empty cluster half of another one, as faiss's `split_clusters`: walking round the
/// clusters from the first, one is taken with probability `(size − 1)/(n − k)`; its centroid is
/// copied, and the two are moved apart by ±1/1024 of each value. Returns how many were split.
///
/// `centroids` and `sizes` (weights of the clusters) are those of the clusters that may move, `n` is
/// the weight of their points, and `unit` stands for 1, the weight of one. Where no cluster has more
/// than that to give, the empty ones stay.
pub(crate) fn split(
    centroids: &mut [f32],
    sizes: &mut [f64],
    unit: f64,
    cols: usize,
    rng: &mut impl Rng,
) -> usize {
    const EPSILON: f32 = 1.0 / 1024.0;
    let k = sizes.len();
    // Splits move weight, and leave as much.
    let room = sizes.iter().sum::<f64>() - k as f64 * unit;
    let mut splits = 0;
    for empty in 0..k {
        if sizes[empty] != 0.0 {
            continue;
        }
        if !sizes.iter().any(|size| *size > unit) {
            break;
        }
        // Ends: what the clusters can spare is `room` at least, so in a round the probabilities are 1
        // in all, or more. Without room (fewer points than clusters that may move) the largest one has 1.
        let largest = || sizes.iter().fold(0.0f64, |most, size| most.max(*size)) - unit;
        let divisor = if room > 0.0 { room } else { largest() };
        let mut donor = 0;
        while rng.random::<f64>() >= (sizes[donor] - unit) / divisor {
            donor = (donor + 1) % k;
        }
        let (from, to) = (donor * cols, empty * cols);
        centroids.copy_within(from..from + cols, to);
        for j in 0..cols {
            let up = if j % 2 == 0 { EPSILON } else { -EPSILON };
            centroids[to + j] *= 1.0 + up;
            centroids[from + j] *= 1.0 - up;
        }
        sizes[empty] = sizes[donor] / 2.0;
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
    /// Whether centroids have length 1, so that points of one direction are one place for them.
    pub spherical: bool,
}

impl Choice<'_, '_> {
    /// Where a centroid of such values comes to lie: the bits, of two zeros those of the one above.
    fn place(&self, values: &[f32]) -> Vec<u32> {
        let mut place = values.to_vec();
        if self.spherical {
            normalise(&mut place);
        }
        place.into_iter().map(|x| (x + 0.0).to_bits()).collect()
    }
}

/// Puts the centroid of every empty cluster on the point farthest from its own centroid, of those
/// that are not equal to it (with `spherical` centroids, of another direction); the lowest of equally
/// far ones. Takes no two equal points, none of no weight and none that is alone in its cluster.
/// `sizes` are the weights of all clusters, the first `frozen` keep their centroids. Returns how many
/// were refilled.
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
    /// Points that are fetched together.
    const TOGETHER: usize = 64;
    let weight = |i: usize| choice.points.weights.map_or(1.0, |w| f64::from(w[i]));
    let mut farthest: Vec<usize> = (0..choice.labels.len())
        .filter(|i| weight(*i) > 0.0)
        .collect();
    let mut counts = vec![0u32; sizes.len()];
    farthest
        .iter()
        .for_each(|i| counts[choice.labels[*i] as usize] += 1);
    let farther = |a: &usize, b: &usize| {
        let distance = |i: &usize| choice.distances[*i];
        distance(b).total_cmp(&distance(a)).then(a.cmp(b))
    };
    let cols = choice.points.cols();
    let mut taken = HashSet::new();
    let mut sorted = 0;
    while sorted < farthest.len() {
        let begin = sorted;
        sorted = sort_more(&mut farthest, begin, 2 * empty.len() + TOGETHER, farther);
        for together in farthest[begin..sorted].chunks(TOGETHER) {
            let rows = choice.points.take(together)?;
            for (i, row) in together.iter().copied().zip(rows.chunks_exact(cols)) {
                let Some(to) = empty.get(taken.len()).copied() else {
                    return Ok(taken.len());
                };
                let from = choice.labels[i] as usize;
                if counts[from] < 2 {
                    continue;
                }
                // A distance of zero does not tell: squares of what is tiny are zero in f32.
                let place = choice.place(row);
                let stays = place == choice.place(&centroids[from * cols..][..cols]);
                if stays || !taken.insert(place) {
                    continue;
                }
                centroids[to * cols..][..cols].copy_from_slice(row);
                counts[from] -= 1;
                sizes[from] -= weight(i);
                sizes[to] = weight(i);
            }
        }
    }
    Ok(taken.len())
}

/// Sorts some more of what is sorted up to `begin`, `first` at first and then as many as there are;
/// where that ends. Few of many are needed, unless many of them cannot be taken.
fn sort_more(
    all: &mut [usize],
    begin: usize,
    first: usize,
    order: impl Fn(&usize, &usize) -> Ordering + Copy,
) -> usize {
    let rest = &mut all[begin..];
    let more = begin.max(first).min(rest.len());
    if more < rest.len() {
        rest.select_nth_unstable_by(more, order);
    }
    rest[..more].sort_unstable_by(order);
    begin + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::matrix::Matrix;
    use crate::source::Place;
    use crate::threads::Threads;
    use rand::{SeedableRng, TryRng};
    use rand_chacha::ChaCha8Rng;
    use std::convert::Infallible;

    #[test]
    fn an_empty_cluster_takes_half_of_the_only_donor() {
        // Cluster 2 alone has a second point, so it is the donor whatever is drawn.
        let mut centroids = [1.0, 1.0, 9.0, 9.0, 4.0, -8.0];
        let mut sizes = [1.0, 0.0, 5.0];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let splits = split(&mut centroids, &mut sizes, 1.0, 2, &mut rng);
        assert_eq!((splits, sizes), (1, [1.0, 2.5, 2.5]));
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
            split(&mut centroids, &mut sizes, 1.0, 1, &mut rng);
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
        assert_eq!(split(&mut centroids, &mut sizes, 1.0, 1, &mut rng), 0);
    }

    /// Numbers drawn elsewhere, one after the other.
    struct Replay<I>(I);

    impl<I: Iterator<Item = f64>> TryRng for Replay<I> {
        type Error = Infallible;

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            let number = self.0.next().expect("as many numbers as are drawn");
            Ok((number * 2f64.powi(64)) as u64)
        }

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok((self.try_next_u64()? >> 32) as u32)
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            panic!("splits draw numbers")
        }
    }

    #[test]
    fn splits_are_faiss_s_where_its_numbers_are_drawn() {
        // First centroids, their points, faiss's numbers, faiss's centroids: `tests/fixtures/make.py`.
        let lines = include_str!("../tests/fixtures/splits.txt").lines();
        let numbers = |line: &str| {
            let words = line.split_whitespace().map(str::parse);
            words.collect::<Result<Vec<f64>, _>>().expect("numbers")
        };
        let lines: Vec<Vec<f64>> = lines.map(numbers).collect();
        let [first, sizes, drawn, expected] = lines.try_into().expect("four lines");
        let mut centroids: Vec<f32> = first.iter().map(|x| *x as f32).collect();
        let (mut sizes, mut drawn) = (sizes, Replay(drawn.into_iter()));
        assert_eq!(split(&mut centroids, &mut sizes, 1.0, 3, &mut drawn), 5);
        let found: Vec<f64> = centroids.iter().map(|x| f64::from(*x)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn few_points_beside_clusters_that_stay_are_split_at_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut centroids, mut sizes) = ([5.0; 4], [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(split(&mut centroids, &mut sizes, 1.0, 1, &mut rng), 1);
        assert_eq!(sizes, [1.0, 1.0, 0.0, 0.0]);
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
            spherical: false,
        };
        let (mut centroids, mut sizes) = ([3.0, -1.0, 7.0, 7.0, 7.0], [4.0, 1.0, 0.0, 0.0, 0.0]);
        // Not the last point, which is alone; one of the two equal ones.
        let filled = refill(&choice, 0, &mut centroids, &mut sizes);
        assert_eq!(filled, Ok(3));
        assert_eq!(centroids, [3.0, -1.0, 0.0, 5.0, 4.0]);
        assert_eq!(sizes, [1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn pieces_are_sorted_as_the_whole_is() {
        let values: Vec<u32> = (0..500).map(|i| i * i % 97).collect();
        let order = |a: &usize, b: &usize| values[*a].cmp(&values[*b]).then(a.cmp(b));
        let mut whole: Vec<usize> = (0..500).collect();
        whole.sort_by(order);
        let mut pieces: Vec<usize> = (0..500).collect();
        let mut sorted = 0;
        for expected in [70, 140, 280, 500] {
            sorted = sort_more(&mut pieces, sorted, 70, order);
            assert_eq!(sorted, expected);
            assert_eq!(pieces[..sorted], whole[..sorted]);
        }
    }
}
