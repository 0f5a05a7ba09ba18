//! The command line of `eval`.

use super::{EmbedKind, EncoderArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Measures.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// Weighted k-nearest-neighbour accuracy of the features before the head.
    #[command(
        after_help = "Example:\n  protem eval knn --checkpoint runs/photos --train train --test test --json"
    )]
    Knn(KnnArgs),
    /// Accuracy of a linear classifier on the features before the head: logistic regression.
    #[command(
        after_help = "Example:\n  protem eval linear --checkpoint runs/photos --train train --test test --json"
    )]
    Linear(LinearArgs),
    /// Mean average precision of a linear SVM for each class on the features before the head, from all
    /// images to learn from or few of each class. Images may have any number of classes.
    #[command(
        after_help = "Examples:\n  protem eval svm --checkpoint runs/photos --train 'VOCdevkit?split=trainval' --test 'VOCdevkit?split=test'\n  protem eval svm --checkpoint runs/photos --train train --test test --shots 1,2,4,8,16 --json"
    )]
    Svm(SvmArgs),
    /// Accuracy of a linear classifier on the frozen encoder, trained by SGD on random crops: the linear
    /// protocol of PCL and MoCo. (`eval linear` fits one on the features of centre crops, in a fraction of the
    /// time.)
    #[command(
        after_help = "Example:\n  protem eval probe --checkpoint runs/photos --train train --test test --epochs 50"
    )]
    Probe(ProbeArgs),
    /// Accuracy of encoder and classifier, trained together on all labels or a share: PCL's
    /// semi-supervised protocol.
    #[command(
        after_help = "Examples:\n  protem eval finetune --checkpoint runs/photos --train train --test test --share 0.1\n  protem eval finetune --checkpoint resnet50.pth --train train --test test --out classifier.safetensors"
    )]
    Finetune(FinetuneArgs),
    /// Agreement of k-means clusters of the embeddings with the classes: adjusted and normalised
    /// mutual information, adjusted Rand index.
    #[command(
        after_help = "Example:\n  protem eval ami --checkpoint runs/photos --data test --k 10 --json"
    )]
    Ami(AmiArgs),
}

/// An encoder, and the images that a classifier of its features learns from and is measured on.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// The encoder.
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Labelled images to learn from, such as class folders; when not given, with --test, those that
    /// the run trained on.
    #[arg(long, requires = "test")]
    pub train: Option<PathBuf>,
    /// Labelled images to classify; when not given, those that the run kept out of training, or had by
    /// its own --test.
    #[arg(long, requires = "train")]
    pub test: Option<PathBuf>,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval knn`.
#[derive(Debug, Args)]
pub struct KnnArgs {
    /// What is measured.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Neighbours.
    #[arg(long, default_value_t = 20)]
    pub k: usize,
    /// Temperature of the votes.
    #[arg(long, default_value_t = 0.07)]
    pub temperature: f64,
}

/// Arguments of `eval linear`.
#[derive(Debug, Args)]
pub struct LinearArgs {
    /// What is measured.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Weight of the penalty; when not given, the one of 13 between 1 and 0.000001 that does best on
    /// one in five of the training images, held out for it.
    #[arg(long)]
    pub decay: Option<f64>,
}

/// Arguments of `eval svm`.
#[derive(Debug, Args)]
pub struct SvmArgs {
    /// What is measured.
    #[command(flatten)]
    pub pair: PairArgs,
    /// What images on the wrong side of a margin cost beside the length of the weights: C.
    #[arg(long, default_value_t = 0.5)]
    pub cost: f64,
    /// Numbers of images to learn from that are drawn for each class, with commas between them; all are
    /// learnt from when not given.
    #[arg(long, value_delimiter = ',')]
    pub shots: Vec<usize>,
    /// Draws of images that --shots takes the mean of.
    #[arg(long, default_value_t = 5, requires = "shots")]
    pub draws: u32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0, requires = "shots")]
    pub seed: u64,
}

/// How a classifier is trained by SGD.
#[derive(Debug, Args)]
pub struct SgdArgs {
    /// Images of a step.
    #[arg(long, default_value_t = 256)]
    pub batch: usize,
    /// Least share of an image's area that a random crop takes.
    #[arg(long, default_value_t = 0.08)]
    pub min_scale: f64,
    /// Seed of order and crops, and of the share.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// File to write encoder and classifier to: a .safetensors with the classifier as `fc`, or an .onnx
    /// with its `logits`.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Arguments of `eval probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// What is measured.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Passes over the training images.
    #[arg(long, default_value_t = 100)]
    pub epochs: usize,
    /// Learning rate; a tenth of it behind three fifths of the epochs, a hundredth behind four.
    #[arg(long, default_value_t = 5.0)]
    pub lr: f64,
    /// How it is trained.
    #[command(flatten)]
    pub sgd: SgdArgs,
}

/// Arguments of `eval finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// What is measured.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Share of each class's training images to train on, at least one image.
    #[arg(long, default_value_t = 1.0)]
    pub share: f64,
    /// Passes over these images.
    #[arg(long, default_value_t = 40)]
    pub epochs: usize,
    /// Learning rate of the encoder; a fifth of it behind half of the epochs, a fifth of that behind three
    /// quarters.
    #[arg(long, default_value_t = 0.005)]
    pub lr: f64,
    /// Learning rate of the classifier; the encoder's when not given.
    #[arg(long)]
    pub classifier_lr: Option<f64>,
    /// How they are trained.
    #[command(flatten)]
    pub sgd: SgdArgs,
}

/// Arguments of `eval ami`.
#[derive(Debug, Args)]
pub struct AmiArgs {
    /// The encoder.
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Labelled images to cluster.
    #[arg(long)]
    pub data: PathBuf,
    /// What is clustered.
    #[arg(long, value_enum, default_value_t = EmbedKind::Embedding)]
    pub what: EmbedKind,
    /// Clusters.
    #[arg(long)]
    pub k: usize,
    /// Seed of k-means.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
