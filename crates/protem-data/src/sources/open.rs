//! From a name to a source.

use super::parquet_schema::Columns;
use super::{cifar, idx, list, parquet, places, splits, stl10, tar, voc};
use crate::error::DataError;
use crate::folder::Folder;
use crate::generated::{Generated, GeneratedSpec, Split};
use crate::location::{Kind, Location};
use crate::paths::text_of;
use crate::shards::{expand, in_folder, is_pattern, is_split};
use crate::source::Source;
use crate::storage::Storage;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file is looked at for.
const FILES: &str = "a tar archive (plain or gzip), a list of images (a path a line, with a label or without), an IDX file of images, a Parquet file";

/// What a folder is looked at for.
const FOLDERS: &str = "images in it or below it (jpg, jpeg, jpe, jfif, png, bmp, gif, webp, tif, tiff, ppm, pgm, pbm, pnm), shards (.tar, .tar.gz, .tgz, .parquet; to three folders down), binary files of CIFAR-10, CIFAR-100, STL-10 or MNIST, a VOC devkit, lists of Places, ImageNet's archives";

/// Opens images by a name: `[KIND:]PATH[?OPTION=VALUE]`. Without a kind it is recognised by what it
/// holds; see [`Kind`] for the kinds.
///
/// # Errors
/// Nothing there, or nothing that is recognised (with what was looked for and what was found); a
/// set of several splits without one named; what the kind refuses.
pub fn open(name: impl AsRef<OsStr>) -> Result<Arc<dyn Source>, DataError> {
    let location = Location::parse(name);
    if let Some(kind) = location.kind {
        return open_as(kind, &location);
    }
    let kind = recognise(&location.path)?;
    if kind != Kind::Folder {
        return open_as(kind, &location);
    }
    // One of images has no options: what has may hold shards further down.
    let options = !location.options.is_empty();
    if options && let Some(kind) = shards_below(&location.path)? {
        return open_as(kind, &location);
    }
    match open_as(kind, &location) {
        Err(DataError::NoImages { folder, .. }) => match shards_below(&folder)? {
            Some(kind) => open_as(kind, &location),
            None => Err(nothing(&folder)),
        },
        opened => opened,
    }
}

