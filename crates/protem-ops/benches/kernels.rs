//! Each kernel alone: `cargo bench -p protem-ops`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protem_ops::{Activation, Pool, Shape, conv::Conv, norm};

fn map(pool: &Pool, shape: Shape) -> Activation {
    let values: Vec<f32> = (0..shape.len())
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    Activation::from_nchw(pool, &values, shape)
}

fn convolutions(c: &mut Criterion) {
    let pool = Pool::default();
    for (inputs, outputs, kernel, stride, side, batch) in [
        (3, 64, 3, 1, 32, 128),
        (64, 64, 3, 1, 32, 128),
        (128, 128, 3, 1, 16, 128),
        (256, 256, 3, 1, 8, 128),
        (512, 512, 3, 1, 4, 128),
        (64, 128, 3, 2, 32, 128),
        (256, 64, 1, 1, 56, 16),
    ] {
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
        let x = map(&pool, shape);
        let dy = map(&pool, conv.output(shape));
        let weights: Vec<f32> = (0..conv.weights()).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut gradient = weights.clone();
        let mut group = c.benchmark_group("conv");
        group.sample_size(10);
        group.throughput(Throughput::Elements(
            (2 * conv.output(shape).len() * inputs * kernel * kernel) as u64,
        ));
        let name = format!("{inputs}-{outputs} k{kernel}s{stride} @{side}");
        group.bench_function(BenchmarkId::new("forward", &name), |b| {
            b.iter(|| conv.forward(&pool, &weights, &x))
        });
        group.bench_function(BenchmarkId::new("input_gradient", &name), |b| {
            b.iter(|| conv.input_gradient(&pool, &weights, &dy, shape));
        });
        group.bench_function(BenchmarkId::new("weight_gradient", &name), |b| {
            b.iter(|| conv.weight_gradient(&pool, &x, &dy, &mut gradient));
        });
    }
}

fn batch_norm(c: &mut Criterion) {
    let pool = Pool::default();
    let x = map(
        &pool,
        Shape {
            height: 32,
            width: 32,
            batch: 128,
            channels: 64,
        },
    );
    let (gamma, beta) = (vec![1.0; 64], vec![0.0; 64]);
    let (mut mean, mut var) = (vec![0.0; 64], vec![1.0; 64]);
    let mut group = c.benchmark_group("batch_norm_relu 64@32");
    group.sample_size(10);
    group.bench_function("forward", |b| {
        b.iter(|| {
            norm::forward_train(
                &pool,
                &x,
                &gamma,
                &beta,
                (&mut mean, &mut var),
                1,
                None,
                norm::Then::Relu,
            )
        });
    });
}

criterion_group!(benches, convolutions, batch_norm);
criterion_main!(benches);
