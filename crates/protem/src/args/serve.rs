//! Arguments of `serve`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A folder of runs' folders, or the folder of one run.
    #[arg(default_value = "runs")]
    pub runs: PathBuf,
    /// Port to listen at; 0 for any that is free.
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// Address to listen at. At one that is not of this machine alone, anyone who reaches the port sees the
    /// runs.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
}
