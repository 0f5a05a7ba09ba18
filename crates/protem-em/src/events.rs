//! What happens in a run, as data.

use crate::state::Position;
use protem_encoder::EncoderConfig;
use protem_ops::Precision;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something that happened. Epochs count from 1; `step` is the number of optimizer steps done.
///
/// All but [`Event::Note`], [`Event::Quarantine`], [`Event::Phase`] and [`Event::Save`] are lines of
/// `metrics.jsonl`. Everything but seconds and images per second is the same for the same seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training begins, or goes on from a checkpoint.
    Run {
        /// Steps done before.
        step: u64,
        /// The checkpoint it goes on from.
        resumed_from: Option<PathBuf>,
        /// Where the training images come from; none are the generated ones.
        #[serde(default)]
        source: Option<PathBuf>,
        /// Seed.
        seed: u64,
        /// The mode's name.
        mode: String,
        /// Training images.
        images: usize,
        /// Images that kNN is measured on; 0 where it is not.
        #[serde(default)]
        test_images: usize,
        /// Classes of the labels; 0 without labels.
        classes: usize,
        /// The encoder.
        #[serde(default)]
        encoder: Option<EncoderConfig>,
        /// What it computes in.
        #[serde(default)]
        precision: Precision,
        /// Side of a view in pixels.
        #[serde(default)]
        image_size: u32,
        /// Trained values of the query encoder.
        parameters: usize,
        /// Epochs of the whole run.
        epochs: usize,
        /// Epochs before the first E-step.
        warmup_epochs: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Images of a batch.
        batch: usize,
        /// Ranks that have it between them.
        #[serde(default = "one")]
        ranks: usize,
        /// Keys in the queue.
        queue: usize,
        /// Prototypes of each clustering; empty without prototypes.
        clusters: Vec<usize>,
        /// Negative prototypes per clustering and batch.
        negatives: usize,
        /// `ln(1 + r)`.
        chance: f64,
    },
    /// An optimizer step; losses are means over its batches.
    Step {
        /// Epoch.
        epoch: usize,
        /// Steps done, this one included.
        step: u64,
        /// What is minimised.
        loss: f64,
        /// InfoNCE.
        loss_instance: f64,
        /// Mean of the ProtoNCE terms; none in the warm-up and without prototypes.
        loss_prototype: Option<f64>,
        /// Learning rate.
        lr: f64,
        /// Training images per second since the step before, the wait for images included.
        images_per_second: f64,
    },
    /// One clustering of an E-step.
    EStep {
        /// The epoch that the prototypes are for.
        epoch: usize,
        /// Steps done before.
        step: u64,
        /// Prototypes.
        k: usize,
        /// Sum of squared distances.
        objective: f64,
        /// Adjusted mutual information with the E-step before: 1 where no image changed.
        ami_previous: Option<f64>,
        /// Clusters without an image.
        empty: usize,
        /// Least concentration φ.
        concentration_min: f64,
        /// Greatest concentration φ.
        concentration_max: f64,
        /// Time of the clustering.
        seconds: f64,
    },
    /// An epoch is over; losses are means over its batches.
    Epoch {
        /// Epoch.
        epoch: usize,
        /// Steps done.
        step: u64,
        /// What is minimised.
        loss: f64,
        /// InfoNCE.
        loss_instance: f64,
        /// Mean of the ProtoNCE terms.
        loss_prototype: Option<f64>,
        /// `ln(1 + r)`: InfoNCE of an encoder that tells nothing apart.
        chance: f64,
        /// Learning rate.
        lr: f64,
        /// kNN accuracy on images kept out of training, between 0 and 1.
        knn_top1: Option<f64>,
        /// Effective rank of the features: between 1, collapsed, and their dimension. None where
        /// it cannot be computed.
        effective_rank: Option<f64>,
        /// Mean over the clusterings of the AMI with the E-step before.
        ami_previous: Option<f64>,
        /// Training images per second of the M-steps: the wait for images counts, E-step,
        /// evaluation and saving do not.
        images_per_second: f64,
        /// Time of the epoch: E-step, M-steps, evaluation, and saving within it. Of an epoch that
        /// was interrupted, over all its parts.
        seconds: f64,
        /// Time of its E-step.
        e_step_seconds: f64,
        /// Time of its M-steps in which training waited for images.
        waited_seconds: f64,
    },
    /// An evaluation outside the epochs: of raw pixels, of the encoder at the beginning.
    Eval {
        /// Steps done.
        step: u64,
        /// What was measured.
        features: Evaluated,
        /// How: protocol with its settings and sets.
        protocol: String,
        /// Accuracy between 0 and 1.
        top1: f64,
        /// Accuracy of always naming the commonest class.
        chance: f64,
    },
    /// Worth knowing.
    Note {
        /// One sentence.
        text: String,
    },
    /// An image that cannot be read was passed over.
    Quarantine {
        /// Which set it belongs to.
        set: Set,
        /// Its path below the source.
        name: String,
        /// Why.
        reason: String,
        /// Found before the first step: the image is none of the run's. Later it stays one, and
        /// others take its place in batches.
        at_start: bool,
    },
    /// Something long between steps has come this far.
    Phase {
        /// Epoch.
        epoch: usize,
        /// What.
        phase: Phase,
        /// Images or clusterings done.
        done: usize,
        /// Images or clusterings in all.
        of: usize,
    },
    /// A checkpoint is about to be written: a run that goes on from it tells nothing again of what was
    /// told before.
    Save {
        /// Steps done.
        step: u64,
    },
    /// The run is over.
    Done {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epochs: usize,
        /// Loss of the last epoch.
        loss: f64,
        /// kNN accuracy of the last evaluation.
        knn_top1: Option<f64>,
        /// The last checkpoint.
        checkpoint: PathBuf,
        /// Time of the run, in all its parts.
        seconds: f64,
    },
}

