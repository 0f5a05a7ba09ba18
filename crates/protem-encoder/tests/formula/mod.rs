//! Weights and images from a formula that `fixtures/formula.py` repeats bit by bit.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its part"
)]

use protem_encoder::{Encoder, NamedTensor};
use protem_ops::Activation;
use std::borrow::Cow;
use std::collections::HashMap;

/// Channel means and deviations of the images.
pub const NORMALISATION: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Random words: Murmur3's finaliser of a counter that begins at the FNV-1a hash of the name.
pub fn bits(name: &str) -> impl Iterator<Item = u32> + use<> {
    let seed = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (0u32..).map(move |i| {
        let x = i.wrapping_mul(0x9E37_79B9).wrapping_add(seed);
        let x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
        let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
        x ^ (x >> 16)
    })
}

/// In [−1, 1), exact in f32.
pub fn uniform(name: &str) -> impl Iterator<Item = f64> + use<> {
    bits(name).map(|word| f64::from(word >> 8) / f64::from(1 << 23) - 1.0)
}

/// The start of a tensor by torchvision's name.
fn weight(tensor: &NamedTensor) -> Vec<f32> {
    let (name, count) = (tensor.name, tensor.values.len());
    let scaled = |offset: f64, scale: f64| -> Vec<f32> {
        uniform(name)
            .take(count)
            .map(|u| (offset + scale * u) as f32)
            .collect()
    };
    match *tensor.shape {
        // The deviation of He's initialisation by fan-out.
        [out, _, rows, columns] => scaled(0.0, (6.0 / (out * rows * columns) as f64).sqrt()),
        [_, inputs] => scaled(0.0, (1.0 / inputs as f64).sqrt()),
        _ if name.ends_with("running_var") => scaled(1.0, 0.5),
        // A bottleneck's last: at 1 the sums over 16 blocks are too badly conditioned for f32.
        _ if name.ends_with("bn3.weight") => scaled(0.25, 0.125),
        _ if name.ends_with("weight") => scaled(1.0, 0.25),
        _ => scaled(0.0, 0.1),
    }
}

/// Gives every tensor of an encoder its start.
pub fn start(encoder: &mut Encoder) {
    let values: HashMap<String, Vec<f32>> = encoder
        .tensors()
        .map(|t| (t.name.to_owned(), weight(&t)))
        .collect();
    encoder
        .load(|name| values.get(name).map(|v| Cow::Borrowed(&v[..])))
        .expect("every tensor has a start");
}

/// A batch of images, (batch, height, width).
pub fn images(encoder: &Encoder, name: &str, shape: (usize, usize, usize)) -> Activation {
    let count = shape.0 * shape.1 * shape.2 * 3;
    let bytes: Vec<u8> = bits(name).take(count).map(|w| (w >> 24) as u8).collect();
    encoder.images(&bytes, shape, NORMALISATION.0, NORMALISATION.1)
}

/// Products of a tensor with the vectors that `torch_encoder.py`'s `sketch` takes.
pub fn projections<const N: usize>(name: &str, values: &[f32]) -> [f64; N] {
    std::array::from_fn(|i| {
        let vector = uniform(&format!("{name} {i}"));
        values
            .iter()
            .zip(vector)
            .map(|(x, v)| f64::from(*x) * v)
            .sum()
    })
}
