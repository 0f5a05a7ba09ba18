//! `cargo xtask gpu`: protem's k-means on a GPU, checked against the processor and timed beside other
//! programs.
//!
//! The work is done by protem-cluster's example `gpu`. On a machine with a GPU it is built and run;
//! `--pack` puts it into a folder with all that a machine without Rust needs: the program, images of
//! the kernels, a script to run it, and the other programs' part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernels;
use crate::target::{root, target_folder};

/// How to try a GPU.
#[derive(clap::Args)]
pub struct Options {
    /// Write a folder for a machine with a GPU instead, where its `run.sh` does the work
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["small", "python", "out"])]
    pack: Option<PathBuf>,
    /// Very little of everything, to see that it works
    #[arg(long)]
    small: bool,
    /// A Python interpreter that has PyTorch, faiss-gpu and flash-kmeans, or some of them
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Where report.json and report.md are written
    #[arg(long, value_name = "FOLDER", default_value = "report")]
    out: PathBuf,
}

/// Compute capabilities, in tenths, for which images are packed.
const CAPABILITIES: [&str; 6] = ["80", "86", "89", "90", "100", "120"];

/// Runs or packs.
pub fn run(options: &Options) -> Result<(), String> {
    let root = root();
    let program = build(root)?;
    match &options.pack {
        Some(folder) => pack(root, &program, folder),
        None => report(root, &program, options),
    }
}

fn build(root: &Path) -> Result<PathBuf, String> {
    let built = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "-p", "protem-cluster"])
        .args(["--features", "cuda", "--example", "gpu"])
        .env("PROTEM_COMMIT", commit(root))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the example gpu does not build (cargo's words are above)".into());
    }
    Ok(target_folder(root)?.join("release/examples/gpu"))
}

/// For the report.
fn commit(root: &Path) -> String {
    let mut git = Command::new("git");
    let said = git
        .current_dir(root)
        .args(["describe", "--always", "--dirty= with changes"]);
    let said = said.output().ok().filter(|output| output.status.success());
    said.map_or_else(
        || "outside git".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn report(root: &Path, program: &Path, options: &Options) -> Result<(), String> {
    let device = output(Command::new(program).arg("device")).map_err(|e| {
        format!(
            "{e}\nrun `cargo xtask gpu` on a machine with one, or carry there what `cargo xtask gpu \
             --pack FOLDER` writes, and run its run.sh"
        )
    })?;
    eprint!("{device}");
    let mut command = Command::new(program);
    command.arg("report").arg("--out").arg(&options.out);
    command.arg("--python").arg(&options.python);
    command.arg("--peers");
    command.arg(root.join("xtask/peers/gpu_kmeans.py"));
    if options.small {
        command.arg("--small");
    }
    output(&mut command)?;
    println!("wrote {}", options.out.join("report.md").display());
    Ok(())
}

/// Written aside and renamed: the folder is whole or not there.
fn pack(root: &Path, program: &Path, folder: &Path) -> Result<(), String> {
    if folder.exists() {
        return Err(format!(
            "{} is there already; name a folder that is not, or remove it",
            folder.display()
        ));
    }
    let Some(name) = folder.file_name() else {
        return Err(format!("{} is no name of a folder", folder.display()));
    };
    let mut aside = name.to_owned();
    aside.push(format!(".{}.unfinished", std::process::id()));
    let aside = folder.with_file_name(aside);
    let filled = fill(root, program, &aside).and_then(|()| {
        std::fs::rename(&aside, folder).map_err(|e| format!("{}: {e}", folder.display()))
    });
    if filled.is_err() {
        let _ = kernels::remove(&aside);
    }
    filled?;
    println!(
        "wrote {}; on a machine with a GPU: run.sh, or run.sh --install",
        folder.display()
    );
    Ok(())
}

fn fill(root: &Path, program: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|e| format!("{}: {e}", to.display()))?;
    let files = [
        (program.to_owned(), "gpu"),
        (root.join("xtask/gpu/run.sh"), "run.sh"),
        (root.join("xtask/gpu/requirements.txt"), "requirements.txt"),
        (root.join("xtask/peers/gpu_kmeans.py"), "gpu_kmeans.py"),
    ];
    for (from, name) in files {
        std::fs::copy(&from, to.join(name)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    // The driver that runs kernels on the processor says what it is told to of its capability, and
    // the program compiles for that and keeps the image.
    let libraries = kernels::libraries(root)?;
    let cache = std::path::absolute(to.join("cache")).map_err(|e| e.to_string())?;
    for capability in CAPABILITIES {
        let mut command = Command::new(program);
        command.arg("device").env("XDG_CACHE_HOME", &cache);
        command.env("LD_LIBRARY_PATH", &libraries);
        command.env("PROTEM_DRIVER_CAPABILITY", capability);
        output(&mut command)?;
    }
    check_images(&cache.join("protem/kernels"))
}

/// Whether every image was kept: the program itself goes on without.
fn check_images(images: &Path) -> Result<(), String> {
    let names = std::fs::read_dir(images).and_then(|files| {
        let name = |file: std::io::Result<std::fs::DirEntry>| file.map(|file| file.file_name());
        files.map(name).collect::<Result<Vec<_>, _>>()
    });
    let names = names.map_err(|e| format!("{}: {e}", images.display()))?;
    match without_image(&names) {
        None => Ok(()),
        Some(capability) => Err(format!(
            "{}: no image of the kernels for compute capability {capability} (in tenths) was kept; \
             is the disk full?",
            images.display()
        )),
    }
}

/// A compute capability for which none of these files is an image.
fn without_image(names: &[OsString]) -> Option<&'static str> {
    let is_of = |name: &OsString, capability: &str| {
        let image = name.to_str().and_then(|name| name.strip_suffix(".cubin"));
        let architecture = image.and_then(|name| name.rsplit_once("-sm_"));
        architecture.is_some_and(|(_, of)| of.trim_end_matches('a') == capability)
    };
    let kept = |capability: &&str| names.iter().any(|name| is_of(name, capability));
    CAPABILITIES
        .into_iter()
        .find(|capability| !kept(capability))
}

/// What a program prints, if it succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let line = command.get_program().display().to_string();
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| format!("{line} does not start: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{line} failed; its words are above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_wants_an_image() {
        let of = |capability: &str| {
            let special = if capability == "90" { "a" } else { "" };
            OsString::from(format!("0123456789abcdef-sm_{capability}{special}.cubin"))
        };
        let all: Vec<OsString> = CAPABILITIES.iter().map(|c| of(c)).collect();
        assert_eq!(without_image(&all), None);
        for (at, capability) in CAPABILITIES.iter().enumerate() {
            let mut names = all.clone();
            // Written aside, but never renamed.
            names[at] = OsString::from(format!("0123456789abcdef-sm_{capability}.7-0"));
            assert_eq!(without_image(&names), Some(*capability));
        }
    }
}
