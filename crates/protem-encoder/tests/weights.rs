//! Weights in files of PyTorch and safetensors, which `fixtures/torch_weights.py` made.

mod formula;

use half::{bf16, f16};
use protem_encoder::{
    Arch, Encoder, EncoderConfig, EncoderError, Head, Stem, Weights, WeightsError,
};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", name]
        .iter()
        .collect()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

fn config(arch: Arch, stem: Stem, head: Head, dim: usize) -> EncoderConfig {
    EncoderConfig {
        arch,
        stem,
        width: 1,
        head,
        dim,
        split_bn: 1,
    }
}

/// What the script gave an encoder, as numbers of the file's kind.
fn given(config: EncoderConfig, rounded: impl Fn(f32) -> f32) -> BTreeMap<String, Vec<f32>> {
    let mut encoder = Encoder::new(config, 0);
    formula::start(&mut encoder);
    let values = |values: &[f32]| values.iter().map(|x| rounded(*x)).collect();
    let tensors = encoder.tensors();
    tensors
        .map(|t| (t.name.to_owned(), values(t.values)))
        .collect()
}

fn read(weights: &Weights) -> BTreeMap<String, Vec<f32>> {
    let encoder = weights.encoder();
    let tensors = encoder.tensors();
    tensors
        .map(|t| (t.name.to_owned(), t.values.to_vec()))
        .collect()
}

#[test]
fn a_checkpoint_of_pcl_gives_its_query_encoder() {
    let weights = Weights::open(&file("pcl.pth.tar")).unwrap();
    let config = config(Arch::Resnet18, Stem::Imagenet, Head::V2, 4);
    assert_eq!(*weights.config(), config);
    assert!(weights.has_head());
    assert_eq!(weights.prefix(), "state_dict.module.encoder_q.");
    assert_eq!(weights.image_size(), None);
    assert_eq!(read(&weights), given(config, |x| x));
}

#[test]
fn an_archive_gives_halves_with_channels_last() {
    let weights = Weights::open(&file("archive.pth")).unwrap();
    let config = config(Arch::Resnet50, Stem::Cifar, Head::V1, 5);
    assert_eq!(*weights.config(), config);
    assert_eq!(weights.prefix(), "");
    assert_eq!(read(&weights), given(config, |x| f16::from_f32(x).to_f32()));
}

#[test]
fn safetensors_give_the_trained_of_two_backbones() {
    let weights = Weights::open(&file("backbone.safetensors")).unwrap();
    let config = config(Arch::Resnet34, Stem::Imagenet, Head::V2, 128);
    assert_eq!(*weights.config(), config);
    assert!(!weights.has_head());
    assert_eq!(
        (weights.prefix(), weights.image_size()),
        ("backbone.", Some(160))
    );
    let mut expected = given(config, |x| bf16::from_f32(x).to_f32());
    let untrained = Encoder::new(config, 0);
    for tensor in untrained.tensors().filter(|t| t.name.starts_with("fc.")) {
        expected.insert(tensor.name.to_owned(), tensor.values.to_vec());
    }
    assert_eq!(read(&weights), expected);
}

