//! Decoding, parts of views, whole views and the loader: `cargo bench -p protem-data`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{ImageFormat, RgbImage};
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use protem_data::ops::{self, Crop};
use protem_data::{
    Augment, AugmentConfig, ClassNames, Evaluation, Generated, GeneratedSpec, Recipe, Share,
    Source, Split, Stream, ViewLoader, ViewPlan, decode,
};
use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

fn generated(size: u32, images: usize) -> Generated {
    Generated::new(GeneratedSpec {
        seed: 0,
        images,
        size,
        split: Split::Train,
    })
}

/// As large as a photograph of ImageNet.
fn photograph() -> RgbImage {
    let square = generated(500, 10).read(0).expect("generated");
    let crop = Crop {
        height: 375,
        ..Crop::whole(&square)
    };
    ops::resized_crop(&square, crop, 500, 375)
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decoding of 500×375");
    group.throughput(Throughput::Elements(1));
    for (name, bytes) in [("JPEG", jpeg(&photograph())), ("PNG", png(&photograph()))] {
        group.bench_function(name, |b| b.iter(|| decode(&bytes)));
    }
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    compress(
        image,
        width,
        height,
        PixelFormat::Rgb,
        90,
        Subsampling::S420,
    )
    .expect("in memory")
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("in memory");
    bytes.into_inner()
}

fn parts(c: &mut Criterion) {
    let photograph = photograph();
    let crop = Crop {
        left: 31,
        top: 17,
        width: 401,
        height: 299,
    };
    let view = ops::resized_crop(&photograph, crop, 224, 224);
    let mut group = c.benchmark_group("a part of a 224-pixel view");
    group.throughput(Throughput::Elements(1));
    group.bench_function("resized crop", |b| {
        b.iter(|| ops::resized_crop(&photograph, crop, 224, 224));
    });
    type Part = fn(&mut RgbImage);
    let parts: [(&str, Part); 8] = [
        ("brightness", |i| ops::brightness(i, 1.1)),
        ("contrast", |i| ops::contrast(i, 0.9)),
        ("saturation", |i| ops::saturation(i, 0.9)),
        ("hue", |i| ops::hue(i, 0.05)),
        ("grayscale", ops::grayscale),
        ("blur, σ 1", |i| ops::gaussian_blur(i, 1.0)),
        ("blur, σ 2", |i| ops::gaussian_blur(i, 2.0)),
        ("flip", ops::flip),
    ];
    for (name, part) in parts {
        let mut image = view.clone();
        group.bench_function(name, |b| b.iter(|| part(black_box(&mut image))));
    }
}

fn views(c: &mut Criterion) {
    let tiny = generated(32, 10).read(0).expect("generated");
    let photograph = photograph();
    for (image, size) in [(&tiny, 32), (&photograph, 224)] {
        let mut group = c.benchmark_group(format!("one {size}-pixel view"));
        group.throughput(Throughput::Elements(1));
        for (name, recipe, blur) in [
            ("v1", Recipe::V1, false),
            ("v2 without blur", Recipe::V2, false),
            ("v2", Recipe::V2, true),
        ] {
            let augment = Augment::new(AugmentConfig {
                recipe,
                size,
                min_scale: 0.2,
                blur,
            });
            let mut stream = Stream {
                seed: 0,
                epoch: 0,
                index: 0,
                view: 0,
            };
            group.bench_function(name, |b| {
                b.iter(|| {
                    stream.index += 1;
                    augment.view(image, stream)
                });
            });
        }
        group.bench_function("evaluation", |b| {
            b.iter(|| Evaluation::for_size(size).view(image));
        });
    }
}

/// Of images that cost next to nothing to read.
fn loader(c: &mut Criterion) {
    struct Same(RgbImage);
    impl Source for Same {
        fn len(&self) -> usize {
            512
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn label(&self, _: usize) -> Option<u32> {
            None
        }
        fn classes(&self) -> &ClassNames {
            const { &ClassNames::numbers(0) }
        }
        fn read(&self, _: usize) -> Result<RgbImage, protem_data::ReadError> {
            Ok(self.0.clone())
        }
        fn describe(&self) -> String {
            "one image".into()
        }
    }
    let image = generated(32, 10).read(0).expect("generated");
    let source: Arc<dyn Source> = Arc::new(Same(image));
    let mut group = c.benchmark_group("an epoch of 512 images of 32 pixels");
    group.throughput(Throughput::Elements(512));
    for workers in [1, 2] {
        let plan = ViewPlan {
            source: source.clone(),
            augment: Augment::new(AugmentConfig {
                recipe: Recipe::V2,
                size: 32,
                min_scale: 0.2,
                blur: false,
            }),
            seed: 0,
            epoch: 0,
            batch: 64,
            share: Share::ALL,
            start: 0,
            workers,
        };
        group.bench_function(format!("{workers} workers"), |b| {
            b.iter(|| {
                let loader = ViewLoader::<2>::new(plan.clone()).expect("enough images");
                loader.for_each(|batch| drop(black_box(batch)));
            });
        });
    }
}

criterion_group!(benches, decoding, parts, views, loader);
criterion_main!(benches);
