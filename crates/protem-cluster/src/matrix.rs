//! A borrowed view of points.

use crate::error::ClusterError;

/// Row-major `f32` points, rows a fixed step apart.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows × cols` contiguous values.
    ///
    /// # Errors
    /// [`ClusterError::Length`] if `data` does not hold exactly that many.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Self, ClusterError> {
        let matrix = Self::with_stride(data, rows, cols, cols)?;
        if rows * cols != data.len() {
            return Err(matrix.length_error(rows * cols));
        }
        Ok(matrix)
    }

    /// `rows × cols` values, a row every `stride`.
    ///
    /// # Errors
    /// [`ClusterError::Length`] if `data` is too short or `stride` below `cols`.
    pub fn with_stride(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, ClusterError> {
        let matrix = Self {
            data,
            rows,
            cols,
            stride,
        };
        let needed = if rows == 0 {
            0
        } else {
            (rows - 1) * stride + cols
        };
        if data.len() < needed || stride < cols || cols == 0 {
            return Err(matrix.length_error(needed));
        }
        Ok(matrix)
    }

    fn length_error(&self, needed: usize) -> ClusterError {
        ClusterError::Length {
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            needed,
            found: self.data.len(),
        }
    }

    /// Number of points.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a point.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Point `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Self::rows`].
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.cols]
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn from_row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..]
    }

    pub(crate) fn check_finite(&self) -> Result<(), ClusterError> {
        match (0..self.rows).find(|i| self.row(*i).iter().any(|x| !x.is_finite())) {
            Some(row) => Err(ClusterError::NotFinite { row }),
            None => Ok(()),
        }
    }
}
