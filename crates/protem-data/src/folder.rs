//! A folder of image files.

use crate::decode::decode;
use crate::error::{DataError, ReadError};
use crate::source::Source;
use image::RgbImage;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff"];

/// All image files below a folder, at any depth, sorted by path.
///
/// Every image at least one folder deep and at least two such top-level folders: then these are
/// the classes. Otherwise (a flat folder, say) there are none.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Folder {
    /// Lists a folder. Hidden files and folders are passed over.
    ///
    /// # Errors
    /// No such folder, one that cannot be listed, or one without images.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        if !root.is_dir() {
            return Err(DataError::NoFolder(root.to_path_buf()));
        }
        let mut files = Vec::new();
        list(root, Path::new(""), &mut files)?;
        if files.is_empty() {
            return Err(DataError::NoImages {
                folder: root.to_path_buf(),
                extensions: EXTENSIONS.to_vec(),
            });
        }
        files.sort();
        let top = |file: &PathBuf| {
            let mut parts = file.components();
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            parts.next().map(|_| first)
        };
        let folders: Option<Vec<String>> = files.iter().map(top).collect();
        let classes: BTreeSet<&String> = folders.iter().flatten().collect();
        let classes: Vec<String> = if classes.len() >= 2 {
            classes.into_iter().cloned().collect()
        } else {
            Vec::new()
        };
        let labels = match (&folders, classes.is_empty()) {
            (Some(folders), false) => folders
                .iter()
                .map(|f| classes.binary_search(f).expect("its own class") as u32)
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            root: root.to_path_buf(),
            files,
            labels,
            classes,
        })
    }
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let folder = root.join(below);
    let refused = |source| DataError::List {
        path: folder.clone(),
        source,
    };
    for entry in fs::read_dir(&folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let path = below.join(&name);
        if entry.file_type().map_err(refused)?.is_dir() {
            list(root, &path, files)?;
        } else if path
            .extension()
            .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)))
        {
            files.push(path);
        }
    }
    Ok(())
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }
    fn name(&self, index: usize) -> String {
        self.files[index].display().to_string()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        decode(&fs::read(self.root.join(&self.files[index]))?)
    }
    fn describe(&self) -> String {
        format!("images of {}", self.root.display())
    }
}
