//! What a run is told: plain data with the published defaults, and the door that checks it.
//!
//! [`Settings`] is the config file; [`Plan::check`] is the only way from there to a run. Defaults
//! are those of the reference at ImageNet scale, less what follows from the number of images.

mod check;
mod note;
mod plan;
#[cfg(test)]
mod tests;
mod violation;

pub use note::Note;
pub use plan::{OptimPlan, Plan};
pub use violation::Violation;

use protem_data::{DecodeOptions, Part, Recipe};
use protem_encoder::{Arch, Head, Stem};
use protem_ops::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that can be set about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// All randomness follows from it: weights, order, views, k-means, negatives.
    pub seed: u64,
    /// Threads that compute; as many as the machine has when not given. Results do not depend on
    /// it.
    pub threads: Option<usize>,
    /// PCL or MoCo, first or second version.
    pub mode: Mode,
    /// Numbers that feature maps are stored in, and with it the arithmetic of convolutions.
    pub precision: Precision,
    /// Images.
    pub data: DataSettings,
    /// Random views.
    pub augment: AugmentSettings,
    /// Encoder and projection head.
    pub encoder: EncoderSettings,
    /// Losses, queue and prototypes.
    pub method: MethodSettings,
    /// Clustering of the E-step.
    pub e_step: EStepSettings,
    /// Optimizer and schedule.
    pub optim: OptimSettings,
    /// Evaluation while training.
    pub eval: EvalSettings,
    /// When to save.
    pub checkpoint: CheckpointSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            threads: None,
            mode: Mode::PclV2,
            precision: Precision::F32,
            data: DataSettings::default(),
            augment: AugmentSettings::default(),
            encoder: EncoderSettings::default(),
            method: MethodSettings::default(),
            e_step: EStepSettings::default(),
            optim: OptimSettings::default(),
            eval: EvalSettings::default(),
            checkpoint: CheckpointSettings::default(),
        }
    }
}

/// Which method, with its projection head, augmentation recipe and schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Prototypes, linear head, recipe v1, step schedule.
    PclV1,
    /// Prototypes, two-layer head, recipe v2, cosine schedule.
    PclV2,
    /// As `pcl-v1` without prototypes.
    MocoV1,
    /// As `pcl-v2` without prototypes.
    MocoV2,
}

impl Mode {
    /// Whether prototypes take part.
    pub fn has_prototypes(self) -> bool {
        matches!(self, Self::PclV1 | Self::PclV2)
    }

    /// Projection head.
    pub fn head(self) -> Head {
        match self {
            Self::PclV1 | Self::MocoV1 => Head::V1,
            Self::PclV2 | Self::MocoV2 => Head::V2,
        }
    }

    /// Augmentation recipe unless another is asked for.
    pub fn recipe(self) -> Recipe {
        match self {
            Self::PclV1 | Self::MocoV1 => Recipe::V1,
            Self::PclV2 | Self::MocoV2 => Recipe::V2,
        }
    }

    /// Learning-rate schedule unless another is asked for.
    pub fn schedule(self) -> Schedule {
        match self {
            Self::PclV1 | Self::MocoV1 => Schedule::Step,
            Self::PclV2 | Self::MocoV2 => Schedule::Cosine,
        }
    }

    /// As it stands in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::PclV1 => "pcl-v1",
            Self::PclV2 => "pcl-v2",
            Self::MocoV1 => "moco-v1",
            Self::MocoV2 => "moco-v2",
        }
    }
}

/// What a step does with the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum, as PyTorch's.
    Sgd,
    /// The same with each weight tensor's step scaled to 0.001 of its length, and biases and norms
    /// without weight decay (You, Gitman, Ginsburg 2017).
    Lars,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Times `optim.gamma` at each of `optim.milestones`.
    Step,
    /// Half a cosine down to zero, by epoch.
    Cosine,
}

