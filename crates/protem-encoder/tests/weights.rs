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
    let weights = Weights::open(&file("pcl.pth.tar"), None).unwrap();
    let config = config(Arch::Resnet18, Stem::Imagenet, Head::V2, 4);
    assert_eq!(*weights.config(), config);
    assert!(weights.has_head());
    assert_eq!(weights.prefix(), "state_dict.module.encoder_q.");
    assert_eq!(weights.image_size(), None);
    assert!(read(&weights) == given(config, |x| x));
}

#[test]
fn an_archive_gives_halves_with_channels_last() {
    let weights = Weights::open(&file("archive.pth"), None).unwrap();
    let config = config(Arch::Resnet50, Stem::Cifar, Head::V1, 5);
    assert_eq!(*weights.config(), config);
    assert_eq!(weights.prefix(), "");
    assert!(read(&weights) == given(config, |x| f16::from_f32(x).to_f32()));
}

#[test]
fn safetensors_give_the_trained_of_two_backbones() {
    let weights = Weights::open(&file("backbone.safetensors"), None).unwrap();
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
    assert!(read(&weights) == expected);
}

#[test]
fn a_head_is_taken_where_it_fits() {
    let weights = Weights::open(&file("pcl.pth.tar"), None).unwrap();
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

/// Shape and bytes of tensors by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// What is read of a file of an encoder whose tensors were changed.
fn changed(change: impl Fn(&mut Tensors), prefix: Option<&str>) -> Result<Weights, WeightsError> {
    let encoder = Encoder::new(config(Arch::Resnet18, Stem::Cifar, Head::V1, 4), 0);
    let mut tensors: Tensors = encoder
        .tensors()
        .map(|t| {
            let bytes = t.values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (t.name.to_owned(), (t.shape.to_vec(), bytes))
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let kind = match bytes.len() % 4 {
            0 => Dtype::F32,
            _ => Dtype::U8,
        };
        let view = TensorView::new(kind, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    Weights::from_bytes(&file, prefix)
}

/// The same tensors under other prefixes.
fn under(tensors: &mut Tensors, prefixes: &[&str]) {
    let own = std::mem::take(tensors);
    for prefix in prefixes {
        let moved = own
            .iter()
            .map(|(name, of)| (format!("{prefix}{name}"), of.clone()));
        tensors.extend(moved);
    }
}

#[test]
fn the_trained_of_several_encoders_is_taken_or_the_one_asked_for() {
    let taken = |prefixes: &[&str], asked| {
        let weights = changed(|t| under(t, prefixes), asked)?;
        assert_eq!(weights.others().len(), prefixes.len() - 1);
        Ok::<_, WeightsError>(weights.prefix().to_owned())
    };
    for (trained, other) in [
        ("module.base_encoder.", "module.momentum_encoder."),
        ("encoder.", "momentum_encoder."),
        ("online_network.", "target_network."),
        ("state_dict.backbone.", "state_dict.momentum_backbone."),
    ] {
        assert_eq!(taken(&[other, trained], None).unwrap(), trained);
        assert_eq!(taken(&[other, trained], Some(other)).unwrap(), other);
        let bare = other.trim_end_matches('.');
        assert_eq!(taken(&[other, trained], Some(bare)).unwrap(), other);
    }
    assert_eq!(taken(&["a."], None).unwrap(), "a.");
    let refused = |prefixes: &[&str], asked| taken(prefixes, asked).unwrap_err().to_string();
    let several = refused(&["student.backbone.", "teacher.backbone."], None);
    assert!(
        several.contains("teacher.backbone.conv1.weight"),
        "{several}"
    );
    assert!(refused(&["model.", "model_ema."], None).contains("several"));
    let none = refused(&["a."], Some("b"));
    assert!(
        none.contains("prefix b; there are a.conv1.weight"),
        "{none}"
    );
}

#[test]
fn a_head_of_another_kind_is_none() {
    let with = |change: fn(&mut Tensors)| changed(change, None).unwrap();
    assert!(with(|_| ()).has_head());
    let none: [fn(&mut Tensors); 5] = [
        |t| _ = t.remove("fc.bias"),
        |t| _ = t.insert("fc.1.weight".into(), (vec![1], vec![0; 4])),
        |t| t.get_mut("fc.bias").unwrap().1 = f32::NAN.to_le_bytes().repeat(4),
        |t| t.get_mut("fc.bias").unwrap().0 = vec![2, 2],
        |t| t.get_mut("fc.weight").unwrap().0 = vec![8, 4],
    ];
    for change in none {
        let weights = with(change);
        assert!(!weights.has_head());
        assert_eq!(weights.config().dim, 128);
    }
}

#[test]
fn what_is_no_encoder_says_why() {
    type Change = fn(&mut Tensors);
    let cases: [(Change, &str); 10] = [
        (|t| t.clear(), "it has no dictionary of tensors"),
        (|t| _ = t.remove("layer1.0.conv1.weight"), "it has bn1.bias"),
        (|t| _ = t.remove("bn1.running_var"), "no `bn1.running_var`"),
        (
            |t| _ = t.remove("layer3.1.conv1.weight"),
            "2-2-1-2 two-convolution blocks",
        ),
        (
            |t| t.get_mut("conv1.weight").unwrap().0 = vec![1, 27],
            "neither stem",
        ),
        (
            |t| t.get_mut("bn1.weight").unwrap().0 = vec![1, 1],
            "its bn1.weight has the shape [1, 1], not [1]",
        ),
        (
            |t| t.get_mut("bn1.weight").unwrap().1 = f32::NAN.to_le_bytes().to_vec(),
            "its bn1.weight holds a value that is no number: NaN",
        ),
        (
            |t| *t.get_mut("bn1.weight").unwrap() = (vec![1], vec![7]),
            "no floating-point numbers in bn1.weight",
        ),
        (
            |t| _ = t.insert("layer1.0.se.fc1.weight".into(), (vec![1], vec![0; 4])),
            "its layer1.0.se.fc1.weight has no place in a resnet18",
        ),
        (
            |t| _ = t.insert("conv1.bias".into(), (vec![1], vec![0; 4])),
            "its conv1.bias has no place",
        ),
    ];
    for (change, says) in cases {
        let text = changed(change, None).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
    let text = Weights::from_bytes(b"", None).unwrap_err().to_string();
    assert!(text.contains("neither a safetensors file"), "{text}");
    let text = Weights::from_bytes(b"PK\x05\x06", None)
        .unwrap_err()
        .to_string();
    assert!(text.contains("its archive"), "{text}");
}

#[test]
fn the_same_encoder_makes_the_same_bytes() {
    let encoder = Encoder::new(config(Arch::Resnet18, Stem::Cifar, Head::V1, 4), 0);
    let metadata = BTreeMap::from(["a", "b", "c", "d"].map(|key| (key.to_owned(), key.to_owned())));
    let file = encoder.to_safetensors(true, &metadata);
    for _ in 0..5 {
        assert!(encoder.to_safetensors(true, &metadata) == file);
    }
    let back = Weights::from_bytes(&file, None).unwrap();
    assert!(back.encoder().parameters() == encoder.parameters());
    assert_eq!(back.crc32(), crc32fast::hash(&file));
}

#[test]
fn a_file_that_is_cut_off_or_altered_is_an_error_or_read() {
    for name in ["pcl.pth.tar", "archive.pth", "backbone.safetensors"] {
        let whole = bytes(name);
        for cut in (0..whole.len()).step_by(997) {
            assert!(
                Weights::from_bytes(&whole[..cut], None).is_err(),
                "{name} {cut}"
            );
        }
        for at in (0..whole.len()).step_by(499) {
            let mut altered = whole.clone();
            altered[at] ^= 0x41;
            _ = Weights::from_bytes(&altered, None);
        }
    }
}
