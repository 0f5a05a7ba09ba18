//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use protem_em::{Arch, Precision, Stem};
use std::path::PathBuf;

/// Trains image encoders without labels by Prototypical Contrastive Learning.
#[derive(Debug, Parser)]
#[command(
    name = "protem",
    version,
    after_help = "Examples:
  train        protem train ~/photos --config configs/cifar10.toml --out runs/photos
  eval knn     protem eval knn --checkpoint runs/photos --train train --test test
  embed        protem embed --checkpoint runs/photos --data ~/photos --out photos.npy
  cluster      protem cluster --input photos.npy --k 100 --out clusters
  bench        protem bench step --encoder resnet18 --stem cifar --precision bf16
  doctor       protem doctor
  config       protem config schema > protem.schema.json
  help         protem help train"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder on a folder of images, or on the generated set.
    #[command(
        after_help = "Examples:\n  protem train\n  protem train ~/photos --config configs/cifar10.toml --set optim.epochs=100\n  protem train --resume --out runs/photos"
    )]
    Train(TrainArgs),
    /// Measure a trained encoder.
    #[command(
        subcommand,
        after_help = "Example:\n  protem eval knn --checkpoint runs/photos --train train --test test"
    )]
    Eval(Eval),
    /// Write the features of all images of a folder.
    #[command(
        after_help = "Example:\n  protem embed --checkpoint runs/photos --data ~/photos --out photos.npy"
    )]
    Embed(EmbedArgs),
    /// Cluster the rows of a .npy file by k-means.
    #[command(
        after_help = "Examples:\n  protem cluster --input photos.npy --k 100 --out clusters\n  protem cluster --input photos.npy --k 1000,5000 --spherical --out clusters --json"
    )]
    Cluster(ClusterArgs),
    /// Time training steps and features on this machine, on random images.
    #[command(
        subcommand,
        after_help = "Examples:\n  protem bench step --encoder resnet18 --stem cifar --batch 128 --precision bf16\n  protem bench features --encoder resnet50 --stem imagenet --batch 32"
    )]
    Bench(Bench),
    /// Show what this machine has and which kernels run on it.
    #[command(after_help = "Examples:\n  protem doctor\n  PROTEM_ISA=avx2 protem doctor --json")]
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what can be set.
    #[command(
        subcommand,
        after_help = "Example:\n  protem config schema > protem.schema.json"
    )]
    Config(Config),
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of images (class folders, flat or nested); without one, the generated set. A run that
    /// is resumed remembers it.
    pub folder: Option<PathBuf>,
    /// The same as FOLDER.
    #[arg(long, conflicts_with = "folder")]
    pub data: Option<PathBuf>,
    /// Labelled folder to measure kNN on; without one, a tenth of a labelled training set.
    #[arg(long)]
    pub test: Option<PathBuf>,
    /// Config file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Folder of the run.
    #[arg(long, default_value = "runs/latest")]
    pub out: PathBuf,
    /// A setting, such as optim.lr=0.06; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with the run in the folder.
    #[arg(long, conflicts_with_all = ["overwrite", "config", "set"])]
    pub resume: bool,
    /// Replace the run in the folder.
    #[arg(long)]
    pub overwrite: bool,
    /// Check everything, print the plan and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// How progress is told.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, as in metrics.jsonl.
    Json,
}

/// Measures.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// Weighted k-nearest-neighbour accuracy of the features before the head.
    #[command(
        after_help = "Example:\n  protem eval knn --checkpoint runs/photos --train train --test test --json"
    )]
    Knn(KnnArgs),
    /// Agreement of k-means clusters of the embeddings with the classes: adjusted mutual
    /// information.
    #[command(
        after_help = "Example:\n  protem eval ami --checkpoint runs/photos --data test --k 10 --json"
    )]
    Ami(AmiArgs),
}

/// Arguments of `eval knn`.
#[derive(Debug, Args)]
pub struct KnnArgs {
    /// Checkpoint file, or the folder of a run for its newest.
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Class folders to look for neighbours in.
    #[arg(long)]
    pub train: PathBuf,
    /// Class folders to classify.
    #[arg(long)]
    pub test: PathBuf,
    /// Neighbours.
    #[arg(long, default_value_t = 20)]
    pub k: usize,
    /// Temperature of the votes.
    #[arg(long, default_value_t = 0.07)]
    pub temperature: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval ami`.
#[derive(Debug, Args)]
pub struct AmiArgs {
    /// Checkpoint file, or the folder of a run for its newest.
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Class folders to cluster.
    #[arg(long)]
    pub data: PathBuf,
    /// Clusters.
    #[arg(long)]
    pub k: usize,
    /// Seed of k-means.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Checkpoint file, or the folder of a run for its newest.
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Folder of images.
    #[arg(long)]
    pub data: PathBuf,
    /// File to write: images in path order by features, 32-bit floats; names go beside it.
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Points: a two-dimensional array of 32-bit floats, mapped into memory.
    #[arg(long)]
    pub input: PathBuf,
    /// Numbers of clusters, with commas between them.
    #[arg(long, value_delimiter = ',', required = true)]
    pub k: Vec<usize>,
    /// Iterations of each restart.
    #[arg(long, default_value_t = 20)]
    pub iters: usize,
    /// Runs from different beginnings, of which the best is kept.
    #[arg(long, default_value_t = 1)]
    pub restarts: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Centroids to begin with, an array like the input; points are drawn for those that are missing.
    #[arg(long)]
    pub init: Option<PathBuf>,
    /// Scale centroids to length 1 after every update, which suits points of length 1.
    #[arg(long)]
    pub spherical: bool,
    /// Points per centroid that iterations use at most; the rest is only assigned in the end.
    #[arg(long, default_value_t = 256)]
    pub max_points_per_centroid: usize,
    /// Leave out comparisons whose result is known beforehand; the clustering is the same.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub prune: Switch,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Folder for centroids.npy, labels.npy and distances.npy; with several K, a folder in it for
    /// each.
    #[arg(long)]
    pub out: PathBuf,
    /// Print JSON, a line for each K.
    #[arg(long)]
    pub json: bool,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

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
    /// resnet18, resnet34 or resnet50.
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
    /// Steps to time, after two that are not.
    #[arg(long, default_value_t = 5)]
    pub iters: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A value by the name it has in a config file.
fn parsed<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|e| e.to_string())
}

/// What can be set.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print a JSON schema of the config file.
    #[command(after_help = "Example:\n  protem config schema > protem.schema.json")]
    Schema,
    /// Print the resolved settings as TOML.
    #[command(
        after_help = "Example:\n  protem config show --config configs/cifar10.toml --set optim.lr=0.1"
    )]
    Show {
        /// Config file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// A setting; may be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}
