//! The command line.

mod bench;
mod cluster;
mod eval;
mod search;
mod serve;

pub use bench::{AugmentArgs, Bench, BenchArgs, StepKind, ViewKind};
pub use cluster::{AssignArgs, Beginning, ClusterArgs, WhenEmpty};
pub use eval::{
    AmiArgs, Eval, FinetuneArgs, KnnArgs, LinearArgs, PairArgs, ProbeArgs, SgdArgs, SvmArgs,
};
pub use search::{DuplicatesArgs, MapArgs, SearchArgs};
pub use serve::ServeArgs;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use protem_em::Precision;
use std::path::PathBuf;

/// Trains image encoders without labels by Prototypical Contrastive Learning.
#[derive(Debug, Parser)]
#[command(
    name = "protem",
    version,
    after_help = "Examples:
  train        protem train ~/photos --config photos --out runs/photos
  eval knn     protem eval knn --checkpoint runs/photos --train train --test test
  report       protem report runs/photos
  serve        protem serve runs
  embed        protem embed --checkpoint runs/photos --data ~/photos --out photos.npy
  search       protem search --checkpoint runs/photos --features photos.npy picture.jpg
  duplicates   protem duplicates --features photos.npy
  map          protem map --features photos.npy --out photos.map.npy
  prototypes   protem prototypes --checkpoint runs/photos --out prototypes
  export       protem export --checkpoint runs/photos --out photos.safetensors
  cluster      protem cluster --input photos.npy --k 100 --out clusters
  data         protem data inspect ~/photos
  bench        protem bench step --encoder resnet18 --stem cifar --precision bf16
  encoders     protem encoders
  doctor       protem doctor
  config       protem config schema > protem.schema.json
  completions  protem completions bash > protem.bash
  man          protem man --out man1
  help         protem help train"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What the program was called with.
    ///
    /// # Errors
    /// Arguments that are none, help and version.
    pub fn parsed() -> Result<Self, clap::Error> {
        let matches = numbers_may_be_negative(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }
}

