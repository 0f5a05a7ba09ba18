//! Why a clustering cannot be.

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The data does not hold the rows and columns that were named.
    #[error(
        "{rows}×{cols} points at a row step of {stride} need {needed} values, there are {found}"
    )]
    Length {
        /// Rows named.
        rows: usize,
        /// Columns named.
        cols: usize,
        /// Values from one row to the next.
        stride: usize,
        /// Values needed.
        needed: usize,
        /// Values there are.
        found: usize,
    },
    /// Zero clusters, or more than points.
    #[error("{k} clusters of {points} points: k must lie between 1 and the number of points")]
    Clusters {
        /// Clusters asked for.
        k: usize,
        /// Points there are.
        points: usize,
    },
    /// A setting out of its range.
    #[error("{name} is {value}, it must be {rule}")]
    Setting {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A value that is NaN or infinite.
    #[error("row {row} holds a value that is not finite")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// A label without a cluster.
    #[error("label {label} of row {row} is not below {k}")]
    Label {
        /// The row.
        row: usize,
        /// Its label.
        label: u32,
        /// Number of clusters.
        k: usize,
    },
}
