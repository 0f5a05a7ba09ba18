//! `cargo xtask compare faiss`: k-means beside faiss's, both from the same centroids.

mod cases;
mod data;
mod measure;
mod programs;
mod table;

use std::path::{Path, PathBuf};

use super::python::{Peer, printed};
use super::{Outcome, machine};
use data::Data;
use measure::{Bench, Measured};
use programs::Programs;

pub(super) const FAISS: Peer = Peer {
    name: "faiss-cpu",
    module: "faiss",
    pinned: "1.15.1",
};

/// How to compare.
#[derive(clap::Args)]
pub struct Request {
    #[command(flatten)]
    common: super::Options,
    /// Points of your own for the rows of features: a two-dimensional .npy array of 32-bit floats,
    /// such as `protem embed` writes; without it these rows are left out
    #[arg(long, value_name = "FILE.npy")]
    features: Option<PathBuf>,
}

/// Measures the chosen rows and writes each down as soon as it is there.
pub fn run(request: &Request) -> Outcome<()> {
    let options = &request.common;
    let cases = options.chosen(&cases::ALL, cases::Case::name)?;
    let ready = options.prepare(&table::TABLE, &FAISS, set_up)?;
    let data = Data::new(&ready, request.features.clone())?;
    let mut peer = versions(&ready.python)?;
    let mut more = "";
    if let Some(shape) = data.shape_of_features()? {
        peer += &format!("; features {shape}");
        more = " --features FILE.npy";
    }
    let setting = machine::setting("faiss", options, more, &ready.root, &peer)?;
    let bench = Bench {
        programs: Programs::new(&ready)?,
        data,
        rounds: options.rounds,
        iters: options.iters,
    };
    for case in cases {
        match bench.measure(&case)? {
            Measured::Rounds(rounds) => {
                ready
                    .book
                    .note(vec![table::row(&case, &rounds, &setting)])?;
            }
            Measured::Skipped(why) => eprintln!("{}: left out, {why}", case.name()),
        }
    }
    ready.book.print()
}

/// A Python with faiss in `folder`, put there unless it is there already.
fn set_up(folder: &Path) -> Outcome<PathBuf> {
    FAISS.set_up(&folder.join("faiss"), "about 200 MB", |python| {
        let faiss = format!("faiss-cpu=={}", FAISS.pinned);
        FAISS.pip(python, &["numpy", &faiss])
    })
}

fn versions(python: &Path) -> Outcome<String> {
    let faiss = FAISS.version(python)?;
    let numpy = printed(python, "import numpy; print(numpy.__version__)")?;
    Ok(format!("faiss-cpu {faiss}, numpy {numpy}"))
}
