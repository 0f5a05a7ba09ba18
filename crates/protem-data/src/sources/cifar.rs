//! CIFAR-10's and CIFAR-100's binary files.

use super::pixels::{Layout, Pixels, Shape};
use crate::error::DataError;
use crate::labels::names_of;
use crate::location::Location;
use crate::storage::Storage;
use std::path::Path;

/// Classes of CIFAR-10 where there is no `batches.meta.txt`.
const CIFAR10: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// The records of `data_batch_1.bin` to `data_batch_5.bin` (split `train`) or `test_batch.bin`
/// (`test`): a label and 32 × 32 pixels in three planes. Classes by `batches.meta.txt`, in the
/// order of the labels.
pub(crate) fn cifar10(location: &Location) -> Result<Pixels, DataError> {
    location.only(&["split"])?;
    let folder = inside(&location.path, "cifar-10-batches-bin");
    let batches: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
    let test = vec!["test_batch.bin".to_owned()];
    let (files, split) = chosen(location, &folder, [("train", batches), ("test", test)])?;
    let names = match names(&folder.join("batches.meta.txt"))? {
        Some(names) => names,
        None => CIFAR10.map(str::to_owned).to_vec(),
    };
    pixels(
        files,
        1,
        format!("CIFAR-10 ({split}) in {}", folder.display()),
    )?
    .with_labels_inside(0, names)
}

/// The records of `train.bin` or `test.bin`: coarse and fine label, then pixels as CIFAR-10's.
/// Classes are the fine ones, by `fine_label_names.txt`, or the coarse ones with the option
/// `label=coarse`.
pub(crate) fn cifar100(location: &Location) -> Result<Pixels, DataError> {
    location.only(&["split", "label"])?;
    let folder = inside(&location.path, "cifar-100-binary");
    let file = |name: &str| vec![name.to_owned()];
    let splits = [("train", file("train.bin")), ("test", file("test.bin"))];
    let (files, split) = chosen(location, &folder, splits)?;
    let (at, list, count) = match location.option("label") {
        None | Some("fine") => (1, "fine_label_names.txt", 100),
        Some("coarse") => (0, "coarse_label_names.txt", 20),
        Some(other) => {
            return Err(DataError::Option {
                what: location.to_string(),
                option: "label".into(),
                value: other.into(),
                rule: "fine or coarse".into(),
            });
        }
    };
    let numbers = || (0..count).map(|n: u32| n.to_string()).collect();
    let names = names(&folder.join(list))?.unwrap_or_else(numbers);
    pixels(
        files,
        2,
        format!("CIFAR-100 ({split}) in {}", folder.display()),
    )?
    .with_labels_inside(at, names)
}

/// Records of CIFAR-10, with the published names.
pub(super) fn records10(files: Vec<Storage>, what: String) -> Result<Pixels, DataError> {
    pixels(files, 1, what)?.with_labels_inside(0, CIFAR10.map(str::to_owned).to_vec())
}

/// Records of CIFAR-100, with numbers for names of the fine labels.
pub(super) fn records100(files: Vec<Storage>, what: String) -> Result<Pixels, DataError> {
    let numbers = (0..100).map(|n: u32| n.to_string()).collect();
    pixels(files, 2, what)?.with_labels_inside(1, numbers)
}

fn pixels(files: Vec<Storage>, before: u64, what: String) -> Result<Pixels, DataError> {
    let shape = Shape {
        width: 32,
        height: 32,
        layout: Layout::Planes,
        before,
        header: 0,
    };
    Pixels::new(files, shape, what)
}

/// The folder, or the one in it that the published archive unpacks to.
pub(super) fn inside(folder: &Path, name: &str) -> std::path::PathBuf {
    let below = folder.join(name);
    if below.is_dir() {
        below
    } else {
        folder.to_path_buf()
    }
}

/// Files of the split that is named, among those of which some file is there.
pub(super) fn chosen<const N: usize>(
    location: &Location,
    folder: &Path,
    splits: [(&str, Vec<String>); N],
) -> Result<(Vec<Storage>, String), DataError> {
    let some = |files: &[String]| files.iter().any(|file| folder.join(file).exists());
    let there = splits.iter().filter(|(_, files)| some(files));
    let there: Vec<String> = there.map(|(split, _)| (*split).to_owned()).collect();
    if there.is_empty() {
        let first = &splits[0].1[0];
        return Err(DataError::Missing(folder.join(first)));
    }
    let split = location.split(&there)?;
    let files = splits.iter().filter(|(name, _)| *name == split);
    let files = files.flat_map(|(_, files)| files);
    let opened = files
        .enumerate()
        .map(|(i, name)| Storage::open_as(&folder.join(name), i));
    Ok((opened.collect::<Result<_, _>>()?, split))
}

/// Class names of a file, if it is there.
pub(super) fn names(file: &Path) -> Result<Option<Vec<String>>, DataError> {
    if !file.exists() {
        return Ok(None);
    }
    let names = names_of(&Storage::open(file)?.read_all("bytes", 1 << 20)?);
    Ok(Some(names).filter(|names| !names.is_empty()))
}