/// So that it is a range that refuses them, and says which.
fn numbers_may_be_negative(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(numbers_may_be_negative)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder on images, or on the generated set.
    #[command(
        after_help = "Examples:\n  protem train\n  protem train ~/photos --config photos --set optim.epochs=50\n  protem train 'shards/{000..012}.tar' --config photos\n  protem train 'cifar-10-batches-bin?split=train' --test 'cifar-10-batches-bin?split=test'\n  protem train --resume --out runs/photos"
    )]
    Train(TrainArgs),
    /// Measure a trained encoder.
    #[command(
        subcommand,
        after_help = "Example:\n  protem eval knn --checkpoint runs/photos --train train --test test"
    )]
    Eval(Eval),
    /// Write what a run did, a map of its images and the clusters it found as one HTML file, to be opened in
    /// a browser.
    #[command(
        after_help = "Examples:\n  protem report runs/photos\n  protem report runs/photos --k 500 --clusters 60 --out photos.html"
    )]
    Report(ReportArgs),
    /// Show runs in a browser, while they go on, until Ctrl-C: a list of them, and a page for each, with the
    /// charts of its report, that brings itself up to date.
    #[command(
        after_help = "From another machine, forward the port: ssh -L 8765:127.0.0.1:8765 HOST.\nPrograms find the runs at /api/runs, and one with its epochs at /api/runs/NAME, as JSON.\n\nExamples:\n  protem serve\n  protem serve runs/photos --port 0"
    )]
    Serve(ServeArgs),
    /// Write the features of all images of a set.
    #[command(
        after_help = "Examples:\n  protem embed --checkpoint runs/photos --data ~/photos --out photos.npy\n  protem embed --checkpoint runs/photos --data ~/photos --out photos.parquet"
    )]
    Embed(EmbedArgs),
    /// Find the images of a set that are most like given ones, by the features of an encoder.
    #[command(
        after_help = "Examples:\n  protem search --checkpoint runs/photos --features photos.npy picture.jpg\n  protem search --checkpoint runs/photos --features photos.npy ~/others --top 3 --json"
    )]
    Search(SearchArgs),
    /// Find near duplicates among the images of a set, such as resized copies, by their features.
    #[command(
        after_help = "Examples:\n  protem duplicates --features photos.npy\n  protem duplicates --features photos.npy --threshold 0.98 --top 50"
    )]
    Duplicates(DuplicatesArgs),
    /// Lay the rows of a .npy or .parquet file of features out in two dimensions by t-SNE, so that what is alike lies together.
    #[command(
        after_help = "Example:\n  protem map --features photos.npy --out photos.map.npy --perplexity 50"
    )]
    Map(MapArgs),
    /// Write an encoder for other programs: its weights as safetensors with torchvision's names, or an ONNX
    /// model.
    #[command(
        after_help = "Examples:\n  protem export --checkpoint runs/photos --out photos.safetensors\n  protem export --checkpoint runs/photos --out photos.onnx\n  protem export --checkpoint resnet50.pth --out resnet50.safetensors"
    )]
    Export(ExportArgs),
    /// Write the prototypes of a run's last E-step as .npy files: centroids, concentrations, and which image
    /// belongs to which.
    #[command(
        after_help = "Examples:\n  protem prototypes --checkpoint runs/photos --out prototypes\n  protem assign --input embeddings.npy --centroids prototypes/k500/centroids.npy --out assigned"
    )]
    Prototypes(PrototypesArgs),
    /// Cluster the rows of a .npy file, or features in a .parquet file, by k-means.
    #[command(
        after_help = "Examples:\n  protem cluster --input photos.npy --k 100 --out clusters\n  protem cluster --input photos.npy --k 1000,5000 --restarts 5 --out clusters --json"
    )]
    Cluster(ClusterArgs),
    /// Find the nearest of given centroids for each point.
    #[command(
        after_help = "Example:\n  protem assign --input others.npy --centroids clusters/centroids.npy --out assigned"
    )]
    Assign(AssignArgs),
    /// Look at sets of images, or write them as shards.
    #[command(
        subcommand,
        after_help = "Examples:\n  protem data inspect ~/photos\n  protem data pack ~/photos --out shards\n  protem data show ~/photos --config photos --out sheet.png"
    )]
    Data(Data),
    /// Time training steps and features on this machine, on random images, and views of your own.
    #[command(
        subcommand,
        after_help = "Examples:\n  protem bench step --encoder resnet18 --stem cifar --batch 128 --precision bf16\n  protem bench features --encoder resnet50 --stem imagenet --batch 32"
    )]
    Bench(Bench),
    /// List the encoders there are: values of their features, parameters, and what an image takes.
    #[command(after_help = "Example:\n  protem encoders --width 32 --image-size 64")]
    Encoders(EncodersArgs),
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
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  protem completions bash > ~/.local/share/bash-completion/completions/protem\n  protem completions fish > ~/.config/fish/completions/protem.fish"
    )]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write manual pages, one for each command.
    #[command(after_help = "Example:\n  protem man --out ~/.local/share/man/man1")]
    Man {
        /// Folder to write to. Files of these names, such as protem-train.1, are replaced.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Images: a folder (class folders, flat or nested), tar or Parquet shards, a list of paths, or
    /// the files of a published set, as PATH, KIND:PATH or PATH?split=NAME; without any, the
    /// generated set. A run that is resumed remembers them.
    pub folder: Option<PathBuf>,
    /// The same as FOLDER.
    #[arg(long, conflicts_with = "folder")]
    pub data: Option<PathBuf>,
    /// Labelled images to measure kNN on; without any, a tenth of a labelled training set.
    #[arg(long)]
    pub test: Option<PathBuf>,
    /// Config file, or the name of one that comes with the program: cifar10, photos,
    /// imagenet-pcl-v2, quickstart.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Weights to begin with: a file of a ResNet by torchvision's names, safetensors or of torch.save, or
    /// the folder of a run for its newest checkpoint. The same as --set encoder.weights=FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub weights: Option<PathBuf>,
    /// Folder of the run. TensorBoard shows all runs of a folder: tensorboard --logdir runs.
    #[arg(long, default_value = "runs/latest")]
    pub out: PathBuf,
    /// A setting, such as optim.lr=0.06; may be repeated. The environment sets one too, before these:
    /// PROTEM_OPTIM__LR=0.06.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with the run in the folder, with the settings of its config.toml.
    #[arg(long, conflicts_with_all = ["overwrite", "config"])]
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

/// Sizes of encoders.
#[derive(Debug, Args)]
pub struct EncodersArgs {
    /// Channels of the first stage.
    #[arg(long, default_value_t = 64)]
    pub width: usize,
    /// Side of an image in pixels; 32 for the cifar stem and 224 for the imagenet stem when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub image_size: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line: those of metrics.jsonl, notes, images that cannot be read, and every ten
    /// seconds how far an E-step or measuring has come.
    Json,
}

/// A trained encoder.
#[derive(Debug, Args)]
pub struct EncoderArgs {
    /// Checkpoint file, the folder of a run for its newest, or a file of weights of a ResNet by
    /// torchvision's names, safetensors or of torch.save.
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// What precedes torchvision's names in a file of weights of several encoders, such as
    /// state_dict.module.encoder_k; when not given, the one is taken that is called as trained ones are.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Side of the images that the encoder sees, in pixels. When not given, that of its training; of
    /// weights that do not tell it, 32 with the CIFAR stem, otherwise 224.
    #[arg(long)]
    pub image_size: Option<u32>,
    /// f32 or bf16; when not given, as it was trained, and weights in f32.
    #[arg(long, value_parser = parsed::<Precision>)]
    pub precision: Option<Precision>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the run. It need not be finished.
    pub run: PathBuf,
    /// File to write, a .html; RUN/report.html when not given. An earlier report of that name is
    /// replaced.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Which of the run's clusterings is shown, by its number of clusters; the smallest when not given.
    #[arg(long)]
    pub k: Option<usize>,
    /// Clusters to show: the largest, the tightest and the loosest, a third each.
    #[arg(long, default_value_t = 24)]
    pub clusters: usize,
    /// Images to show of each.
    #[arg(long, default_value_t = 12)]
    pub images: usize,
    /// Images of the map, evenly spread over the run's; 0 leaves it out.
    #[arg(long, default_value_t = 2000)]
    pub map_images: usize,
    /// Show no images and no map: nothing is decoded.
    #[arg(long)]
    pub no_images: bool,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// The encoder.
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Images: a folder, shards, or any other source that `train` takes.
    #[arg(long)]
    pub data: PathBuf,
    /// File to write: images in their order by features, 32-bit floats. Beside a .npy go names (x.txt for
    /// x.npy), and classes (x.labels.npy, 32 bits, unsigned) where each image has one; a .parquet has them
    /// as columns (name, label, class, features), and lies outside of the images. Earlier features of that
    /// name are replaced.
    #[arg(long)]
    pub out: PathBuf,
    /// What is written.
    #[arg(long, value_enum, default_value_t = EmbedKind::Features)]
    pub what: EmbedKind,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// What an encoder makes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmbedKind {
    /// What comes before the head.
    Features,
    /// What comes out of the head, of length 1: what losses compare. (E-steps cluster what the key encoder
    /// makes, as it is before their epoch.)
    Embedding,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The encoder.
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// File to write: a .safetensors of the weights, or an .onnx, which makes `features` of `images`
    /// (normalised, batch × 3 × height × width). An earlier one of that name is replaced if it holds weights
    /// of an encoder, or an ONNX model that protem wrote.
    #[arg(long)]
    pub out: PathBuf,
    /// The projection head too, as `fc`, or as `fc.0` and `fc.2` like PCL and MoCo; without it a network
    /// whose `fc` is an identity loads the file strictly. An ONNX model has the output `embedding`, of length
    /// 1, for it; of a file that `eval finetune` wrote it has `logits`.
    #[arg(long)]
    pub head: bool,
}

/// Arguments of `prototypes`.
#[derive(Debug, Args)]
pub struct PrototypesArgs {
    /// The run's folder, whose newest checkpoint is taken, or a file of its checkpoints.
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Folder to write: `images.txt`, a name a line, and for each clustering a folder (k500 for K = 500)
    /// with `centroids.npy` (K × values of an embedding, each the mean of its images' embeddings: prototypes are
    /// centroids at length 1), `concentration.npy` (K, the temperature of each) and `labels.npy` (for each line
    /// of `images.txt` the cluster; 0 too for images that could not be read in the E-step). Earlier ones are
    /// replaced; if some of them would stay, nothing is written.
    #[arg(long)]
    pub out: PathBuf,
    /// Print JSON.
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

/// What is done with a set of images.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Read every image once, and tell classes, formats, sizes, channel means and deviations,
    /// duplicates, and what cannot be read.
    #[command(
        after_help = "Examples:\n  protem data inspect ~/photos\n  protem data inspect 'VOCdevkit?split=trainval' --json"
    )]
    Inspect(InspectArgs),
    /// Write images as tar shards, their bytes unchanged.
    #[command(
        after_help = "Examples:\n  protem data pack ~/photos --out shards\n  protem data pack 'cifar10:data?split=train' --out shards --images-per-shard 10000"
    )]
    Pack(PackArgs),
    /// Write a picture of images beside the views that training would draw of them.
    #[command(after_help = "Example:\n  protem data show ~/photos --config photos --out sheet.png")]
    Show(ShowArgs),
}

