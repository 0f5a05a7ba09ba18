//! k-means against the obvious implementation and its own promises.

use protem_cluster::{ClusterError, Init, KMeans, Matrix, assign};

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn brute_force(x: &[f32], centroids: &[f32]) -> Vec<f64> {
    let square = |c: &[f32]| {
        x.iter()
            .zip(c)
            .map(|(a, b)| (*a as f64 - *b as f64).powi(2))
            .sum()
    };
    centroids.chunks_exact(x.len()).map(square).collect()
}

#[test]
fn labels_equal_brute_force_at_odd_sizes() {
    for (n, k, d) in [
        (1, 1, 1),
        (257, 3, 1),
        (300, 7, 7),
        (513, 515, 129),
        (40, 40, 16),
    ] {
        let (points, centroids) = (numbers(n * d, 1), numbers(k * d, 2));
        let (p, c) = (
            Matrix::new(&points, n, d).unwrap(),
            Matrix::new(&centroids, k, d).unwrap(),
        );
        let found = assign(p, c).unwrap();
        for i in 0..n {
            let all = brute_force(p.row(i), &centroids);
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            // The scores' rounding decides between centroids this close.
            assert!(all[found.labels[i] as usize] <= least + 1e-5 * d as f64);
            assert!(
                (found.distances[i] as f64 - all[found.labels[i] as usize]).abs() < 1e-5 * d as f64
            );
        }
    }
}

#[test]
fn the_objective_rises_only_after_a_split() {
    let points = numbers(600 * 5, 3);
    let fit = KMeans::builder(150)
        .iterations(30)
        .build()
        .unwrap()
        .fit(Matrix::new(&points, 600, 5).unwrap())
        .unwrap();
    for pair in fit.iterations.windows(2) {
        assert!(pair[1].objective <= pair[0].objective * (1.0 + 1e-6) || pair[0].splits > 0);
    }
    assert!(fit.objective < fit.iterations[0].objective);
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_threads() {
    let points = numbers(2000 * 17, 4);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let kmeans = KMeans::builder(60)
            .restarts(2)
            .max_points_per_centroid(20)
            .seed(5)
            .build()
            .unwrap();
        let fit = pool
            .install(|| kmeans.fit(Matrix::new(&points, 2000, 17).unwrap()))
            .unwrap();
        (
            fit.centroids
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>(),
            fit.labels,
        )
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn one_cluster_per_point_and_duplicates() {
    let points = numbers(32 * 4, 6);
    let fit = KMeans::builder(32)
        .build()
        .unwrap()
        .fit(Matrix::new(&points, 32, 4).unwrap())
        .unwrap();
    assert!(fit.sizes.iter().all(|s| *s == 1));
    assert_eq!(fit.objective, 0.0);
    let same = vec![0.5; 30 * 4];
    let fit = KMeans::builder(5)
        .build()
        .unwrap()
        .fit(Matrix::new(&same, 30, 4).unwrap())
        .unwrap();
    assert!(fit.centroids.iter().all(|x| x.is_finite()));
    assert_eq!(fit.sizes.iter().sum::<u32>(), 30);
}

#[test]
fn given_centroids_lead_to_the_slow_algorithm_s_result() {
    let (n, d, k) = (200, 3, 4);
    let points = numbers(n * d, 7);
    let mut slow: Vec<f64> = points[..k * d].iter().map(|x| *x as f64).collect();
    for _ in 0..10 {
        let (mut sums, mut sizes) = (vec![0.0; k * d], vec![0.0; k]);
        for x in points.chunks_exact(d) {
            let near = |c: &usize| {
                x.iter()
                    .zip(&slow[c * d..])
                    .map(|(a, b)| (*a as f64 - b).powi(2))
                    .sum::<f64>()
            };
            let best = (0..k).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
            sizes[best] += 1.0;
            x.iter()
                .enumerate()
                .for_each(|(j, x)| sums[best * d + j] += *x as f64);
        }
        (0..k * d).for_each(|i| slow[i] = sums[i] / sizes[i / d]);
    }
    let kmeans = KMeans::builder(k)
        .iterations(10)
        .init(Init::Given(points[..k * d].to_vec()))
        .build()
        .unwrap();
    let fit = kmeans.fit(Matrix::new(&points, n, d).unwrap()).unwrap();
    for (fast, slow) in fit.centroids.iter().zip(&slow) {
        assert!((*fast as f64 - slow).abs() < 1e-5);
    }
}

#[test]
fn bad_input_is_an_error() {
    let points = [0.0, 1.0, f32::NAN, 3.0];
    let matrix = Matrix::new(&points, 2, 2).unwrap();
    assert_eq!(
        KMeans::builder(1).build().unwrap().fit(matrix),
        Err(ClusterError::NotFinite { row: 1 })
    );
    assert_eq!(
        KMeans::builder(3).build().unwrap().fit(matrix),
        Err(ClusterError::Clusters { k: 3, points: 2 })
    );
    assert!(matches!(
        KMeans::builder(0).build(),
        Err(ClusterError::Setting { name: "k", .. })
    ));
    assert!(matches!(
        Matrix::new(&points, 3, 2),
        Err(ClusterError::Length { .. })
    ));
}
