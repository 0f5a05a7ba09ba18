//! What learned features are worth: accuracy of kNN and of a linear classifier, average precision of
//! linear SVMs (from many images or few), effective rank, agreement of labellings; and which images are
//! nearest to others by them, or near duplicates, and where they lie on a map.
//!
//! Pure functions of features and labels; the crate knows nothing of how they were made. But for
//! [`finetune`], which trains a classifier on images, on a frozen encoder or with it.
//!
//! ```
//! use protem_eval::{Features, KnnConfig, knn};
//!
//! // Four training images of two classes, one test image; features of two values.
//! let train = Features::new(vec![1.0, 0.1, 0.9, 0.0, 0.0, 1.0, 0.1, 1.2], 2)?;
//! let test = Features::new(vec![0.2, 0.8], 2)?;
//! let config = KnnConfig { k: 3, temperature: 0.07 };
//! let found = knn(train, &[0, 0, 1, 1], test, &[1], &config, &mut |_| true)?;
//! assert_eq!(found.expect("never asked to stop").predictions, [1]);
//! # Ok::<(), protem_eval::EvalError>(())
//! ```

mod agreement;
mod average_precision;
mod classified;
mod clusters;
mod cross_entropy;
mod duplicates;
mod error;
mod finetune;
mod knn;
mod lbfgs;
mod linear;
mod neighbours;
mod products;
mod rank;
mod svm;
mod tsne;

pub use agreement::{Agreement, ami};
pub use average_precision::average_precision;
pub use classified::Classified;
pub use clusters::{ClusterConfig, cluster_agreement};
pub use duplicates::{Group, duplicates};
pub use error::EvalError;
pub use finetune::{FinetuneConfig, FinetuneError, Finetuned, Trains, finetune, top_k};
pub use knn::{KnnConfig, KnnResult, knn};
pub use linear::{DECAYS, HELD_OUT, LinearConfig, LinearResult, linear};
pub use neighbours::{Similar, nearest};
pub use rank::effective_rank;
pub use svm::{POSITIVE_WEIGHT, SvmConfig, SvmResult, svm};
pub use tsne::{Tsne, TsneConfig, TsneProgress, tsne};

/// Row-major `f32` features, one row an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    dim: usize,
}

impl Features {
    /// From `rows × dim` values.
    ///
    /// # Errors
    /// A length that is no multiple of `dim`, no values at all, or one that is not finite.
    pub fn new(values: Vec<f32>, dim: usize) -> Result<Self, EvalError> {
        if dim == 0 || values.is_empty() || !values.len().is_multiple_of(dim) {
            return Err(EvalError::Length {
                values: values.len(),
                dim,
            });
        }
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(EvalError::NotFinite { row: at / dim }),
            None => Ok(Self { values, dim }),
        }
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Values of an image.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Those of some images.
    fn some(&self, rows: &[usize]) -> Self {
        let values = rows
            .iter()
            .flat_map(|row| &self.values[row * self.dim..][..self.dim]);
        Self {
            values: values.copied().collect(),
            dim: self.dim,
        }
    }

    /// With every row scaled to length one; a row of zeros stays.
    pub fn normalised(mut self) -> Self {
        for row in self.values.chunks_exact_mut(self.dim) {
            let norm = row
                .iter()
                .map(|x| *x as f64 * *x as f64)
                .sum::<f64>()
                .sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x = (*x as f64 / norm) as f32);
            }
        }
        self
    }
}
