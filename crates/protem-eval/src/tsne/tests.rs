//! The parts of a map against plain sums over all pairs.

use super::affinities::Affinities;
use super::descent::{divergence, gradient};
use super::principal::principal;
use super::quadtree::{Push, Quadtree};
use crate::Features;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rows(count: usize, dim: usize) -> Features {
    let mut rng = ChaCha8Rng::seed_from_u64(count as u64);
    let values = (0..count * dim).map(|_| rng.random_range(-1.0f32..1.0));
    Features::new(values.collect(), dim).unwrap().normalised()
}

/// Around a few centres, some of them far away; every fifth lies on the one before.
fn places(count: usize) -> Vec<[f64; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(7 * count as u64);
    let mut places: Vec<[f64; 2]> = Vec::new();
    for i in 0..count {
        let centre = (i * i % 7) as f64;
        let place =
            [centre * 3.0, 50.0 - centre * centre].map(|at| at + rng.random_range(-2.0..2.0));
        places.push(if i % 5 == 4 { places[i - 1] } else { place });
    }
    places
}

fn affinities(count: usize, perplexity: f64) -> Affinities {
    Affinities::of(&rows(count, 5), perplexity, &mut |_| true).expect("never asked to stop")
}

/// `q`, and the vector from one to the other.
fn pair(a: [f64; 2], b: [f64; 2]) -> (f64, [f64; 2]) {
    let between = [a[0] - b[0], a[1] - b[1]];
    let squared: f64 = between.iter().map(|d| d * d).sum();
    (1.0 / (1.0 + squared), between)
}

fn exact_pushes(places: &[[f64; 2]]) -> Vec<Push> {
    let of = |(i, place): (usize, &[f64; 2])| {
        let mut push = Push::default();
        for (_, other) in places.iter().enumerate().filter(|(j, _)| *j != i) {
            let (q, between) = pair(*place, *other);
            push.weight += q;
            (0..2).for_each(|axis| push.force[axis] += q * q * between[axis]);
        }
        push
    };
    places.iter().enumerate().map(of).collect()
}

fn exact_gradient(
    affinities: &Affinities,
    places: &[[f64; 2]],
    exaggeration: f64,
) -> Vec<[f64; 2]> {
    let pushes = exact_pushes(places);
    let weight: f64 = pushes.iter().map(|push| push.weight).sum();
    let of = |(i, push): (usize, &Push)| {
        let mut slope = push.force.map(|force| -4.0 * force / weight);
        for (j, p) in affinities.row(i) {
            let (q, between) = pair(places[i], places[j as usize]);
            (0..2).for_each(|axis| slope[axis] += 4.0 * exaggeration * p * q * between[axis]);
        }
        slope
    };
    pushes.iter().enumerate().map(of).collect()
}

/// The largest difference of two lists of vectors, in parts of the longest one's length.
fn apart(found: &[[f64; 2]], expected: &[[f64; 2]]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let length = |v: [f64; 2]| v[0].hypot(v[1]);
    let all = found.iter().zip(expected);
    let most = all.map(|(a, b)| length([a[0] - b[0], a[1] - b[1]]));
    let longest = expected.iter().map(|v| length(*v)).fold(1e-300, f64::max);
    most.fold(0.0, f64::max) / longest
}

#[test]
fn without_approximation_the_gradient_is_that_of_all_pairs() {
    for count in [2, 3, 7, 8, 9, 15, 17, 63, 65, 301, 1000] {
        let affinities = affinities(count, ((count - 1) as f64 / 3.0).clamp(1.0, 20.0));
        let places = places(count);
        for exaggeration in [1.0, 12.0] {
            let found = gradient(&affinities, &places, exaggeration, 0.0);
            let expected = exact_gradient(&affinities, &places, exaggeration);
            let apart = apart(&found, &expected);
            assert!(apart < 1e-12, "{count} points: {apart:e}");
        }
    }
}

#[test]
fn squares_taken_for_points_change_little() {
    let places = places(3001);
    let exact = exact_pushes(&places);
    let found = Quadtree::of(&places).pushes(0.5);
    let forces = |pushes: &[Push]| pushes.iter().map(|push| push.force).collect::<Vec<_>>();
    let apart = apart(&forces(&found), &forces(&exact));
    assert!(apart < 0.03, "{apart}");
    let weight = |pushes: &[Push]| pushes.iter().map(|push| push.weight).sum::<f64>();
    let share = weight(&found) / weight(&exact);
    assert!((share - 1.0).abs() < 0.01, "{share}");
}

