//! What happens in a run, as data.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something that happened. Epochs count from 1; `step` is the number of optimizer steps done.
///
/// All but [`Event::Note`] and [`Event::Quarantine`] are lines of `metrics.jsonl`. Everything but
/// seconds and images per second is the same for the same seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training begins, or goes on from a checkpoint.
    Run {
        /// Steps done before.
        step: u64,
        /// The checkpoint it goes on from.
        resumed_from: Option<PathBuf>,
        /// Seed.
        seed: u64,
        /// The mode's name.
        mode: String,
        /// Training images.
        images: usize,
        /// Classes of the labels; 0 without labels.
        classes: usize,
        /// Trained values of the query encoder.
        parameters: usize,
        /// Epochs of the whole run.
        epochs: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Images of a batch.
        batch: usize,
        /// Keys in the queue.
        queue: usize,
        /// Prototypes of each clustering; empty without prototypes.
        clusters: Vec<usize>,
        /// Negative prototypes per clustering and batch.
        negatives: usize,
        /// `ln(1 + r)`.
        chance: f64,
    },
    /// An optimizer step.
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
        /// Since the step before.
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
        /// Effective rank of the features.
        effective_rank: Option<f64>,
        /// Mean over the clusterings.
        ami_previous: Option<f64>,
        /// Training images per second of the epoch, E-step and evaluation included.
        images_per_second: f64,
        /// Time of the epoch.
        seconds: f64,
        /// Time of its E-step.
        e_step_seconds: f64,
    },
    /// An evaluation outside the epochs: of raw pixels, of the untrained encoder.
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
        /// Its path below the source.
        name: String,
        /// Why.
        reason: String,
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
    /// Pooled features of the trained query encoder.
    Trained,
}

impl Event {
    /// Steps done when it happened; none of a note or an image passed over.
    pub fn step(&self) -> Option<u64> {
        match self {
            Self::Run { step, .. }
            | Self::Step { step, .. }
            | Self::EStep { step, .. }
            | Self::Epoch { step, .. }
            | Self::Eval { step, .. }
            | Self::Done { step, .. } => Some(*step),
            Self::Note { .. } | Self::Quarantine { .. } => None,
        }
    }

    /// Whether a run that goes on from a checkpoint of `resumed` steps keeps this event: what
    /// happened before it, and what such a checkpoint has already seen. An E-step that such a
    /// checkpoint has not seen is done again.
    pub fn precedes(&self, resumed: u64) -> bool {
        match self {
            Self::Run { step, .. } | Self::EStep { step, .. } | Self::Done { step, .. } => {
                *step < resumed
            }
            Self::Step { step, .. } | Self::Epoch { step, .. } | Self::Eval { step, .. } => {
                resumed > 0 && *step <= resumed
            }
            Self::Note { .. } | Self::Quarantine { .. } => false,
        }
    }
}