/// Images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Training images: a folder (class folders, flat or nested), or any other source as
    /// `[KIND:]PATH[?OPTION=VALUE]`. Without any, images are generated.
    pub folder: Option<PathBuf>,
    /// Labelled images that kNN is measured on, named likewise; without any, `held_out` of a labelled
    /// training set.
    pub test_folder: Option<PathBuf>,
    /// Side of a view in pixels.
    pub image_size: u32,
    /// Threads that decode and augment; as many as compute when not given.
    pub workers: Option<usize>,
    /// Share of each class kept out of training for kNN when labels exist and no test folder is
    /// named; 0 keeps all images in.
    pub held_out: f64,
    /// Share of the training images, and of those that kNN is measured on, that may be unreadable: more
    /// refuse the run at its start, and end it where they become unreadable on the way. One alone does
    /// neither, unless this is 0.
    pub max_unreadable: f64,
    /// Whether the orientation that a camera noted (EXIF) is applied; PCL and torchvision do not.
    pub orientation: bool,
    /// Whether large JPEGs are decoded at a half, a quarter or an eighth of their size, as long as their
    /// shorter side keeps three times the pixels of a view's; faster, and smoother than the reference
    /// recipes, which shrink the whole image.
    pub reduced_jpegs: bool,
    /// Pixels above which an image is unreadable: a small file can declare gigabytes.
    pub max_pixels: u64,
    /// MiB of memory for decoded images of the training set, those held out of it among them: what is
    /// kept is not decoded again. The pixels are the same.
    pub cache_mib: u64,
    /// Number of training images to generate when no folder is named; a fifth as many test images,
    /// at least ten, come on top.
    pub generated_images: usize,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            folder: None,
            test_folder: None,
            image_size: 32,
            workers: None,
            held_out: 0.1,
            max_unreadable: 0.1,
            orientation: false,
            reduced_jpegs: false,
            max_pixels: DecodeOptions::default().max_pixels,
            cache_mib: 0,
            generated_images: 5000,
        }
    }
}

impl DataSettings {
    /// How image files are decoded.
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.max_pixels,
            orientation: self.orientation,
            reduce_to: self
                .reduced_jpegs
                .then_some(self.image_size.saturating_mul(3)),
            ..DecodeOptions::default()
        }
    }

    /// Bytes for decoded images.
    pub fn cache_bytes(&self) -> u64 {
        self.cache_mib.saturating_mul(1 << 20)
    }
}

/// Random views.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentSettings {
    /// `v1` or `v2`; the mode's own when not given.
    pub recipe: Option<Recipe>,
    /// Whether recipe v2 blurs; yes when not given. Images of about 32 pixels are better left
    /// sharp.
    pub blur: Option<bool>,
    /// Least share of the image's area that a crop takes.
    pub min_scale: f64,
    /// What is done to a crop, in this order, instead of a recipe.
    pub parts: Option<Vec<Part>>,
}

impl Default for AugmentSettings {
    fn default() -> Self {
        Self {
            recipe: None,
            blur: None,
            min_scale: 0.2,
            parts: None,
        }
    }
}

/// Encoder and projection head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderSettings {
    /// `resnet18`, `resnet34`, `resnet50`, `resnet101` or `resnet152`.
    pub arch: Arch,
    /// `cifar` (3×3, no pooling) or `imagenet` (7×7, max-pool).
    pub stem: Stem,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// Values of the embedding.
    pub dim: usize,
    /// File of weights to begin with: safetensors, or of `torch.save`; of a ResNet of this structure, by
    /// torchvision's names. A projection head is taken from it if it has one like this. Without any, the
    /// encoder begins untrained. A relative path is one from where the program runs.
    pub weights: Option<PathBuf>,
    /// What precedes torchvision's names in that file, where it holds several encoders and not the one
    /// that is called as trained ones are is meant.
    pub weights_prefix: Option<String>,
    /// Equal parts of a batch with batch-norm statistics of their own, as on so many devices; 1 is
    /// plain batch norm.
    pub split_bn: usize,
    /// Whether the key encoder's parts are of other images than the query encoder's: Shuffle-BN.
    /// Without it an image's two views share their statistics with the same images.
    pub shuffle_bn: bool,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            arch: Arch::Resnet18,
            stem: Stem::Cifar,
            width: 64,
            dim: 128,
            weights: None,
            weights_prefix: None,
            split_bn: 1,
            shuffle_bn: false,
        }
    }
}

