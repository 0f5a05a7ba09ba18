//! Features of images in a Parquet file: a column of lists of floats, and one of names beside it.

use super::parquet::{CODECS, footer, is_parquet, unread_codec};
use super::parquet_chunks::EXPANSION;
use super::parquet_column::{Column, ColumnError, guarded};
use super::parquet_lists::Values;
use super::parquet_schema::{is_text, the_columns};
use super::parquet_zstd::HARMLESS;
use crate::error::DataError;
use crate::storage::Storage;
use parquet::basic::{LogicalType, Type};
use parquet::file::metadata::ParquetMetaData;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// The column of features.
const FEATURES: &str = "features";
/// The column of names.
const NAMES: &str = "name";

/// The features in a Parquet file, of which a row is an image: the column `features`, in each row a list
/// of as many 32- or 64-bit floats, and the images' names in a column `name` of text, if there is one.
pub struct FeatureTable {
    file: Storage,
    /// Where the metadata begins.
    footer: u64,
    features: Column,
    names: Option<Column>,
    /// Rows of each row group.
    groups: Vec<usize>,
    rows: usize,
    dim: usize,
}

impl FeatureTable {
    /// Whether a file begins as Parquet.
    pub fn is_parquet(path: &Path) -> bool {
        Storage::open(path).is_ok_and(|file| is_parquet(&file))
    }

    /// Finds the columns of a file, and reads its first row.
    ///
    /// # Errors
    /// A file that cannot be read or whose structure is damaged, one without a row; [`DataError::Column`]
    /// without such a column; [`DataError::Row`] if the first row has no values.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::of(Storage::open(path)?)
    }

    /// The same of a file that may lie in memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: Storage) -> Result<Self, DataError> {
        let (metadata, footer) = footer(&file)?;
        let refused = |looked_for, found| DataError::Column {
            path: file.path().to_path_buf(),
            looked_for,
            found,
        };
        let features = features(&metadata).map_err(|found| {
            let looked_for = "a column features, in each row a list of 32- or 64-bit floats";
            refused(looked_for, found)
        })?;
        let names = names(&metadata);
        let leaves = [Some(features), names].into_iter().flatten();
        if let Some(codec) = unread_codec(&metadata, leaves) {
            return Err(refused(CODECS, codec));
        }
        let groups = metadata.row_groups().iter();
        let groups = groups.map(|group| usize::try_from(group.num_rows()));
        let groups: Vec<usize> = groups
            .collect::<Result<_, _>>()
            .map_err(|e| file.damaged(footer, e.to_string()))?;
        let metadata = Arc::new(metadata);
        let column = |leaf| Column::new(metadata.clone(), leaf);
        let mut table = Self {
            features: column(features),
            names: names.map(column),
            rows: 0,
            dim: 0,
            footer,
            groups,
            file,
        };
        table.check_places()?;
        table.measure()?;
        Ok(table)
    }

    /// Whether the columns' pages lie in the file, each row group's for themselves.
    fn check_places(&self) -> Result<(), DataError> {
        let own = |column: &Column, name| {
            let bytes = column.check_bytes(&self.file);
            bytes.map_err(|e| self.wrong(name, 0, e))
        };
        own(&self.features, FEATURES)?;
        self.names
            .as_ref()
            .map_or(Ok(()), |names| own(names, NAMES))?;
        for group in 0..self.groups.len() {
            let place = guarded(|| self.features.check(&self.file, group));
            place.map_err(|e| self.wrong(FEATURES, group, e))?;
        }
        Ok(())
    }

    /// Rows, and values of the first. That bytes can become as much is known here: whoever reads takes the
    /// memory at once.
    fn measure(&mut self) -> Result<(), DataError> {
        let damaged = |reason| Err(self.file.damaged(self.footer, reason));
        let groups = self.groups.iter();
        let rows = groups.fold(0usize, |sum, rows| sum.saturating_add(*rows));
        let values = (0..self.groups.len()).map(|group| self.features.values(group));
        let values = values.fold(0, u64::saturating_add);
        let (bytes, most) = (self.features.bytes(), room(&self.features) / 4);
        if rows as u64 > values || values > most {
            return damaged(format!(
                "it declares {rows} rows with {values} features in {bytes} bytes"
            ));
        }
        let Some(first) = self.groups.iter().position(|rows| *rows > 0) else {
            return Err(DataError::Column {
                path: self.file.path().to_path_buf(),
                looked_for: "features of images",
                found: "a table without a row".into(),
            });
        };
        let dim = guarded(|| self.features.first_list(&self.file, first));
        let dim = dim.map_err(|e| self.wrong(FEATURES, first, e))?;
        if rows.saturating_mul(dim) as u64 > most {
            return damaged(format!(
                "it declares {rows} rows, the first with {dim} features, in {bytes} bytes"
            ));
        }
        (self.rows, self.dim) = (rows, dim);
        Ok(())
    }

    /// Number of images, one at least.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of each.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Reads all features into `out`, `rows × dim`, image by image; doubles become the nearest `f32`.
    /// Whether one differs from what it became is told.
    ///
    /// # Errors
    /// [`DataError::Row`] of the first row of another length, with a null or with a finite double beyond
    /// all `f32`; a file that is damaged or cannot be read.
    ///
    /// # Panics
    /// If `out` is of another length.
    pub fn read_into(&self, out: &mut [f32]) -> Result<bool, DataError> {
        assert_eq!(out.len(), self.rows * self.dim, "values of all rows");
        let (mut parts, mut rest) = (Vec::new(), out);
        for (group, rows) in self.groups.iter().enumerate() {
            let (part, behind) = rest.split_at_mut(rows * self.dim);
            parts.push((group, part));
            rest = behind;
        }
        let read = parts.into_par_iter().map(|(group, part)| {
            let read = guarded(|| self.read_group(group, part));
            read.map_err(|e| self.wrong(FEATURES, group, e))
        });
        // Of several errors the first, whatever is read first.
        let read: Vec<Result<bool, DataError>> = read.collect();
        read.into_iter()
            .try_fold(false, |any, rounded| Ok(any | rounded?))
    }

    fn read_group(&self, group: usize, out: &mut [f32]) -> Result<bool, ColumnError> {
        let (mut at, mut any) = (0, false);
        let rows = self.groups[group];
        self.features
            .lists(&self.file, group, rows, Some(self.dim), |values| {
                match values {
                    Values::Single(values) => {
                        out[at..at + values.len()].copy_from_slice(values);
                        at += values.len();
                    }
                    Values::Double(values) => {
                        for value in values {
                            let single = *value as f32;
                            if single.is_infinite() && value.is_finite() {
                                let reason = "a value is beyond 32-bit floats";
                                return Err(ColumnError::Row(at / self.dim, reason.into()));
                            }
                            any |= f64::from(single) != *value && !value.is_nan();
                            out[at] = single;
                            at += 1;
                        }
                    }
                }
                Ok(())
            })?;
        Ok(any)
    }

    /// Names of all images, if the table has them.
    ///
    /// # Errors
    /// [`DataError::Row`] of one without a name, or whose name is no text in UTF-8; a file that is
    /// damaged or cannot be read.
    pub fn names(&self) -> Result<Option<Vec<String>>, DataError> {
        let Some(column) = &self.names else {
            return Ok(None);
        };
        let (mut names, mut left) = (Vec::new(), room(column));
        for (group, rows) in self.groups.iter().enumerate() {
            let begin = names.len();
            let read = guarded(|| {
                column.words(&self.file, group, *rows, |name| {
                    let wrong = |reason: String| ColumnError::Row(names.len() - begin, reason);
                    let name = name.ok_or_else(|| wrong("it is null".into()))?;
                    let name = str::from_utf8(name).map_err(|e| wrong(e.to_string()))?;
                    let bytes = (name.len() + size_of::<String>()) as u64;
                    left = left.checked_sub(bytes).ok_or_else(|| {
                        ColumnError::Rows("names of more bytes than these can become".into())
                    })?;
                    names.push(name.to_owned());
                    Ok(())
                })
            });
            read.map_err(|e| self.wrong(NAMES, group, e))?;
        }
        Ok(Some(names))
    }

    fn wrong(&self, column: &'static str, group: usize, error: ColumnError) -> DataError {
        match error {
            ColumnError::Row(row, reason) => DataError::Row {
                path: self.file.path().to_path_buf(),
                row: self.groups[..group].iter().sum::<usize>() + row,
                column,
                reason,
            },
            error => self.file.damaged(
                self.footer,
                format!("row group {group}, column {column}: {error}"),
            ),
        }
    }
}

