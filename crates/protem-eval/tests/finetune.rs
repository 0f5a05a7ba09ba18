//! Classifiers trained on images: what is trained and what stays, the same bits, and that they learn.

use protem_data::{
    Evaluation, Generated, GeneratedSpec, IMAGENET_MEAN, IMAGENET_STD, Kind, Source, Split,
    StillLoader, Subset, open_memory,
};
use protem_encoder::{Arch, Encoder, EncoderConfig, Head, Precision, Stem};
use protem_eval::{FinetuneConfig, FinetuneError, Finetuned, Trains, finetune, top_k};
use std::path::Path;
use std::sync::Arc;

const SIZE: u32 = 16;

fn encoder(split_bn: usize) -> Encoder {
    let config = EncoderConfig {
        arch: Arch::Resnet18,
        stem: Stem::Cifar,
        width: 4,
        head: Head::V2,
        dim: 8,
        split_bn,
    };
    Encoder::new(config, 3)
}

fn images(images: usize, split: Split) -> Arc<dyn Source> {
    Arc::new(Generated::new(GeneratedSpec {
        seed: 5,
        images,
        size: SIZE,
        split,
    }))
}

fn config(trains: Trains) -> FinetuneConfig {
    FinetuneConfig {
        trains,
        batch: 16,
        encoder_rate: 0.05,
        classifier_rate: 0.2,
        weight_decay: 1e-4,
        milestones: vec![1],
        ..FinetuneConfig::linear(SIZE, 3, 0.0)
    }
}

fn trained(encoder: &Encoder, images: &Arc<dyn Source>, config: &FinetuneConfig) -> Finetuned {
    let found = finetune(encoder, images, config, &mut |_, _| true);
    found.unwrap().expect("never asked to stop")
}

/// Share of the images whose class has the highest score.
fn accuracy(encoder: &Encoder, images: &Arc<dyn Source>) -> f64 {
    let (mut scores, size) = (Vec::new(), SIZE as usize);
    for batch in StillLoader::new(images.clone(), Evaluation::for_size(SIZE), 50, 1) {
        let shape = (batch.indices.len(), size, size);
        let pixels = encoder.images(&batch.images, shape, IMAGENET_MEAN, IMAGENET_STD);
        scores.extend(encoder.embed(pixels));
    }
    let labels = (0..images.len()).map(|i| images.label(i).unwrap());
    top_k(
        &scores,
        encoder.config().dim,
        &labels.collect::<Vec<_>>(),
        1,
    )
}

#[test]
fn a_classifier_alone_leaves_the_encoder() {
    let (of, images) = (encoder(1), images(100, Split::Train));
    let found = trained(&of, &images, &config(Trains::Classifier));
    assert_eq!(found.encoder.config().dim, 10);
    let before: Vec<_> = of
        .tensors()
        .filter(|t| !t.name.starts_with("fc."))
        .collect();
    let mut moved = 0;
    for tensor in found.encoder.tensors() {
        match before.iter().find(|b| b.name == tensor.name) {
            Some(before) => assert_eq!(before.values, tensor.values, "{}", tensor.name),
            None => moved += tensor.values.iter().filter(|x| **x != 0.0).count(),
        }
    }
    let dim = of.config().feature_dim();
    assert!(
        moved > 10 * dim / 2,
        "{moved} values of the classifier moved"
    );
    let all = trained(&of, &images, &config(Trains::All));
    for tensor in all.encoder.tensors() {
        let before = before.iter().find(|b| b.name == tensor.name);
        assert!(
            before.is_none_or(|b| b.values != tensor.values),
            "{}",
            tensor.name
        );
    }
}

/// The classifier's own problem the slow way, on images of one colour each, as their crops are.
#[test]
fn a_step_of_the_classifier_is_that_of_logistic_regression() {
    let of = encoder(1);
    let colour = |i: u8, c: u8| 30 * i + 10 * c * (i % 3);
    let record = |i: u8| {
        let planes = (0..3).flat_map(move |c| vec![colour(i, c); 32 * 32]);
        std::iter::once(i / 2).chain(planes)
    };
    let records = (0..8).flat_map(record).collect();
    let all = open_memory(Kind::Cifar10, records, Path::new("colours")).unwrap();
    let config = FinetuneConfig {
        epochs: 1,
        batch: 8,
        classifier_rate: 1.0,
        momentum: 0.0,
        weight_decay: 0.0,
        milestones: vec![],
        ..config(Trains::Classifier)
    };
    let found = trained(&of, &all, &config);
    let (side, dim) = (SIZE as usize, of.config().feature_dim());
    let pixels = (0..8).flat_map(|i| [0, 1, 2].map(|c| colour(i, c)).repeat(side * side));
    let pixels: Vec<u8> = pixels.collect();
    let features = of.images(&pixels, (8, side, side), IMAGENET_MEAN, IMAGENET_STD);
    let features = of.features(features);
    let values = |name| {
        let mut tensors = found.encoder.tensors();
        tensors.find(|t| t.name == name).unwrap().values
    };
    let (weight, bias) = (values("fc.weight"), values("fc.bias"));
    // From zero the derivative by a class's score is its probability, a tenth, less 1 for the image's own.
    for class in 0..10 {
        let less = |i: usize| f32::from(u8::from(i / 2 == class)) - 0.1;
        let close = |value: f32, of: &dyn Fn(usize) -> f32| {
            let expected = (0..8).map(|i| less(i) * of(i)).sum::<f32>() / 8.0;
            assert!((value - expected).abs() < 1e-6, "{value}, not {expected}");
        };
        close(bias[class], &|_| 1.0);
        for j in 0..dim {
            close(weight[class * dim + j], &|i| features[i * dim + j]);
        }
    }
    assert!((found.loss - 10f64.ln()).abs() < 1e-6, "{}", found.loss);
    assert_eq!(found.batch, 8);
}

