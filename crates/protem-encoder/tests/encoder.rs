//! What holds of an encoder without a peer: determinism, loading, the momentum pair, a NaN that is seen.

mod formula;

use protem_encoder::{
    Arch, Encoder, EncoderConfig, EncoderError, Head, MomentumPair, Stem, Weights,
};
use protem_ops::{Activation, Precision};
use std::borrow::Cow;
use std::collections::BTreeMap;

const CONFIG: EncoderConfig = EncoderConfig {
    arch: Arch::Resnet18,
    stem: Stem::Imagenet,
    width: 4,
    head: Head::V2,
    dim: 8,
    split_bn: 2,
};

fn images(encoder: &Encoder) -> Activation {
    formula::images(encoder, "images", (6, 33, 29))
}

fn flat(encoder: &Encoder) -> Vec<f32> {
    encoder.tensors().flat_map(|t| t.values.to_vec()).collect()
}

/// One step's embedding, gradient and running statistics.
fn pass(encoder: &mut Encoder) -> Vec<f32> {
    let (embedding, tape) = encoder.forward_train(images(encoder));
    let mut gradient = vec![f32::NAN; encoder.parameters().len()];
    encoder.backward(tape, &embedding, &mut gradient);
    [embedding, gradient, flat(encoder)].concat()
}

#[test]
fn bits_do_not_depend_on_threads_or_used_buffers() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("a pool").install(|| {
            let mut encoder = Encoder::new(CONFIG, 3);
            let first = pass(&mut encoder);
            let mut again = encoder.clone(); // shares the pool, whose buffers are now used
            let start = Encoder::new(CONFIG, 3);
            let copy = |name: &str| {
                let tensor = start.tensors().find(|t| t.name == name);
                tensor.map(|t| Cow::Owned(t.values.to_vec()))
            };
            again.load(copy).expect("every tensor");
            assert_eq!(first, pass(&mut again), "from used buffers");
            first
        })
    };
    let one = run(1);
    assert!(one.iter().all(|x| x.is_finite()));
    for threads in [2, 3] {
        assert_eq!(one, run(threads), "with {threads} threads");
    }
}

#[test]
fn the_key_encoders_pass_is_the_training_pass_without_its_tape() {
    let mut query = Encoder::new(CONFIG, 3);
    let mut key = query.clone();
    let (embedding, _) = query.forward_train(images(&query));
    assert_eq!(key.forward_key(images(&key)), embedding);
    assert_eq!(flat(&key), flat(&query));
}

#[test]
fn features_and_embeddings_have_their_sizes() {
    let encoder = Encoder::new(CONFIG, 3);
    let features = encoder.features(images(&encoder));
    assert_eq!(features.len(), 6 * CONFIG.feature_dim());
    assert_eq!(encoder.embed(images(&encoder)).len(), 6 * CONFIG.dim);
    assert!(features.iter().all(|x| *x >= 0.0), "means behind a ReLU");
}

#[test]
fn the_seed_decides_the_start() {
    let start = |seed| flat(&Encoder::new(CONFIG, seed));
    assert_eq!(start(1), start(1));
    assert_ne!(start(1), start(2));
}

#[test]
fn the_key_encoder_follows_parameters_alone() {
    let mut pair = MomentumPair::new(CONFIG, Precision::F32, 3, 0.75);
    pair.query
        .parameters_mut()
        .iter_mut()
        .for_each(|p| *p += 1.0);
    let before = pair.key.clone();
    let (_, _) = pair.query.forward_train(images(&pair.query)); // moves the query's statistics
    pair.follow();
    for (now, then) in pair.key.tensors().zip(before.tensors()) {
        let moved = if now.name.contains("running") {
            0.0
        } else {
            0.25
        };
        for (now, then) in now.values.iter().zip(then.values) {
            // Values below 4.
            assert!((now - then - moved).abs() < 4.0 * f32::EPSILON);
        }
    }
}

#[test]
fn weights_that_do_not_fit_change_nothing() {
    let mut encoder = Encoder::new(CONFIG, 3);
    let before = flat(&encoder);
    let lacks_one = |name: &str| match name {
        "layer4.1.bn2.running_var" => None,
        _ => Some(Cow::Owned(vec![7.0; shape_len(name)])),
    };
    let error = encoder.load(lacks_one).expect_err("a missing tensor");
    let missing = "layer4.1.bn2.running_var".to_owned();
    assert_eq!(error, EncoderError::Missing { name: missing });
    let error = encoder.load(|_| Some(Cow::Owned(vec![7.0; 5])));
    let shape = EncoderError::Shape {
        name: "conv1.weight".to_owned(),
        shape: vec![4, 3, 7, 7],
        found: 5,
    };
    assert_eq!(error, Err(shape));
    assert_eq!(flat(&encoder), before);
}

fn shape_len(name: &str) -> usize {
    let encoder = Encoder::new(CONFIG, 0);
    let mut tensors = encoder.tensors();
    let tensor = tensors.find(|t| t.name == name).expect("a tensor's name");
    tensor.values.len()
}

#[test]
fn a_weight_that_is_nan_is_seen_in_the_embedding() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut encoder = Encoder::new(CONFIG, 3).with_precision(precision);
        encoder.parameters_mut()[0] = f32::NAN; // of the first convolution: eight ReLUs follow
        let (trained, _) = encoder.forward_train(images(&encoder));
        let embedded = encoder.embed(images(&encoder));
        assert!(trained.iter().chain(&embedded).all(|x| x.is_nan()));
    }
}

