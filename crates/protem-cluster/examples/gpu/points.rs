//! Points to try a device on.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rows made by one task.
const ROWS: usize = 4096;

/// `n × d` values, a row at a time by `row(generator, values)`; the same on any number of threads.
fn rows(
    n: usize,
    d: usize,
    seed: u64,
    row: impl Fn(&mut ChaCha8Rng, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values = vec![0.0; n * d];
    let tasks = values.par_chunks_mut(ROWS * d).enumerate();
    tasks.for_each(|(at, some)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(at as u64);
        some.chunks_mut(d).for_each(|values| row(&mut rng, values));
    });
    values
}

/// Nearly normal, of variance 1.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..6).map(|_| rng.random::<f32>()).sum();
    (sum - 3.0) * std::f32::consts::SQRT_2
}

/// Values between −1 and 1.
pub fn random(n: usize, d: usize) -> Vec<f32> {
    rows(n, d, 1, |rng, values| {
        values.fill_with(|| rng.random::<f32>() * 2.0 - 1.0);
    })
}

/// Unit vectors of 300 families of 20 clusters each, most of the variance in few columns: as the
/// mixtures of `xtask/peers/kmeans_data.py`, without their rotation.
pub fn mixture(n: usize, d: usize) -> Vec<f32> {
    const FAMILIES: usize = 300;
    const MEMBERS: usize = 20;
    let scale = |column: usize| 1.0 / (column as f32 + 1.0).sqrt();
    let spread = |count, seed| {
        rows(count, d, seed, |rng, values| {
            for (column, value) in values.iter_mut().enumerate() {
                *value = normal(rng) * scale(column);
            }
        })
    };
    let (families, clusters) = (spread(FAMILIES, 2), spread(FAMILIES * MEMBERS, 3));
    rows(n, d, 4, |rng, values| {
        let cluster = rng.random_range(0..FAMILIES * MEMBERS);
        let centre = clusters[cluster * d..][..d].iter();
        let centre = centre.zip(&families[cluster / MEMBERS * d..][..d]);
        for (column, (value, (cluster, family))) in values.iter_mut().zip(centre).enumerate() {
            *value = family + 0.8 * cluster + 0.9 * normal(rng) * scale(column);
        }
        let length = values.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-20);
        values.iter_mut().for_each(|x| *x /= length);
    })
}

/// Points that are hard in their own ways, with a name each.
pub fn kinds(n: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let random = random(n, d);
    let each = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        let values = random.iter().enumerate();
        values.map(|(at, x)| change(at, *x)).collect()
    };
    vec![
        ("clustered", mixture(n, d)),
        // Every point seven times, so that centroids coincide too.
        ("duplicates", each(&|at, _| random[at / d / 7 * d + at % d])),
        // Alike but for what bf16 does not see.
        ("alike", each(&|at, x| random[at % d] + x * 1e-4)),
        ("on a grid", each(&|_, x| (x * 2.0).round())),
        ("far off", each(&|_, x| x / 8.0 + 50.0)),
        ("tiny", each(&|_, x| x * 1e-30)),
        (
            "of many sizes",
            each(&|at, x| x / (1u64 << (at * 11 % 53)) as f32),
        ),
        ("random", random.clone()),
    ]
}

/// `k` of the points, evenly spread over them.
pub fn spread(values: &[f32], d: usize, k: usize) -> Vec<f32> {
    let n = values.len() / d;
    let rows = (0..k).map(|c| (c as u64 * n as u64 / k as u64) as usize);
    rows.flat_map(|i| &values[i * d..][..d]).copied().collect()
}
