//! The same bits on every level, with and without pruning, for any number of threads; and what
//! the settings promise.

mod numbers;

use numbers::numbers;
use proptest::prelude::*;
use protem_cluster::{ClusterError, Empty, Fit, Init, Isa, KMeans, KMeansBuilder, Matrix};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Points around `places` places.
fn clustered(n: usize, d: usize, places: usize, spread: f32, seed: u64) -> Vec<f32> {
    let centres = numbers(places * d, seed);
    let noise = numbers(n * d, seed + 1);
    (0..n * d)
        .map(|i| centres[(i / d * 7919 % places) * d + i % d] + spread * noise[i])
        .collect()
}

fn fit(builder: KMeansBuilder, points: &[f32], d: usize) -> Fit {
    let matrix = Matrix::new(points, points.len() / d, d).unwrap();
    builder.build().unwrap().fit(matrix).unwrap()
}

/// Centroids, distances, labels, and objective and splits of each iteration.
type Bits = (Vec<u32>, Vec<u32>, Vec<u32>, Vec<(u64, usize)>);

/// Everything but the times.
fn bits(fit: &Fit) -> Bits {
    let of = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect();
    let iterations = fit.iterations.iter();
    let iterations = iterations.map(|i| (i.objective.to_bits(), i.splits));
    (
        of(&fit.centroids),
        of(&fit.distances),
        fit.labels.clone(),
        iterations.collect(),
    )
}

#[test]
fn pruning_and_levels_change_no_bit() {
    // Enough groups for lists, and enough iterations for them to be used up and made again.
    for (n, d, k, places, spread) in [
        (36_000, 4, 2100, 2000, 0.1),
        (6000, 16, 400, 350, 0.2),
        (5000, 40, 300, 3000, 0.5),
        (4000, 5, 700, 10, 1.0),
        (3000, 33, 270, 200, 0.0),
        (8000, 64, 480, 480, 0.2),
    ] {
        let points = clustered(n, d, places, spread, 7);
        let settings = || KMeans::builder(k).iterations(16).max_points_per_centroid(n);
        let expected = bits(&fit(settings().prune(false), &points, d));
        for isa in Isa::available() {
            for (prune, threads) in [(true, 1), (true, 3), (false, 2)] {
                let settings = settings().isa(Some(*isa)).prune(prune);
                let found = fit(settings.threads(Some(threads)), &points, d);
                assert_eq!(bits(&found), expected, "{isa:?} {prune} {threads}");
            }
        }
        // From where it ended, a little moved: nearly everything is left out.
        let first = fit(settings(), &points, d);
        let moved = first.centroids.iter().zip(numbers(k * d, 3));
        let moved: Vec<f32> = moved.map(|(c, x)| c + 1e-3 * x).collect();
        let warm = || settings().init(Init::Given(moved.clone()));
        let expected = bits(&fit(warm().prune(false), &points, d));
        assert_eq!(bits(&fit(warm(), &points, d)), expected);
    }
}

/// Of a point so long that what integers round away of it overflows, and a centroid so long that its
/// first value has no integer: no level may leave anything out there.
#[test]
fn a_point_beyond_all_integers_keeps_its_centroid() {
    let (n, k, d) = (2000, 200, 512);
    let mut points = numbers(n * d, 3);
    // Not one of those by which integers are measured.
    let long = 1001 * d..1002 * d;
    points[long.clone()].iter_mut().for_each(|x| *x *= 4e17);
    let mut given = points[..k * d].to_vec();
    given[(k - 1) * d..].copy_from_slice(&points[long]);
    let of = |isa| {
        let settings = KMeans::builder(k).init(Init::Given(given.clone()));
        fit(settings.iterations(1).isa(Some(isa)), &points, d)
    };
    let expected = of(Isa::Portable);
    assert_eq!(expected.labels[1001], k as u32 - 1);
    for isa in Isa::available() {
        assert_eq!(bits(&of(*isa)), bits(&expected), "{isa:?}");
    }
}

