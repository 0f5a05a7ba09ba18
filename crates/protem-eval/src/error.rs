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
    /// A similarity that nothing can reach, or all can.
    #[error("the least similarity is {value}, it must be above 0 and below 1")]
    Threshold {
        /// What it is.
        value: f32,
    },
    /// A perplexity that no image can have.
    #[error("the perplexity is {value}, it must be finite and at least 1")]
    Perplexity {
        /// What it is.
        value: f64,
    },
    /// A penalty that no classifier can have.
    #[error("the penalty is {value}, it must be above 0 and at most 1000000")]
    Decay {
        /// What it is.
        value: f64,
    },
    /// A cost that no classifier can have.
    #[error("the cost is {value}, it must be above 0 and at most 1000000")]
    Cost {
        /// What it is.
        value: f64,
    },
    /// A class that is not one of those there are.
    #[error("an image has class {class}, and there are {classes}, from 0 on")]
    Class {
        /// Its number.
        class: u32,
        /// How many there are.
        classes: usize,
    },
    /// An image to learn from that is not there.
    #[error("image {image} is to be learnt from, and there are {images}, from 0 on")]
    Image {
        /// Its number.
        image: usize,
        /// How many there are.
        images: usize,
    },
    /// Nothing to measure.
    #[error("no class has both training and test images")]
    NothingMeasured,
    /// Nothing to choose a penalty by.
    #[error("no class has {of} training images, of which one would be held out")]
    NothingHeldOut {
        /// Images of a class of which one is held out.
        of: usize,
    },
    /// A decomposition that did not converge.
    #[error("the eigenvalues of the features' covariance did not converge")]
    Eigenvalues,
}

impl EvalError {
    /// Fails unless there are as many of the one as of the other.
    pub(crate) fn counted(what: &'static str, left: usize, right: usize) -> Result<(), Self> {
        match left == right {
            true => Ok(()),
            false => Err(Self::Count { what, left, right }),
        }
    }
}
