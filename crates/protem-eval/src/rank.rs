//! How many directions features use.

use crate::{EvalError, Features};

/// Effective rank (Roy and Vetterli 2007): the exponential of the entropy of the features'
/// singular values, scaled to sum one. Between 1 (collapsed) and the dimension.
///
/// # Errors
/// Eigenvalues that do not converge.
pub fn effective_rank(features: &Features) -> Result<f64, EvalError> {
    let (rows, dim) = (features.rows(), features.dim());
    let x = faer::MatRef::from_row_major_slice(features.values(), rows, dim);
    let x = faer::Mat::from_fn(rows, dim, |i, j| x[(i, j)] as f64);
    // Both products have the squares of the singular values; the smaller one has no others.
    let (left, right) = match rows < dim {
        true => (x.as_ref(), x.transpose()),
        false => (x.transpose(), x.as_ref()),
    };
    let least = rows.min(dim);
    let mut gram = faer::Mat::<f64>::zeros(least, least);
    faer::linalg::matmul::matmul(
        gram.as_mut(),
        faer::Accum::Replace,
        left,
        right,
        1.0,
        faer::Par::Seq,
    );
    let eigenvalues = gram
        .self_adjoint_eigenvalues(faer::Side::Lower)
        .map_err(|_| EvalError::Eigenvalues)?;
    let singular: Vec<f64> = eigenvalues.iter().map(|e| e.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return Ok(1.0);
    }
    let entropy: f64 = singular
        .iter()
        .map(|s| s / sum)
        .filter(|p| *p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    Ok(entropy.exp())
}
