//! What `search`, `duplicates` and `map` take.

use super::{EmbedKind, EncoderArgs};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The encoder.
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Features to search: a .npy or .parquet file that `embed` wrote with this encoder, --image-size and
    /// --what; beside a .npy lie the images' names (x.txt for x.npy). Only the number of values tells those
    /// of another encoder.
    #[arg(long)]
    pub features: PathBuf,
    /// Images to search for: files, folders, or any other source that `train` takes.
    #[arg(required = true, value_name = "QUERY")]
    pub queries: Vec<PathBuf>,
    /// What the file of features holds.
    #[arg(long, value_enum, default_value_t = EmbedKind::Features)]
    pub what: EmbedKind,
    /// Images to find for each.
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON, a line for each query.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `duplicates`.
#[derive(Debug, Args)]
pub struct DuplicatesArgs {
    /// Features: a .npy file that `embed` wrote, and the images' names beside it (x.txt for x.npy); or a
    /// .parquet, with a column `features` of lists of floats and names in a column `name`.
    #[arg(long)]
    pub features: PathBuf,
    /// Least cosine similarity of a pair, above 0 and below 1. Of photographs, and by features, 0.995 finds
    /// copies that were made smaller or saved again, and few others. Most cropped copies are below it,
    /// among different images; small images change more when they are saved again.
    #[arg(long, default_value_t = 0.995)]
    pub threshold: f64,
    /// Groups to print, those of the most similar pairs; all when not given.
    #[arg(long)]
    pub top: Option<usize>,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON, a line for each group.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `map`.
#[derive(Debug, Args)]
pub struct MapArgs {
    /// Features: a .npy or .parquet file that `embed` wrote, or any two-dimensional array. Rows count by their
    /// directions.
    #[arg(long)]
    pub features: PathBuf,
    /// File to write: a place in the plane for each row, 32-bit floats. An earlier map of that name is
    /// replaced.
    #[arg(long)]
    pub out: PathBuf,
    /// How many neighbours of a row count, about; a third of the others at most.
    #[arg(long, default_value_t = 30.0)]
    pub perplexity: f64,
    /// Of the noise in the first places.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; as many as the machine has when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
