//! Repository chores: `cargo xtask tidy`, `cargo xtask compare torch`.

mod compare;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Repository chores")]
enum Chore {
    /// Check dependency arrows, headers, sizes and names of files
    Tidy,
    /// Measure protem and a peer in turn and write down the ratios
    #[command(subcommand)]
    Compare(Peer),
}

#[derive(Subcommand)]
enum Peer {
    /// PyTorch on the CPU: training steps, features, peak memory
    Torch(compare::Options),
}

fn main() -> ExitCode {
    match Chore::parse() {
        Chore::Tidy => tidy::run(),
        Chore::Compare(Peer::Torch(options)) => match compare::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("compare torch: {message}");
                ExitCode::FAILURE
            }
        },
    }
}
