//! A whole M-step, InfoNCE alone and with prototypes: `cargo bench -p protem-em`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protem_em::{Batch, Clustering, LossConfig, m_step};
use protem_encoder::{Arch, EncoderConfig, Head, MomentumPair, Stem};
use protem_loss::Queue;
use protem_ops::Precision;

const BATCH: usize = 128;

fn steps(c: &mut Criterion) {
    let encoder = EncoderConfig {
        arch: Arch::Resnet18,
        stem: Stem::Cifar,
        width: 32,
        head: Head::V2,
        dim: 128,
        split_bn: 4,
    };
    let mut pair = MomentumPair::new(encoder, Precision::F32, 0, 0.99);
    let mut queue = Queue::new(2048, 128, BATCH, 0).expect("the batch divides it");
    let mut gradient = vec![0.0; pair.query.parameters().len()];
    let bytes: Vec<u8> = (0..BATCH * 32 * 32 * 3)
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let indices: Vec<u32> = (0..BATCH as u32).collect();
    let labels = (0..5000).map(|i| i % 500).collect();
    let centroids = (0..500 * 128).map(|i| (i as f32).sin()).collect();
    let clustering =
        Clustering::new(labels, centroids, vec![0.2; 500], 128).expect("parts belong together");
    let config = LossConfig {
        temperature: 0.2,
        negatives: 2048,
    };
    let mut group = c.benchmark_group("m-step, resnet18 width 32, batch 128");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, clusterings) in [("moco", vec![]), ("pcl", vec![clustering; 3])] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let views = || {
                    pair.query
                        .images(&bytes, (BATCH, 32, 32), [0.5; 3], [0.25; 3])
                };
                let batch = Batch {
                    indices: &indices,
                    queries: views(),
                    keys: views(),
                    key_rows: None,
                    ranks: &mut protem_em::Ranks::alone(),
                };
                m_step(
                    &mut pair,
                    &mut queue,
                    &clusterings,
                    &config,
                    (0, 0),
                    batch,
                    &mut gradient,
                )
            });
        });
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
