//! Why a clustering cannot be.

/// Why a clustering cannot be: what is wrong with an input or a setting, or missing on this machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The data does not hold the rows and columns that were named.
    #[error("{rows}×{cols} points{}", of_length(*cols, *stride, *needed, *found))]
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
    /// A view whose rows do not lie side by side.
    #[error(
        "{rows}×{cols} points are not row-major with their rows side by side: copy them (`Rows::from`)"
    )]
    Layout {
        /// Rows of the view.
        rows: usize,
        /// Columns of the view.
        cols: usize,
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
    /// Finite values so large that a squared distance would not be.
    #[error("row {row} is too long: its squared length must be below {limit:e}")]
    TooLarge {
        /// The first such row.
        row: usize,
        /// Largest squared length.
        limit: f32,
    },
    /// More rows or clusters than labels can tell apart.
    #[error("{rows} rows are more than the {} that labels can number", u32::MAX)]
    TooMany {
        /// Rows there are.
        rows: usize,
    },
    /// Points and centroids of different lengths.
    #[error("points have {points} columns, centroids {centroids}")]
    Columns {
        /// Columns of the points.
        points: usize,
        /// Columns of the centroids.
        centroids: usize,
    },
    /// Initial centroids that are not whole rows, or too many.
    #[error(
        "{found} values of initial centroids: between 1 and {k} rows of {cols} columns are needed"
    )]
    Init {
        /// Clusters asked for.
        k: usize,
        /// Columns of the points.
        cols: usize,
        /// Values given.
        found: usize,
    },
    /// A value of initial centroids that cannot be.
    #[error("initial centroids: {0}")]
    Initial(Box<ClusterError>),
    /// A value of the centroids that points are to be assigned to that cannot be.
    #[error("centroids: {0}")]
    Centroids(Box<ClusterError>),
    /// Weights that are not one per point.
    #[error("{found} weights for {points} points: there must be one of each")]
    Weights {
        /// Points there are.
        points: usize,
        /// Weights given.
        found: usize,
    },
    /// Places for results that are not one per point.
    #[error("{labels} places for labels and {distances} for distances of {points} points")]
    Places {
        /// Points there are.
        points: usize,
        /// Places for labels.
        labels: usize,
        /// Places for distances.
        distances: usize,
    },
    /// The threads asked for could not be started.
    #[error("{threads} threads could not be started: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// A level of instructions that this machine has not.
    #[error("no level {name:?} of vector instructions here: this machine has {available}")]
    Isa {
        /// Its name.
        name: String,
        /// The names there are.
        available: String,
    },
    /// A distance below zero.
    #[error("the distance of row {row} is {distance}, below zero")]
    Negative {
        /// The first such row.
        row: usize,
        /// Its distance.
        distance: f32,
    },
    /// Distances and labels are not those of the same points.
    #[error("{distances} distances and {labels} labels: there must be one of each per point")]
    Unequal {
        /// Number of distances.
        distances: usize,
        /// Number of labels.
        labels: usize,
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
    /// No CUDA device to compute on: it, its driver, what compiles for it, or the feature `cuda` is
    /// missing.
    #[error("no CUDA device can be used: {reason}")]
    DeviceMissing {
        /// What is not there, and what to install.
        reason: String,
    },
    /// The kernels could not be compiled for the device.
    #[error("the CUDA kernels do not compile: {log}")]
    DeviceCompile {
        /// What the compiler said.
        log: String,
    },
    /// Clusters that do not fit into the memory of the device, however small the blocks of points.
    #[error(
        "{clusters} clusters and a block of {points} points need {needed} bytes of device memory \
         and {free} are free: {}",
        of_fitting(*clusters, *fitting)
    )]
    DeviceMemory {
        /// Clusters asked for.
        clusters: usize,
        /// Points of the smallest block.
        points: usize,
        /// Bytes that they need.
        needed: usize,
        /// Bytes that are free.
        free: usize,
        /// The most clusters that would fit into what is free, up to `clusters`.
        fitting: usize,
    },
    /// A device without memory for something small that a clustering puts there beside its points.
    #[error(
        "the memory of the CUDA device is full: free some of it, or cluster on the processor \
         (`Device::Cpu`)"
    )]
    DeviceFull,
    /// A device that did not do what it was asked.
    #[error("the CUDA device failed: {reason}")]
    DeviceFailed {
        /// What the driver said.
        reason: String,
    },
}

/// How the data and the lengths that were named do not belong together.
fn of_length(cols: usize, stride: usize, needed: usize, found: usize) -> String {
    if cols == 0 {
        ": there must be at least one column".into()
    } else if stride < cols {
        format!(" at a row step of {stride}: it must be at least {cols}")
    } else if stride == cols {
        format!(" need {needed} values, there are {found}")
    } else {
        format!(" at a row step of {stride} need {needed} values, there are {found}")
    }
}

/// What to do where so many clusters would fit.
fn of_fitting(clusters: usize, fitting: usize) -> String {
    let otherwise = "free device memory, or cluster on the processor (`Device::Cpu`)";
    match fitting {
        0 => format!("not one cluster would fit; {otherwise}"),
        _ if fitting < clusters => format!("{fitting} clusters would fit"),
        _ => format!(
            "enough, but others took of it meanwhile or it is in pieces; try again, {otherwise}"
        ),
    }
}
