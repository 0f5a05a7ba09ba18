//! Labels equal brute force in f64, bit for bit, on every level and at every size.

mod numbers;

use numbers::numbers;
use proptest::prelude::*;
use protem_cluster::{Isa, Matrix, assign_on};

/// What decides: the lowest of those with the least `Σ(x − c)²` in f64.
fn brute_force(points: &[f32], centroids: &[f32], d: usize) -> Vec<u32> {
    let distance = |x: &[f32], c: &[f32]| -> f64 {
        let squares = x
            .iter()
            .zip(c)
            .map(|(x, c)| (*x as f64 - *c as f64).powi(2));
        squares.sum()
    };
    let nearest = |x: &[f32]| {
        let mut best = (f64::INFINITY, 0);
        for (j, c) in centroids.chunks_exact(d).enumerate() {
            let distance = distance(x, c);
            if distance < best.0 {
                best = (distance, j as u32);
            }
        }
        best.1
    };
    points.chunks_exact(d).map(nearest).collect()
}

/// Asserts that all levels, on one and on three threads, give the same, and that it is right.
fn check(points: &[f32], centroids: &[f32], d: usize) {
    let p = Matrix::new(points, points.len() / d, d).unwrap();
    let c = Matrix::new(centroids, centroids.len() / d, d).unwrap();
    let expected = brute_force(points, centroids, d);
    let mut distances: Option<Vec<u32>> = None;
    for isa in Isa::available() {
        for threads in [Some(1), Some(3)] {
            let found = assign_on(*isa, p, c, threads).unwrap();
            assert_eq!(found.labels, expected, "{isa:?}, {threads:?} threads");
            let bits: Vec<u32> = found.distances.iter().map(|d| d.to_bits()).collect();
            let first = distances.get_or_insert_with(|| bits.clone());
            assert_eq!(first, &bits, "{isa:?}, {threads:?} threads");
        }
    }
}

#[test]
fn every_size_is_right() {
    for (n, k, d) in [
        (1, 1, 1),
        (1, 700, 7),
        (257, 3, 1),
        (300, 17, 7),
        (255, 16, 31),
        (255, 33, 32),
        (96, 48, 33),
        (513, 513, 129),
        (40, 1025, 16),
        (97, 49, 96),
        (97, 50, 100),
        (70, 130, 160),
        (50, 40, 2048),
        (2000, 31, 2),
    ] {
        check(&numbers(n * d, 1), &numbers(k * d, 2), d);
    }
}

#[test]
fn far_from_the_origin() {
    // The spread is 2⁻¹⁰ of the distance from the origin, a few steps of bf16 or less.
    let (n, k, d) = (200, 60, 24);
    let shift = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|x| 1000.0 + x).collect() };
    check(&shift(numbers(n * d, 3)), &shift(numbers(k * d, 4)), d);
}

#[test]
fn of_very_different_lengths() {
    let (n, k, d) = (150, 70, 20);
    let scale = |v: Vec<f32>, step: i32| -> Vec<f32> {
        let row = |i: usize| 10f32.powi((i / d) as i32 % step - step / 2);
        v.iter().enumerate().map(|(i, x)| x * row(i)).collect()
    };
    check(
        &scale(numbers(n * d, 5), 30),
        &scale(numbers(k * d, 6), 31),
        d,
    );
    check(
        &scale(numbers(n * d, 7), 36),
        &scale(numbers(k * d, 8), 3),
        d,
    );
}

#[test]
fn denormals_and_zeros() {
    let (n, k, d) = (100, 40, 9);
    let tiny = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|x| x * 1e-40).collect() };
    check(&tiny(numbers(n * d, 9)), &tiny(numbers(k * d, 10)), d);
    check(&vec![0.0; n * d], &tiny(numbers(k * d, 11)), d);
    check(&vec![0.0; n * d], &vec![0.0; k * d], d);
    check(&vec![1e-42; n * d], &vec![-0.0; k * d], d);
}

#[test]
fn duplicates_and_neighbours_of_one_step() {
    let (n, d) = (120, 33);
    let points = numbers(n * d, 12);
    // Each centroid twice, and once a step of f32 away in one value.
    let mut centroids = points[..40 * d].to_vec();
    centroids.extend_from_within(..);
    let mut beside = points[..40 * d].to_vec();
    beside
        .chunks_exact_mut(d)
        .for_each(|c| c[5] = f32::from_bits(c[5].to_bits() + 1));
    centroids.extend(beside);
    check(&points, &centroids, d);
}

#[test]
fn many_copies_of_few_centroids() {
    let (n, k, d) = (300, 230, 33);
    let places = numbers(6 * d, 15);
    // Copies of six in no order, some of them a step away in one value or with the other sign of zero.
    let mut centroids = Vec::new();
    for c in 0..k {
        let begin = centroids.len();
        centroids.extend_from_slice(&places[c * 5 % 7 % 6 * d..][..d]);
        let row = &mut centroids[begin..];
        row[2] = if c % 3 == 1 { -0.0 } else { 0.0 };
        if c % 11 == 4 || c < 3 {
            row[20] = row[20].next_up();
        }
    }
    // At them, beside them, and elsewhere; in turn and one place after the other.
    let noise = numbers(n * d, 16);
    for (spread, step) in [(0.0, 1), (0.1, 1), (0.1, 50), (1.0, 1)] {
        let of = |i: usize| places[i / d / step % 6 * d + i % d] + spread * noise[i];
        let points: Vec<f32> = (0..n * d).map(of).collect();
        check(&points, &centroids, d);
    }
    // All alike, and alike but for a step.
    let one = places[..d].repeat(k);
    check(&places[..d].repeat(n), &one, d);
    check(&noise, &one, d);
    let mut other = one;
    for c in (0..k).filter(|c| c % 13 == 5) {
        other[c * d] = other[c * d].next_down();
    }
    check(&noise, &other, d);
}

#[test]
fn halfway_between_centroids() {
    // On a lattice, nearly every point is as far from many centroids as from its own.
    let (n, k, d) = (300, 90, 6);
    let lattice = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|x| (x * 3.0).round()).collect() };
    check(
        &lattice(numbers(n * d, 13)),
        &lattice(numbers(k * d, 14)),
        d,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_input_is_right(
        n in 1usize..80,
        k in 1usize..70,
        d in 1usize..70,
        seed in any::<u64>(),
        exponent in -30i32..15,
        offset in prop_oneof![Just(0.0f32), -100.0f32..100.0],
        steps in prop_oneof![Just(1e6f32), Just(2.0f32), Just(50.0f32)],
    ) {
        // `steps` distinct values: few make ties.
        let scale = 10f32.powi(exponent);
        let make = |len, seed| -> Vec<f32> {
            let values = numbers(len, seed);
            values.iter().map(|x| ((x * steps).round() / steps + offset) * scale).collect()
        };
        check(&make(n * d, seed), &make(k * d, seed ^ 0x55aa), d);
    }
}
