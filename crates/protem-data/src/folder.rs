//! A folder of image files.

use crate::decode::decode;
use crate::error::{DataError, ReadError};
use crate::source::Source;
use image::RgbImage;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff"];

/// All image files below a folder, at any depth, sorted by path.
///
/// Every image at least one folder deep and at least two such top-level folders: then these are
/// the classes, in alphabetical order, and an image has the class of its top-level folder however
/// deep it lies. Otherwise (a flat folder, say) there are none.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Folder {
    /// Lists a folder without opening its files. Hidden files and folders are passed over, links
    /// are followed. A link to an image that is gone is listed: reading it fails, as that of any
    /// damaged image.
    ///
    /// # Errors
    /// No such folder; one that cannot be listed, such as a link that leads nowhere or back to a
    /// folder it lies in; one without images.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        if !root.is_dir() {
            return Err(DataError::NoFolder(root.to_path_buf()));
        }
        let mut files = list(root)?;
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

/// Image files below a folder, as paths relative to it, in no order.
fn list(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let seen = |entry: &DirEntry| entry.depth() == 0 || !hidden(entry.file_name());
    let mut files = Vec::new();
    for entry in WalkDir::new(root)
        .follow_links(true)
        .into_iter()
        .filter_entry(seen)
    {
        let path = match entry {
            Ok(entry) if entry.file_type().is_file() => entry.into_path(),
            Ok(_) => continue,
            Err(error) => match error.path() {
                Some(path) if error.depth() > 0 && path.file_name().is_some_and(hidden) => continue,
                Some(path) if is_image(path) && path.is_symlink() => path.to_path_buf(),
                path => {
                    return Err(DataError::List {
                        path: path.unwrap_or(root).to_path_buf(),
                        source: error.into(),
                    });
                }
            },
        };
        if is_image(&path) {
            let below = path.strip_prefix(root).expect("it was listed below");
            files.push(below.to_path_buf());
        }
    }
    Ok(files)
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)))
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
