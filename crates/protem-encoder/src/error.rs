//! What can go wrong with weights from outside.

/// Why there is no such encoder, or weights do not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A structure that no encoder can have.
    #[error("an encoder's {key} = {value} must lie between {least} and {most}")]
    Config {
        /// Which part of it.
        key: &'static str,
        /// What it is.
        value: usize,
        /// The least it may be.
        least: usize,
        /// The most.
        most: usize,
    },
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