/// The kind of the shards that lie in folders of a folder, or beside them; of two kinds Parquet.
///
/// # Errors
/// A folder that cannot be looked into, or holds too much.
fn shards_below(folder: &Path) -> Result<Option<Kind>, DataError> {
    let location = Location {
        kind: None,
        path: folder.to_path_buf(),
        options: Vec::new(),
    };
    let kinds = [(Kind::Parquet, PARQUET), (Kind::Tar, TAR)];
    for (kind, endings) in kinds {
        match in_folder(&location, endings) {
            Ok(_) | Err(DataError::WhichSplit { .. } | DataError::Unrecognised { .. }) => {
                return Ok(Some(kind));
            }
            Err(error @ (DataError::List { .. } | DataError::TooLarge { .. })) => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Opens one file that lies in memory as a kind: tar, Parquet, a list (paths relative to the current
/// folder), IDX images, or records of CIFAR-10, CIFAR-100 or STL-10. `name` is what messages call it.
///
/// # Errors
/// What the kind refuses; a kind that is not one file.
pub fn open_memory(kind: Kind, bytes: Vec<u8>, name: &Path) -> Result<Arc<dyn Source>, DataError> {
    let file = Storage::memory(bytes, name);
    let what = format!("images of {}", name.display());
    Ok(match kind {
        Kind::Tar => Arc::new(tar::Tar::of(vec![file])?),
        Kind::Parquet => Arc::new(parquet::Parquet::of(vec![file])?),
        Kind::List => Arc::new(list::parse(&file, Path::new(""), list::Absolute::Itself)?),
        Kind::Idx => Arc::new(idx::images(file, what)?),
        Kind::Cifar10 => Arc::new(cifar::records10(vec![file], what)?),
        Kind::Cifar100 => Arc::new(cifar::records100(vec![file], what)?),
        Kind::Stl10 => Arc::new(stl10::pictures(vec![file], what)?),
        Kind::Folder | Kind::Voc | Kind::Imagenet | Kind::Places | Kind::Generated => {
            return Err(DataError::Unrecognised {
                path: name.to_path_buf(),
                looked_for: "a kind that is one file",
                found: "one of folders, or of none".into(),
            });
        }
    })
}

fn open_as(kind: Kind, location: &Location) -> Result<Arc<dyn Source>, DataError> {
    let path = &location.path;
    Ok(match kind {
        Kind::Folder => {
            location.only(&[])?;
            Arc::new(Folder::open(path)?)
        }
        Kind::List => {
            location.only(&[])?;
            Arc::new(list::open(path)?)
        }
        Kind::Tar => Arc::new(tar_of(location)?),
        Kind::Generated => Arc::new(generated(location)?),
        Kind::Cifar10 => Arc::new(cifar::cifar10(location)?),
        Kind::Cifar100 => Arc::new(cifar::cifar100(location)?),
        Kind::Idx => Arc::new(idx::idx(location)?),
        Kind::Stl10 => Arc::new(stl10::stl10(location)?),
        Kind::Voc => Arc::new(voc::voc(location)?),
        Kind::Imagenet => splits::imagenet(location)?,
        Kind::Places => Arc::new(places::places(location)?),
        Kind::Parquet => Arc::new(parquet_of(location)?),
    })
}

/// Endings of Parquet shards.
const PARQUET: &[&str] = &[".parquet"];
/// Endings of tar shards.
const TAR: &[&str] = &[".tar", ".tar.gz", ".tgz"];

fn recognise(path: &Path) -> Result<Kind, DataError> {
    if path.is_dir() {
        return folder(path);
    }
    if path.is_file() {
        return file(path);
    }
    if is_pattern(path) {
        let files = expand(path)?;
        return file(&files[0]);
    }
    Err(DataError::Missing(path.to_path_buf()))
}

fn file(path: &Path) -> Result<Kind, DataError> {
    let opened = Storage::open(path)?;
    if tar::is_tar(&opened) {
        return Ok(Kind::Tar);
    }
    if parquet::is_parquet(&opened) {
        return Ok(Kind::Parquet);
    }
    if idx::is_idx(&opened) {
        return Ok(Kind::Idx);
    }
    let head = opened
        .read(0, opened.len().min(1 << 12))
        .unwrap_or_default();
    if list::begins_list(&head) {
        return Ok(Kind::List);
    }
    Err(DataError::Unrecognised {
        path: path.to_path_buf(),
        looked_for: FILES,
        found: describe(&head, opened.len()),
    })
}

/// The first bytes of a file, in words.
fn describe(head: &[u8], len: u64) -> String {
    if image::guess_format(head).is_ok() {
        return "one image; name the folder it lies in".into();
    }
    if list::is_table(head) {
        return "a table of images with commas or more columns: a list has a path and a label a line, a tab between them, and no line of names".into();
    }
    let shown = &head[..head.len().min(40)];
    let shown = shown.escape_ascii();
    format!("{len} bytes that begin with \"{shown}\"")
}

/// Files by which the published sets of raw pixels are known, in the folder or in the one that
/// their archives unpack to.
const MARKS: [(Kind, &str, &[&str]); 3] = [
    (
        Kind::Cifar10,
        "cifar-10-batches-bin",
        &["data_batch_1.bin", "test_batch.bin"],
    ),
    (
        Kind::Cifar100,
        "cifar-100-binary",
        &["fine_label_names.txt"],
    ),
    (
        Kind::Stl10,
        "stl10_binary",
        &["train_X.bin", "test_X.bin", "unlabeled_X.bin"],
    ),
];

fn folder(path: &Path) -> Result<Kind, DataError> {
    for (kind, inner, files) in MARKS {
        let inside = cifar::inside(path, inner);
        if files.iter().any(|file| inside.join(file).is_file()) {
            return Ok(kind);
        }
    }
    if voc::is_voc(path) {
        return Ok(Kind::Voc);
    }
    if places::is_places(path) {
        return Ok(Kind::Places);
    }
    if splits::is_imagenet_packed(path) {
        return Ok(Kind::Imagenet);
    }
    if let Some(kind) = by_entries(path)? {
        return Ok(kind);
    }
    if idx::inside(path).is_some() {
        return Ok(Kind::Idx);
    }
    for below in ["data", "train"].map(|below| path.join(below)) {
        if below.is_dir()
            && let Some(kind @ (Kind::Parquet | Kind::Tar)) = by_entries(&below)?
        {
            return match classes_beside(path, &below)? {
                Some(one) if kind == Kind::Tar => Err(DataError::TwoKinds {
                    path: path.to_path_buf(),
                    one,
                    kind: Kind::Folder.word(),
                    other: text_of(below.strip_prefix(path).unwrap_or(&below)),
                    other_kind: kind.word(),
                }),
                _ => Ok(kind),
            };
        }
    }
    if splits::is_imagenet(path) {
        return Ok(Kind::Imagenet);
    }
    Ok(Kind::Folder)
}

/// The first of two folders of images or more, none of them of a split, beside one of shards: they may be
/// classes, and what is meant.
fn classes_beside(path: &Path, shards: &Path) -> Result<Option<String>, DataError> {
    let holds_images = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = entries.take(BEHIND).map(|entry| entry.file_name());
        names.any(|name| crate::files::is_image(Path::new(&name)))
    };
    let others = names(path)?.into_iter().filter(|name| {
        let other = path.join(name);
        !name.starts_with('.') && other != shards && !is_split(name) && holds_images(&other)
    });
    let two: Vec<String> = others.take(2).collect();
    Ok((two.len() == 2).then(|| two[0].clone()))
}

/// Entries behind the first image that are looked at for shards.
const BEHIND: usize = 4096;

/// Shards or IDX files directly in a folder; no tar beside folders, which may be what it was unpacked
/// to. Where images are, one of the first entries is one: a folder of a million of them is not listed
/// for this.
///
/// # Errors
/// Images and shards, or tar and Parquet: which of them are meant, nobody knows.
fn by_entries(path: &Path) -> Result<Option<Kind>, DataError> {
    let refused = |source| DataError::List {
        path: path.to_path_buf(),
        source,
    };
    let (mut found, mut folders) = (None, false);
    let (mut image, mut left) = (None, usize::MAX);
    // Beside Parquet: images may be in either, and what is told of them in the other.
    let (mut tar, mut parquet) = (None, false);
    for entry in std::fs::read_dir(path).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let Some(after) = left.checked_sub(1) else {
            break;
        };
        left = after;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let kind = match name {
            _ if name.ends_with(".parquet") => Kind::Parquet,
            _ if idx::is_images(name) => Kind::Idx,
            _ if TAR.iter().any(|ending| name.ends_with(ending)) => Kind::Tar,
            _ if crate::files::is_image(Path::new(name)) => {
                if image.is_none() {
                    (image, left) = (Some(name.to_owned()), BEHIND);
                }
                continue;
            }
            _ => {
                folders |= entry.file_type().is_ok_and(|kind| kind.is_dir());
                continue;
            }
        };
        parquet |= kind == Kind::Parquet;
        if kind == Kind::Tar {
            tar = Some((kind, name.to_owned()));
        }
        // Of several, always the same one.
        let rank = |kind: Kind| {
            [Kind::Parquet, Kind::Idx, Kind::Tar]
                .iter()
                .position(|k| *k == kind)
        };
        let before = found.as_ref().map(|(kind, _)| *kind);
        if before.is_none_or(|before| rank(kind) < rank(before)) {
            found = Some((kind, name.to_owned()));
        }
    }
    let found = found.filter(|(kind, _)| *kind != Kind::Tar || !folders);
    let tar = tar.filter(|_| parquet);
    let image = image.map(|image| (Kind::Folder, image));
    match (found, image.or(tar)) {
        (Some((other_kind, other)), Some((kind, one))) if kind != other_kind => {
            Err(DataError::TwoKinds {
                path: path.to_path_buf(),
                one,
                kind: kind.word(),
                other,
                other_kind: other_kind.word(),
            })
        }
        (found, _) => Ok(found.map(|(kind, _)| kind)),
    }
}

/// A folder that holds nothing of what is known.
fn nothing(path: &Path) -> DataError {
    const SHOWN: usize = 8;
    let names = names(path).unwrap_or_default();
    let mut found: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = match (names.len(), more) {
        (0, _) => "nothing".to_owned(),
        (_, 0) => String::new(),
        (_, more) => format!("and {more} more"),
    };
    found.extend(Some(more.as_str()).filter(|more| !more.is_empty()));
    DataError::Unrecognised {
        path: path.to_path_buf(),
        looked_for: FOLDERS,
        found: found.join(", "),
    }
}

/// Names of a folder's entries that are Unicode.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, DataError> {
    let refused = |source| DataError::List {
        path: path.to_path_buf(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(refused)? {
        if let Ok(name) = entry.map_err(refused)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The shards that a file, a folder or a pattern names. A folder may have splits.
fn shards(
    location: &Location,
    endings: &[&str],
    options: &[&str],
) -> Result<Vec<PathBuf>, DataError> {
    let path = &location.path;
    if path.is_dir() {
        location.only(&[&["split"], options].concat())?;
        return in_folder(location, endings);
    }
    location.only(options)?;
    if path.is_file() {
        return Ok(vec![path.clone()]);
    }
    if is_pattern(path) {
        return expand(path);
    }
    Err(DataError::Missing(path.clone()))
}

fn tar_of(location: &Location) -> Result<tar::Tar, DataError> {
    let files = shards(location, TAR, &["label"])?;
    match location.option("label") {
        None => tar::Tar::open_with(&files, true),
        Some("") => tar::Tar::open_with(&files, false),
        Some(other) => Err(DataError::Option {
            what: location.to_string(),
            option: "label".into(),
            value: other.into(),
            rule: "of tar shards, only label= with nothing behind it, for no classes".into(),
        }),
    }
}

fn parquet_of(location: &Location) -> Result<parquet::Parquet, DataError> {
    let files = shards(location, PARQUET, &["image", "label"])?;
    let asked = |option: &str| location.option(option).map(str::to_owned);
    let columns = Columns {
        image: asked("image"),
        label: asked("label"),
    };
    parquet::Parquet::open_with(&files, &columns)
}

fn generated(location: &Location) -> Result<Generated, DataError> {
    location.only(&["images", "size", "seed", "split"])?;
    if !location.path.as_os_str().is_empty() {
        return Err(DataError::Option {
            what: location.to_string(),
            option: "generated".into(),
            value: location.path.display().to_string(),
            rule: "write generated:images=5000,size=32,seed=0,split=train, or some of it".into(),
        });
    }
    let number = |option: &str, or: u64, least: u64, most: u64| {
        let Some(value) = location.option(option) else {
            return Ok(or);
        };
        let number = value.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| DataError::Option {
            what: location.to_string(),
            option: option.into(),
            value: value.into(),
            rule: format!("a number from {least} to {most}"),
        })
    };
    let split = match location.option("split") {
        None | Some("train") => Split::Train,
        Some("test") => Split::Test,
        Some(other) => {
            return Err(DataError::NoSplit {
                what: "generated".into(),
                split: other.into(),
                splits: vec!["train".into(), "test".into()],
            });
        }
    };
    Ok(Generated::new(GeneratedSpec {
        seed: number("seed", 0, 0, u64::MAX)?,
        images: number("images", 5000, 1, 10_000_000)? as usize,
        size: number("size", 32, 1, 4096)? as u32,
        split,
    }))
}
