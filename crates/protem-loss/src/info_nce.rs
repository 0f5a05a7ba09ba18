//! InfoNCE against a queue of negatives (van den Oord et al. 2018, eq. 4; He et al. 2020, eq. 1).

use candle_core::{D, Tensor};

use crate::contrast::{matrix, same_size, with_gradient};
use crate::softmax::{Temperature, row_softmax};
use crate::{LossError, Result};

/// InfoNCE of a batch, in nats: cross-entropy of the logits `[q·k⁺, q·queueᵀ] / τ` (`1 + r` columns) with the positive as the target, mean
/// over the batch.
///
/// `queries` is `B × d` and the only argument that receives a gradient; `keys` (`B × d`, row i the positive of query i) and `queue`
/// (`r × d`, r ≥ 1) are taken as constants, whether detached or not. All three are expected to be L2-normalised; this is not checked, since
/// it would cost a pass over the queue. The result is a scalar. Pushing to the queue before `backward` does not disturb the gradient.
///
/// # Errors
/// Shapes that are no matrices, are empty or do not agree; a type other than f32; a temperature that is not positive and finite.
pub fn info_nce(
    queries: &Tensor,
    keys: &Tensor,
    queue: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    let (batch, dim) = matrix("queries", queries)?;
    let (key_rows, key_dim) = matrix("keys", keys)?;
    let (_, queue_dim) = matrix("queue", queue)?;
    same_size("rows of the keys", batch, key_rows)?;
    same_size("columns of the keys", dim, key_dim)?;
    same_size("columns of the queue", dim, queue_dim)?;
    // It is divided by in single precision.
    let inverse = 1.0 / temperature as f32;
    if !(temperature.is_finite() && inverse.is_finite() && inverse > 0.0) {
        return Err(LossError::Temperature { value: temperature });
    }

    let q = queries.detach().contiguous()?;
    let (keys, queue) = (keys.detach(), queue.detach().contiguous()?);
    let positive = (&q * &keys)?.sum_keepdim(D::Minus1)?;
    let softmax = row_softmax(
        q.matmul(&queue.t()?)?,
        Some(&positive),
        &Temperature::Shared(temperature),
    )?;
    let value = (&softmax.log_sum_exp - (positive / temperature)?)?.mean_all()?;
    let Some(own) = softmax.own.filter(|_| queries.track_op()) else {
        return Ok(value);
    };

    // (P − onehot)·[k⁺; queue]: the positive's column differs by row, so it stays apart from the product with the queue.
    let pull = keys.broadcast_mul(&(own - 1.0)?)?;
    let push = softmax.columns.matmul(&queue)?;
    let gradient = ((pull + push)? / (temperature * batch as f64))?;
    with_gradient(queries, value, &gradient)
}

/// The loss, in nats, of a guess among `columns` equally likely candidates: `ln(columns)`.
///
/// For InfoNCE the columns are `1 + r`. The line belongs in every plot of the loss, which rises while the queue fills. No columns give
/// −∞.
pub fn chance_level(columns: usize) -> f64 {
    (columns as f64).ln()
}
