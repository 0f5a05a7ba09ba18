//! `protem prototypes`: what a run's last E-step found, for other programs.

use crate::args::PrototypesArgs;
use crate::clustered::{clusterings, epoch, images, sizes};
use crate::config;
use crate::console::{say, warn};
use crate::encoder::open_checkpoint;
use crate::failure::{Failure, explain};
use crate::labelled::run_of;
use crate::outputs;
use protem_em::{Checkpoint, Clustering, write_together};
use protem_report::{RunFolder, counted, escape, npy, npy_labels, npy_vector};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What else to name.
const ADVICE: &str = "Name a run's folder, or a file of its checkpoints folder.";
/// Images by name, in the order of labels.
const IMAGES: &str = "images.txt";
/// Of each clustering.
const FILES: [&str; 3] = ["centroids.npy", "concentration.npy", "labels.npy"];

/// Runs the command.
pub fn run(args: &PrototypesArgs) -> Result<(), Failure> {
    let checkpoint = open_checkpoint(&args.checkpoint, ADVICE)?;
    let found = clusterings(&checkpoint)?;
    let found =
        found.map_err(|why| Failure::usage(format!("{}: {why}", checkpoint.path().display())))?;
    let folders = folders(&args.out, &found);
    let names = names(&checkpoint);
    check_out(&args.out, &folders, &found, &names)?;
    let names = names.inspect_err(|why| warn(format!("{IMAGES} is left out: {why}")));
    write(&args.out, &folders, &found, names.as_deref().ok())?;
    tell(args, &checkpoint, &folders, &found, names.is_ok());
    Ok(())
}

/// A folder for each clustering: its K, and which one it is of several of that K.
fn folders(out: &Path, found: &[Clustering]) -> Vec<PathBuf> {
    let name = |(i, clustering): (usize, &Clustering)| {
        let k = clustering.k();
        match found[..i].iter().filter(|other| other.k() == k).count() {
            0 => out.join(format!("k{k}")),
            before => out.join(format!("k{k}-{}", before + 1)),
        }
    };
    found.iter().enumerate().map(name).collect()
}

/// Earlier prototypes are written over, all or none of them; names of other images stay.
fn check_out(
    out: &Path,
    folders: &[PathBuf],
    found: &[Clustering],
    names: &Result<String, String>,
) -> Result<(), Failure> {
    let images = out.join(IMAGES);
    let stays = |there: &Path, why: &str| {
        Err(Failure::usage(format!(
            "{} is there already, and {why}; name another folder with --out",
            there.display()
        )))
    };
    if images.symlink_metadata().is_ok() {
        if !folders.iter().any(|folder| are_in(folder)) {
            return stays(&images, "no prototypes are beside it");
        }
        if let Err(why) = names {
            let why = format!("the images of these prototypes are not to be had ({why})");
            return stays(&images, &why);
        }
    }
    let beside = std::fs::read_dir(out).into_iter().flatten().flatten();
    let mut others = beside.map(|entry| entry.path());
    if let Some(other) = others.find(|path| !folders.contains(path) && are_in(path)) {
        return stays(&other, "these prototypes have none of that K to replace it");
    }
    outputs::check_writable(out)?;
    let values = |of: &Clustering| of.centroids.len() + of.concentration.len() + of.labels.len();
    outputs::check_room_in(out, 4 * found.iter().map(values).sum::<usize>() as u64)
}

/// Whether a folder holds a clustering that was written here.
fn are_in(folder: &Path) -> bool {
    FILES.iter().all(|name| folder.join(name).exists())
}

/// The names of the images that labels are of, a line each; or why they are not to be had.
fn names(checkpoint: &Checkpoint) -> Result<String, String> {
    let root = run_of(checkpoint.path()).unwrap_or(outputs::folder_of(checkpoint.path()));
    // It may name the images' new place.
    let settings = RunFolder::config(root).ok();
    let settings = settings.and_then(|text| config::from_text(&text, "config.toml").ok());
    let settings = settings.unwrap_or_else(|| checkpoint.origin().settings.clone());
    let images = images(root, &settings, checkpoint)?;
    let name = |i| escape(&images.name(i)) + "\n";
    Ok((0..images.len()).map(name).collect())
}

fn write(
    out: &Path,
    folders: &[PathBuf],
    found: &[Clustering],
    names: Option<&str>,
) -> Result<(), Failure> {
    let mut files = Vec::new();
    for (folder, of) in folders.iter().zip(found) {
        outputs::make(folder)?;
        let bytes = [
            npy(&of.centroids, of.centroids.len() / of.k()),
            npy_vector(&of.concentration),
            npy_labels(&of.labels),
        ];
        files.extend(FILES.map(|name| folder.join(name)).into_iter().zip(bytes));
    }
    files.extend(names.map(|names| (out.join(IMAGES), names.as_bytes().to_vec())));
    let files: Vec<(&Path, &[u8])> = files.iter().map(|(path, b)| (&**path, &**b)).collect();
    write_together(&files).map_err(|e| Failure::running(explain(&e)))
}

fn tell(
    args: &PrototypesArgs,
    checkpoint: &Checkpoint,
    folders: &[PathBuf],
    found: &[Clustering],
    named: bool,
) {
    let position = checkpoint.position();
    let epoch = epoch(position);
    let images = found.first().map_or(0, |of| of.labels.len());
    if args.json {
        let of_one = |(folder, of): (&PathBuf, &Clustering)| {
            let sizes = sizes(of);
            json!({
                "k": of.k(),
                "dim": of.centroids.len() / of.k(),
                "smallest": sizes.iter().min(),
                "largest": sizes.iter().max(),
                "empty": sizes.iter().filter(|size| **size == 0).count(),
                "out": folder.display().to_string(),
            })
        };
        say(json!({
            "checkpoint": checkpoint.path().display().to_string(),
            "epoch": epoch,
            "step": position.step,
            "images": images,
            "names": named.then(|| args.out.join(IMAGES).display().to_string()),
            "clusterings": folders.iter().zip(found).map(of_one).collect::<Value>(),
        }));
        return;
    }
    for (folder, of) in folders.iter().zip(found) {
        let sizes = sizes(of);
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        say(format!(
            "K = {}: {} of epoch {epoch} in clusters of {} to {}; written to {}",
            of.k(),
            counted(images, "image"),
            least.unwrap_or(&0),
            most.unwrap_or(&0),
            folder.display()
        ));
    }
}
