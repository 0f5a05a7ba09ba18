//! What ranks of this machine take to exchange: `cargo bench -p protem-comm`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protem_comm::Ranks;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// The time that rank 0 of `world` takes for `times` of what all do.
fn timed(
    world: usize,
    times: u64,
    collective: fn(&mut Ranks, &mut [f32]),
    values: usize,
) -> Duration {
    let ranks = Ranks::within_process(world).expect("ports of this machine");
    let ranks = ranks.into_iter().map(|mut ranks| {
        thread::spawn(move || {
            let mut values = vec![1.0f32; values];
            collective(&mut ranks, &mut values);
            let begun = Instant::now();
            for _ in 0..times {
                collective(&mut ranks, black_box(&mut values));
            }
            begun.elapsed()
        })
    });
    let ranks: Vec<_> = ranks.collect();
    let times: Vec<Duration> = ranks
        .into_iter()
        .map(|r| r.join().expect("no panic"))
        .collect();
    times[0]
}

fn sum(ranks: &mut Ranks, values: &mut [f32]) {
    ranks.sum(values).expect("all are there");
}

fn gather(ranks: &mut Ranks, values: &mut [f32]) {
    ranks.gather_values(values).expect("all are there");
}

fn collectives(c: &mut Criterion) {
    let mut group = c.benchmark_group("collectives");
    group.sample_size(10);
    for world in [2, 4] {
        // A short message, the gradient of a ResNet-18, that of a ResNet-50.
        for values in [256, 11_200_000, 25_600_000] {
            group.throughput(Throughput::Bytes(4 * values as u64));
            let of = |name| BenchmarkId::new(name, format!("{world} ranks, {values} values"));
            group.bench_function(of("sum"), |b| {
                b.iter_custom(|times| timed(world, times, sum, values));
            });
        }
        group.throughput(Throughput::Bytes(4 * 32_768));
        group.bench_function(
            BenchmarkId::new("gather", format!("{world} ranks, 32768 values each")),
            |b| {
                b.iter_custom(|times| timed(world, times, gather, 32_768));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, collectives);
criterion_main!(benches);
