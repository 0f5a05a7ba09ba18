//! Arrays that commands are given: points and centroids in `.npy` files.

use crate::console::warn;
use crate::failure::Failure;
use crate::system::{memory_bytes, size};
use protem_cluster::{Matrix, Npy, NpyError};
use std::path::Path;

/// An array of a file: read where it is small beside the memory, which is faster, or mapped.
pub fn open(path: &Path) -> Result<Npy, Failure> {
    const ADVICE: &str = "It must be a two-dimensional array of numbers, a row for each point: numpy.save(\"x.npy\", x), or what `protem embed` writes.";
    let memory = memory_bytes();
    let len = std::fs::metadata(path).map_or(u64::MAX, |file| file.len());
    let opened = match memory.is_some_and(|memory| len <= memory / 8) {
        true => Npy::read(path),
        false => match Npy::open(path) {
            Err(NpyError::NotPlain { bytes, .. }) if memory.is_none_or(|m| bytes <= m) => {
                Npy::read(path)
            }
            opened => opened,
        },
    };
    let array = opened.map_err(|e| match e {
        // They name the file.
        NpyError::Io { .. } if path.is_dir() => Failure::usage(format!("{e}\n{ADVICE}")),
        NpyError::Io { .. } => Failure::usage(e.to_string()),
        NpyError::NotPlain { bytes, .. } => Failure::usage(format!(
            "{}: values that are not 32-bit floats, row by row, are read into memory; these take {} of it, and there are {}\nSave them as numpy.ascontiguousarray(x, \"f4\"), which is not held in memory.",
            path.display(),
            size(bytes),
            size(memory.unwrap_or(0))
        )),
        _ => Failure::usage(format!("{}: {e}\n{ADVICE}", path.display())),
    })?;
    if array.is_rounded() {
        let path = path.display();
        warn(format!("{path}: values are rounded to 32-bit floats"));
    }
    Ok(array)
}

/// Its rows.
pub fn view<'a>(array: &'a Npy, path: &Path) -> Result<Matrix<'a>, Failure> {
    let view = array.view();
    view.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// Its rows, of which there is at least one.
pub fn points<'a>(array: &'a Npy, path: &Path) -> Result<Matrix<'a>, Failure> {
    let points = view(array, path)?;
    match points.rows() {
        0 => Err(Failure::usage(format!(
            "{} holds no points",
            path.display()
        ))),
        _ => Ok(points),
    }
}
