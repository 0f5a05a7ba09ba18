//! Views per second: `cargo bench -p protem-data`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protem_data::{
    Augment, AugmentConfig, Generated, GeneratedSpec, Recipe, Source, Split, Stream,
};

fn views(c: &mut Criterion) {
    let spec = GeneratedSpec {
        seed: 0,
        images: 10,
        size: 32,
        split: Split::Train,
    };
    let image = Generated::new(spec).read(0).expect("generated");
    let mut group = c.benchmark_group("one 32-pixel view");
    group.throughput(Throughput::Elements(1));
    for (name, recipe, blur) in [
        ("v1", Recipe::V1, false),
        ("v2", Recipe::V2, false),
        ("v2 with blur", Recipe::V2, true),
    ] {
        let augment = Augment::new(AugmentConfig {
            recipe,
            size: 32,
            min_scale: 0.2,
            blur,
        });
        let mut index = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                index += 1;
                augment.view(
                    &image,
                    Stream {
                        seed: 0,
                        epoch: 0,
                        index,
                        view: 0,
                    },
                )
            });
        });
    }
}

criterion_group!(benches, views);
criterion_main!(benches);