/// Bytes that a column may become in memory, so that a small file cannot take all of it.
fn room(column: &Column) -> u64 {
    column.bytes().saturating_mul(EXPANSION).max(HARMLESS)
}

/// The place of the features among the leaf columns, or what is there instead.
fn features(metadata: &ParquetMetaData) -> Result<usize, String> {
    let described = metadata.file_metadata().schema_descr();
    let below = |leaf: &usize| described.column(*leaf).path().parts()[0] == FEATURES;
    let mut leaves = (0..described.num_columns()).filter(below);
    let Some(leaf) = leaves.next() else {
        let columns = described.root_schema().get_fields().iter();
        return Err(the_columns(columns.map(|column| column.name().to_owned())));
    };
    let column = described.column(leaf);
    let what = match (column.max_rep_level(), column.physical_type()) {
        (2.., _) => "lists of lists".into(),
        // What is in a list lies three groups deep at most.
        _ if leaves.next().is_some() || column.path().parts().len() > 3 => "structs".into(),
        (1, Type::FLOAT | Type::DOUBLE) => return Ok(leaf),
        (1, Type::INT32 | Type::INT64) => "lists of whole numbers".into(),
        (1, _) if column.logical_type_ref() == Some(&LogicalType::Float16) => {
            "lists of 16-bit floats".into()
        }
        (1, other) => format!("lists of type {other}"),
        _ if column.path().parts().len() > 1 => "structs".into(),
        _ => "single values".into(),
    };
    Err(format!("the column {FEATURES} of {what}"))
}

/// The place of the names.
fn names(metadata: &ParquetMetaData) -> Option<usize> {
    let described = metadata.file_metadata().schema_descr();
    (0..described.num_columns()).find(|leaf| {
        let column = described.column(*leaf);
        column.path().parts() == [NAMES] && column.max_rep_level() == 0 && is_text(&column)
    })
}
