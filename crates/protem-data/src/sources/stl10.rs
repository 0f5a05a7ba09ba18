//! STL-10's binary files.

use super::cifar::{chosen, inside, names};
use super::pixels::{Layout, Pixels, Shape};
use crate::error::DataError;
use crate::labels::Labels;
use crate::location::Location;
use crate::storage::Storage;

/// Classes where there is no `class_names.txt`.
const CLASSES: [&str; 10] = [
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
];

/// `train_X.bin` with `train_y.bin`, `test_X.bin` with `test_y.bin`, or `unlabeled_X.bin`: 96 × 96
/// pixels in three planes, column by column; labels from 1. Classes by `class_names.txt`.
pub(crate) fn stl10(location: &Location) -> Result<Pixels, DataError> {
    location.only(&["split"])?;
    let folder = inside(&location.path, "stl10_binary");
    let file = |name: &str| vec![name.to_owned()];
    let splits = [
        ("train", file("train_X.bin")),
        ("test", file("test_X.bin")),
        ("unlabeled", file("unlabeled_X.bin")),
    ];
    let (files, split) = chosen(location, &folder, splits)?;
    let what = format!("STL-10 ({split}) in {}", folder.display());
    let pixels = pictures(files, what)?;
    if split == "unlabeled" {
        return Ok(pixels);
    }
    let file = Storage::open(&folder.join(format!("{split}_y.bin")))?;
    let of = file.read_all("labels", u32::MAX.into())?;
    let classes = names(&folder.join("class_names.txt"))?;
    let classes = classes.unwrap_or_else(|| CLASSES.map(str::to_owned).to_vec());
    let wrong = |label: &u8| *label == 0 || usize::from(*label) > classes.len();
    if let Some(at) = of.iter().position(wrong) {
        let reason = format!("label {} of classes 1 to {}", of[at], classes.len());
        return Err(file.damaged(at as u64, reason));
    }
    let of = of.iter().map(|label| u32::from(*label) - 1).collect();
    let labels = Labels {
        of,
        classes: classes.into(),
    };
    pixels.with_labels(labels, &file)
}

/// Pictures without labels.
pub(super) fn pictures(files: Vec<Storage>, what: String) -> Result<Pixels, DataError> {
    let shape = Shape {
        width: 96,
        height: 96,
        layout: Layout::Columns,
        before: 0,
        header: 0,
    };
    Pixels::new(files, shape, what)
}
