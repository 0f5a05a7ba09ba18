//! All weights of an encoder in two flat vectors: what is trained, and the running statistics.
//!
//! Flat, because then the optimizer, the momentum update, a checkpoint and the sum over ranks
//! are each one pass over one slice. Names are torchvision's.

use crate::error::EncoderError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use std::ops::Range;

/// How a tensor begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    Constant(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f32),
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    range: Range<usize>,
    start: Start,
}

/// Names, shapes and places of tensors in a flat vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    entries: Vec<Entry>,
    len: usize,
}

/// A tensor of an encoder: torchvision's name, its shape, its values.
#[derive(Debug, Clone, Copy)]
pub struct NamedTensor<'a> {
    /// torchvision's name, such as `layer1.0.conv1.weight`.
    pub name: &'a str,
    /// torchvision's shape; convolutions are out, in, row, column.
    pub shape: &'a [usize],
    /// Values in row-major order.
    pub values: &'a [f32],
}

impl Layout {
    pub fn push(&mut self, name: String, shape: &[usize], start: Start) -> Range<usize> {
        let range = self.len..self.len + shape.iter().product::<usize>();
        self.len = range.end;
        self.entries.push(Entry {
            name,
            shape: shape.to_vec(),
            range: range.clone(),
            start,
        });
        range
    }

    /// Values of all tensors.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Initial values; each tensor has its own random stream, so none depends on another's size.
    pub fn initialise(&self, seed: u64) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len);
        for (stream, entry) in self.entries.iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            let count = entry.range.len();
            match entry.start {
                Start::Constant(value) => values.extend(std::iter::repeat_n(value, count)),
                Start::Normal(std) => {
                    let normal = Normal::new(0.0, std).expect("a finite deviation");
                    values.extend(normal.sample_iter(&mut rng).take(count));
                }
                Start::Uniform(bound) => {
                    let uniform = Uniform::new(-bound, bound).expect("a positive bound");
                    values.extend(uniform.sample_iter(&mut rng).take(count));
                }
            }
        }
        values
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.shape.clone()))
    }

    pub fn tensors<'a>(&'a self, values: &'a [f32]) -> impl Iterator<Item = NamedTensor<'a>> {
        self.entries.iter().map(|entry| NamedTensor {
            name: &entry.name,
            shape: &entry.shape,
            values: &values[entry.range.clone()],
        })
    }

    pub fn load<'a>(
        &self,
        values: &mut [f32],
        find: &impl Fn(&str) -> Option<std::borrow::Cow<'a, [f32]>>,
    ) -> Result<(), EncoderError> {
        for entry in &self.entries {
            let found = find(&entry.name).ok_or_else(|| EncoderError::Missing {
                name: entry.name.clone(),
            })?;
            if found.len() != entry.range.len() {
                return Err(EncoderError::Shape {
                    name: entry.name.clone(),
                    shape: entry.shape.clone(),
                    found: found.len(),
                });
            }
            values[entry.range.clone()].copy_from_slice(&found);
        }
        Ok(())
    }
}
