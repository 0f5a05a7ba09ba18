//! Every kernel against the slow, obvious computation in f64, with what it must keep besides: a NaN, the bits on any number of threads.

mod activation;
mod conv;
mod linear;
mod norm;
mod optim;
mod pooling;
mod threads;

use protem_ops::{Activation, Isa, Pool, Precision, Shape};
use std::process::Command;

/// Unit roundoff of f32.
pub const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Numbers in [−1, 1) from a linear congruential generator.
pub fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The values as a map of this precision holds them.
pub fn rounded(precision: Precision, values: &[f32]) -> Vec<f32> {
    let flat = shape(1, 1, 1, values.len());
    Activation::from_nchw(&Pool::default(), precision, values, flat).to_nchw()
}

/// A shape by its four numbers.
pub fn shape(height: usize, width: usize, batch: usize, channels: usize) -> Shape {
    Shape {
        height,
        width,
        batch,
        channels,
    }
}

/// Leaves buffers of NaNs in the pool, for a kernel that forgets to overwrite what it takes: so many values
/// of f32, and of bf16.
pub fn poison(pool: &Pool, len: usize) {
    for len in [len, len.div_ceil(2)] {
        drop(Activation::from_matrix(pool, &vec![f32::NAN; len], 1, len));
    }
}

/// Bit patterns, under which a NaN equals itself and −0 is not 0.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The level is chosen once per process, so each runs all the tests in a process of its own.
#[test]
fn every_level_passes_every_test() {
    for level in Isa::available() {
        if level == Isa::current() {
            continue;
        }
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--skip", "every_level_passes_every_test"])
            .env("PROTEM_ISA", level.name())
            .output()
            .expect("the tests run again");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {told}", level.name());
        assert!(told.contains("1 filtered out"), "{}: {told}", level.name());
    }
}
