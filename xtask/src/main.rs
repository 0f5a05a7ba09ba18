//! Repository chores: `cargo xtask tidy`, `cargo xtask fuzz`, `cargo xtask kernels`, `cargo xtask gpu`,
//! `cargo xtask compare` with torch, faiss or torchvision, or all three (pcl).

mod compare;
mod fuzz;
mod gpu;
mod kernels;
mod target;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Repository chores")]
enum Chore {
    /// Check dependency arrows, headers, sizes and names of files
    Tidy,
    /// Look for inputs that break a reader, guided by coverage
    Fuzz(fuzz::Options),
    /// Compile the CUDA kernels and test them without a GPU
    Kernels,
    /// Check and time k-means on a GPU, here or, packed, elsewhere
    Gpu(gpu::Options),
    /// Measure protem and a peer in turn and write down the ratios
    #[command(subcommand)]
    Compare(Peer),
}

#[derive(Subcommand)]
enum Peer {
    /// PyTorch on the CPU: training steps, features, peak memory
    Torch(compare::Options),
    /// faiss on the CPU: iterations of k-means, and starts from earlier centroids
    Faiss(compare::faiss::Request),
    /// torchvision and Pillow: random views and evaluation views of image files
    Torchvision(compare::torchvision::Request),
    /// PyTorch, torchvision and faiss: epochs of the whole method
    Pcl(compare::pcl::Request),
}

fn main() -> ExitCode {
    let (chore, outcome) = match Chore::parse() {
        Chore::Tidy => return tidy::run(),
        Chore::Fuzz(options) => ("fuzz", fuzz::run(&options)),
        Chore::Kernels => ("kernels", kernels::run()),
        Chore::Gpu(options) => ("gpu", gpu::run(&options)),
        Chore::Compare(Peer::Torch(options)) => ("compare torch", compare::torch::run(&options)),
        Chore::Compare(Peer::Faiss(options)) => ("compare faiss", compare::faiss::run(&options)),
        Chore::Compare(Peer::Torchvision(request)) => {
            ("compare torchvision", compare::torchvision::run(&request))
        }
        Chore::Compare(Peer::Pcl(request)) => ("compare pcl", compare::pcl::run(&request)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{chore}: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Chore::command().debug_assert();
    }
}
