//! kNN, near duplicates, linear classifiers, maps, effective rank and AMI at usual sizes: `cargo bench -p protem-eval`.

use criterion::{Criterion, criterion_group, criterion_main};
use protem_eval::{
    Classified, Features, KnnConfig, LinearConfig, SvmConfig, TsneConfig, ami, duplicates,
    effective_rank, knn, linear, svm, tsne,
};

fn measures(c: &mut Criterion) {
    let make = |rows: usize| {
        let values = (0..rows * 256)
            .map(|i| ((i * 7919 % 10_007) as f32).sin())
            .collect();
        Features::new(values, 256).expect("whole rows")
    };
    let (train, test) = (make(5000), make(1000));
    let labels: Vec<u32> = (0..5000).map(|i| i % 10).collect();
    c.bench_function("knn, 5000 × 1000 of 256", |b| {
        b.iter(|| {
            knn(
                train.clone(),
                &labels,
                test.clone(),
                &labels[..1000],
                &KnnConfig::default(),
                &mut |_| true,
            )
        });
    });
    c.bench_function("duplicates, 5000 of 256", |b| {
        b.iter(|| duplicates(train.clone(), 0.995, &mut |_| true));
    });
    let config = LinearConfig {
        decay: Some(1e-2),
        iterations: 20,
    };
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    group.bench_function("20 iterations, 5000 of 256", |b| {
        b.iter(|| {
            linear(
                train.clone(),
                &labels,
                test.clone(),
                &labels[..1000],
                &config,
                &mut |_, _| true,
            )
        });
    });
    let classified = |features: &Features| {
        let labels = labels[..features.rows()].iter().map(|label| vec![*label]);
        Classified::new(features.clone(), labels.collect(), 10).expect("ten classes")
    };
    let (of_train, of_test) = (classified(&train), classified(&test));
    let all = [(0..5000).collect()];
    let config = SvmConfig {
        iterations: 20,
        ..SvmConfig::default()
    };
    group.bench_function("SVMs, 20 iterations each, 5000 of 256, 10 classes", |b| {
        b.iter(|| {
            let (train, test) = (of_train.clone(), of_test.clone());
            svm(train, test, &all, &config, &|_, _| true)
        });
    });
    group.bench_function("map, 1000 of 256", |b| {
        b.iter(|| tsne(test.clone(), &TsneConfig::default(), &mut |_| true));
    });
    group.finish();
    c.bench_function("effective rank, 1000 of 256", |b| {
        b.iter(|| effective_rank(&test))
    });
    let (x, y): (Vec<u32>, Vec<u32>) = (0..5000u32).map(|i| (i * 7 % 500, i * i % 491)).unzip();
    c.bench_function("ami, 5000 points, 500 clusters", |b| b.iter(|| ami(&x, &y)));
}

criterion_group!(benches, measures);
criterion_main!(benches);
