//! The nearest centroids of few points, without packing the centroids: that costs more than it saves.
//!
//! Each centroid is measured in f32 as it lies, and those that f32 cannot tell from the nearest are
//! compared in f64.

use crate::isa::Isa;
use crate::kernel;
use crate::matrix::Matrix;
use crate::points::near_tie;
use crate::span::distance64;
use rayon::prelude::*;

/// Values of centroids to compare a task's points with, at least: of less, a thread wakes too late.
const TASK: usize = 1 << 18;

/// Of how many points it costs less not to pack centroids. Only a matter of speed.
///
/// Measured on one thread, on the levels up to AVX-512, with 100 to 5,000 centroids: of 8 columns
/// both take the same time for 5 points or more, of 128 for 28, of 2,048 for more than 32 (the least
/// each time with AVX-512, where packing costs least). Packing takes a time per value; a distance of
/// few columns takes one that hardly depends on them.
pub(crate) fn few(columns: usize) -> usize {
    (4 + columns / 8).min(32)
}

/// Labels and distances of points that are checked.
pub(crate) fn nearest_of_few(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) {
    let each = centroids.rows() * centroids.cols();
    let places = labels.par_iter_mut().zip(distances).enumerate();
    places.with_min_len(TASK.div_ceil(each)).for_each_init(
        || vec![0.0; centroids.rows()],
        |found, (i, (label, distance))| {
            let point = points.row(i);
            kernel::distances(isa, point, centroids, found);
            *label = nearest(point, centroids, found);
            *distance = found[*label as usize];
        },
    );
}

