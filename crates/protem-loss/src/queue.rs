//! The queue of keys of earlier batches, the negatives of InfoNCE (He et al. 2020, section 3.2).

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::contrast::{matrix, same_size};
use crate::{LossError, Result};

/// A ring of `r` normalised keys.
#[derive(Debug, Clone)]
pub struct Queue {
    rows: Tensor,
    pointer: usize,
    filled: usize,
}

impl Queue {
    /// `len × dim` rows of normalised Gaussian noise, which depend on `seed` alone, to be filled by batches of `batch` keys.
    ///
    /// # Errors
    /// A length or dimension of 0, or a batch that does not divide the length: found here rather than at the first push.
    pub fn new(len: usize, dim: usize, batch: usize, seed: u64) -> Result<Self> {
        if len == 0 || dim == 0 {
            return Err(LossError::Empty {
                what: "queue",
                shape: vec![len, dim],
            });
        }
        divides(batch, len)?;
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut values = Vec::with_capacity(len * dim);
        for _ in 0..len {
            values.extend(direction(&mut generator, dim));
        }
        Ok(Self {
            rows: Tensor::from_vec(values, (len, dim), &Device::Cpu)?,
            pointer: 0,
            filled: 0,
        })
    }

    /// Overwrites the oldest rows with `keys` (`B × d`) and moves the pointer on, wrapping at the end. Call it after the logits are
    /// computed.
    ///
    /// The rows change in place: a clone of [`tensor`](Self::tensor) taken earlier shows the new keys.
    ///
    /// # Errors
    /// Keys of another shape or type, or a batch that does not divide the queue's length.
    pub fn push(&mut self, keys: &Tensor) -> Result<()> {
        let (batch, dim) = matrix("keys", keys)?;
        same_size("columns of the keys", self.rows.dims()[1], dim)?;
        let len = self.len();
        divides(batch, len)?;
        // A copy, so that keys cut from the queue itself may be pushed too.
        let keys = keys.detach().force_contiguous()?;
        // Nothing says that the pointer is a multiple of the batch, such as one read back.
        let head = batch.min(len - self.pointer);
        self.rows
            .slice_set(&keys.narrow(0, 0, head)?, 0, self.pointer)?;
        if head < batch {
            let tail = keys.narrow(0, head, batch - head)?;
            self.rows.slice_set(&tail, 0, 0)?;
        }
        self.pointer = (self.pointer + batch) % len;
        self.filled = (self.filled + batch).min(len);
        Ok(())
    }

    /// The rows, `r × d`.
    pub fn tensor(&self) -> &Tensor {
        &self.rows
    }

    /// r.
    #[allow(clippy::len_without_is_empty)] // A queue has at least one row.
    pub fn len(&self) -> usize {
        self.rows.dims()[0]
    }

    /// The row the next push begins at.
    pub fn pointer(&self) -> usize {
        self.pointer
    }

    /// How many rows hold keys rather than the initial noise.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// A queue read back from a checkpoint: `values` are the `r × dim` rows, `pointer` the row the next push begins at, `filled` how many
    /// rows are keys.
    ///
    /// # Errors
    /// Values that make no rows of `dim`, a pointer that is not below r, a filled count above r.
    pub fn from_parts(values: Vec<f32>, dim: usize, pointer: usize, filled: usize) -> Result<Self> {
        let len = values.len().checked_div(dim).unwrap_or(0);
        if len == 0 {
            return Err(LossError::Empty {
                what: "queue",
                shape: vec![len, dim],
            });
        }
        same_size("values of the queue", len * dim, values.len())?;
        let refuse = |what, value| Err(LossError::QueueCounter { what, value, len });
        if pointer >= len {
            return refuse("pointer", pointer);
        }
        if filled > len {
            return refuse("filled count", filled);
        }
        Ok(Self {
            rows: Tensor::from_vec(values, (len, dim), &Device::Cpu)?,
            pointer,
            filled,
        })
    }

    /// The rows (`r × d` values), the pointer and the filled count: what [`from_parts`](Self::from_parts) takes besides the dimension.
    ///
    /// # Errors
    /// candle's, when the rows cannot be copied.
    pub fn parts(&self) -> Result<(Vec<f32>, usize, usize)> {
        let values = self.rows.flatten_all()?.to_vec1()?;
        Ok((values, self.pointer, self.filled))
    }
}

/// `Err` unless whole batches fill the queue.
fn divides(batch: usize, len: usize) -> Result<()> {
    if batch > 0 && len.is_multiple_of(batch) {
        Ok(())
    } else {
        Err(LossError::BatchDoesNotDivide { batch, len })
    }
}

/// A uniform point on the unit sphere: independent normal coordinates, divided by their norm.
fn direction(generator: &mut ChaCha8Rng, dim: usize) -> Vec<f32> {
    loop {
        let normals: Vec<f64> = (0..dim).map(|_| normal(generator)).collect();
        let norm = normals.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 0.0 {
            return normals.iter().map(|x| (x / norm) as f32).collect();
        }
    }
}

/// A standard normal number after Box and Muller.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
    // In (0, 1], so that the logarithm is finite.
    let radius = ((generator.next_u64() >> 11) + 1) as f64 * UNIT;
    let angle = (generator.next_u64() >> 11) as f64 * UNIT;
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
