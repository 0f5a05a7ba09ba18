//! What both losses share: argument checks, and a scalar whose gradient is known.

use candle_core::{DType, Tensor};

use crate::{LossError, Result};

/// Rows and columns of an f32 matrix with at least one of each.
pub(crate) fn matrix(what: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    let shape = tensor.dims();
    let &[rows, dim] = shape else {
        return Err(LossError::NotAMatrix {
            what,
            shape: shape.to_vec(),
        });
    };
    if rows == 0 || dim == 0 {
        return Err(LossError::Empty {
            what,
            shape: shape.to_vec(),
        });
    }
    if tensor.dtype() != DType::F32 {
        return Err(LossError::NotF32 {
            what,
            dtype: tensor.dtype(),
        });
    }
    Ok((rows, dim))
}

/// `Err` unless the two sizes agree.
pub(crate) fn same_size(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(LossError::SizeMismatch {
            what,
            expected,
            got,
        })
    }
}

/// A scalar with the value `value` and, towards `queries`, the gradient `gradient` (of the queries' shape).
///
/// `q·g − q·g` is exactly zero for finite numbers, so adding it leaves the bits of the value alone; only the first of the two terms is on
/// the tape. Unlike a custom op this works on every device.
pub(crate) fn with_gradient(queries: &Tensor, value: Tensor, gradient: &Tensor) -> Result<Tensor> {
    if !queries.track_op() {
        return Ok(value);
    }
    let product = (queries * gradient.detach())?.sum_all()?;
    let zero = (&product - product.detach())?;
    Ok((value.detach() + zero)?)
}
