//! Conversions from and to other crates' matrices, each behind the feature of its name.

#[cfg(feature = "ndarray")]
mod from_ndarray {
    use crate::{ClusterError, Fit, Matrix, Rows};
    use ndarray::{Array2, ArrayView2};

    impl<'a> TryFrom<ArrayView2<'a, f32>> for Matrix<'a> {
        type Error = ClusterError;

        /// Without a copy, of a view in standard layout (row-major, rows side by side). Of some columns
        /// it cannot be: the others may be lent to somebody who writes. [`Matrix::with_stride`] takes
        /// them from the slice of the whole array.
        ///
        /// # Errors
        /// [`ClusterError::Layout`] for another layout: copy with [`Rows::from`];
        /// [`ClusterError::Length`] for no columns.
        fn try_from(view: ArrayView2<'a, f32>) -> Result<Self, ClusterError> {
            let (rows, cols) = view.dim();
            match view.to_slice() {
                Some(values) => Matrix::new(values, rows, cols),
                None => Err(ClusterError::Layout { rows, cols }),
            }
        }
    }

    impl From<ArrayView2<'_, f32>> for Rows {
        /// A copy, whatever the layout.
        fn from(view: ArrayView2<'_, f32>) -> Self {
            Self {
                values: view.iter().copied().collect(),
                rows: view.nrows(),
                cols: view.ncols(),
            }
        }
    }

    impl Fit {
        /// The centroids, `k × dim`.
        ///
        /// # Errors
        /// [`ClusterError::Length`] if the fields were changed and no longer belong together.
        pub fn centroids_ndarray(&self) -> Result<Array2<f32>, ClusterError> {
            self.centroid_rows()?;
            let shape = (self.k, self.dim);
            Ok(Array2::from_shape_fn(shape, |(c, j)| {
                self.centroids[c * self.dim + j]
            }))
        }
    }
}

#[cfg(feature = "faer")]
mod from_faer {
    use crate::{ClusterError, Fit, Rows};
    use faer::{Mat, MatRef};

    impl From<MatRef<'_, f32>> for Rows {
        /// A copy: faer's matrices lie column by column.
        fn from(matrix: MatRef<'_, f32>) -> Self {
            let (rows, cols) = (matrix.nrows(), matrix.ncols());
            let row = |i| (0..cols).map(move |j| matrix[(i, j)]);
            Self {
                values: (0..rows).flat_map(row).collect(),
                rows,
                cols,
            }
        }
    }

    impl Fit {
        /// The centroids, `k × dim`.
        ///
        /// # Errors
        /// [`ClusterError::Length`] if the fields were changed and no longer belong together.
        pub fn centroids_faer(&self) -> Result<Mat<f32>, ClusterError> {
            self.centroid_rows()?;
            Ok(Mat::from_fn(self.k, self.dim, |c, j| {
                self.centroids[c * self.dim + j]
            }))
        }
    }
}

#[cfg(feature = "candle")]
mod from_candle {
    use crate::{Fit, Rows};
    use candle_core::{DType, Device, Result, Tensor};

    impl TryFrom<&Tensor> for Rows {
        type Error = candle_core::Error;

        /// A copy of a tensor of two dimensions, converted to f32.
        ///
        /// # Errors
        /// candle's, for another number of dimensions or a failed transfer.
        fn try_from(tensor: &Tensor) -> Result<Self> {
            let (rows, cols) = tensor.dims2()?;
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(Self { values, rows, cols })
        }
    }

    impl Fit {
        /// The centroids, `k × dim`.
        ///
        /// # Errors
        /// candle's, if the fields no longer belong together or the transfer fails.
        pub fn centroids_candle(&self, device: &Device) -> Result<Tensor> {
            Tensor::from_slice(&self.centroids, (self.k, self.dim), device)
        }
    }
}

#[cfg(feature = "rayon")]
mod from_rayon {
    use crate::{Matrix, Rows};
    use rayon::prelude::*;

    impl<const D: usize> FromParallelIterator<[f32; D]> for Rows {
        /// Points of `D` values, in the order of the iterator.
        fn from_par_iter<I: IntoParallelIterator<Item = [f32; D]>>(points: I) -> Self {
            let points: Vec<[f32; D]> = points.into_par_iter().collect();
            Self {
                rows: points.len(),
                cols: D,
                values: points.into_flattened(),
            }
        }
    }

    impl<'a> Matrix<'a> {
        /// The rows, for work on the threads of rayon.
        #[must_use]
        pub fn par_rows(self) -> impl IndexedParallelIterator<Item = &'a [f32]> {
            (0..self.rows()).into_par_iter().map(move |i| self.row(i))
        }
    }
}
