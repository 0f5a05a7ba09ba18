//! `cargo xtask compare torchvision`: views beside those of torchvision and Pillow.

mod cases;
mod measure;
mod table;

use std::path::{Path, PathBuf};

use super::python::printed;
use super::torch::peer;
use super::{Outcome, machine};
use cases::{Case, Set};
use measure::Programs;

/// How to compare.
#[derive(clap::Args)]
pub struct Request {
    #[command(flatten)]
    common: super::Options,
    /// A folder of photographs as a camera or the web has them; without it their rows are left out
    #[arg(long, value_name = "FOLDER")]
    photos: Option<PathBuf>,
    /// A folder of photographs of about 224 pixels, such as Imagenette's; without it their row is
    /// left out
    #[arg(long, value_name = "FOLDER")]
    small: Option<PathBuf>,
    /// A folder of images of 32 pixels, such as CIFAR-10's; without it their rows are left out
    #[arg(long, value_name = "FOLDER")]
    tiny: Option<PathBuf>,
}

impl Request {
    fn folder(&self, set: Set) -> Option<&Path> {
        match set {
            Set::Photos => self.photos.as_deref(),
            Set::Small => self.small.as_deref(),
            Set::Tiny => self.tiny.as_deref(),
        }
    }

    /// The options of its own that were given, without where somebody's files lie.
    fn given(&self) -> String {
        let sets = [Set::Photos, Set::Small, Set::Tiny].into_iter();
        let given = sets.filter(|set| self.folder(*set).is_some());
        given.map(|set| format!(" {} FOLDER", set.flag())).collect()
    }
}

/// Measures the chosen rows and writes each down as soon as it is there.
pub fn run(request: &Request) -> Outcome<()> {
    let options = &request.common;
    let cases = options.chosen(&cases::ALL, cases::Case::name)?;
    let folder = |case: &Case| request.folder(case.set).map(Path::to_path_buf);
    if cases.iter().all(|case| folder(case).is_none()) {
        return Err("name folders of images with --photos, --small and --tiny: none of the rows can be measured without".into());
    }
    let ready = options.prepare(&table::TABLE, &peer::TORCHVISION, peer::set_up_torchvision)?;
    let versions = versions(&ready.python)?;
    let setting = machine::setting(
        "torchvision",
        options,
        &request.given(),
        &ready.root,
        &versions,
    )?;
    let programs = Programs {
        protem: ready.protem,
        python: ready.python,
        script: ready.root.join("xtask/peers/torchvision_views.py"),
        rounds: options.rounds,
        iters: options.iters,
    };
    for case in cases {
        let Some(folder) = folder(&case) else {
            eprintln!("{}: left out, no {}", case.name(), case.set.flag());
            continue;
        };
        let rounds = programs.measure(&case, &folder)?;
        let row = table::row(&case, &rounds, &setting);
        ready.book.note(vec![row])?;
    }
    ready.book.print()
}

fn versions(python: &Path) -> Outcome<String> {
    let torchvision = peer::TORCHVISION.version(python)?;
    let pillow = printed(python, "import PIL; print(PIL.__version__)")?;
    Ok(format!("torchvision {torchvision}, Pillow {pillow}"))
}
