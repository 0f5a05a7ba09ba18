//! Folders of splits, as ImageNet's: `train/` of class folders beside `val/`, or the archives that those
//! are unpacked from.

use super::imagenet_archives::{self as archives, Archive};
use super::{imagenet_devkit as devkit, names};
use crate::error::DataError;
use crate::files::{Classes, is_image};
use crate::folder::{Folder, by_top_folder};
use crate::labels::{Gathered, Labels, word};
use crate::listing;
use crate::location::Location;
use crate::paths::Paths;
use crate::source::Source;
use crate::storage::Storage;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders that are splits.
const SPLITS: [&str; 5] = ["train", "val", "valid", "validation", "test"];
/// Largest list of classes.
const LARGEST: u64 = 1 << 30;

/// A split's folder, with classes as any folder's; or, where none is, ImageNet's archive of it
/// (`ILSVRC2012_img_train.tar`, `ILSVRC2012_img_val.tar`), whose images are called and ordered as that
/// folder's would be. Without class folders, as ImageNet's `val/` is published, the classes are
/// told by a list that lies beside it, above it or in it, if there is one: `val.txt` (a file name and a class
/// a line; a number counts the classes of training in alphabetical order), `LOC_val_solution.csv`, or Tiny
/// ImageNet's `val_annotations.txt`; of `val` otherwise by ImageNet's devkit
/// (`ILSVRC2012_devkit_t12.tar.gz`).
///
/// The path may also be that of the folder `ILSVRC/Data/CLS-LOC` lies in.
pub(crate) fn imagenet(location: &Location) -> Result<Arc<dyn Source>, DataError> {
    location.only(&["split"])?;
    let root = root(&location.path);
    let is_there =
        |split: &str| root.join(split).is_dir() || archives::archive(&root, split).is_some();
    let there = SPLITS.iter().filter(|split| is_there(split));
    let there: Vec<String> = there.map(|s| (*s).to_owned()).collect();
    if there.is_empty() {
        return Err(DataError::Missing(root.join("train")));
    }
    let split = location.split(&there)?;
    let folder = root.join(&split);
    if let Some(archive) = archives::archive(&root, &split).filter(|_| !folder.is_dir()) {
        let archive = Archive::open(&archive, split == "train", listing::folder().as_deref())?;
        let by_folder = by_top_folder(archive.paths());
        let labels = match told_of(&by_folder, archive.paths(), &root, &split)? {
            Some(labels) => labels,
            None => by_folder,
        };
        return Ok(Arc::new(archive.labelled(labels)));
    }
    let mut files = Folder::open(&folder)?.into_files();
    if let Classes::One(by_folder) = &files.classes
        && let Some(labels) = told_of(by_folder, &files.paths, &root, &split)?
    {
        files.classes = Classes::One(labels);
    }
    Ok(Arc::new(files))
}

/// Whether a folder holds `train` and another split, or `train` alone.
pub(crate) fn is_imagenet(folder: &Path) -> bool {
    let root = root(folder);
    let folders = || {
        names(&root)
            .unwrap_or_default()
            .into_iter()
            .filter(|n| root.join(n).is_dir())
    };
    let another = || SPLITS[1..].iter().any(|s| root.join(s).is_dir());
    root.join("train").is_dir() && (another() || folders().count() == 1)
}

/// Whether a folder holds one of ImageNet's archives.
pub(crate) fn is_imagenet_packed(folder: &Path) -> bool {
    archives::any(&root(folder))
}

fn root(path: &Path) -> PathBuf {
    let inner = ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"].map(|inner| path.join(inner));
    let found = inner.into_iter().find(|inner| inner.is_dir());
    found.unwrap_or_else(|| path.to_path_buf())
}

/// What each file's class is called, by the file's name without its extension.
pub(super) type Told = HashMap<Vec<u8>, String>;

/// The list of a split's classes, wherever it is published to lie.
fn told(root: &Path, split: &str) -> Result<Option<(PathBuf, Told)>, DataError> {
    let names = [
        format!("{split}.txt"),
        format!("{split}_annotations.txt"),
        format!("LOC_{split}_solution.csv"),
    ];
    // ImageNet's list of validation images lies beside ILSVRC/.
    let levels = if root.ends_with("CLS-LOC") { 4 } else { 1 };
    let above = root.ancestors().take(levels).map(Path::to_path_buf);
    for folder in std::iter::once(root.join(split)).chain(above) {
        for name in &names {
            let list = folder.join(name);
            if list.is_file()
                && let Some(told) = read(&list)?
            {
                return Ok(Some((list, told)));
            }
        }
    }
    let devkit = root.join(devkit::NAME);
    if split == "val" && devkit.is_file() {
        let told = devkit::told(&devkit)?;
        return Ok(Some((devkit, told)));
    }
    Ok(None)
}