#[test]
fn the_gradient_is_the_slope_of_the_divergence() {
    let (affinities, places) = (affinities(23, 5.0), places(23));
    let slopes = gradient(&affinities, &places, 1.0, 0.0);
    let step = 1e-5;
    for (i, slope) in slopes.iter().enumerate() {
        for axis in 0..2 {
            let at = |by: f64| {
                let mut moved = places.clone();
                moved[i][axis] += by;
                divergence(&affinities, &moved, 0.0)
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (slope[axis] - expected).abs() < 1e-8,
                "{i}: {slope:?} {expected}"
            );
        }
    }
}

#[test]
fn points_at_one_place_are_counted_and_not_compared() {
    let mut places = vec![[3.0, -1.0]; 20_000];
    for (i, push) in Quadtree::of(&places).pushes(0.5).iter().enumerate() {
        assert_eq!((push.force, push.weight), ([0.0; 2], 19_999.0), "{i}");
    }
    places[7] = [3.0, 9.0];
    let pushes = Quadtree::of(&places).pushes(0.0);
    let (q, between) = pair(places[7], places[0]);
    let expected = [0.0, 19_999.0 * q * q * between[1]];
    assert!(
        apart(&[pushes[7].force], &[expected]) < 1e-12,
        "{:?}",
        pushes[7]
    );
}

#[test]
fn affinities_are_symmetric_and_have_the_perplexity() {
    let (rows, perplexity) = (rows(200, 5), 12.0);
    let joint = Affinities::of(&rows, perplexity, &mut |_| true).unwrap();
    let at = |i: usize, j: u32| {
        joint
            .row(i)
            .find(|(column, _)| *column == j)
            .map(|(_, p)| p)
    };
    let mut sum = 0.0;
    for i in 0..joint.rows() {
        for (j, p) in joint.row(i) {
            assert_ne!(i, j as usize);
            assert_eq!(at(j as usize, i as u32), Some(p));
            sum += p;
        }
    }
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    let distances: Vec<f64> = (1..40).map(|i| f64::from(i).sqrt()).collect();
    let shares = super::affinities::shares(&distances, perplexity);
    let entropy: f64 = shares.iter().map(|p| -p * p.ln()).sum();
    assert!(
        (entropy.exp() - perplexity).abs() < 1e-6,
        "{}",
        entropy.exp()
    );
}

#[test]
fn no_distances_are_too_odd_for_shares() {
    let huge: Vec<f64> = (0..9).map(|i| 1e300 * f64::from(i)).collect();
    let tiny: Vec<f64> = (0..9).map(|i| 1e-300 * f64::from(i)).collect();
    // Twelve equal ones have no perplexity below twelve.
    let tied: Vec<f64> = (0..20).map(|i| if i < 12 { 0.0 } else { 1.0 }).collect();
    for distances in [vec![0.0], vec![0.0; 9], vec![4.0; 9], huge, tiny, tied] {
        for perplexity in [1.0, 3.0, 8.0] {
            let shares = super::affinities::shares(&distances, perplexity);
            let sum: f64 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{distances:?}: {shares:?}");
        }
    }
}

#[test]
fn first_places_are_principal_components() {
    for (count, dim) in [(300, 12), (40, 70), (9, 3), (5, 2), (2, 4), (3, 1)] {
        let rows = rows(count, dim);
        let mean = |j: usize| {
            let column = rows.values().iter().skip(j).step_by(dim);
            column.map(|x| f64::from(*x)).sum::<f64>() / count as f64
        };
        let centred = faer::Mat::from_fn(count, dim, |i, j| {
            f64::from(rows.values()[i * dim + j]) - mean(j)
        });
        let svd = centred.thin_svd().unwrap();
        let found = principal(&rows, 0);
        for axis in 0..2.min(dim) {
            let scale = svd.S().column_vector()[axis];
            let expected = |i: usize| svd.U()[(i, axis)] * scale;
            let same: f64 = (0..count).map(|i| expected(i) * found[i][axis]).sum();
            for (i, place) in found.iter().enumerate() {
                let expected = expected(i) * same.signum();
                let apart = (place[axis] - expected).abs();
                assert!(
                    apart < 0.02 * scale.max(1e-9),
                    "{count} × {dim}, {i}: {place:?} {expected}"
                );
            }
        }
    }
}