/// Losses, queue and prototypes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MethodSettings {
    /// τ of InfoNCE, and mean of the prototypes' own temperatures.
    pub temperature: f64,
    /// Share of itself that the key encoder keeps at each step.
    pub momentum: f64,
    /// Keys in the queue. When not given: the largest multiple of the batch within 16384 and the
    /// number of images, or the batch.
    pub queue: Option<usize>,
    /// Prototypes of each clustering. When not given: a 50th, a 20th and a 10th of the number of
    /// images, at least 2 each, of equal ones one.
    pub clusters: Option<Vec<usize>>,
    /// Negative prototypes drawn per clustering and batch. When not given: the queue's length, at
    /// most the largest number of prototypes.
    pub negatives: Option<usize>,
    /// First epochs without prototypes.
    pub warmup_epochs: usize,
}

impl Default for MethodSettings {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            momentum: 0.999,
            queue: None,
            clusters: None,
            negatives: None,
            warmup_epochs: 20,
        }
    }
}

/// Clustering of the E-step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EStepSettings {
    /// Lloyd iterations.
    pub iterations: usize,
    /// Restarts, of which the best objective is kept.
    pub restarts: usize,
    /// With more images per prototype than this, k-means trains on a sample.
    pub max_points_per_centroid: usize,
    /// Begin at the previous epoch's centroids, with one start, instead of anew.
    pub warm_start: bool,
    /// α of the concentration: added to a cluster's size inside the logarithm.
    pub smoothing: f64,
    /// Percentiles that concentrations are clipped to.
    pub percentiles: [f64; 2],
}

impl Default for EStepSettings {
    fn default() -> Self {
        Self {
            iterations: 20,
            restarts: 5,
            max_points_per_centroid: 1000,
            warm_start: false,
            smoothing: 10.0,
            percentiles: [10.0, 90.0],
        }
    }
}

/// Optimizer and schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimSettings {
    /// Passes over the images.
    pub epochs: usize,
    /// Images that pass the encoder together.
    pub batch: usize,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: usize,
    /// Learning rate at the start.
    pub lr: f64,
    /// `sgd`, or `lars` for very large batches.
    pub optimizer: Optimizer,
    /// Momentum of the steps.
    pub momentum: f64,
    /// Weight decay, on all parameters with SGD, on weight tensors with LARS.
    pub weight_decay: f64,
    /// `step` or `cosine`; the mode's own when not given.
    pub schedule: Option<Schedule>,
    /// Epochs at which the step schedule falls.
    pub milestones: Vec<usize>,
    /// What the step schedule multiplies by.
    pub gamma: f64,
    /// Multiply the learning rate by `batch · accumulate / 256` (Goyal et al. 2017).
    pub scale_lr: bool,
}

impl Default for OptimSettings {
    fn default() -> Self {
        Self {
            epochs: 200,
            batch: 256,
            accumulate: 1,
            lr: 0.03,
            optimizer: Optimizer::Sgd,
            momentum: 0.9,
            weight_decay: 1e-4,
            schedule: None,
            milestones: vec![120, 160],
            gamma: 0.1,
            scale_lr: false,
        }
    }
}

/// Evaluation while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSettings {
    /// Epochs between kNN evaluations; the last epoch has one besides. 0 is never.
    pub knn_every: usize,
    /// Neighbours that vote.
    pub knn_k: usize,
    /// A neighbour of cosine `s` has the weight `exp(s/temperature)`.
    pub knn_temperature: f64,
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self {
            knn_every: 1,
            knn_k: 20,
            knn_temperature: 0.07,
        }
    }
}

impl EvalSettings {
    /// How kNN is measured, in words: on how many images, under a centre crop of how many pixels.
    pub fn protocol(&self, train: usize, test: usize, image_size: u32) -> String {
        let k = self.knn_k.min(train);
        format!(
            "kNN, k = {k}, cosine, temperature {}, {train} training and {test} test images, centre crop of {image_size} pixels",
            self.knn_temperature
        )
    }
}

/// When to save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSettings {
    /// Epochs between checkpoints.
    pub every_epochs: usize,
    /// Steps between checkpoints, besides those at the end of epochs.
    pub every_steps: Option<u64>,
    /// Minutes between checkpoints, besides.
    pub every_minutes: Option<f64>,
    /// How many of the newest checkpoints to keep.
    pub keep_last: usize,
    /// Whether the checkpoint of the highest kNN accuracy is kept besides.
    pub keep_best: bool,
    /// Epochs between checkpoints that are kept besides.
    pub keep_every: Option<usize>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            every_steps: None,
            every_minutes: None,
            keep_last: 2,
            keep_best: false,
            keep_every: None,
        }
    }
}
