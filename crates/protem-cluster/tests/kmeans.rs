//! k-means against the obvious implementation and its own promises.

mod numbers;

use numbers::numbers;
use protem_cluster::{ClusterError, Empty, Fit, Init, KMeans, KMeansBuilder, Matrix, Warning};
use std::ops::ControlFlow;

fn fit(builder: KMeansBuilder, points: &[f32], d: usize) -> Fit {
    let matrix = Matrix::new(points, points.len() / d, d).unwrap();
    builder.build().unwrap().fit(matrix).unwrap()
}

fn bits(fit: &Fit) -> (Vec<u32>, Vec<u32>, &[u32], u64) {
    let of = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect();
    let objective = fit.objective.to_bits();
    (
        of(&fit.centroids),
        of(&fit.distances),
        &fit.labels,
        objective,
    )
}

#[test]
fn the_objective_rises_only_after_a_split() {
    let mut splits = 0;
    for (seed, n, d, k) in [(3, 600, 5, 150), (4, 333, 1, 100), (5, 257, 129, 40)] {
        // Every third point is a copy: some clusters begin in the same place, and one is empty.
        let mut points = numbers(n * d, seed);
        for i in (2..n).step_by(3) {
            points.copy_within((i - 1) * d..i * d, i * d);
        }
        let fit = fit(KMeans::builder(k).iterations(30).seed(seed), &points, d);
        for pair in fit.iterations.windows(2) {
            let rises = pair[1].objective > pair[0].objective * (1.0 + 1e-6);
            assert!(!rises || pair[0].splits > 0, "{pair:?}");
        }
        assert!(fit.objective < fit.iterations[0].objective);
        splits += fit.iterations.iter().map(|i| i.splits).sum::<usize>();
    }
    assert!(splits > 0, "nothing was split: the test shows nothing");
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_threads() {
    let (n, d) = (2000, 17);
    let points = numbers(n * d, 4);
    let settings = || {
        KMeans::builder(60)
            .restarts(2)
            .max_points_per_centroid(20)
            .min_points_per_centroid(1)
            .seed(5)
    };
    let one = fit(settings().threads(Some(1)), &points, d);
    for threads in [Some(2), Some(5), None] {
        let other = fit(settings().threads(threads), &points, d);
        assert_eq!(bits(&one), bits(&other), "{threads:?}");
    }
    let other_seed = fit(settings().seed(6), &points, d);
    assert_ne!(one.labels, other_seed.labels);
}

#[test]
fn as_many_clusters_as_points_are_the_points() {
    let points = numbers(32 * 4, 6);
    let fit = fit(KMeans::builder(32), &points, 4);
    assert_eq!(fit.centroids, points);
    assert_eq!(fit.labels, (0..32).collect::<Vec<u32>>());
    assert_eq!((fit.objective, fit.iterations.len()), (0.0, 0));
    assert_eq!((fit.restart, fit.converged, fit.sampled), (0, true, None));
    assert_eq!(fit.sizes, [1; 32]);
}

#[test]
fn one_point_and_one_cluster() {
    let fit_one = fit(KMeans::builder(1), &[3.0, -4.0], 2);
    assert_eq!(fit_one.centroids, [3.0, -4.0]);
    assert_eq!((fit_one.labels, fit_one.objective), (vec![0], 0.0));
    for d in [1, 7, 129] {
        let n = 101;
        let points = numbers(n * d, 8);
        let fit = fit(KMeans::builder(1), &points, d);
        for j in 0..d {
            let mean = (0..n).map(|i| points[i * d + j] as f64).sum::<f64>() / n as f64;
            assert!((fit.centroids[j] as f64 - mean).abs() < 1e-6);
        }
        assert_eq!(fit.sizes, [101]);
        // A second iteration finds the mean, a third that nothing changes.
        assert_eq!(fit.iterations.len(), 2);
        assert_eq!(fit.iterations[1].imbalance, 1.0);
    }
}

/// What a fit warns of clusters without points.
fn empty_of(fit: &Fit) -> Option<usize> {
    fit.warnings.iter().find_map(|said| match said {
        Warning::Empty { clusters } => Some(*clusters),
        _ => None,
    })
}

#[test]
fn clusters_that_end_empty_are_a_warning() {
    // Two places for five clusters: neither way can fill all.
    let points: Vec<f32> = (0..60).map(|i| [0.0, 1.0][i % 2]).collect();
    let farthest = || KMeans::builder(5).empty(Empty::Farthest);
    let of_farthest = fit(farthest(), &points, 1);
    assert_eq!(empty_of(&of_farthest), Some(3), "{:?}", of_farthest.sizes);
    // Of zeros splits make equal centroids, of which the first has all points.
    let zeros = [0.0; 60];
    for builder in [KMeans::builder(5), farthest()] {
        let builder = builder.min_points_per_centroid(0);
        let fit = fit(builder, &zeros, 1);
        assert_eq!(fit.sizes, [60, 0, 0, 0, 0]);
        assert_eq!(fit.warnings, [Warning::Empty { clusters: 4 }]);
        let said = fit.warnings[0].to_string();
        assert!(
            said.contains("4 clusters") && said.contains("fewer"),
            "{said}"
        );
    }
    let enough = fit(farthest(), &numbers(60, 3), 1);
    assert_eq!(empty_of(&enough), None);
}

#[test]
fn duplicates_are_clustered() {
    // One point thirty times over: clusters split off it remain empty or share it.
    for value in [0.5, 0.0] {
        let fit = fit(KMeans::builder(5), &[value; 30 * 4], 4);
        assert!(fit.centroids.iter().all(|x| x.is_finite()));
        assert_eq!(fit.sizes.iter().sum::<u32>(), 30);
        assert!(fit.objective < 1e-3);
        // Splits go on to the end.
        assert!(!fit.converged);
        assert_eq!(
            empty_of(&fit),
            Some(fit.sizes.iter().filter(|s| **s == 0).count())
        );
    }
    // Three places, three clusters, wherever they begin: splits find the ones not drawn.
    let places = [0.0, 0.0, 1.0, 5.0, -4.0, 2.0];
    let points: Vec<f32> = (0..60)
        .flat_map(|i| places[i % 3 * 2..][..2].to_vec())
        .collect();
    let fit = fit(KMeans::builder(3).restarts(20).seed(1), &points, 2);
    assert_eq!((fit.objective, fit.sizes), (0.0, vec![20; 3]));
}

#[test]
fn given_centroids_lead_to_the_slow_algorithm_s_result() {
    for (n, d, k) in [(200, 3, 4), (150, 1, 5), (90, 129, 3)] {
        let points = numbers(n * d, 7);
        let mut slow: Vec<f64> = points[..k * d].iter().map(|x| *x as f64).collect();
        for _ in 0..10 {
            let (mut sums, mut sizes) = (vec![0.0; k * d], vec![0.0; k]);
            for x in points.chunks_exact(d) {
                let squares = |(a, b): (&f32, &f64)| (*a as f64 - b).powi(2);
                let near = |c: &usize| x.iter().zip(&slow[c * d..]).map(squares).sum::<f64>();
                let best = (0..k).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
                sizes[best] += 1.0;
                let sums = sums[best * d..].iter_mut().zip(x);
                sums.for_each(|(s, x)| *s += *x as f64);
            }
            (0..k * d).for_each(|i| slow[i] = sums[i] / sizes[i / d]);
        }
        let init = Init::Given(points[..k * d].to_vec());
        let fit = fit(KMeans::builder(k).iterations(10).init(init), &points, d);
        for (fast, slow) in fit.centroids.iter().zip(&slow) {
            assert!((*fast as f64 - slow).abs() < 1e-5, "{n} {d} {k}");
        }
    }
}

#[test]
fn the_best_restart_is_kept_and_more_never_hurt() {
    let points = numbers(500 * 3, 9);
    let settings = || KMeans::builder(25).iterations(40).seed(2);
    let (one, many) = (
        fit(settings(), &points, 3),
        fit(settings().restarts(6), &points, 3),
    );
    let of_one = many.iterations.iter().filter(|i| i.restart == 0).count();
    assert_eq!(of_one, one.iterations.len());
    assert_eq!(many.iterations.last().unwrap().restart, 5);
    let ends = (0..6).map(|r| {
        let of_restart = many.iterations.iter().rfind(|i| i.restart == r);
        of_restart.unwrap().objective
    });
    let best = ends.fold(f64::INFINITY, f64::min);
    assert!(many.objective <= best * (1.0 + 1e-6) && many.objective < one.objective);
    assert_eq!((one.restart, one.sampled), (0, None));
    let of_best = many.iterations.iter().rfind(|i| i.restart == many.restart);
    assert_eq!(of_best.unwrap().objective, best);
    assert_ne!(many.restart, 0);
    // It is the restart that a fit of as many restarts and no more ends with.
    let last = fit(settings().restarts(many.restart + 1), &points, 3);
    assert_eq!(
        (last.restart, last.centroids),
        (many.restart, many.centroids)
    );
}

#[test]
fn a_subsample_finds_the_centroids_and_all_points_are_assigned() {
    let (n, d, k) = (5000, 2, 4);
    let points: Vec<f32> = numbers(n * d, 10)
        .iter()
        .enumerate()
        .map(|(i, x)| x + [0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 9.0, 9.0][i % 8])
        .collect();
    let settings = KMeans::builder(k)
        .max_points_per_centroid(50)
        .restarts(8)
        .seed(3);
    let fit = fit(settings, &points, d);
    assert_eq!((fit.labels.len(), fit.distances.len()), (n, n));
    assert_eq!(fit.sizes, [1250; 4]);
    assert_eq!((fit.sampled, &fit.warnings[..]), (Some(200), &[][..]));
    // 200 points of these squares: about 2/3 of a squared unit each.
    let training = fit.iterations.last().unwrap().objective;
    assert!((100.0..170.0).contains(&training), "{training}");
    assert!(
        (3000.0..3700.0).contains(&fit.objective),
        "{}",
        fit.objective
    );
}

#[test]
fn spherical_centroids_have_length_one() {
    let fit = fit(KMeans::builder(9).spherical(true), &numbers(300 * 6, 11), 6);
    for centroid in fit.centroids.chunks_exact(6) {
        let square: f32 = centroid.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-6);
    }
}

