//! Features in a file, and in it or beside it the names of their images, as `embed` writes them.

use crate::arrays::{self, Array};
use crate::console::warn;
use crate::failure::{Failure, explain};
use crate::features::{FEWER_FEATURES, check_memory};
use protem_data::FeatureTable;
use protem_eval::{Features, Similar};
use protem_report::{counted, escape, unescape};
use serde_json::json;
use std::path::Path;

/// Features of images, and what these are called.
pub struct Named {
    pub features: Features,
    pub names: Names,
}

/// Names, each in one line as in a file of names; without any, images are called by their rows.
pub struct Names(Option<Vec<String>>);

/// What to do where names do not belong to features.
const AGAIN: &str = "write both by `protem embed` again";

impl Names {
    /// The name of an image as its source has it.
    fn of(&self, row: u32) -> String {
        unescape(&self.line(row))
    }

    /// The same in one line, whatever is in it.
    fn line(&self, row: u32) -> String {
        match &self.0 {
            Some(lines) => lines[row as usize].clone(),
            None => row.to_string(),
        }
    }

    /// An image with its similarity, as a line.
    pub fn say(&self, Similar { image, similarity }: &Similar) -> String {
        format!("{similarity:.4}  {}", self.line(*image))
    }

    /// The same of several as JSON.
    pub fn json(&self, images: &[Similar]) -> serde_json::Value {
        let image = |Similar { image, similarity }: &Similar| json!({"similarity": similarity, "name": self.of(*image), "row": image});
        images.iter().map(image).collect()
    }

    /// Those in a table of features, or beside the features of so many images.
    fn of_file(features: &Path, rows: usize) -> Result<Self, Failure> {
        if !FeatureTable::is_parquet(features) {
            return Self::beside(features, rows);
        }
        let names = FeatureTable::open(features).and_then(|table| table.names());
        let names = names.map_err(|e| arrays::refused(&e))?;
        if names.is_none() {
            warn(format!(
                "{} has no column name of text, and so images are called by their rows, from 0 on",
                features.display()
            ));
        }
        let lines = |names: Vec<String>| names.iter().map(|name| escape(name)).collect();
        Ok(Self(names.map(lines)))
    }

    fn beside(features: &Path, rows: usize) -> Result<Self, Failure> {
        let path = features.with_extension("txt");
        if !path.exists() {
            warn(format!(
                "there are no names in {}, and so images are called by their rows, from 0 on; `protem embed` writes both",
                path.display()
            ));
            return Ok(Self(None));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::usage(format!("{}: {e}; {AGAIN}", path.display())))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        match lines.len() == rows {
            true => Ok(Self(Some(lines))),
            false => Err(Failure::usage(format!(
                "{} has {}, and {} {}: they are not of the same images; {AGAIN}",
                path.display(),
                counted(lines.len(), "name"),
                features.display(),
                counted(rows, "row"),
            ))),
        }
    }
}

impl Named {
    /// Reads both. `check` is told the number of values of an image before they are read.
    pub fn open(
        path: &Path,
        check: impl FnOnce(usize) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let array = arrays::open(path)?;
        let rows = arrays::points(&array, path)?;
        let (images, dim) = (rows.rows(), rows.cols());
        check(dim)?;
        let names = Names::of_file(path, images)?;
        check_memory(4 * (images * dim) as u64, FEWER_FEATURES)?;
        let features = features(array, dim, path)?;
        Ok(Self { features, names })
    }
}

/// The rows of an array as features, of `dim` values each, which are finite.
pub fn features(array: Array, dim: usize, path: &Path) -> Result<Features, Failure> {
    Features::new(array.into_values(path)?, dim)
        .map_err(|e| Failure::usage(format!("{}: {}", path.display(), explain(&e))))
}