#[test]
fn no_images_have_no_features_and_what_cannot_be_is_refused() {
    let encoder = Encoder::new(CONFIG, 3);
    let none = || encoder.images(&[], (0, 8, 8), [0.5; 3], [0.25; 3]);
    assert!(encoder.features(none()).is_empty() && encoder.embed(none()).is_empty());
    for (key, config) in [
        ("width", EncoderConfig { width: 0, ..CONFIG }),
        (
            "width",
            EncoderConfig {
                width: 1 << 30,
                ..CONFIG
            },
        ),
        ("dim", EncoderConfig { dim: 0, ..CONFIG }),
        (
            "split_bn",
            EncoderConfig {
                split_bn: 0,
                ..CONFIG
            },
        ),
    ] {
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

/// Deviation of uniform values up to a bound is a √3rd of it.
fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|x| (f64::from(*x) - mean).powi(2));
    (squares.sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn weights_begin_as_torchvisions() {
    for (arch, head) in [(Arch::Resnet18, Head::V1), (Arch::Resnet50, Head::V2)] {
        let config = EncoderConfig {
            arch,
            stem: Stem::Imagenet,
            width: 64,
            head,
            dim: 128,
            split_bn: 1,
        };
        let encoder = Encoder::new(config, 5);
        for tensor in encoder.tensors() {
            let (name, values) = (tensor.name, tensor.values);
            let all = |x: f32| values.iter().all(|v| *v == x);
            let expected = match tensor.shape {
                // Kaiming's, fan-out, for a ReLU.
                [outputs, _, rows, columns] => (2.0 / (outputs * rows * columns) as f64).sqrt(),
                [_, inputs] => (1.0 / (3 * inputs) as f64).sqrt(),
                _ if name.starts_with("fc") => {
                    let inputs = config.feature_dim() as f32;
                    let bound = inputs.sqrt().recip();
                    let most = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    assert!(most <= bound && most > 0.9 * bound, "{name}: {most}");
                    continue;
                }
                _ => {
                    let ones = name.ends_with("weight") || name.ends_with("running_var");
                    assert!(all(if ones { 1.0 } else { 0.0 }), "{name}");
                    continue;
                }
            };
            let found = deviation(values);
            assert!(
                (found / expected - 1.0).abs() < 0.02,
                "{name}: {found}, not {expected}"
            );
        }
    }
}

/// What a step took lies in the store when it is done: little more than is said to be kept.
#[test]
fn a_step_takes_what_is_kept_and_little_more() {
    for (stem, arch) in [
        (Stem::Cifar, Arch::Resnet18),
        (Stem::Imagenet, Arch::Resnet50),
    ] {
        let config = EncoderConfig {
            stem,
            arch,
            ..CONFIG
        };
        let mut encoder = Encoder::new(config, 1);
        let (batch, side) = (4, 35);
        let bytes = vec![7; batch * side * side * 3];
        let images = encoder.images(&bytes, (batch, side, side), [0.5; 3], [0.25; 3]);
        drop(encoder.forward_train(images));
        let taken = encoder.pool().spare_bytes() as f64;
        let kept = (4 * batch * config.kept_values(side)) as f64;
        assert!(
            taken >= kept && taken < 1.6 * kept,
            "{taken} bytes, {kept} kept"
        );
    }
}

/// By hooks on torchvision's networks (torch 2.15, torchvision 0.29):
///
/// ```python
/// def sizes(name, side, cifar):
///     net = getattr(torchvision.models, name)()
///     if cifar:
///         net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
///     seen = []
///     for m in net.modules():
///         if isinstance(m, torch.nn.Conv2d):
///             m.register_forward_hook(lambda m, _, y: seen.append(y.numel() * m.weight[0].numel()))
///     net(torch.zeros(2, 3, side, side))
///     trained = sum(p.numel() for n, p in net.named_parameters() if not n.startswith("fc."))
///     return sum(seen) // 2, trained
/// ```
#[test]
fn sizes_are_torchvisions() {
    let of = |arch, stem, side| {
        let config = wide(arch, stem);
        (config.multiply_adds(side), config.trained_before_head())
    };
    let imagenet = Arch::ALL.map(|arch| of(arch, Stem::Imagenet, 224));
    let expected = [
        (1_813_561_344, 11_176_512),
        (3_663_249_408, 21_284_672),
        (4_087_136_256, 23_508_032),
        (7_799_357_440, 42_500_160),
        (11_511_578_624, 58_143_808),
    ];
    assert_eq!(imagenet, expected);
    let cifar = Arch::ALL.map(|arch| of(arch, Stem::Cifar, 33));
    let expected = [
        (693_565_120, 11_168_832),
        (1_444_484_800, 21_276_992),
        (1_613_919_936, 23_500_352),
        (3_148_052_160, 42_492_480),
        (4_643_190_464, 58_136_128),
    ];
    assert_eq!(cifar, expected);
}

fn wide(arch: Arch, stem: Stem) -> EncoderConfig {
    EncoderConfig {
        arch,
        stem,
        width: 64,
        head: Head::V2,
        dim: 128,
        split_bn: 1,
    }
}

#[test]
fn every_structure_is_recognised_by_its_names_and_shapes() {
    for arch in Arch::ALL {
        for stem in Stem::ALL {
            let config = EncoderConfig {
                width: 2,
                ..wide(arch, stem)
            };
            let file = Encoder::new(config, 1).to_safetensors(true, &BTreeMap::new());
            let found = Weights::from_bytes(&file, None).unwrap();
            assert_eq!(*found.config(), config);
        }
    }
}
