//! The two losses.

use crate::error::LossError;
use candle_core::{D, DType, Device, Tensor};

/// InfoNCE: cross-entropy of `[q·k⁺, q·queue]/τ` with the first column as target, mean over the
/// batch. `queries` and `keys` are `batch × dim`, `queue` is `length × dim`; a scalar comes out.
///
/// # Errors
/// Shapes that do not belong together.
pub fn info_nce(queries: &Tensor, keys: &Tensor, queue: &Tensor, temperature: f64) -> Result<Tensor, LossError> {
    let positive = (queries * keys)?.sum_keepdim(1)?;
    let negative = queries.matmul(&queue.t()?)?;
    let logits = (Tensor::cat(&[&positive, &negative], 1)? / temperature)?;
    let target = logits.narrow(1, 0, 1)?.squeeze(1)?;
    Ok((log_sum_exp(&logits)? - target)?.mean_all()?)
}

/// Prototypes of one clustering: `K × dim` normalised vectors, and the temperature of each.
#[derive(Debug, Clone)]
pub struct Prototypes {
    vectors: Tensor,
    inverse_temperatures: Tensor,
}

impl Prototypes {
    /// From `K × dim` normalised vectors and `K` temperatures.
    ///
    /// # Errors
    /// Numbers that differ, or a temperature that is not positive.
    pub fn new(vectors: Tensor, temperatures: Tensor) -> Result<Self, LossError> {
        let (k, _) = vectors.dims2()?;
        let values = temperatures.to_vec1::<f32>()?;
        if values.len() != k || values.iter().any(|t| *t <= 0.0 || !t.is_finite()) {
            return Err(LossError::Prototypes { vectors: k, temperatures: values.len() });
        }
        Ok(Self { vectors, inverse_temperatures: temperatures.recip()? })
    }
}

/// One clustering's term of ProtoNCE. Columns are the batch's own prototypes (`positives`, one a
/// row, duplicates kept) and then `negatives`; column `j` of `q·cᵀ` is divided by the temperature
/// of its prototype; row `i`'s target is column `i`. A scalar comes out.
///
/// # Errors
/// Shapes that do not belong together, or an id that is no prototype.
pub fn proto_nce_term(
    queries: &Tensor,
    prototypes: &Prototypes,
    positives: &[u32],
    negatives: &[u32],
) -> Result<Tensor, LossError> {
    let ids: Vec<u32> = positives.iter().chain(negatives).copied().collect();
    let columns = ids.len();
    let ids = Tensor::from_vec(ids, columns, queries.device())?;
    let vectors = prototypes.vectors.index_select(&ids, 0)?;
    let scale = prototypes.inverse_temperatures.index_select(&ids, 0)?;
    let logits = queries.matmul(&vectors.t()?)?.broadcast_mul(&scale)?;
    let rows = positives.len();
    let diagonal = Tensor::eye(rows, DType::F32, &Device::Cpu)?;
    let target = (logits.narrow(1, 0, rows)? * diagonal)?.sum(1)?;
    Ok((log_sum_exp(&logits)? - target)?.mean_all()?)
}

/// Loss of equal logits: `ln(columns)`. For InfoNCE there are `1 + queue length` of them.
pub fn chance_level(columns: usize) -> f64 {
    (columns as f64).ln()
}

/// Row-wise, with the row's maximum taken out first.
fn log_sum_exp(logits: &Tensor) -> Result<Tensor, LossError> {
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let sum = logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(D::Minus1)?;
    Ok((sum.log()? + largest)?.squeeze(D::Minus1)?)
}
