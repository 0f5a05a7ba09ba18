//! `cargo xtask compare pcl`: whole epochs of the trainer beside the same job in PyTorch, torchvision
//! and faiss.

mod cases;
mod measure;
mod table;

use std::path::{Path, PathBuf};

use super::faiss::FAISS;
use super::torch::peer::{TORCH, TORCHVISION, set_up_torchvision};
use super::{Outcome, machine};
use cases::Set;
use measure::Programs;

/// How to compare.
#[derive(clap::Args)]
pub struct Request {
    #[command(flatten)]
    common: super::Options,
    /// A folder with a folder for each class of images of 32 pixels, such as 5,000 of CIFAR-10's;
    /// without it their rows are left out
    #[arg(long, value_name = "FOLDER")]
    tiny: Option<PathBuf>,
    /// The same of photographs of about 224 pixels, such as Imagenette's
    #[arg(long, value_name = "FOLDER")]
    small: Option<PathBuf>,
}

impl Request {
    fn folder(&self, set: Set) -> Option<&Path> {
        match set {
            Set::Tiny => self.tiny.as_deref(),
            Set::Small => self.small.as_deref(),
        }
    }
}

/// Measures the chosen rows and writes each down as soon as it is there.
pub fn run(request: &Request) -> Outcome<()> {
    let options = &request.common;
    let cases = options.chosen(&cases::ALL, cases::Case::name)?;
    if cases.iter().all(|case| request.folder(case.set).is_none()) {
        return Err(
            "name folders of images with --tiny and --small: none of the rows can be measured without".into(),
        );
    }
    let ready = options.prepare(&table::TABLE, &TORCH, set_up)?;
    let versions = versions(&ready.python)?;
    let given = cases::SETS.into_iter();
    let given: String = given
        .filter(|set| request.folder(*set).is_some())
        .map(|set| format!(" {} FOLDER", set.flag()))
        .collect();
    let setting = machine::setting("pcl", options, &given, &ready.root, &versions)?;
    std::fs::create_dir_all(&ready.folder)
        .map_err(|e| format!("{}: {e}", ready.folder.display()))?;
    let programs = Programs {
        protem: ready.protem,
        python: ready.python,
        script: ready.root.join("xtask/peers/torch_pcl.py"),
        run: ready.folder.join("pcl-run"),
        rounds: options.rounds,
        epochs: options.iters + 1,
    };
    for case in cases {
        let Some(folder) = request.folder(case.set) else {
            eprintln!("{}: left out, no {}", case.name(), case.set.flag());
            continue;
        };
        let rounds = programs.measure(&case, folder)?;
        let row = table::row(&case, &rounds, &setting);
        ready.book.note(vec![row])?;
    }
    ready.book.print()
}

/// A Python with torch, torchvision and faiss, in the environment of torch.
fn set_up(folder: &Path) -> Outcome<PathBuf> {
    let python = set_up_torchvision(folder)?;
    if !FAISS.is_in(&python) {
        let pinned = format!("{}=={}", FAISS.name, FAISS.pinned);
        FAISS.pip(&python, &[&pinned])?;
    }
    Ok(python)
}

fn versions(python: &Path) -> Outcome<String> {
    let (torch, torchvision) = (TORCH.version(python)?, TORCHVISION.version(python)?);
    let faiss = FAISS.version(python)?;
    Ok(format!(
        "PyTorch {torch}, torchvision {torchvision}, faiss-cpu {faiss}"
    ))
}
