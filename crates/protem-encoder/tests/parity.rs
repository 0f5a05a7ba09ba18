//! Against torchvision's ResNet in float64: `fixtures/torch_encoder.py` made the numbers.
//!
//! A tensor's difference is measured against the tensor's own norm. Where a tensor is not stored,
//! its products with four fixed random vectors are: of a difference `e` each sees about `0.6·‖e‖`,
//! whichever elements are wrong.

mod formula;

use protem_encoder::{Arch, Encoder, EncoderConfig, Head, Stem};
use protem_ops::{Activation, optim::Sgd};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// PyTorch's own float32 is up to 5e-6 off (the script prints it) in the embeddings of training
/// mode, where batch norm divides by deviations of as few as a dozen values.
const TRAIN: f64 = 2e-5;
/// 5e-7: in evaluation mode nothing divides by the batch's deviations.
const EVAL: f64 = 2e-6;
/// 3e-5 in a ResNet-50 at 6 images, 7e-6 in all others.
const GRADIENT: f64 = 1e-4;
/// 1e-6.
const RUNNING: f64 = 4e-6;
/// 1e-4: the change of a weight carries the rounding of the weight, which is larger.
const CHANGE: f64 = 4e-4;

struct Case {
    name: &'static str,
    config: EncoderConfig,
    /// Batch, height, width.
    images: (usize, usize, usize),
}

#[expect(
    clippy::too_many_arguments,
    reason = "one line per case, as in the script"
)]
fn case(
    name: &'static str,
    arch: Arch,
    stem: Stem,
    width: usize,
    head: Head,
    dim: usize,
    split_bn: usize,
    images: (usize, usize, usize),
) -> Case {
    let config = EncoderConfig {
        arch,
        stem,
        width,
        head,
        dim,
        split_bn,
    };
    Case {
        name,
        config,
        images,
    }
}

#[rustfmt::skip]
fn cases() -> [Case; 9] {
    use {Arch::*, Head::*, Stem::*};
    [
        case("resnet18-cifar", Resnet18, Cifar, 4, V2, 16, 1, (7, 16, 16)),
        case("resnet18-cifar-split", Resnet18, Cifar, 4, V1, 16, 2, (8, 15, 18)),
        case("resnet18-imagenet", Resnet18, Imagenet, 8, V1, 11, 1, (5, 37, 41)),
        case("resnet34-cifar", Resnet34, Cifar, 4, V1, 8, 2, (6, 19, 17)),
        case("resnet34-imagenet", Resnet34, Imagenet, 4, V2, 8, 1, (9, 47, 33)),
        case("resnet50-cifar", Resnet50, Cifar, 4, V2, 16, 1, (7, 13, 16)),
        case("resnet50-imagenet", Resnet50, Imagenet, 4, V1, 16, 2, (6, 45, 35)),
        case("resnet101-imagenet", Resnet101, Imagenet, 4, V2, 8, 1, (4, 39, 37)),
        case("resnet18-full-width", Resnet18, Cifar, 64, V1, 128, 1, (3, 9, 11)),
    ]
}

struct Expected<'a>(SafeTensors<'a>);

