//! Seconds per iteration and per concentration: `cargo bench -p protem-cluster`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protem_cluster::{ConcentrationParams, Isa, KMeans, Matrix, assign_on, concentration};

const N: usize = 20_000;
const D: usize = 128;

/// Points without structure, so that no clustering ends early.
fn points() -> Vec<f32> {
    (0..(N * D) as u64)
        .map(|i| {
            let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn k_means(c: &mut Criterion) {
    let points = points();
    let matrix = Matrix::new(&points, N, D).expect("the right length");
    let mut group = c.benchmark_group("20,000 points of 128");
    group.sample_size(10);
    for k in [100, 1000] {
        // A product and a sum for each value of each pair.
        group.throughput(Throughput::Elements((2 * N * D * k) as u64));
        let centroids = Matrix::new(&points[..k * D], k, D).expect("the right length");
        for isa in Isa::available() {
            group.bench_function(format!("assign, k = {k}, {}", isa.name()), |b| {
                b.iter(|| assign_on(*isa, matrix, centroids, None));
            });
        }
        group.throughput(Throughput::Elements((2 * N * D * k * 6) as u64));
        let kmeans = KMeans::builder(k)
            .iterations(5)
            .max_points_per_centroid(N)
            .build()
            .expect("good settings");
        group.bench_function(format!("fit of 5 iterations, k = {k}"), |b| {
            b.iter(|| kmeans.fit(matrix));
        });
    }
    group.finish();
}

fn phi(c: &mut Criterion) {
    let distances: Vec<f32> = (0..N).map(|i| (i % 97) as f32 / 97.0).collect();
    let labels: Vec<u32> = (0..N as u32).map(|i| i * 31 % 1000).collect();
    let params = ConcentrationParams::default();
    c.bench_function("concentration, 20,000 points, k = 1000", |b| {
        b.iter(|| concentration(&distances, &labels, 1000, &params));
    });
}

criterion_group!(benches, k_means, phi);
criterion_main!(benches);