/// What an evaluation looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluated {
    /// Pixels of the centre crop.
    RawPixels,
    /// Pooled features of the query encoder before the first step.
    Untrained,
    /// The same where it began with given weights.
    Given,
    /// Pooled features of the trained query encoder.
    Trained,
}

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// Those that are trained on.
    Training,
    /// Those that kNN is measured on.
    Test,
}

/// Something long between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The E-step embeds the training images.
    Embedding,
    /// The E-step clusters the embeddings.
    Clustering,
    /// Features of the images that kNN and effective rank are measured on are made.
    Measuring,
    /// kNN compares the test images with the training images.
    Comparing,
}

/// Runs and checkpoints of which no number of ranks was written had one.
pub(crate) fn one() -> usize {
    1
}

impl Event {
    /// Whether it is a line of `metrics.jsonl`.
    pub fn is_metric(&self) -> bool {
        match self {
            Self::Note { .. }
            | Self::Quarantine { .. }
            | Self::Phase { .. }
            | Self::Save { .. } => false,
            Self::Run { .. }
            | Self::Step { .. }
            | Self::EStep { .. }
            | Self::Epoch { .. }
            | Self::Eval { .. }
            | Self::Done { .. } => true,
        }
    }

    /// Whether a run that goes on from `resumed` keeps this event: what such a state has already
    /// seen. The rest will come again.
    pub fn precedes(&self, resumed: &Position) -> bool {
        let clustered = resumed.batch > 0 || resumed.clustered == Some(resumed.epoch);
        match self {
            Self::Run { step, .. } | Self::Done { step, .. } => *step < resumed.step,
            Self::Step { step, .. } => *step <= resumed.step,
            Self::EStep { epoch, .. } => *epoch <= resumed.epoch + usize::from(clustered),
            Self::Epoch { epoch, .. } => *epoch <= resumed.epoch,
            Self::Eval { .. } => resumed.step > 0,
            Self::Note { .. }
            | Self::Quarantine { .. }
            | Self::Phase { .. }
            | Self::Save { .. } => false,
        }
    }
}