#[test]
fn a_head_is_taken_where_it_fits() {
    let weights = Weights::open(&file("pcl.pth.tar")).unwrap();
    let own = |head, dim| config(Arch::Resnet18, Stem::Imagenet, head, dim);
    for (config, fits) in [
        (own(Head::V2, 4), true),
        (own(Head::V2, 5), false),
        (own(Head::V1, 4), false),
    ] {
        let mut encoder = Encoder::new(config, 7);
        let before = encoder.clone();
        assert_eq!(weights.has_head_of(&config), fits);
        weights.put(&mut encoder).unwrap();
        let expected = given(own(Head::V2, 4), |x| x);
        for (tensor, before) in encoder.tensors().zip(before.tensors()) {
            match tensor.name.starts_with("fc.") && !fits {
                true => assert_eq!(tensor.values, before.values),
                false => assert_eq!(tensor.values, expected[tensor.name]),
            }
        }
    }
    let mut other = Encoder::new(config(Arch::Resnet34, Stem::Imagenet, Head::V2, 4), 7);
    let before: Vec<f32> = other.parameters().to_vec();
    let error = weights.put(&mut other).unwrap_err();
    assert!(matches!(error, EncoderError::Structure { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the weights are of a resnet18 with the imagenet stem and width 1, the encoder is a resnet34 with the imagenet stem and width 1"
    );
    assert_eq!(other.parameters(), before);
}

/// The tensors of the backbone file, changed, as a file.
fn changed(change: impl Fn(&mut BTreeMap<String, (Vec<usize>, Vec<u8>)>)) -> WeightsError {
    let encoder = Encoder::new(config(Arch::Resnet18, Stem::Cifar, Head::V1, 4), 0);
    let mut tensors: BTreeMap<_, _> = encoder
        .tensors()
        .map(|t| {
            let bytes = t.values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (t.name.to_owned(), (t.shape.to_vec(), bytes))
        })
        .collect();
    change(&mut tensors);
    let view = |(name, (shape, bytes)): (&String, &(Vec<usize>, Vec<u8>))| {
        let kind = if bytes.len() % 4 == 0 {
            Dtype::F32
        } else {
            Dtype::U8
        };
        (
            name.clone(),
            TensorView::new(
                kind,
                shape.clone(),
                Box::leak(bytes.clone().into_boxed_slice()),
            )
            .unwrap(),
        )
    };
    let file = safetensors::serialize(tensors.iter().map(view), None).unwrap();
    Weights::from_bytes(&file).unwrap_err()
}

#[test]
fn what_is_no_encoder_says_why() {
    let says = |error: WeightsError, words: &str| {
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
    };
    says(changed(|t| t.clear()), "it has no dictionary of tensors");
    says(
        changed(|t| _ = t.remove("layer1.0.conv1.weight")),
        "it has bn1.bias",
    );
    says(
        changed(|t| _ = t.remove("bn1.running_var")),
        "no `bn1.running_var`",
    );
    says(
        changed(|t| _ = t.remove("layer3.1.conv1.weight")),
        "2-2-1-2 two-convolution blocks",
    );
    says(
        changed(|t| t.get_mut("conv1.weight").unwrap().0 = vec![1, 27]),
        "neither stem",
    );
    says(
        changed(|t| t.get_mut("bn1.weight").unwrap().0 = vec![1, 1]),
        "its bn1.weight has the shape [1, 1], not [1]",
    );
    says(
        changed(|t| t.get_mut("bn1.weight").unwrap().1 = f32::NAN.to_le_bytes().to_vec()),
        "its bn1.weight holds a value that is no number: NaN",
    );
    says(
        changed(|t| *t.get_mut("bn1.weight").unwrap() = (vec![1], vec![7])),
        "no floating-point numbers in bn1.weight",
    );
    says(
        changed(|t| {
            let other = t.iter().map(|(n, v)| (format!("other.{n}"), v.clone()));
            let other: Vec<_> = other.collect();
            t.extend(other);
        }),
        "several ResNets in it, those of conv1.weight, other.conv1.weight",
    );
    says(
        Weights::from_bytes(b"").unwrap_err(),
        "neither a safetensors file",
    );
    let archive = Weights::from_bytes(b"PK\x05\x06").unwrap_err();
    says(archive, "its archive");
}

#[test]
fn a_file_that_is_cut_off_or_altered_is_an_error_or_read() {
    for name in ["pcl.pth.tar", "archive.pth", "backbone.safetensors"] {
        let whole = bytes(name);
        for cut in (0..whole.len()).step_by(997) {
            assert!(Weights::from_bytes(&whole[..cut]).is_err(), "{name} {cut}");
        }
        for at in (0..whole.len()).step_by(499) {
            let mut altered = whole.clone();
            altered[at] ^= 0x41;
            _ = Weights::from_bytes(&altered);
        }
    }
}
