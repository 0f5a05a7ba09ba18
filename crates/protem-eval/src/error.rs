//! Why something cannot be evaluated.

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Values that do not make rows.
    #[error("{values} values do not make rows of {dim}")]
    Length {
        /// Values there are.
        values: usize,
        /// Values of a row.
        dim: usize,
    },
    /// Two inputs that should have one entry for each other's.
    #[error("{left} {what} for {right}")]
    Count {
        /// What is compared.
        what: &'static str,
        /// The one.
        left: usize,
        /// The other.
        right: usize,
    },
    /// A value that is NaN or infinite.
    #[error("row {row} holds a value that is not finite")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// A clustering that cannot be.
    #[error(transparent)]
    Cluster(#[from] protem_cluster::ClusterError),
    /// A temperature that weighs nothing.
    #[error("the temperature is {value}, it must be finite and above 0")]
    Temperature {
        /// What it is.
        value: f64,
    },
    /// A decomposition that did not converge.
    #[error("the eigenvalues of the features' covariance did not converge")]
    Eigenvalues,
}
