//! Features in a file, and beside it the names of their images, as `embed` writes them.

use crate::arrays;
use crate::console::warn;
use crate::failure::{Failure, explain};
use crate::features::{FEWER_FEATURES, check_memory};
use protem_cluster::Matrix;
use protem_eval::{Features, Similar};
use protem_report::{counted, unescape};
use serde_json::json;
use std::path::Path;

/// Features of images, and what these are called.
pub struct Named {
    pub features: Features,
    pub names: Names,
}

/// The lines of a file of names; without one, images are called by their rows.
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

    /// Those beside the features of so many images.
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
        check(rows.cols())?;
        let names = Names::beside(path, rows.rows())?;
        check_memory(4 * (rows.rows() * rows.cols()) as u64, FEWER_FEATURES)?;
        let features = features(rows, path)?;
        Ok(Self { features, names })
    }
}

/// The rows of an array as features, which are finite.
pub fn features(rows: Matrix<'_>, path: &Path) -> Result<Features, Failure> {
    let values = (0..rows.rows()).flat_map(|i| rows.row(i)).copied();
    Features::new(values.collect(), rows.cols())
        .map_err(|e| Failure::usage(format!("{}: {}", path.display(), explain(&e))))
}
