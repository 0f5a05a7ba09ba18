//! Maps of features: what they show, that threads change nothing, and what is too little for one.

use protem_eval::{EvalError, Features, Tsne, TsneConfig, TsneProgress, tsne};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Rows in turn around `groups` directions.
fn grouped(count: usize, dim: usize, groups: usize) -> Features {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut drawn =
        |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (centres, noise) = (drawn(groups * dim), drawn(count * dim));
    let value =
        |(at, noise): (usize, &f32)| centres[at / dim % groups * dim + at % dim] + 0.3 * noise;
    Features::new(noise.iter().enumerate().map(value).collect(), dim).unwrap()
}

fn mapped(features: Features, config: &TsneConfig) -> Tsne {
    let found = tsne(features, config, &mut |_| true);
    found.unwrap().expect("never asked to stop")
}

fn finite(found: &Tsne) -> bool {
    found.divergence.is_finite() && found.places.iter().flatten().all(|at| at.is_finite())
}

#[test]
fn what_is_alike_lies_together() {
    let groups = 5;
    let found = mapped(grouped(400, 20, groups), &TsneConfig::default());
    let squared = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    for (i, place) in found.places.iter().enumerate() {
        let others = found.places.iter().enumerate().filter(|(j, _)| *j != i);
        let nearest = others.min_by(|a, b| squared(*a.1, *place).total_cmp(&squared(*b.1, *place)));
        assert_eq!(nearest.unwrap().0 % groups, i % groups, "{i}");
    }
    assert!(
        found.divergence > 0.0 && found.divergence < 1.0,
        "{}",
        found.divergence
    );
    // And its mean is zero.
    let sums = [0, 1].map(|axis| found.places.iter().map(|place| place[axis]).sum::<f32>());
    assert!(sums.iter().all(|sum| sum.abs() < 0.05), "{sums:?}");
}

#[test]
fn threads_change_no_bit_and_seeds_do() {
    let features = grouped(333, 9, 4);
    let on = |threads: usize, seed: u64| {
        let config = TsneConfig {
            seed,
            ..TsneConfig::default()
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| mapped(features.clone(), &config))
    };
    let one = on(1, 3);
    assert_eq!(one, on(2, 3));
    assert_eq!(one, on(5, 3));
    assert_ne!(one, on(2, 4));
}

#[test]
fn few_images_have_a_map_too() {
    for count in [1, 2, 3, 4, 5, 8, 30, 31, 91] {
        for perplexity in [1.0, 30.0, 1e300] {
            let config = TsneConfig {
                perplexity,
                seed: 0,
            };
            let found = mapped(grouped(count, 3, 2), &config);
            assert_eq!(found.places.len(), count);
            assert!(finite(&found), "{count}: {found:?}");
        }
    }
    let config = TsneConfig::default();
    assert_eq!(
        [1, 2, 31, 91, 92].map(|n| config.perplexity_of(n)),
        [1.0, 1.0, 10.0, 30.0, 30.0]
    );
}

#[test]
fn equal_rows_and_zeros_are_rows_too() {
    for (count, dim) in [(2, 3), (50, 3), (300, 1)] {
        for value in [0.0, 1.0, -3e37] {
            let features = Features::new(vec![value; count * dim], dim).unwrap();
            assert!(
                finite(&mapped(features, &TsneConfig::default())),
                "{count} × {value}"
            );
        }
    }
    // Every row three times, and zeros between them.
    let once = grouped(60, 6, 3);
    let mut values = once.values().repeat(3);
    values.extend([0.0; 6 * 20]);
    let found = mapped(Features::new(values, 6).unwrap(), &TsneConfig::default());
    assert!(finite(&found));
    let far = |i: usize, j: usize| {
        let [a, b] = [found.places[i], found.places[j]];
        (a[0] - b[0]).hypot(a[1] - b[1])
    };
    let copies = (0..60).map(|i| far(i, i + 60)).fold(0.0, f32::max);
    let most = (0..60).map(|i| far(0, i)).fold(0.0, f32::max);
    assert!(copies < most / 4.0, "{copies} {most}");
}

#[test]
fn what_cannot_be_is_refused() {
    for perplexity in [0.0, 0.99, -3.0, f64::NAN, f64::INFINITY] {
        let config = TsneConfig {
            perplexity,
            seed: 0,
        };
        let refused = tsne(grouped(9, 3, 2), &config, &mut |_| true);
        assert!(
            matches!(refused, Err(EvalError::Perplexity { .. })),
            "{perplexity}"
        );
    }
    let odd = Features::new(vec![1.0, f32::NAN], 1);
    assert_eq!(odd, Err(EvalError::NotFinite { row: 1 }));
}

#[test]
fn it_stops_when_told_to() {
    let features = grouped(100, 3, 2);
    let first = |stop: fn(TsneProgress) -> bool| {
        tsne(features.clone(), &TsneConfig::default(), &mut |at| {
            !stop(at)
        })
        .unwrap()
    };
    assert_eq!(first(|at| matches!(at, TsneProgress::Compared(_))), None);
    assert_eq!(first(|at| matches!(at, TsneProgress::Moved(9, _))), None);
    assert!(first(|at| matches!(at, TsneProgress::Compared(0))).is_some());
}