impl Expected<'_> {
    fn values(&self, case: &Case, what: &str) -> Vec<f64> {
        let name = format!("{}/{what}", case.name);
        let view = self.0.tensor(&name).expect("a stored tensor");
        let eight = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("eight bytes"));
        view.data().chunks_exact(8).map(eight).collect()
    }

    /// Fails unless every tensor agrees in its norm and its products, in order of names.
    fn assert_sketch(
        &self,
        case: &Case,
        what: &str,
        tensors: &BTreeMap<String, Vec<f32>>,
        tolerance: f64,
    ) {
        let rows = self.values(case, what);
        assert_eq!(rows.len(), 5 * tensors.len(), "{} {what}", case.name);
        let mut worst = (0.0, "");
        for (row, (name, values)) in rows.chunks_exact(5).zip(tensors) {
            let norm = norm(values.iter().map(|x| f64::from(*x)));
            let products = formula::projections::<4>(name, values);
            for (got, want) in [norm].iter().chain(&products).zip(row) {
                let error = relative((got - want).abs(), row[0]);
                if error > worst.0 {
                    worst = (error, name);
                }
            }
        }
        assert_below(case, &format!("{what} of {}", worst.1), worst.0, tolerance);
    }

    fn assert_near(&self, case: &Case, what: &str, got: &[f32], tolerance: f64) {
        let want = self.values(case, what);
        assert_eq!(got.len(), want.len(), "{} {what}", case.name);
        let difference = got.iter().zip(&want).map(|(g, w)| f64::from(*g) - w);
        let error = relative(norm(difference), norm(want.iter().copied()));
        assert_below(case, what, error, tolerance);
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// A NaN counts as infinitely wrong, for it compares with nothing.
fn relative(difference: f64, magnitude: f64) -> f64 {
    let error = difference / magnitude;
    if error.is_nan() { f64::INFINITY } else { error }
}

fn assert_below(case: &Case, what: &str, error: f64, tolerance: f64) {
    println!("{} {what}: {error:.1e}", case.name); // seen with --nocapture
    assert!(
        error <= tolerance,
        "{} {what}: {error:.1e} above {tolerance:.0e}",
        case.name
    );
}

/// Cuts a flat vector in the order of the encoder's tensors, by name.
fn by_name(encoder: &Encoder, flat: &[f32]) -> BTreeMap<String, Vec<f32>> {
    let mut rest = flat;
    let mut out = BTreeMap::new();
    for tensor in encoder.tensors() {
        if rest.is_empty() {
            break; // running statistics come after what is trained
        }
        let (values, after) = rest.split_at(tensor.values.len());
        out.insert(tensor.name.to_owned(), values.to_vec());
        rest = after;
    }
    out
}

fn running(encoder: &Encoder) -> BTreeMap<String, Vec<f32>> {
    encoder
        .tensors()
        .filter(|t| t.name.contains("running"))
        .map(|t| (t.name.to_owned(), t.values.to_vec()))
        .collect()
}

fn images(encoder: &Encoder, case: &Case, step: usize) -> Activation {
    let name = format!("{} images {step}", case.name);
    formula::images(encoder, &name, case.images)
}

/// Embedding of one training pass, and the gradient of all parameters.
fn train(encoder: &mut Encoder, case: &Case, step: usize) -> (Vec<f32>, Vec<f32>) {
    let (embedding, tape) = encoder.forward_train(images(encoder, case, step));
    let of_embedding: Vec<f32> = formula::uniform(&format!("{} gradient {step}", case.name))
        .take(embedding.len())
        .map(|u| (u / case.images.0 as f64) as f32)
        .collect();
    // A stale gradient must be overwritten whole.
    let mut gradient = vec![f32::NAN; encoder.parameters().len()];
    encoder.backward(tape, &of_embedding, &mut gradient);
    (embedding, gradient)
}

fn follows_torch(case: &Case, expected: &Expected) {
    let mut encoder = Encoder::new(case.config, 0);
    formula::start(&mut encoder);
    let begun = encoder.parameters().to_vec();
    let mut velocity = vec![0.0; begun.len()];
    let sgd = Sgd {
        learning_rate: 0.05,
        momentum: 0.9,
        weight_decay: 1e-4,
    };

    let (embedding, gradient) = train(&mut encoder, case, 0);
    expected.assert_near(case, "embedding", &embedding, TRAIN);
    let gradients = by_name(&encoder, &gradient);
    expected.assert_sketch(case, "gradient", &gradients, GRADIENT);
    expected.assert_sketch(case, "running", &running(&encoder), RUNNING);
    let features = encoder.features(images(&encoder, case, 1));
    expected.assert_near(case, "features_eval", &features, EVAL);
    let embedding = encoder.embed(images(&encoder, case, 1));
    expected.assert_near(case, "embedding_eval", &embedding, EVAL);

    // Two steps, so that the velocity matters.
    sgd.step(encoder.parameters_mut(), &gradient, &mut velocity);
    let (_, gradient) = train(&mut encoder, case, 1);
    sgd.step(encoder.parameters_mut(), &gradient, &mut velocity);
    let change: Vec<f32> = encoder
        .parameters()
        .iter()
        .zip(&begun)
        .map(|(now, then)| now - then)
        .collect();
    expected.assert_sketch(case, "change", &by_name(&encoder, &change), CHANGE);
    if case.name == "resnet18-cifar" {
        let in_full: Vec<f32> = gradients.into_values().flatten().collect();
        expected.assert_near(case, "gradient_in_full", &in_full, GRADIENT);
    }
}

const FIXTURE: &[u8] = include_bytes!("fixtures/torch_encoder.safetensors");

#[test]
fn encoders_follow_torchvisions() {
    let expected = Expected(SafeTensors::deserialize(FIXTURE).expect("a safetensors file"));
    for case in cases() {
        follows_torch(&case, &expected);
    }
}