/// A split moves centroids beyond the longest point there may be, and they are still ones.
#[test]
fn centroids_of_the_longest_points_are_taken() {
    let longest = (f32::MAX / 10.0).sqrt() * 0.999_999;
    let points = [longest, longest, longest, longest, -longest, 0.0, 1e18];
    let (mut beyond, k) = (0, 6);
    for seed in 0..20 {
        let found = fit(KMeans::builder(k).iterations(1).seed(seed), &points, 1);
        beyond += usize::from(found.centroids.iter().any(|c| c.abs() > longest * 1.0001));
        let (mut labels, mut distances) = (vec![0; 7], vec![0.0; 7]);
        let matrix = Matrix::new(&points, 7, 1).expect("the right length");
        let predicted = found.predict_into(matrix, &mut labels, &mut distances, None);
        predicted.expect("centroids of a fit");
        assert_eq!((labels, distances), (found.labels, found.distances));
        let again = KMeans::builder(k).init(Init::Given(found.centroids));
        fit(again, &points, 1);
    }
    assert!(beyond > 0);
}

#[test]
fn a_listener_hears_of_many_and_ends_one() {
    let points = clustered(3000, 9, 50, 0.3, 1);
    let matrix = Matrix::new(&points, 3000, 9).unwrap();
    let of = |iterations| {
        let settings = KMeans::builder(1).iterations(iterations);
        settings.min_points_per_centroid(0).build().unwrap()
    };
    let mut heard = Vec::new();
    let many = of(6).fit_many_with(matrix, &[30, 40], |at, stats| {
        heard.push((at, stats.iteration));
        match heard.last() {
            Some((0, 1)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    let many = many.unwrap();
    assert_eq!(heard[..3], [(0, 0), (0, 1), (1, 0)]);
    assert_eq!((many[0].iterations.len(), many[1].iterations.len()), (2, 6));
    let single = of(2).fit_many(matrix, &[30]).unwrap();
    assert_eq!(bits(&many[0]), bits(&single[0]));
}

#[test]
fn many_are_what_single_ones_are() {
    let points = clustered(3000, 9, 50, 0.3, 1);
    let matrix = Matrix::new(&points, 3000, 9).unwrap();
    for limit in [3000, 10] {
        let of = |k| {
            KMeans::builder(k)
                .max_points_per_centroid(limit)
                .min_points_per_centroid(0)
        };
        let many = of(1)
            .build()
            .unwrap()
            .fit_many(matrix, &[30, 7, 300])
            .unwrap();
        assert_eq!(many.len(), 3);
        for (fit_of_many, k) in many.iter().zip([30, 7, 300]) {
            assert_eq!(bits(fit_of_many), bits(&fit(of(k), &points, 9)));
        }
    }
    let kmeans = KMeans::builder(1).build().unwrap();
    assert_eq!(kmeans.fit_many(matrix, &[]), Ok(vec![]));
    for k in [0, 3001] {
        let error = kmeans.fit_many(matrix, &[4, k]).unwrap_err();
        assert_eq!(error, ClusterError::Clusters { k, points: 3000 });
    }
}

#[test]
fn weights_are_repetitions() {
    let (n, d, k) = (400, 6, 12);
    let points = clustered(n, d, 9, 0.4, 2);
    let weights: Vec<f32> = (0..n).map(|i| (i % 4) as f32).collect();
    let mut repeated = Vec::new();
    for i in 0..n {
        for _ in 0..i % 4 {
            repeated.extend_from_slice(&points[i * d..][..d]);
        }
    }
    let settings = || {
        let init = Init::Given(points[..k * d].to_vec());
        KMeans::builder(k).init(init).iterations(15)
    };
    let weighted = fit(settings().weights(weights), &points, d);
    let plain = fit(settings(), &repeated, d);
    assert_eq!(weighted.iterations.len(), plain.iterations.len());
    for (a, b) in weighted.centroids.iter().zip(&plain.centroids) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} {b}");
    }
    for (a, b) in weighted.iterations.iter().zip(&plain.iterations) {
        assert!((a.objective - b.objective).abs() <= 1e-6 * b.objective);
        assert!((a.imbalance - b.imbalance).abs() <= 1e-9 && a.splits == b.splits);
    }
    assert!((weighted.objective - plain.objective).abs() <= 1e-6 * plain.objective);
}

#[test]
fn the_scale_of_weights_changes_nothing() {
    // Three places: two first centroids fall on the same one for most seeds, and one is split.
    let points: Vec<f32> = (0..600).flat_map(|i| [(i % 3) as f32, 1.0]).collect();
    for seed in 0..8 {
        let settings = || KMeans::builder(3).seed(seed).iterations(10);
        let plain = fit(settings(), &points, 2);
        for weight in [1.0 / 1024.0, 1.0 / 600.0] {
            let weighted = fit(settings().weights(vec![weight; 600]), &points, 2);
            assert_eq!(weighted.labels, plain.labels, "{seed} {weight}");
            assert_eq!(weighted.objective, 0.0);
        }
    }
}

#[test]
fn points_of_no_weight_are_drawn_last() {
    let points = numbers(3000, 4);
    let mut weights = vec![0.0; 1000];
    (400..404).for_each(|i| weights[i] = 2.0);
    let settings = KMeans::builder(4)
        .max_points_per_centroid(10)
        .weights(weights);
    let fit = fit(settings, &points, 3);
    assert_eq!(fit.objective, 0.0);
    assert!(fit.iterations.iter().all(|i| i.imbalance == 1.0));
}

#[test]
fn a_heavy_frozen_cluster_does_not_hold_up_splits() {
    let mut points = vec![0.0f32];
    points.extend((0..10).map(|i| 100.0 + (i % 2) as f32));
    let mut weights = vec![1.0f32; 11];
    weights[0] = 1e30;
    let settings = KMeans::builder(3)
        .init(Init::Given(vec![0.0]))
        .frozen(true)
        .weights(weights);
    for seed in 0..8 {
        let fit = fit(settings.clone().seed(seed), &points, 1);
        assert_eq!((fit.objective, &fit.sizes[..1]), (0.0, &[1][..]), "{seed}");
    }
}

#[test]
fn frozen_centroids_stay_and_missing_ones_are_drawn() {
    let (d, k) = (4, 8);
    let points = clustered(500, d, 20, 0.3, 3);
    let given = vec![0.1; 3 * d];
    let init = || KMeans::builder(k).init(Init::Given(given.clone()));
    let frozen = fit(init().frozen(true), &points, d);
    assert_eq!(frozen.centroids[..3 * d], given);
    let free = fit(init(), &points, d);
    assert!(free.objective < frozen.objective);
    for empty in [Empty::Split, Empty::Farthest] {
        // Nothing is near the frozen ones; they are empty and stay.
        let far = Init::Given(vec![100.0; 2 * d]);
        let fit = fit(
            KMeans::builder(k).init(far).frozen(true).empty(empty),
            &points,
            d,
        );
        assert_eq!((fit.sizes[0], fit.sizes[1]), (0, 0));
        assert_eq!(fit.centroids[..2 * d], vec![100.0; 2 * d]);
    }
    let error = KMeans::builder(3).frozen(true).build().unwrap_err();
    assert!(matches!(
        error,
        ClusterError::Setting { name: "frozen", .. }
    ));
}

#[test]
fn plus_plus_finds_every_place() {
    // Far places of very different sizes: random points miss the small ones.
    let places: Vec<f32> = (0..12).map(|i| i as f32 * 100.0).collect();
    let points: Vec<f32> = (0..1200)
        .map(|i| places[if i < 24 { i % 12 } else { 0 }] + (i % 7) as f32 * 1e-3)
        .collect();
    let settings = || {
        KMeans::builder(12)
            .init(Init::PlusPlus)
            .seed(4)
            .iterations(10)
    };
    let found = fit(settings(), &points, 1);
    assert!(found.objective < 1.0, "{}", found.objective);
    assert_eq!(
        bits(&found),
        bits(&fit(settings().threads(Some(3)), &points, 1))
    );
    // Fewer places than clusters.
    let same = fit(settings(), &[2.0; 40], 1);
    assert!(same.objective < 1e-2);
}

#[test]
fn a_tolerance_ends_earlier_and_a_listener_at_once() {
    let points = numbers(4000 * 8, 5);
    let full = fit(KMeans::builder(60).iterations(100), &points, 8);
    let early = fit(
        KMeans::builder(60).iterations(100).tolerance(1e-3),
        &points,
        8,
    );
    let (long, short) = (full.iterations.len(), early.iterations.len());
    assert!(short < long, "{short} {long}");
    assert_eq!(bits(&full).3[..short], bits(&early).3);
    let gains: Vec<f64> = early
        .iterations
        .windows(2)
        .map(|two| 1.0 - two[1].objective / two[0].objective)
        .collect();
    let (last, others) = gains.split_last().expect("more than one iteration");
    assert!(
        *last <= 1e-3 && others.iter().all(|gain| *gain > 1e-3),
        "{gains:?}"
    );
    let matrix = Matrix::new(&points, 4000, 8).unwrap();
    let kmeans = KMeans::builder(60).restarts(4).build().unwrap();
    let cut = kmeans.fit_with(matrix, |_| ControlFlow::Break(())).unwrap();
    assert_eq!((cut.iterations.len(), cut.labels.len()), (1, 4000));
    // Ended by having come to rest, by the tolerance, by the listener, and by the number of iterations.
    assert!(long < 100, "it comes to rest");
    let few = fit(KMeans::builder(60).iterations(short), &points, 8);
    let converged = [&full, &early, &cut, &few].map(|fit| fit.converged);
    assert_eq!(converged, [true, true, false, false]);
}

#[test]
fn predictions_do_not_depend_on_company() {
    let (n, d) = (700, 12);
    let points = clustered(n, d, 30, 0.5, 6);
    let fit = fit(KMeans::builder(25), &points, d);
    let predict = |values: &[f32]| {
        let rows = values.len() / d;
        let (mut labels, mut distances) = (vec![0; rows], vec![0.0; rows]);
        let matrix = Matrix::new(values, rows, d).unwrap();
        fit.predict_into(matrix, &mut labels, &mut distances, Some(2))
            .unwrap();
        (labels, distances)
    };
    assert_eq!(
        predict(&points),
        (fit.labels.clone(), fit.distances.clone())
    );
    let mut reversed = Vec::new();
    points
        .chunks_exact(d)
        .rev()
        .for_each(|row| reversed.extend_from_slice(row));
    let (mut labels, mut distances) = predict(&reversed);
    labels.reverse();
    distances.reverse();
    assert_eq!(
        (labels, distances),
        (fit.labels.clone(), fit.distances.clone())
    );
    assert_eq!(predict(&points[..d]).0, fit.labels[..1]);
    let all = Matrix::new(&points, n, d).unwrap();
    let predicted = fit.predict(all, Some(2)).unwrap();
    assert_eq!(
        (predicted.labels, predicted.distances),
        (fit.labels.clone(), fit.distances.clone())
    );

    let matrix = Matrix::new(&points, n, d).unwrap();
    let error = fit.predict_into(matrix, &mut [0; 3], &mut [0.0; 700], None);
    let expected = ClusterError::Places {
        points: n,
        labels: 3,
        distances: 700,
    };
    assert_eq!(error, Err(expected));
}

#[test]
fn wrong_settings_and_weights_are_errors() {
    let refused = |builder: KMeansBuilder| builder.build().unwrap_err().to_string();
    assert!(refused(KMeans::builder(1).tolerance(-1.0)).contains("-1"));
    assert!(refused(KMeans::builder(1).tolerance(f64::NAN)).contains("NaN"));
    assert!(refused(KMeans::builder(1).weights(vec![1.0, -2.0])).contains("-2 at row 1"));
    assert!(refused(KMeans::builder(1).weights(vec![f32::INFINITY])).contains("inf"));
    assert!(refused(KMeans::builder(1).weights(vec![0.0; 3])).contains("zero"));
    let kmeans = KMeans::builder(1).weights(vec![1.0; 3]).build().unwrap();
    let error = kmeans
        .fit(Matrix::new(&[0.0; 4], 4, 1).unwrap())
        .unwrap_err();
    assert_eq!(
        error,
        ClusterError::Weights {
            points: 4,
            found: 3
        }
    );
    for given in [vec![], vec![0.0; 3], vec![0.0; 6]] {
        let kmeans = KMeans::builder(2).init(Init::Given(given)).build().unwrap();
        let error = kmeans
            .fit(Matrix::new(&[0.0; 8], 4, 2).unwrap())
            .unwrap_err();
        assert!(matches!(error, ClusterError::Init { k: 2, cols: 2, .. }));
    }
}

#[test]
fn centroids_that_leave_their_points_are_not_put_back_for_ever() {
    // Of length 1, a centroid put on the second point is nearer to none; no square is one in f32.
    let settings = || KMeans::builder(3).spherical(true).empty(Empty::Farthest);
    let twice = fit(settings(), &[0.0, 0.0, 1e-30, 0.0, 1.0, 0.0, 1.0, 0.0], 2);
    let once = fit(settings(), &[0.0, 0.0, 1e-30, 0.0, 1.0, 0.0], 2);
    assert_eq!((twice.labels.len(), once.labels.len()), (4, 3));
    // A long point in the direction of its centroid is farthest, and no place for another.
    let given = vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
    let points = [
        100.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.6, 0.8, 40.0, 0.0, 0.0, -0.0, 7.0, -0.0,
    ];
    let fit = fit(settings().init(Init::Given(given)), &points, 2);
    assert!(fit.sizes.iter().all(|size| *size > 0), "{:?}", fit.sizes);
}

/// Where what a centroid gains is lost in the objective: beside what is far, of little weight, or too
/// small for f32.
#[test]
fn farthest_does_not_look_at_what_is_gained() {
    let far = [1e10, 2e10, 1.0, 5.0, 4.0, 1.0, 3.0, 41.0, 3.0];
    let light = [823.0, 120.0, 164.0, 763.0, 597.0, 452.0];
    let tiny = [0.0, 5.0, 51.0, 1e-24, 4e-24, 5.4e-23];
    let of_little = vec![1.0, 1e-20, 1e-20, 1.0, 1.0, 1e-20];
    for (points, given, weights) in [
        (&far[..], vec![5.0, 4.0, 3.0, 1e10, 3.0, 99.0], None),
        (
            &light,
            vec![823.0, 164.0, 7022.0, 4677.0, 823.0],
            Some(of_little),
        ),
        (&tiny, vec![8.0, 1e-24, 0.0, 1e-24, 0.0], None),
    ] {
        let settings = KMeans::builder(given.len())
            .init(Init::Given(given))
            .weights(weights.unwrap_or(vec![1.0; points.len()]))
            .empty(Empty::Farthest)
            .iterations(1);
        let fit = fit(settings, points, 1);
        assert!(
            fit.sizes.iter().all(|s| *s > 0),
            "{points:?}: {:?}",
            fit.sizes
        );
    }
}

#[cfg(feature = "serde")]
#[test]
fn results_survive_json() {
    use protem_cluster::{Assignment, assign};
    let points = numbers(40, 8);
    let centroids = Matrix::new(&points[..6], 3, 2).unwrap();
    let assignment = assign(Matrix::new(&points, 20, 2).unwrap(), centroids, None).unwrap();
    let text = serde_json::to_string(&assignment).unwrap();
    assert_eq!(
        serde_json::from_str::<Assignment>(&text).unwrap(),
        assignment
    );

    let fit = fit(KMeans::builder(3), &numbers(40, 8), 2);
    let text = serde_json::to_string(&fit).unwrap();
    let back: Fit = serde_json::from_str(&text).unwrap();
    assert_eq!(back, fit);

    // As it was saved before there were these.
    let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
    let fields = before.as_object_mut().unwrap();
    for name in ["restart", "converged", "sampled"] {
        assert!(fields.remove(name).is_some(), "{name}");
    }
    let read: Fit = serde_json::from_str(&before.to_string()).unwrap();
    assert_eq!(
        (read.restart, read.converged, read.sampled),
        (0, false, None)
    );
    assert_eq!(read.centroids, fit.centroids);
}

#[cfg(feature = "serde")]
#[test]
fn kinds_are_named_in_lower_case() {
    use protem_cluster::ConcentrationParams;
    let of = |init: Init| serde_json::to_string(&init).unwrap();
    assert_eq!(of(Init::PlusPlus), r#""plusplus""#);
    assert_eq!(of(Init::Given(vec![0.5])), r#"{"given":[0.5]}"#);
    let few = fit(KMeans::builder(3), &numbers(40, 8), 2).warnings;
    let few = serde_json::to_string(&few).unwrap();
    assert!(few.starts_with(r#"[{"few_points":{"#), "{few}");
    let empty = protem_cluster::Warning::Empty { clusters: 2 };
    let empty = serde_json::to_string(&empty).unwrap();
    assert_eq!(empty, r#"{"empty":{"clusters":2}}"#);
    let some: ConcentrationParams = serde_json::from_str(r#"{"temperature":0.1}"#).unwrap();
    let expected = ConcentrationParams {
        temperature: 0.1,
        ..Default::default()
    };
    assert_eq!(some, expected);
}

/// What was fitted on a device is read by programs without the feature `cuda` too.
#[cfg(feature = "serde")]
#[test]
fn results_of_a_device_are_read_without_it() {
    use protem_cluster::{Device, Warning};
    let mut fit = fit(KMeans::builder(3), &numbers(240, 8), 2);
    fit.device = Device::Cuda(1);
    fit.warnings = vec![Warning::InBlocks {
        points: 120,
        block: 60,
    }];
    let text = serde_json::to_string(&fit).unwrap();
    assert!(text.contains(r#""device":{"cuda":1}"#), "{text}");
    assert_eq!(serde_json::from_str::<Fit>(&text).unwrap(), fit);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_without_the_feature_is_an_error() {
    use protem_cluster::Device;
    let built = KMeans::builder(1).device(Device::Cuda(0)).build();
    let error = built.unwrap_err();
    assert!(matches!(error, ClusterError::DeviceMissing { .. }));
    assert!(error.to_string().contains("feature `cuda`"), "{error}");
    assert!(KMeans::builder(1).device(Device::Auto).build().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn farthest_leaves_no_cluster_empty(
        n in 1usize..60,
        values in 1i32..6,
        d in 1usize..4,
        seed in any::<u64>(),
        share in 0.0f64..1.0,
        // Squares of the last two are none in f32.
        scale in prop::sample::select(vec![1.0f32, 1e-18, 1e-23, 1e-38]),
    ) {
        let points: Vec<f32> = numbers(n * d, seed)
            .iter()
            .map(|x| (x * values as f32).round() * scale)
            .collect();
        let distinct: BTreeSet<Vec<u32>> = points
            .chunks_exact(d)
            .map(|row| row.iter().map(|x| (x + 0.0).to_bits()).collect())
            .collect();
        let k = 1 + ((distinct.len() - 1) as f64 * share) as usize;
        let settings = KMeans::builder(k).empty(Empty::Farthest).iterations(5).seed(seed);
        let fit = fit(settings, &points, d);
        prop_assert!(fit.sizes.iter().all(|s| *s > 0), "{:?}", fit.sizes);
    }

    #[test]
    fn any_clustering_is_whole(
        n in 1usize..120,
        share in 0.0f64..1.0,
        d in 1usize..12,
        seed in any::<u64>(),
        spherical in any::<bool>(),
        plus_plus in any::<bool>(),
        farthest in any::<bool>(),
        limit in 1usize..50,
    ) {
        let points = numbers(n * d, seed);
        let k = 1 + ((n - 1) as f64 * share) as usize;
        let settings = KMeans::builder(k)
            .seed(seed)
            .spherical(spherical)
            .init(if plus_plus { Init::PlusPlus } else { Init::Random })
            .empty(if farthest { Empty::Farthest } else { Empty::Split })
            .max_points_per_centroid(limit)
            .min_points_per_centroid(0)
            .iterations(4);
        let fit = fit(settings, &points, d);
        prop_assert!(fit.centroids.iter().all(|c| c.is_finite()));
        prop_assert_eq!(fit.centroids.len(), k * d);
        prop_assert_eq!(fit.sizes.iter().sum::<u32>() as usize, n);
        let sum: f64 = fit.distances.iter().map(|d| *d as f64).sum();
        prop_assert_eq!(sum, fit.objective);
        // Labels and distances are of the centroids returned, to the bit.
        let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
        let matrix = Matrix::new(&points, n, d).unwrap();
        fit.predict_into(matrix, &mut labels, &mut distances, None).unwrap();
        prop_assert_eq!((labels, distances), (fit.labels, fit.distances));
    }
}
