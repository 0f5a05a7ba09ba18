//! Seconds per iteration: `cargo bench -p protem-cluster`.

use criterion::{Criterion, criterion_group, criterion_main};
use protem_cluster::{KMeans, Matrix};

fn iteration(c: &mut Criterion) {
    let (n, d) = (20_000, 128);
    let points: Vec<f32> = (0..n * d)
        .map(|i| ((i * 7919 % 10_007) as f32 / 5003.5) - 1.0)
        .collect();
    let matrix = Matrix::new(&points, n, d).expect("the right length");
    for k in [100, 1000] {
        let kmeans = KMeans::builder(k)
            .iterations(1)
            .max_points_per_centroid(n)
            .build()
            .expect("good settings");
        c.benchmark_group("one iteration, 20,000 points of 128")
            .sample_size(10)
            .bench_function(format!("k = {k}"), |b| {
                b.iter(|| kmeans.fit(matrix));
            });
    }
}

criterion_group!(benches, iteration);
criterion_main!(benches);
