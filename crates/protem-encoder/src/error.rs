//! What can go wrong with weights from outside.

/// Why weights do not fit an encoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// A tensor the encoder needs is not there.
    #[error("the weights hold no `{name}`")]
    Missing {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has another number of values.
    #[error("`{name}` has {found} values, this encoder needs {shape:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// What the encoder needs.
        shape: Vec<usize>,
        /// How many values there are.
        found: usize,
    },
}
