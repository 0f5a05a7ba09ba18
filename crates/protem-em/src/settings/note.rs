//! What is worth saying about settings that work.

use super::Mode;
use super::plan::DEFAULT_QUEUE;
use protem_encoder::{EncoderConfig, Weights};
use std::fmt;

/// Something that works, but not as it was asked or not as one would expect.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The queue's length was not given.
    QueueChosen {
        /// Keys in the queue.
        queue: usize,
        /// Images of a batch.
        batch: usize,
        /// Images of the training set.
        images: usize,
    },
    /// The numbers of prototypes were not given.
    ClustersChosen {
        /// Prototypes of each clustering.
        clusters: Vec<usize>,
        /// Images of the training set.
        images: usize,
    },
    /// The number of negative prototypes was not given.
    NegativesChosen {
        /// Negatives per clustering and batch.
        negatives: usize,
        /// Keys in the queue.
        queue: usize,
        /// Most prototypes of a clustering.
        largest: usize,
    },
    /// The file of weights holds several encoders.
    OneOfSeveral {
        /// What precedes the names of the one that is taken.
        prefix: String,
        /// And those of the others.
        others: Vec<String>,
    },
    /// The weights to begin with have no projection head that fits.
    HeadUntrained {
        /// Values of the embedding.
        dim: usize,
    },
    /// The run goes on with another value than it had.
    SettingChanged {
        /// Which setting.
        key: String,
        /// As it was, in JSON.
        from: String,
        /// As it is.
        to: String,
    },
    /// The queue was shortened to what the images fill.
    QueueClamped {
        /// Keys asked for.
        asked: usize,
        /// Keys in the queue.
        queue: usize,
        /// Images of the training set.
        images: usize,
    },
    /// A clustering with no more prototypes than the batch has images.
    FewClusters {
        /// Prototypes.
        k: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// A clustering that cannot always give as many negatives as asked.
    FewerNegatives {
        /// Negatives asked for.
        asked: usize,
        /// Prototypes.
        k: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// The run ends within the warm-up.
    NoPrototypes {
        /// Epochs without prototypes.
        warmup_epochs: usize,
        /// Epochs of the run.
        epochs: usize,
    },
    /// Settings of prototypes given to a mode without them.
    PrototypesUnused {
        /// The mode.
        mode: Mode,
        /// The settings.
        keys: Vec<&'static str>,
    },
    /// Steps of the learning rate given to a schedule without steps.
    MilestonesUnused,
    /// Steps of the learning rate that come after the run.
    RateNeverFalls {
        /// Epochs at which it would fall.
        milestones: Vec<usize>,
        /// Epochs of the run.
        epochs: usize,
    },
    /// Images to test on for a measure that is not made.
    TestUnused,
    /// The best is to be kept, and none is measured.
    BestUnmeasured,
    /// The best so far is not there to be kept, or was measured otherwise.
    BestForgotten {
        /// Epochs before it.
        epoch: usize,
    },
    /// Keys to be shuffled among the parts of a batch that has one.
    NothingShuffled,
    /// Another number of ranks than the checkpoint's.
    RanksChanged {
        /// As the checkpoint has it.
        from: usize,
        /// From here on.
        to: usize,
    },
    /// The learning rate was scaled to the batch.
    LearningRateScaled {
        /// As given.
        from: f64,
        /// As used.
        to: f64,
        /// Images of a step.
        step_images: usize,
    },
}

impl Note {
    /// Whether kNN measures something else from here on.
    pub(crate) fn changes_knn(&self) -> bool {
        let Self::SettingChanged { key, .. } = self else {
            return false;
        };
        let of_images = ["data.test_folder", "data.orientation", "data.reduced_jpegs"];
        let of_knn = ["eval.knn_k", "eval.knn_temperature"];
        of_images.contains(&key.as_str()) || of_knn.contains(&key.as_str())
    }

    /// What is worth knowing of weights that such an encoder begins with.
    pub fn of_weights(weights: &Weights, encoder: &EncoderConfig) -> Vec<Self> {
        let mut notes = Vec::new();
        if !weights.others().is_empty() {
            notes.push(Self::OneOfSeveral {
                prefix: weights.prefix().to_owned(),
                others: weights.others().to_vec(),
            });
        }
        if !weights.has_head_of(encoder) {
            notes.push(Self::HeadUntrained { dim: encoder.dim });
        }
        notes
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueChosen {
                queue,
                batch,
                images,
            } => write!(
                f,
                "method.queue = {queue}: the largest multiple of the batch ({batch}) within {DEFAULT_QUEUE} and the \
                 {images} training images, or the batch"
            ),
            Self::ClustersChosen { clusters, images } => write!(
                f,
                "method.clusters = {clusters:?}: a 50th, a 20th and a 10th of the {images} training images, at least 2"
            ),
            Self::NegativesChosen {
                negatives,
                queue,
                largest,
            } => write!(
                f,
                "method.negatives = {negatives}: the queue's length ({queue}), at most the largest K ({largest})"
            ),
            Self::SettingChanged { key, from, to } => {
                write!(f, "{key} was {from} and is {to} from here on")
            }
            Self::QueueClamped {
                asked,
                queue,
                images,
            } => write!(
                f,
                "the queue has {queue} keys, not {asked}: there are {images} training images, and more would repeat them"
            ),
            Self::FewClusters { k, batch } => write!(
                f,
                "K = {k} is no more than the batch of {batch}: a batch often holds every prototype, and negatives are then \
                 other images' prototypes only"
            ),
            Self::FewerNegatives { asked, k, batch } => write!(
                f,
                "method.negatives = {asked}, and a clustering has K = {k}, up to {batch} of them in the batch: where \
                 fewer are left, all of those are used"
            ),
            Self::OneOfSeveral { prefix, others } => write!(
                f,
                "of the encoders in the file that of {prefix} is taken, not that of {}",
                others.join(", ")
            ),
            Self::HeadUntrained { dim } => write!(
                f,
                "the weights have no projection head of this kind to {dim} values: it begins untrained"
            ),
            Self::NoPrototypes {
                warmup_epochs,
                epochs,
            } => write!(
                f,
                "the warm-up of {warmup_epochs} epochs lasts the whole run of {epochs}: prototypes take no part"
            ),
            Self::PrototypesUnused { mode, keys } => write!(
                f,
                "mode {} has no prototypes: {} of the settings {} not used",
                mode.name(),
                keys.join(", "),
                if keys.len() == 1 { "is" } else { "are" }
            ),
            Self::MilestonesUnused => f.write_str(
                "the learning rate falls along a cosine: optim.milestones and optim.gamma are not used \
                 (optim.schedule = \"step\" uses them)",
            ),
            Self::RateNeverFalls { milestones, epochs } => write!(
                f,
                "the learning rate never falls: optim.milestones = {milestones:?} lie beyond the {epochs} epochs"
            ),
            Self::TestUnused => f.write_str(
                "eval.knn_every = 0: nothing is measured on data.test_folder, though its images are checked",
            ),
            Self::BestUnmeasured => f.write_str(
                "checkpoint.keep_best keeps nothing: no kNN is measured to tell which is best",
            ),
            Self::BestForgotten { epoch } => write!(
                f,
                "the best kNN so far, behind epoch {epoch}, was measured otherwise or its checkpoint was not kept: checkpoint.keep_best counts from here on"
            ),
            Self::NothingShuffled => f.write_str(
                "encoder.shuffle_bn changes nothing while encoder.split_bn = 1: all of a batch shares its statistics",
            ),
            Self::RanksChanged { from, to } => write!(
                f,
                "the run had {from} {}, and has {to} from here on: the same to rounding, not to the bit",
                if *from == 1 { "rank" } else { "ranks" }
            ),
            Self::LearningRateScaled {
                from,
                to,
                step_images,
            } => write!(
                f,
                "the learning rate is {from} · {step_images}/256 = {}",
                // In single precision: the last digits of the product are none of anybody's.
                *to as f32
            ),
        }
    }
}