/// Arguments of `data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Images: any source that `train` takes.
    pub data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `data pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// Images: any source that `train` takes.
    pub data: PathBuf,
    /// Folder to write: shard-000000.tar and so on, classnames.txt, and names.txt (a line per image:
    /// its name in the shards, a tab, the name it had). It must not hold anything; what an earlier one into
    /// it that was killed has left is removed.
    #[arg(long)]
    pub out: PathBuf,
    /// Images of a shard at most.
    #[arg(long, default_value_t = 10_000)]
    pub images_per_shard: usize,
    /// Bytes of a shard at most, with k, M or G for powers of 1000.
    #[arg(long, value_parser = bytes, default_value = "1G")]
    pub shard_size: u64,
    /// Leave out images whose bytes cannot be got, and list them, instead of ending there.
    #[arg(long)]
    pub leave_out: bool,
}

/// Arguments of `data show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Images: any source that `train` takes.
    pub data: PathBuf,
    /// Config file, or the name of one, whose augmentation and size of views are taken.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// A setting; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// PNG file to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Images, spread over the set.
    #[arg(long, default_value_t = 8)]
    pub images: usize,
    /// Views of each.
    #[arg(long, default_value_t = 8)]
    pub views: usize,
}

/// A number of bytes: 500M.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err("write a number of bytes, such as 500M or 1G".into()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    let bytes = bytes.filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "write a number of bytes above 0, such as 500M or 1G".into())
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
    /// Print the settings after all layers, as TOML. What follows from the images is not among them:
    /// `train --dry-run` shows it. (`train` without a config and without images takes other defaults.)
    #[command(after_help = "Example:\n  protem config show --config cifar10 --set optim.lr=0.1")]
    Show {
        /// Config file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// A setting; may be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}
