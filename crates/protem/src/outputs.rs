//! Where a command writes: a place that a file can take, and none that it reads.

use crate::failure::{Failure, explain};
use crate::system::{free_bytes, size};
use protem_report::RunFolder;
use std::path::Path;

/// Whether a file can be written to this place of `--out`; what is no file there is in the way.
pub fn check_file(out: &Path) -> Result<(), Failure> {
    let bytes = out.as_os_str().as_encoded_bytes();
    let folder = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    if folder || out.file_name().is_none() {
        return Err(Failure::usage(format!(
            "--out {} is no name of a file; name one",
            out.display()
        )));
    }
    // A link is there even where what it leads to is not.
    if out.symlink_metadata().is_ok() && !out.is_file() {
        let what = if out.is_dir() { "a folder" } else { "no file" };
        return Err(Failure::usage(format!(
            "{} is {what}; name a file with --out",
            out.display()
        )));
    }
    Ok(())
}

/// The folder that a file of `--out` is to lie in.
pub fn folder_of(out: &Path) -> &Path {
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Whether a file of `--out` is to lie in a folder or below it.
pub fn lies_in(out: &Path, folder: &Path) -> bool {
    // Of a folder that is yet to be made, the one above it that is there.
    let parent = std::path::absolute(folder_of(out)).unwrap_or_default();
    let there = parent.ancestors().find_map(|f| f.canonicalize().ok());
    let folder = folder.canonicalize();
    there.is_some_and(|there| folder.is_ok_and(|folder| there.starts_with(folder)))
}

/// Makes a folder, if it is yet to be.
pub fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::running(format!("cannot create {}: {e}", folder.display())))
}

/// Whether files can be written in this folder of `--out`, which need not be there.
pub fn check_writable(folder: &Path) -> Result<(), Failure> {
    RunFolder::probe(folder)
        .map_err(|e| Failure::usage(format!("{}; name another folder with --out", explain(&e))))
}

/// Whether files can be written beside this one.
pub fn check_folder(out: &Path) -> Result<(), Failure> {
    RunFolder::probe(folder_of(out))
        .map_err(|e| Failure::usage(format!("{}; name another file with --out", explain(&e))))
}

/// Whether the disk holds so many bytes beside this file of `--out`.
pub fn check_room(out: &Path, need: u64) -> Result<(), Failure> {
    check_room_in(folder_of(out), need)
}

/// Whether it holds so many in this folder.
pub fn check_room_in(folder: &Path, need: u64) -> Result<(), Failure> {
    match free_bytes(folder) {
        Some(free) if free < need => Err(Failure::running(format!(
            "{} has {} free, and what is to be written takes {}: make room, or name another place with --out",
            folder.display(),
            size(free),
            size(need)
        ))),
        _ => Ok(()),
    }
}

/// What is written must not be what was read.
pub fn inputs_stay(written: &[&Path], read: &[&Path]) -> Result<(), Failure> {
    let same = |one: &Path, other: &Path| {
        let [one, other] = [one, other].map(std::fs::canonicalize);
        one.is_ok_and(|one| other.is_ok_and(|other| one == other))
    };
    for read in read {
        if written.iter().any(|file| same(file, read)) {
            return Err(Failure::usage(format!(
                "{} would be replaced by what is written; name another place with --out",
                read.display()
            )));
        }
    }
    Ok(())
}
