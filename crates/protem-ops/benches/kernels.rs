//! Each kernel alone, in both precisions: `cargo bench -p protem-ops`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protem_ops::conv::Conv;
use protem_ops::linear::Linear;
use protem_ops::norm::{self, Affine, Then};
use protem_ops::optim::{Lars, Place, Sgd, momentum_update};
use protem_ops::{Activation, Pool, Precision, Shape, pooling};

const PRECISIONS: [(&str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];

fn map(pool: &Pool, precision: Precision, shape: Shape) -> Activation {
    let values: Vec<f32> = (0..shape.len())
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    Activation::from_nchw(pool, precision, &values, shape)
}

#[rustfmt::skip]
const CONVOLUTIONS: [(usize, usize, usize, usize, usize, usize); 10] = [
    // inputs, outputs, kernel, stride, side, batch
    (3, 64, 3, 1, 32, 128),
    (64, 64, 3, 1, 32, 128),
    (128, 128, 3, 1, 16, 128),
    (256, 256, 3, 1, 8, 128),
    (512, 512, 3, 1, 4, 128),
    (64, 128, 3, 2, 32, 128),
    (3, 64, 7, 2, 224, 32),
    (256, 64, 1, 1, 56, 32),
    (64, 256, 1, 1, 56, 32),
    (64, 64, 3, 1, 56, 32),
];

fn convolutions(c: &mut Criterion) {
    for (name, precision) in PRECISIONS {
        let pool = Pool::default();
        let mut group = c.benchmark_group(format!("conv {name}"));
        group.sample_size(10);
        for (inputs, outputs, kernel, stride, side, batch) in CONVOLUTIONS {
            let conv = Conv {
                inputs,
                outputs,
                kernel,
                stride,
                padding: kernel / 2,
            };
            let shape = Shape {
                height: side,
                width: side,
                batch,
                channels: inputs,
            };
            let x = map(&pool, precision, shape);
            let dy = map(&pool, precision, conv.output(shape));
            let weights: Vec<f32> = (0..conv.weights()).map(|i| (i % 17) as f32 - 8.0).collect();
            let mut gradient = weights.clone();
            group.throughput(Throughput::Elements(
                (2 * conv.output(shape).len() * inputs * kernel * kernel) as u64,
            ));
            let name = format!("{inputs}-{outputs} k{kernel}s{stride} @{side}");
            group.bench_function(BenchmarkId::new("forward", &name), |b| {
                b.iter(|| conv.forward(&pool, &weights, &x))
            });
            group.bench_function(BenchmarkId::new("input_gradient", &name), |b| {
                b.iter(|| conv.input_gradient(&pool, &weights, &dy, shape, None));
            });
            group.bench_function(BenchmarkId::new("weight_gradient", &name), |b| {
                b.iter(|| conv.weight_gradient(&pool, &x, &dy, &mut gradient));
            });
        }
    }
}

fn batch_norm(c: &mut Criterion) {
    let (gamma, beta) = (vec![1.0; 64], vec![0.0; 64]);
    let affine = Affine {
        gamma: &gamma,
        beta: &beta,
    };
    for (name, precision) in PRECISIONS {
        let pool = Pool::default();
        let shape = Shape {
            height: 32,
            width: 32,
            batch: 128,
            channels: 64,
        };
        let x = map(&pool, precision, shape);
        let (mut mean, mut var) = (vec![0.0; 64], vec![1.0; 64]);
        let mut forward = || {
            let running = (&mut mean[..], &mut var[..]);
            norm::forward_train(&pool, &x, affine, running, 1, None, Then::Relu)
        };
        let mut group = c.benchmark_group(format!("batch norm + ReLU 64@32 {name}"));
        group.sample_size(10);
        group.bench_function("forward", |b| b.iter(&mut forward));
        let (y, statistics) = forward();
        let (mut dgamma, mut dbeta) = (vec![0.0; 64], vec![0.0; 64]);
        for (what, y) in [("backward", None), ("backward with addition", Some(&y))] {
            group.bench_function(what, |b| {
                b.iter_batched(
                    || [(); 2].map(|()| map(&pool, precision, shape)),
                    |[x, dy]| {
                        let into = (&mut dgamma[..], &mut dbeta[..]);
                        norm::backward(&pool, x, y, dy, affine, &statistics, Then::Relu, into)
                    },
                    criterion::BatchSize::LargeInput,
                );
            });
        }
    }
}

fn pools_and_heads(c: &mut Criterion) {
    for (name, precision) in PRECISIONS {
        let pool = Pool::default();
        let shape = Shape {
            height: 112,
            width: 112,
            batch: 32,
            channels: 64,
        };
        let x = map(&pool, precision, shape);
        let mut group = c.benchmark_group(format!("pooling 64@112 {name}"));
        group.sample_size(10);
        group.bench_function("max forward", |b| {
            b.iter(|| pooling::max_forward(&pool, &x))
        });
        let (y, winners) = pooling::max_forward(&pool, &x);
        group.bench_function("max backward", |b| {
            b.iter(|| pooling::max_backward(&pool, &y, &winners, shape));
        });
        group.bench_function("average forward", |b| {
            b.iter(|| pooling::average_forward(&pool, &x))
        });
        let mean = pooling::average_forward(&pool, &x);
        group.bench_function("average backward", |b| {
            b.iter(|| pooling::average_backward(&pool, &mean, shape, precision));
        });
    }
    let (pool, size) = (Pool::default(), 2048);
    let linear = Linear {
        inputs: size,
        outputs: size,
    };
    let x = Activation::from_matrix(&pool, &vec![0.5; 256 * size], 256, size);
    let (weights, bias) = (vec![0.1; size * size], vec![0.0; size]);
    let (mut dweights, mut dbias) = (weights.clone(), bias.clone());
    let mut group = c.benchmark_group("linear 2048-2048, batch 256");
    group.sample_size(10);
    group.bench_function("forward", |b| {
        b.iter(|| linear.forward(&pool, &weights, &bias, &x))
    });
    group.bench_function("backward", |b| {
        b.iter(|| linear.backward(&pool, &weights, &x, &x, (&mut dweights, &mut dbias)));
    });
}

fn optimizers(c: &mut Criterion) {
    let len = 25_000_000;
    let (mut parameters, gradient, mut velocity) =
        (vec![0.1; len], vec![0.01; len], vec![0.0; len]);
    let mut group = c.benchmark_group("25 million parameters");
    group.sample_size(10);
    group.throughput(Throughput::Elements(len as u64));
    let sgd = Sgd {
        learning_rate: 1e-6,
        momentum: 0.9,
        weight_decay: 1e-4,
    };
    group.bench_function("SGD", |b| {
        b.iter(|| sgd.step(&mut parameters, &gradient, &mut velocity));
    });
    let lars = Lars {
        learning_rate: 1e-6,
        momentum: 0.9,
        weight_decay: 1e-4,
        trust: 1e-3,
    };
    let place = Place {
        len: len / 100,
        vector: false,
    };
    group.bench_function("LARS, 100 tensors", |b| {
        b.iter(|| lars.step(&mut parameters, &gradient, &mut velocity, &[place; 100]));
    });
    group.bench_function("momentum update", |b| {
        b.iter(|| momentum_update(&mut parameters, &gradient, 0.999));
    });
}

criterion_group!(
    benches,
    convolutions,
    batch_norm,
    pools_and_heads,
    optimizers
);
criterion_main!(benches);
