//! The fast assignment against brute force in f64.

mod numbers;

use numbers::numbers;
use protem_cluster::{ClusterError, Matrix, assign};

fn squared_distances(x: &[f32], centroids: &[f32]) -> Vec<f64> {
    let square = |(a, b): (&f32, &f32)| (*a as f64 - *b as f64).powi(2);
    let rows = centroids.chunks_exact(x.len());
    rows.map(|c| x.iter().zip(c).map(square).sum()).collect()
}

#[test]
fn labels_and_distances_equal_brute_force_at_odd_sizes() {
    for (n, k, d) in [
        (0, 3, 5),
        (1, 1, 1),
        (1, 700, 7),
        (257, 3, 1),
        (300, 7, 7),
        (255, 16, 33),
        (513, 513, 129),
        (40, 1025, 16),
        (700, 511, 700),
    ] {
        let (points, centroids) = (numbers(n * d, 1), numbers(k * d, 2));
        let p = Matrix::new(&points, n, d).unwrap();
        let c = Matrix::new(&centroids, k, d).unwrap();
        let found = assign(p, c, None).unwrap();
        assert_eq!((found.labels.len(), found.distances.len()), (n, n));
        for i in 0..n {
            let all = squared_distances(p.row(i), &centroids);
            let at = |j: usize| all[j];
            let least = (0..k).min_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap();
            let label = found.labels[i] as usize;
            // A score is a sum of d products of values below 1: where two distances differ by less
            // than its rounding, either label is right.
            let rounding = f32::EPSILON as f64 * d as f64;
            assert!(label == least || at(label) <= at(least) + rounding);
            // A sum of positive terms, in 16 lanes and then over them.
            let relative = f32::EPSILON as f64 * (d as f64 / 16.0 + 20.0);
            assert!((found.distances[i] as f64 - at(label)).abs() <= relative * at(label));
        }
    }
}

#[test]
fn of_equal_centroids_the_lowest_is_taken() {
    // The second half repeats the first, in other blocks and other places of a block.
    for (n, half, d) in [
        (1, 257, 7),
        (257, 300, 33),
        (300, 13, 129),
        (258, 513, 1030),
    ] {
        let points = numbers(n * d, 3);
        let mut centroids = numbers(half * d, 4);
        centroids.extend_from_within(..);
        let p = Matrix::new(&points, n, d).unwrap();
        let c = Matrix::new(&centroids, 2 * half, d).unwrap();
        let found = assign(p, c, None).unwrap();
        assert!(
            found.labels.iter().all(|l| (*l as usize) < half),
            "{n} {half} {d}"
        );
    }
}

#[test]
fn points_on_a_centroid_are_at_distance_zero() {
    let points = numbers(600 * 24, 5);
    let matrix = Matrix::new(&points, 600, 24).unwrap();
    let found = assign(matrix, matrix, Some(2)).unwrap();
    assert_eq!(found.labels, (0..600).collect::<Vec<u32>>());
    assert_eq!(found.distances, [0.0; 600]);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let (points, centroids) = (numbers(1000 * 19, 6), numbers(530 * 19, 7));
    let p = Matrix::new(&points, 1000, 19).unwrap();
    let c = Matrix::new(&centroids, 530, 19).unwrap();
    let one = assign(p, c, Some(1)).unwrap();
    for threads in [Some(2), Some(3), None] {
        assert_eq!(one, assign(p, c, threads).unwrap());
    }
}

#[test]
fn bad_input_is_an_error() {
    let (zeros, bad) = ([0.0; 6], [0.0, 0.0, 0.0, f32::NAN]);
    let good = Matrix::new(&zeros, 3, 2).unwrap();
    let wide = Matrix::new(&zeros, 2, 3).unwrap();
    let none = Matrix::new(&[], 0, 2).unwrap();
    let nan = Matrix::new(&bad, 2, 2).unwrap();
    let of = |p, c, threads| assign(p, c, threads).unwrap_err();
    let columns = ClusterError::Columns {
        points: 2,
        centroids: 3,
    };
    assert_eq!(of(good, wide, None), columns);
    assert_eq!(
        of(good, none, None),
        ClusterError::Clusters { k: 0, points: 3 }
    );
    assert_eq!(of(nan, good, None), ClusterError::NotFinite { row: 1 });
    let centroids = of(good, nan, None);
    let row = Box::new(ClusterError::NotFinite { row: 1 });
    assert_eq!(centroids, ClusterError::Centroids(row));
    assert!(centroids.to_string().starts_with("centroids: row 1"));
    assert!(matches!(
        of(good, good, Some(0)),
        ClusterError::Setting { .. }
    ));
}
