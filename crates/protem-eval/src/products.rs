//! Products of row-major matrices on the calling thread.

use faer::linalg::matmul::matmul;
use faer::traits::RealField;
use faer::{Accum, MatMut, MatRef, Par};

/// Inner products of the rows of `a` (lines of `out`) with those of `b` (its columns), all of `dim`
/// values.
pub(crate) fn rows_by_rows<T: RealField>(a: &[T], b: &[T], dim: usize, out: &mut [T]) {
    let (rows, columns) = (a.len() / dim, b.len() / dim);
    let a = MatRef::from_row_major_slice(a, rows, dim);
    let b = MatRef::from_row_major_slice(b, columns, dim);
    let out = MatMut::from_row_major_slice_mut(out, rows, columns);
    matmul(
        out,
        Accum::Replace,
        a,
        b.transpose(),
        T::one_impl(),
        Par::Seq,
    );
}

/// Inner products of the columns of `a` (lines of `out`) with those of `b` (its columns); rows of `a`
/// have `lines` values, those of `b` `columns`.
pub(crate) fn columns_by_columns<T: RealField>(
    a: &[T],
    lines: usize,
    b: &[T],
    columns: usize,
    out: &mut [T],
) {
    let a = MatRef::from_row_major_slice(a, a.len() / lines, lines);
    let b = MatRef::from_row_major_slice(b, b.len() / columns, columns);
    let out = MatMut::from_row_major_slice_mut(out, lines, columns);
    matmul(
        out,
        Accum::Replace,
        a.transpose(),
        b,
        T::one_impl(),
        Par::Seq,
    );
}
