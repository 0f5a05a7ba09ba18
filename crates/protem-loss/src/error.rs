//! Everything that can be wrong with the arguments of a loss, with the values.

use candle_core::DType;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, LossError>;

/// Why a loss, a queue or a set of prototypes could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A tensor has another rank than its role asks for.
    #[error("{what} must be a matrix (rows × dim), got shape {shape:?}")]
    NotAMatrix {
        /// The role of the tensor.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor has no elements where at least one row and one column are needed.
    #[error("{what} is empty: shape {shape:?}")]
    Empty {
        /// The role of the tensor.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor is not f32.
    #[error("{what} must be f32, got {dtype:?}")]
    NotF32 {
        /// The role of the tensor.
        what: &'static str,
        /// Its type.
        dtype: DType,
    },
    /// Two sizes that must agree do not.
    #[error("{what}: expected {expected}, got {got}")]
    SizeMismatch {
        /// Which size.
        what: &'static str,
        /// The size the other arguments ask for.
        expected: usize,
        /// The size found.
        got: usize,
    },
    /// A temperature that is not a positive finite number.
    #[error("the temperature must be positive and finite, got {value}")]
    Temperature {
        /// The value.
        value: f64,
    },
    /// A concentration that is not a positive finite number.
    #[error("the concentration of prototype {index} must be positive and finite, got {value}")]
    Concentration {
        /// Which prototype.
        index: usize,
        /// Its concentration.
        value: f32,
    },
    /// A prototype that is neither of unit length nor zero.
    #[error("prototype {index} must be L2-normalised (or zero), its norm is {norm}")]
    NotNormalised {
        /// Which prototype.
        index: usize,
        /// Its norm.
        norm: f32,
    },
    /// A prototype id beyond the number of prototypes.
    #[error("{what} names prototype {id}, but there are {count} (ids from 0)")]
    UnknownPrototype {
        /// What names it, such as "positives".
        what: &'static str,
        /// The id.
        id: u32,
        /// How many prototypes there are.
        count: usize,
    },
    /// ProtoNCE was asked for without a clustering.
    #[error("ProtoNCE needs at least one clustering")]
    NoClustering,
    /// The queue cannot be filled by whole batches.
    #[error(
        "the queue's length {len} is not a multiple of the batch {batch}; {above} would be",
        above = (len / batch.max(&1) + 1) * batch
    )]
    BatchDoesNotDivide {
        /// Rows pushed.
        batch: usize,
        /// Rows of the queue.
        len: usize,
    },
    /// A saved queue whose counters do not fit its rows.
    #[error("the queue's {what} is {value}, which does not fit its length {len}")]
    QueueCounter {
        /// "pointer" or "filled count".
        what: &'static str,
        /// The value.
        value: usize,
        /// Rows of the queue.
        len: usize,
    },
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
