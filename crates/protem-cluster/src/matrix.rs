//! A borrowed view of points.

use crate::error::ClusterError;
use crate::isa::Isa;
use rayon::prelude::*;

/// Largest squared length of a point, and of a centroid: `|x − c|²` is at most four times that of the
/// longer one, and must stay finite. A centroid may be longer than all points: each time it is split it
/// is by 1/1024, and that it can be 32 times in an update.
pub(crate) const LONGEST: f32 = f32::MAX / 10.0;
pub(crate) const LONGEST_CENTROID: f32 = f32::MAX / 8.0;

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
    /// [`ClusterError::Length`] if `data` does not hold exactly that many, or `cols` is zero.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Self, ClusterError> {
        let matrix = Self::with_stride(data, rows, cols, cols)?;
        if rows * cols != data.len() {
            return Err(matrix.length_error(rows * cols));
        }
        Ok(matrix)
    }

    /// `rows × cols` values, a row every `stride`; what lies between rows is never read.
    ///
    /// # Errors
    /// [`ClusterError::Length`] if `data` is too short, `stride` below `cols`, or `cols` zero.
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
        let needed = match rows {
            0 => 0,
            _ => (rows - 1).saturating_mul(stride).saturating_add(cols),
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

    /// Every so many rows, from the first on.
    pub(crate) fn every(&self, step: usize) -> Self {
        Self {
            rows: self.rows.div_ceil(step),
            stride: self.stride * step,
            ..*self
        }
    }

    /// Number of points.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a point.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Point `i`, `cols` values.
    ///
    /// # Panics
    /// If `i` is not below [`Self::rows`].
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.cols]
    }

    /// All values, if the rows lie side by side.
    pub(crate) fn side_by_side(&self) -> Option<&'a [f32]> {
        (self.stride == self.cols).then(|| &self.data[..self.rows * self.cols])
    }

    /// Rows `begin` to `end`.
    pub(crate) fn between(&self, begin: usize, end: usize) -> Self {
        assert!(begin < end && end <= self.rows, "rows {begin} to {end}");
        let data = &self.data[begin * self.stride..];
        Self {
            data: &data[..(end - begin - 1) * self.stride + self.cols],
            rows: end - begin,
            ..*self
        }
    }

    /// Whether distances of these points can be computed and labelled.
    pub(crate) fn check(&self, isa: Isa) -> Result<(), ClusterError> {
        self.check_lengths(isa, LONGEST)
    }

    /// Whether distances to these centroids can.
    pub(crate) fn check_centroids(&self, isa: Isa) -> Result<(), ClusterError> {
        self.check_lengths(isa, LONGEST_CENTROID)
    }

    fn check_lengths(&self, isa: Isa, longest: f32) -> Result<(), ClusterError> {
        if self.rows > u32::MAX as usize {
            return Err(ClusterError::TooMany { rows: self.rows });
        }
        // One sum tells both: it is NaN or infinite where a value is.
        let bad = |i: &usize| {
            let square = crate::kernel::squares(isa, self.row(*i));
            square.is_nan() || square > longest
        };
        let row = (0..self.rows)
            .into_par_iter()
            .with_min_len(256)
            .find_first(bad);
        match row {
            Some(row) => Err(unusable(row, self.row(row), longest)),
            None => Ok(()),
        }
    }
}

/// What is wrong with these values of a row, which is too long or not finite.
pub(crate) fn unusable(row: usize, values: &[f32], longest: f32) -> ClusterError {
    match values.iter().all(|x| x.is_finite()) {
        true => ClusterError::TooLarge {
            row,
            limit: longest,
        },
        false => ClusterError::NotFinite { row },
    }
}

/// Points of one's own, row by row: what conversions that must copy give.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rows {
    /// `rows × cols` values.
    pub values: Vec<f32>,
    /// Number of points.
    pub rows: usize,
    /// Values of a point.
    pub cols: usize,
}

impl Rows {
    /// The points as a view.
    ///
    /// # Errors
    /// [`ClusterError::Length`] if the fields do not belong together.
    pub fn view(&self) -> Result<Matrix<'_>, ClusterError> {
        Matrix::new(&self.values, self.rows, self.cols)
    }
}
