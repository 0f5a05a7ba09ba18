//! Arguments of `bench`.

use super::{Switch, parsed};
use clap::{Args, Subcommand, ValueEnum};
use protem_data::Recipe;
use protem_em::{Arch, Precision, Stem};
use std::path::PathBuf;

/// What is timed.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A training step.
    #[command(
        after_help = "Example:\n  protem bench step --what pcl --encoder resnet18 --stem cifar --precision bf16 --json"
    )]
    Step {
        /// What a step is.
        #[arg(long, value_enum, default_value_t = StepKind::Encoder)]
        what: StepKind,
        /// Encoder and repetitions.
        #[command(flatten)]
        bench: BenchArgs,
    },
    /// Views of the images of a folder, from encoded files in memory to what an encoder takes.
    #[command(
        after_help = "Examples:\n  protem bench augment --data ~/photos --recipe v2 --size 224 --views 2 --json\n  protem bench augment --data ~/photos --what evaluation --decoded"
    )]
    Augment(AugmentArgs),
    /// Features in evaluation mode, as an E-step and `embed` compute them.
    #[command(
        after_help = "Example:\n  protem bench features --encoder resnet50 --stem imagenet --batch 32 --json"
    )]
    Features {
        /// Encoder and repetitions.
        #[command(flatten)]
        bench: BenchArgs,
    },
}

/// Arguments of `bench augment`.
#[derive(Debug, Args)]
pub struct AugmentArgs {
    /// Images: a folder, shards, or any other source that `train` takes; with --decoded also one
    /// without files, such as CIFAR-10's.
    #[arg(long)]
    pub data: PathBuf,
    /// Which views.
    #[arg(long, value_enum, default_value_t = ViewKind::Random)]
    pub what: ViewKind,
    /// Recipe of random views: v1 or v2.
    #[arg(long, value_parser = parsed::<Recipe>, default_value = "v2")]
    pub recipe: Recipe,
    /// Whether recipe v2 blurs.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub blur: Switch,
    /// Least share of the picture's area that a random crop takes.
    #[arg(long, default_value_t = 0.2)]
    pub min_scale: f64,
    /// Side of a view in pixels.
    #[arg(long, default_value_t = 224)]
    pub size: u32,
    /// Random views of each image.
    #[arg(long, default_value_t = 2)]
    pub views: usize,
    /// Begin with decoded images.
    #[arg(long)]
    pub decoded: bool,
    /// Images to take, in the folder's order.
    #[arg(long, default_value_t = 512)]
    pub images: usize,
    /// Worker threads. With one, processor time is measured, which a busy machine stretches less.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Passes over the images to time, after one that is not.
    #[arg(long, default_value_t = 5)]
    pub iters: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which views are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewKind {
    /// Those of training.
    Random,
    /// The centre crop that features are taken of.
    Evaluation,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StepKind {
    /// Forward, cross-entropy, backward and SGD of one encoder.
    Encoder,
    /// The trainer's whole step: both encoders, losses, backward, SGD, queue.
    Pcl,
}

/// Which encoder is timed, and how.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// resnet18, resnet34, resnet50, resnet101 or resnet152.
    #[arg(long, value_parser = parsed::<Arch>, default_value = "resnet18")]
    pub encoder: Arch,
    /// cifar or imagenet.
    #[arg(long, value_parser = parsed::<Stem>, default_value = "cifar")]
    pub stem: Stem,
    /// Channels of the first stage.
    #[arg(long, default_value_t = 64)]
    pub width: usize,
    /// Images of a step.
    #[arg(long, default_value_t = 128)]
    pub batch: usize,
    /// Side of the images in pixels; 32 with the CIFAR stem, otherwise 224, when not given.
    #[arg(long)]
    pub image_size: Option<u32>,
    /// f32 or bf16.
    #[arg(long, value_parser = parsed::<Precision>, default_value = "f32")]
    pub precision: Precision,
    /// Threads; as many as the machine has when not given. With one, processor time is measured,
    /// which a busy machine stretches less.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Steps to time, after three that are not.
    #[arg(long, default_value_t = 5)]
    pub iters: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
