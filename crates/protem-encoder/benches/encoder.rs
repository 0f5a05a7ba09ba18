//! Forward, and forward with backward, of one encoder, in both precisions:
//! `cargo bench -p protem-encoder`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protem_encoder::{Arch, Encoder, EncoderConfig, Head, Stem};
use protem_ops::{Activation, Precision, optim::Sgd};

const BATCH: usize = 128;

fn images(encoder: &Encoder) -> Activation {
    let bytes: Vec<u8> = (0..BATCH * 32 * 32 * 3)
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    encoder.images(&bytes, (BATCH, 32, 32), [0.5; 3], [0.25; 3])
}

fn steps(c: &mut Criterion) {
    for width in [16, 32, 64] {
        for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
            let config = EncoderConfig {
                arch: Arch::Resnet18,
                stem: Stem::Cifar,
                width,
                head: Head::V1,
                dim: 128,
                split_bn: 1,
            };
            let mut encoder = Encoder::new(config, 0).with_precision(precision);
            let mut gradient = vec![0.0; encoder.parameters().len()];
            let mut velocity = gradient.clone();
            let sgd = Sgd {
                learning_rate: 1e-3,
                momentum: 0.9,
                weight_decay: 1e-4,
            };
            let title = format!("resnet18 cifar width {width} batch {BATCH} {name}");
            let mut group = c.benchmark_group(title);
            group.sample_size(10);
            group.throughput(Throughput::Elements(BATCH as u64));
            group.bench_function("features", |b| {
                b.iter(|| encoder.features(images(&encoder)))
            });
            group.bench_function("step", |b| {
                b.iter(|| {
                    let (embedding, tape) = encoder.forward_train(images(&encoder));
                    encoder.backward(tape, &embedding, &mut gradient);
                    sgd.step(encoder.parameters_mut(), &gradient, &mut velocity);
                });
            });
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
