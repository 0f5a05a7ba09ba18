//! Places365 with its list files.

use super::list;
use crate::error::DataError;
use crate::files::{Classes, Files};
use crate::location::Location;
use crate::storage::Storage;
use std::path::Path;

/// Splits, their lists, and the folders that the published archives unpack to.
const SPLITS: [(&str, &str, &[&str]); 4] = [
    (
        "train",
        "places365_train_standard.txt",
        &[
            "data_256_standard",
            "data_large_standard",
            "data_256",
            "data_large",
        ],
    ),
    (
        "challenge",
        "places365_train_challenge.txt",
        &[
            "data_256_challenge",
            "data_large_challenge",
            "data_256",
            "data_large",
        ],
    ),
    ("val", "places365_val.txt", &["val_256", "val_large"]),
    ("test", "places365_test.txt", &["test_256", "test_large"]),
];

/// The images that a split's list names (`/a/airfield/00000001.jpg 0`), in the first of the split's
/// folders that is there, or in the one the option `folder` names. Classes by
/// `categories_places365.txt`, in the order of their numbers.
pub(crate) fn places(location: &Location) -> Result<Files, DataError> {
    location.only(&["split", "folder"])?;
    let root = &location.path;
    let there = SPLITS
        .iter()
        .filter(|(_, list, _)| root.join(list).is_file());
    let there: Vec<String> = there.map(|(split, ..)| (*split).to_owned()).collect();
    if there.is_empty() {
        return Err(DataError::Missing(root.join(SPLITS[0].1)));
    }
    let split = location.split(&there)?;
    let of_split = SPLITS.iter().find(|(name, ..)| *name == split);
    let (_, list, folders) = of_split.unwrap_or(&SPLITS[0]);
    let images = match location.option("folder") {
        Some(folder) => root.join(folder),
        None => {
            let there = folders.iter().map(|folder| root.join(folder));
            let there = there.into_iter().find(|folder| folder.is_dir());
            there.ok_or_else(|| DataError::Missing(root.join(folders[0])))?
        }
    };
    let list = Storage::open(&root.join(list))?;
    let mut files = list::parse(&list, &images, list::Absolute::BelowRoot)?;
    if let Classes::One(labels) = &mut files.classes
        && !labels.of.is_empty()
    {
        let file = root.join("categories_places365.txt");
        let wrong = |reason| DataError::Classes {
            path: file.clone(),
            reason,
        };
        *labels = std::mem::take(labels)
            .named(categories(&file)?)
            .map_err(wrong)?;
    }
    files.what = format!("Places365 ({split}) in {}", images.display());
    Ok(files)
}

/// Whether a folder holds the list of categories and one of the splits.
pub(crate) fn is_places(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("categories_places365.txt") && SPLITS.iter().any(|(_, list, _)| has(list))
}

/// `/a/airfield 0`: the category, without the slash before it, and its number.
fn categories(file: &Path) -> Result<Vec<String>, DataError> {
    let bytes = Storage::open(file)?.read_all("bytes", 1 << 24)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut names = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let parts = line.trim().rsplit_once(' ');
        match parts.filter(|(_, number)| *number == names.len().to_string()) {
            Some((name, _)) => names.push(name.trim().trim_start_matches('/').to_owned()),
            None => {
                return Err(DataError::Line {
                    path: file.to_path_buf(),
                    line: at + 1,
                    reason: format!("it is not a category and the number {}", names.len()),
                });
            }
        }
    }
    Ok(names)
}
