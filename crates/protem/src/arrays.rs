//! Arrays that commands are given: points and centroids in `.npy` files, features in Parquet files.

use crate::console::warn;
use crate::failure::{Failure, explain};
use crate::features::{FEWER_FEATURES, check_memory};
use crate::system::{memory_bytes, size};
use protem_cluster::{ClusterError, Matrix, Npy, NpyError};
use protem_data::{DataError, FeatureTable};
use std::path::Path;

/// A two-dimensional array of a file.
pub enum Array {
    Npy(Npy),
    Table {
        values: Vec<f32>,
        rows: usize,
        cols: usize,
    },
}

impl Array {
    fn view(&self) -> Result<Matrix<'_>, ClusterError> {
        match self {
            Self::Npy(npy) => npy.view(),
            Self::Table { values, rows, cols } => Matrix::new(values, *rows, *cols),
        }
    }

    /// All values, row by row.
    pub fn into_values(self, path: &Path) -> Result<Vec<f32>, Failure> {
        if let Self::Table { values, .. } = self {
            return Ok(values);
        }
        let rows = view(&self, path)?;
        Ok((0..rows.rows())
            .flat_map(|row| rows.row(row))
            .copied()
            .collect())
    }
}

/// An array of a file, Parquet or `.npy`.
pub fn open(path: &Path) -> Result<Array, Failure> {
    let (array, rounded) = match FeatureTable::is_parquet(path) {
        true => read_table(path)?,
        false => {
            let array = open_npy(path)?;
            let rounded = array.is_rounded();
            (Array::Npy(array), rounded)
        }
    };
    if rounded {
        let path = path.display();
        warn(format!("{path}: values are rounded to 32-bit floats"));
    }
    Ok(array)
}

/// A table of features, and whether they are rounded.
fn read_table(path: &Path) -> Result<(Array, bool), Failure> {
    let table = FeatureTable::open(path).map_err(|e| refused(&e))?;
    let (rows, cols) = (table.rows(), table.dim());
    check_memory(4 * (rows * cols) as u64, FEWER_FEATURES)?;
    let mut values = vec![0.0; rows * cols];
    let rounded = table.read_into(&mut values).map_err(|e| refused(&e))?;
    Ok((Array::Table { values, rows, cols }, rounded))
}

/// A table that cannot be read, and what to do.
pub fn refused(error: &DataError) -> Failure {
    let advice = match error {
        DataError::Column { .. } => {
            "\nIt must be what `protem embed` writes, or have such a column: df.rename(columns={\"embedding\": \"features\"}).to_parquet(\"x.parquet\"), or numpy.save(\"x.npy\", numpy.stack(df[\"embedding\"]))."
        }
        _ => "",
    };
    Failure::usage(format!("{}{advice}", explain(error)))
}

/// An array of a `.npy` file: read where it is small beside the memory, which is faster, or mapped.
fn open_npy(path: &Path) -> Result<Npy, Failure> {
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
    opened.map_err(|e| match e {
        NpyError::Io { .. } if path.is_dir() => Failure::usage(format!("{e}\n{ADVICE}")),
        NpyError::Io { .. } => Failure::usage(e.to_string()),
        NpyError::NotPlain { bytes, .. } => Failure::usage(format!(
            "{}: values that are not 32-bit floats, row by row, are read into memory; these take {} of it, and there are {}\nSave them as numpy.ascontiguousarray(x, \"f4\"), which is not held in memory.",
            path.display(),
            size(bytes),
            size(memory.unwrap_or(0))
        )),
        _ => Failure::usage(format!("{e}\n{ADVICE}")),
    })
}

/// Its rows.
pub fn view<'a>(array: &'a Array, path: &Path) -> Result<Matrix<'a>, Failure> {
    let view = array.view();
    view.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// Its rows, of which there is at least one.
pub fn points<'a>(array: &'a Array, path: &Path) -> Result<Matrix<'a>, Failure> {
    let points = view(array, path)?;
    match points.rows() {
        0 => Err(Failure::usage(format!(
            "{} holds no points",
            path.display()
        ))),
        _ => Ok(points),
    }
}