#[test]
fn an_encoder_that_is_trained_learns_what_a_frozen_one_cannot() {
    let (of, all) = (encoder(1), images(32, Split::Train));
    let found = |trains, classifier_rate| {
        let config = FinetuneConfig {
            epochs: 60,
            min_scale: 0.9,
            milestones: vec![50],
            classifier_rate,
            ..config(trains)
        };
        let found = trained(&of, &all, &config);
        (found.loss, accuracy(&found.encoder, &all))
    };
    // The features of a frozen encoder lie close together.
    let (frozen, of_frozen) = found(Trains::Classifier, 0.05);
    let (tuned, of_tuned) = found(Trains::All, 0.2);
    assert!(frozen < 2.2 && of_frozen > 0.2, "{frozen} {of_frozen}");
    assert!(tuned < 0.5 && of_tuned > 0.9, "{tuned} {of_tuned}");
}

#[test]
fn bits_do_not_depend_on_threads() {
    let images = images(70, Split::Train);
    for trains in [Trains::Classifier, Trains::All] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let config = FinetuneConfig {
                    workers: threads,
                    ..config(trains)
                };
                let of = encoder(1).with_precision(Precision::Bf16);
                let found = trained(&of, &images, &config);
                (found.encoder.parameters().to_vec(), found.loss)
            })
        };
        assert_eq!(run(1), run(3), "{trains:?}");
    }
}

#[test]
fn what_cannot_be_trained_says_why() {
    let images = images(20, Split::Train);
    let says = |images: &Arc<dyn Source>, config: &FinetuneConfig, words: &str| {
        let error = finetune(&encoder(1), images, config, &mut |_, _| true).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    for trains in [Trains::Classifier, Trains::All] {
        let plain = config(trains);
        let change = |change: fn(&mut FinetuneConfig)| {
            let mut changed = plain.clone();
            change(&mut changed);
            changed
        };
        says(&images, &change(|c| c.epochs = 0), "epochs = 0");
        says(&images, &change(|c| c.batch = 0), "batch = 0");
        says(
            &images,
            &change(|c| c.classifier_rate = f64::NAN),
            "classifier rate = NaN",
        );
        says(&images, &change(|c| c.min_scale = 2.0), "scale");
        let none: Arc<dyn Source> = Arc::new(Subset::new(images.clone(), vec![]));
        says(&none, &plain, "batch = 0");
        // Each step makes weights a hundred thousand times as large.
        let diverges = change(|c| (c.classifier_rate, c.weight_decay, c.epochs) = (1e3, 1e3, 20));
        let error = finetune(&encoder(1), &images, &diverges, &mut |_, _| true).unwrap_err();
        assert!(matches!(error, FinetuneError::NotFinite { .. }), "{error}");
    }
    let one: Arc<dyn Source> = Arc::new(Subset::new(images.clone(), vec![0]));
    says(&one, &config(Trains::All), "batch = 1");
    let mut told = Vec::new();
    let stopped = finetune(
        &encoder(1),
        &images,
        &config(Trains::All),
        &mut |done, of| {
            told.push((done, of));
            done < 2
        },
    );
    assert!(stopped.unwrap().is_none());
    assert_eq!(told, [(1, 3), (2, 3)]);
}

#[test]
fn ties_go_to_the_lowest_class() {
    let scores = [1.0, 1.0, 0.0, 0.0, 2.0, 3.0];
    for (labels, k, expected) in [
        ([0, 2], 1, 1.0),
        ([1, 2], 1, 0.5),
        ([1, 1], 2, 1.0),
        ([2, 0], 2, 0.0),
        ([2, 0], 3, 1.0),
        ([2, 0], 9, 1.0),
    ] {
        assert_eq!(top_k(&scores, 3, &labels, k), expected, "{labels:?} {k}");
    }
    assert_eq!(top_k(&[f32::NAN; 4], 2, &[0, 1], 2), 0.0);
}
