//! What can end a run.

use crate::image_set::ImageSet;
use protem_encoder::WeightsError;
use std::path::PathBuf;

/// Why training, a checkpoint or a resume failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmError {
    /// Images could not be had.
    #[error(transparent)]
    Data(#[from] protem_data::DataError),
    /// The clustering refused.
    #[error(transparent)]
    Cluster(#[from] protem_cluster::ClusterError),
    /// A loss or the queue refused.
    #[error(transparent)]
    Loss(#[from] protem_loss::LossError),
    /// An evaluation refused.
    #[error(transparent)]
    Eval(#[from] protem_eval::EvalError),
    /// Weights do not fit.
    #[error(transparent)]
    Encoder(#[from] protem_encoder::EncoderError),
    /// A file that training was to begin with holds no weights for it.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: WeightsError,
    },
    /// Another rank is gone, or does something else.
    #[error(transparent)]
    Comm(#[from] protem_comm::CommError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The loss did not reach the embedding: it was computed from something else.
    #[error("the loss has no gradient at the embedding")]
    NoGradient,
    /// A value that is not a finite number.
    #[error("the {what} became {value} in epoch {epoch}, step {step}")]
    NotFinite {
        /// Which: the loss, the weights, the embeddings.
        what: &'static str,
        /// Epoch, from 1.
        epoch: usize,
        /// Step of the run, from 1.
        step: u64,
        /// The first such value.
        value: f32,
    },
    /// The loader ended before its last image.
    #[error("the loader stopped after {done} of {of}")]
    LoaderStopped {
        /// Batches or images that came.
        done: usize,
        /// Batches or images there are.
        of: usize,
    },
    /// No checkpoint to go on from.
    #[error("no whole checkpoint in {}", folder.display())]
    NoCheckpoint {
        /// Where it was looked for.
        folder: PathBuf,
        /// Files that are there, and why each cannot be used.
        refused: Vec<(PathBuf, String)>,
    },
    /// A file that is not a whole checkpoint.
    #[error("{} is not a whole checkpoint: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of other settings.
    #[error("the checkpoint's {what} is {found}, this run's is {wanted}")]
    Mismatch {
        /// Which setting.
        what: String,
        /// The checkpoint's.
        found: String,
        /// This run's.
        wanted: String,
    },
    /// A checkpoint of other images.
    #[error("the checkpoint belongs to {found}, not to the {wanted} there are now")]
    OtherImages {
        /// The checkpoint's.
        found: ImageSet,
        /// This run's.
        wanted: ImageSet,
    },
    /// A plan made for another number of images.
    #[error("the plan is for {planned} images, and there are {images}")]
    ImagesOfPlan {
        /// The plan's.
        planned: usize,
        /// Those there are.
        images: usize,
    },
    /// A plan made for another number of ranks.
    #[error("the plan is for {planned} ranks, and there are {ranks}")]
    RanksOfPlan {
        /// The plan's.
        planned: usize,
        /// Those there are.
        ranks: usize,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