#[test]
fn rows_apart_give_what_rows_together_do() {
    let (n, d, stride) = (300, 5, 8);
    let together = numbers(n * d, 12);
    let mut apart = vec![f32::NAN; (n - 1) * stride + d];
    for i in 0..n {
        apart[i * stride..][..d].copy_from_slice(&together[i * d..][..d]);
    }
    let kmeans = KMeans::builder(11).build().unwrap();
    let a = kmeans.fit(Matrix::new(&together, n, d).unwrap()).unwrap();
    let matrix = Matrix::with_stride(&apart, n, d, stride).unwrap();
    assert_eq!(bits(&a), bits(&kmeans.fit(matrix).unwrap()));
}

#[test]
fn the_listener_hears_every_iteration_and_can_end_it() {
    let points = numbers(400 * 4, 13);
    let matrix = Matrix::new(&points, 400, 4).unwrap();
    let kmeans = KMeans::builder(20).restarts(5).build().unwrap();
    let mut heard = Vec::new();
    let fit = kmeans
        .fit_with(matrix, |stats| {
            heard.push(*stats);
            if (stats.restart, stats.iteration) == (1, 2) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(heard, fit.iterations);
    let last = heard.last().unwrap();
    assert_eq!((last.restart, last.iteration), (1, 2));
    assert_eq!(fit.labels.len(), 400);
    // Restart 0 was complete and better than two iterations of restart 1.
    assert!(fit.objective < last.objective);
}

#[test]
fn too_few_points_are_a_warning() {
    let points = numbers(100 * 2, 14);
    let few = fit(KMeans::builder(10).min_points_per_centroid(11), &points, 2);
    let expected = Warning::FewPoints {
        points: 100,
        k: 10,
        minimum: 11,
    };
    assert!(expected.to_string().contains("at least 110"));
    assert_eq!(few.warnings, [expected]);
    let enough = fit(KMeans::builder(10).min_points_per_centroid(10), &points, 2);
    assert_eq!(enough.warnings, []);
    // As faiss: a sample smaller than is recommended is taken, and warned of.
    let sampled = fit(KMeans::builder(10).max_points_per_centroid(5), &points, 2);
    assert_eq!(sampled.warnings.len(), 1);
}

#[test]
fn bad_settings_are_errors() {
    let zero = [
        KMeans::builder(0),
        KMeans::builder(1).iterations(0),
        KMeans::builder(1).restarts(0),
        KMeans::builder(1).max_points_per_centroid(0),
        KMeans::builder(1).threads(Some(0)),
        KMeans::builder(1).threads(Some(1 << 20)),
    ];
    for builder in zero {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, ClusterError::Setting { .. }), "{error}");
    }
}