/// The first word of a line, up to a blank, tab or comma, is a file; the second is its class. None
/// of a list without classes.
fn read(list: &Path) -> Result<Option<Told>, DataError> {
    let bytes = Storage::open(list)?.read_all("bytes", LARGEST)?;
    let mut told = Told::new();
    let mut without = None;
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let refused = |reason| DataError::Line {
            path: list.to_path_buf(),
            line: number + 1,
            reason,
        };
        let mut words = line
            .split(|b| b" \t,\r".contains(b))
            .filter(|w| !w.is_empty());
        let Some(file) = words.next() else { continue };
        let Some(class) = words.next() else {
            without.get_or_insert(number + 1);
            continue;
        };
        let class = word(class).map_err(refused)?;
        let before = told.insert(stem(&crate::paths::path_of(file)), class.to_owned());
        // Images are known by their names alone.
        if let Some(before) = before.filter(|before| before != class) {
            let file = file.escape_ascii();
            let reason =
                format!("an image called as {file} is there twice, of {before} and {class}");
            return Err(refused(reason));
        }
    }
    match without {
        Some(_) if told.is_empty() => Ok(None),
        Some(line) => Err(DataError::Line {
            path: list.to_path_buf(),
            line,
            reason: "an image without a class, which others have".into(),
        }),
        None => Ok(Some(told)),
    }
}

fn stem(path: &Path) -> Vec<u8> {
    let name = if is_image(path) {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.unwrap_or_default().as_encoded_bytes().to_vec()
}

/// What is told of the images, where their folders tell nothing.
fn told_of(
    by_folder: &Labels,
    paths: &Paths,
    root: &Path,
    split: &str,
) -> Result<Option<Labels>, DataError> {
    if !by_folder.classes.is_empty() {
        return Ok(None);
    }
    let Some((list, told)) = told(root, split)? else {
        return Ok(None);
    };
    let mut gathered = Gathered::default();
    let wrong = |reason| DataError::Classes {
        path: list.clone(),
        reason,
    };
    for i in 0..paths.len() {
        let path = paths.get(i);
        match told.get(&stem(&path)) {
            Some(class) => gathered.push(class.as_bytes()).map_err(wrong)?,
            None => {
                return Err(DataError::NoClass {
                    path: list,
                    image: path.display().to_string(),
                    otherwise: "",
                });
            }
        }
    }
    let labels = gathered.finish().map_err(wrong)?;
    let (none, classes) = training(root)?;
    as_in_training(labels, &none, classes)
        .map(Some)
        .map_err(wrong)
}

/// The classes of the training images in alphabetical order, and what is said of another; none where the
/// images are not.
fn training(root: &Path) -> Result<(String, Vec<String>), DataError> {
    let folder = root.join("train");
    if let Some(archive) = archives::archive(root, "train").filter(|_| !folder.is_dir()) {
        let none = format!("is no class of {}", archive.display());
        return Ok((none, archives::classes(&archive)?));
    }
    let names = names(&folder).unwrap_or_default().into_iter();
    let classes = names.filter(|n| !n.starts_with('.') && folder.join(n).is_dir());
    let none = format!("is no class folder of {}", folder.display());
    Ok((none, classes.collect()))
}

/// The classes of the training images, in their order: numbers count them, unless they are called by
/// numbers themselves; names name them.
fn as_in_training(labels: Labels, none: &str, classes: Vec<String>) -> Result<Labels, String> {
    if classes.len() < 2 || labels.classes.is_empty() {
        return Ok(labels);
    }
    let none = |name: &str| format!("{name} {none}");
    if labels.classes.are_numbers() {
        let called: Option<Vec<u32>> = classes.iter().map(|class| class.parse().ok()).collect();
        let Some(called) = called else {
            return labels.named(classes);
        };
        let places: HashMap<u32, u32> = called.into_iter().zip(0..).collect();
        let place = |number: &u32| {
            let place = places.get(number).copied();
            place.ok_or_else(|| none(&number.to_string()))
        };
        return Ok(Labels {
            of: labels.of.iter().map(place).collect::<Result<_, _>>()?,
            classes: classes.into(),
        });
    }
    let place = |name: Cow<str>| {
        let place = classes.binary_search_by(|class| class.as_str().cmp(&name));
        place.map(|place| place as u32).map_err(|_| none(&name))
    };
    let places: Vec<u32> = labels.classes.iter().map(place).collect::<Result<_, _>>()?;
    Ok(Labels {
        of: labels.of.iter().map(|c| places[*c as usize]).collect(),
        classes: classes.into(),
    })
}