/// The nearest of `centroids`, to which the point has these distances, each off by rounding.
///
/// With `u = 2⁻²⁴` and `d` columns, a term of [`kernel::distance`] passes through three roundings
/// of its own, the difference counted twice because it is squared, and through `d/16 + 17` of sums:
/// those of its lane, those over the lanes and the last. So with `γ = mu/(1 − mu)` and
/// `m = d/16 + 20`, a distance `D` is computed within `γD`, but for what squares too small for f32
/// lack, `d·2⁻¹⁵⁰` at most. If `A ≤ B` then `Â − B̂ ≤ (2γ + ε)Â + 2d·2⁻¹⁵⁰`, with `ε = (d + 2)·2⁻⁵²`
/// for what f64 may order otherwise. `2γ` is about `2.4e-6 + 7.5e-9·d`, a sixth of what [`near_tie`]
/// allows, or less; from 2·10⁷ columns on that calls everything a tie, as it does distances so small
/// that the last term could be a share of them.
fn nearest(point: &[f32], centroids: Matrix<'_>, distances: &[f32]) -> u32 {
    let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
    let close = |(_, distance): &(usize, &f32)| near_tie(**distance, least, point.len());
    let mut close = distances.iter().enumerate().filter(close);
    let first = close.next().map_or(0, |(c, _)| c);
    let mut best = (first, None);
    for (c, _) in close {
        let of = |c: usize| distance64(point, centroids.row(c));
        let (before, now) = (best.1.unwrap_or_else(|| of(best.0)), of(c));
        best = match now < before {
            true => (c, Some(now)),
            false => (best.0, Some(before)),
        };
    }
    best.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assign::nearest_of_packed;
    use crate::matrix::{LONGEST, LONGEST_CENTROID};
    use crate::span::tests::numbers;

    /// Points and centroids of which rounding decides.
    fn cases(d: usize) -> Vec<(&'static str, Vec<f32>, Vec<f32>)> {
        let (n, k) = (24, 90);
        let (points, plain) = (numbers(n * d, 3), numbers(k * d, 5));
        let map =
            |v: &[f32], f: &dyn Fn(f32) -> f32| -> Vec<f32> { v.iter().map(|x| f(*x)).collect() };
        // Whole numbers, of which many are as near as the nearest, and so twins of them.
        let whole = |x: f32| (2.0 * x).round();
        let mut ties = map(&plain[..k / 2 * d], &whole);
        ties.extend_from_within(..);
        // Beside every point and around another, each with twins a last bit away, one way and the other.
        let mut twins = Vec::new();
        for (c, row) in plain[..k / 3 * d].chunks_exact(d).enumerate() {
            let near = map(row, &|x| 1e-3 * x);
            let point = &points[c % n * d..][..d];
            let near: Vec<f32> = near.iter().zip(point).map(|(x, p)| x + p).collect();
            for step in [f32::next_up, f32::next_down, |x| x] {
                twins.extend(near.iter().enumerate().map(|(i, x)| {
                    match i % 5 == c % 5 || d == 1 {
                        true => step(*x),
                        false => *x,
                    }
                }));
            }
        }
        // Apart by less than f32 sums can tell, around one far away from all points.
        let alike: Vec<f32> = (0..k * d)
            .map(|i| 3.0 + plain[i % d] + 3e-6 * plain[i])
            .collect();
        let of_length = |v: &[f32], square: f32| -> Vec<f32> {
            let scaled = v.chunks_exact(d).flat_map(|row| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                let scale = square.sqrt() * 0.9999 / length;
                row.iter().map(move |x| x * scale)
            });
            scaled.collect()
        };
        let opposite: Vec<f32> = (0..k * d).map(|i| -points[i % (n * d)]).collect();
        let opposite = of_length(&opposite, LONGEST_CENTROID);
        let tiny = |v: &[f32], by: f32| map(v, &|x| x * by);
        vec![
            ("plain", points.clone(), plain.clone()),
            ("ties", map(&points, &whole), ties),
            ("twins", points.clone(), twins),
            ("alike", points.clone(), alike),
            (
                "longest",
                of_length(&points, LONGEST),
                of_length(&plain, LONGEST_CENTROID),
            ),
            ("opposite", of_length(&points, LONGEST), opposite),
            ("denormal", tiny(&points, 1e-40), tiny(&plain, 1e-40)),
            (
                "squares too small",
                tiny(&points, 1e-22),
                tiny(&plain, 1e-22),
            ),
            ("zero points", vec![0.0; n * d], plain.clone()),
            (
                "denormal beside zero",
                vec![0.0; n * d],
                tiny(&plain, 1e-42),
            ),
            ("zero centroids", points.clone(), vec![-0.0; k * d]),
            ("all zero", vec![0.0; n * d], vec![-0.0; k * d]),
        ]
    }

    fn brute_force(point: &[f32], centroids: Matrix<'_>) -> u32 {
        let all = (0..centroids.rows()).map(|c| distance64(point, centroids.row(c)));
        let all: Vec<f64> = all.collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let lowest = all.iter().position(|distance| *distance == least);
        lowest.expect("one is the least") as u32
    }

    #[test]
    fn labels_and_distances_are_those_of_packed_centroids_and_of_f64() {
        // Where the least in f32 is not the nearest, and where it is not the only one.
        let (mut misled, mut several) = (0, 0);
        for d in [1, 7, 16, 129, 2048] {
            for (case, points, centroids) in cases(d) {
                let n = points.len() / d;
                let points = Matrix::new(&points, n, d).expect("the right length");
                let rows = Matrix::new(&centroids, centroids.len() / d, d);
                let rows = rows.expect("the right length");
                let expected = (0..n).map(|i| brute_force(points.row(i), rows));
                let expected: Vec<u32> = expected.collect();
                for isa in Isa::available() {
                    assert_eq!(points.check(*isa), Ok(()), "{case}");
                    assert_eq!(rows.check_centroids(*isa), Ok(()), "{case}");
                    let (mut labels, mut distances) = (vec![7; n], vec![7.0; n]);
                    nearest_of_few(points, rows, *isa, &mut labels, &mut distances);
                    assert_eq!(labels, expected, "{case}, {d} columns, {isa:?}");
                    let (mut packed, mut of_packed) = (vec![9; n], vec![9.0; n]);
                    nearest_of_packed(points, rows, *isa, &mut packed, &mut of_packed);
                    assert_eq!(labels, packed, "{case}, {d} columns, {isa:?}");
                    let bits =
                        |all: &[f32]| -> Vec<u32> { all.iter().map(|x| x.to_bits()).collect() };
                    assert_eq!(
                        bits(&distances),
                        bits(&of_packed),
                        "{case}, {d} columns, {isa:?}"
                    );
                    for (i, label) in labels.iter().enumerate() {
                        let mut found = vec![0.0; rows.rows()];
                        kernel::distances(*isa, points.row(i), rows, &mut found);
                        let own = found[*label as usize];
                        let alone =
                            kernel::distance(*isa, points.row(i), rows.row(*label as usize));
                        assert_eq!(own.to_bits(), alone.to_bits(), "{case}, {isa:?}");
                        misled += usize::from(found.iter().any(|other| *other < own));
                        several +=
                            usize::from(found.iter().filter(|other| **other == own).count() > 1);
                    }
                }
            }
        }
        assert!(misled > 100 && several > 1000, "{misled} {several}");
    }
}