#[test]
fn bad_points_are_errors() {
    let of = |builder: KMeansBuilder, points: &[f32]| {
        let matrix = Matrix::new(points, points.len() / 2, 2).unwrap();
        builder.build().unwrap().fit(matrix).unwrap_err()
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = of(KMeans::builder(1), &[0.0, 1.0, bad, 3.0]);
        assert_eq!(error, ClusterError::NotFinite { row: 1 });
    }
    assert!(matches!(
        of(KMeans::builder(1), &[0.0, 1.0, 1e20, 3.0]),
        ClusterError::TooLarge { row: 1, .. }
    ));
    assert_eq!(
        of(KMeans::builder(3), &[0.0; 4]),
        ClusterError::Clusters { k: 3, points: 2 }
    );
    assert_eq!(
        of(
            KMeans::builder(2).init(Init::Given(vec![0.0; 3])),
            &[0.0; 6]
        ),
        ClusterError::Init {
            k: 2,
            cols: 2,
            found: 3
        }
    );
    assert_eq!(
        of(
            KMeans::builder(1).init(Init::Given(vec![0.0, f32::NAN])),
            &[0.0; 6]
        ),
        ClusterError::Initial(Box::new(ClusterError::NotFinite { row: 0 }))
    );
    for (rows, cols, stride, said) in [
        (3, 2, 2, "3×2 points need 6 values, there are 4"),
        (2, 2, 3, "at a row step of 3 need 5 values"),
        (1, 0, 0, "at least one column"),
        (2, 2, 1, "a row step of 1: it must be at least 2"),
        (usize::MAX, 2, 2, "there are 4"),
    ] {
        let error = Matrix::with_stride(&[0.0; 4], rows, cols, stride).unwrap_err();
        assert!(matches!(error, ClusterError::Length { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(Matrix::new(&[0.0; 5], 2, 2).is_err());
}
