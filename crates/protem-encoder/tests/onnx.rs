//! Against ONNX Runtime: `fixtures/onnx_models.py` made the models with this crate, and ran them.

mod formula;

use prost::Message;
use protem_encoder::{Arch, Encoder, EncoderConfig, Head, OnnxHead, Stem};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// 1.5e-6 where a stem of one channel has values of 14 and features are about 1, 5e-7 in all others. ONNX
/// Runtime itself is up to 5e-7 off PyTorch's f64; the script prints it.
const TOLERANCE: f64 = 5e-6;
/// Batch, height, width.
const SIZES: [(usize, usize, usize); 2] = [(1, 33, 33), (3, 63, 97)];

/// Of a model the bytes of its graph, with the weights.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(bytes = "vec", tag = "7")]
    graph: Vec<u8>,
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", name];
    std::fs::read(folder.iter().collect::<PathBuf>()).unwrap()
}

#[rustfmt::skip]
fn cases() -> [(&'static str, EncoderConfig, OnnxHead); 3] {
    use {Arch::*, Head::*, Stem::*};
    let config = |arch, stem, head, dim| EncoderConfig { arch, stem, width: 1, head, dim, split_bn: 1 };
    [
        ("resnet18-imagenet", config(Resnet18, Imagenet, V2, 6), OnnxHead::Embedding),
        ("resnet34-cifar", config(Resnet34, Cifar, V1, 5), OnnxHead::Logits),
        ("resnet50-imagenet", config(Resnet50, Imagenet, V1, 7), OnnxHead::Embedding),
    ]
}

fn encoder(config: EncoderConfig) -> Encoder {
    let mut encoder = Encoder::new(config, 0);
    formula::start(&mut encoder);
    encoder
}

#[test]
fn a_model_is_the_one_that_onnx_runtime_ran() {
    for (case, config, head) in cases() {
        let model = encoder(config).to_onnx(Some(head), "", &BTreeMap::new());
        let [own, run] = [model.unwrap(), fixture(&format!("{case}.onnx"))]
            .map(|bytes| Model::decode(&bytes[..]).unwrap().graph);
        assert!(own == run, "{case}");
    }
}

#[test]
fn onnx_runtime_computes_what_the_encoder_does() {
    let bytes = fixture("onnx_outputs.safetensors");
    let outputs = SafeTensors::deserialize(&bytes).unwrap();
    for (case, config, head) in cases() {
        let encoder = encoder(config);
        for (batch, height, width) in SIZES {
            let size = format!("{batch}x{height}x{width}");
            let images =
                || formula::images(&encoder, &format!("{case} {size}"), (batch, height, width));
            let near = |name: &str, own: &[f32]| {
                let of = outputs.tensor(&format!("{case}/{size}/{name}")).unwrap();
                let (found, _) = of.data().as_chunks();
                let error = difference(own, found.iter().map(|b| f32::from_le_bytes(*b)));
                println!("{case} {size} {name}: {error:.1e}"); // seen with --nocapture
                assert!(error <= TOLERANCE, "{case} {size} {name}: {error:e}");
            };
            near("features", &encoder.features(images()));
            let mut of_head = encoder.embed(images());
            match head {
                OnnxHead::Logits => near("logits", &of_head),
                OnnxHead::Embedding => {
                    of_head.chunks_mut(config.dim).for_each(|row| {
                        let length = norm(row.iter().copied().map(f64::from));
                        row.iter_mut().for_each(|x| *x /= length as f32);
                    });
                    near("embedding", &of_head);
                }
            }
        }
    }
}

/// ‖own − found‖ / ‖own‖; without numbers, or with one that is none, infinite.
fn difference(own: &[f32], found: impl ExactSizeIterator<Item = f32>) -> f64 {
    assert_eq!(own.len(), found.len());
    let differences = own
        .iter()
        .zip(found)
        .map(|(own, found)| f64::from(own - found));
    let error = norm(differences) / norm(own.iter().copied().map(f64::from));
    if error.is_nan() { f64::INFINITY } else { error }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}
