//! MNIST's format: a header of sizes, then bytes.

use super::pixels::{Layout, Pixels, Shape};
use crate::error::DataError;
use crate::labels::Labels;
use crate::location::Location;
use crate::storage::Storage;
use std::path::{Path, PathBuf};

/// What a compressed file may hold.
const LARGEST: u64 = 2 << 30;
/// Longest side of the images.
const LONGEST: u32 = 1 << 13;

/// A file of images (`…images-idx3-ubyte`, gzip or not), or the one of a split in a folder (`train`;
/// `test`, whose files are called `t10k`): bytes of gray images, or of RGB ones with a fourth size
/// of 3. Labels lie in the file of the same name with `labels` and `idx1`; the classes are called
/// by their numbers. A compressed file is decompressed into memory, 2 GiB at most.
pub(crate) fn idx(location: &Location) -> Result<Pixels, DataError> {
    location.only(&["split"])?;
    let path = if location.path.is_dir() {
        in_folder(location)?
    } else {
        location.path.clone()
    };
    let what = format!("images of {}", path.display());
    let images = images(Storage::open(&path)?, what)?;
    match labels_beside(&path) {
        Some(file) => {
            let file = Storage::open(&file)?.inflated(LARGEST)?;
            images.with_labels(labels(&file)?, &file)
        }
        None => Ok(images),
    }
}

/// The images of a file, or of bytes in memory.
pub(crate) fn images(file: Storage, what: String) -> Result<Pixels, DataError> {
    let file = file.inflated(LARGEST)?;
    let sizes = header(&file)?;
    let (count, shape) = match sizes[..] {
        [count, height, width] => (count, (width, height, Layout::Gray)),
        [count, height, width, 3] => (count, (width, height, Layout::Interleaved)),
        _ => return Err(file.damaged(3, format!("sizes {sizes:?} are none of images"))),
    };
    let (width, height, layout) = shape;
    if !(1..=LONGEST).contains(&width) || !(1..=LONGEST).contains(&height) {
        let reason = format!("images of {width} × {height} pixels, a side may be 1 to {LONGEST}");
        return Err(file.damaged(8, reason));
    }
    let shape = Shape {
        width,
        height,
        layout,
        before: 0,
        header: 4 + 4 * sizes.len() as u64,
    };
    let end = file.len();
    let declared = file.damaged(
        4,
        format!("it declares {count} images, and has {end} bytes"),
    );
    let pixels = Pixels::new(vec![file], shape, what)?;
    if crate::Source::len(&pixels) as u64 != u64::from(count) {
        return Err(declared);
    }
    Ok(pixels)
}

/// The labels of a file, or of bytes in memory.
pub(crate) fn labels(file: &Storage) -> Result<Labels, DataError> {
    let sizes = header(file)?;
    let [count] = sizes[..] else {
        return Err(file.damaged(3, format!("sizes {sizes:?} are none of labels")));
    };
    if file.len() != 8 + u64::from(count) {
        let reason = format!("it declares {count} labels, and has {} bytes", file.len());
        return Err(file.damaged(4, reason));
    }
    let bytes = file
        .read(8, count.into())
        .map_err(|source| DataError::Read {
            path: file.path().to_path_buf(),
            source,
        })?;
    let labels = Labels::numbers(bytes.into_iter().map(u32::from).collect());
    labels.map_err(|reason| file.damaged(8, reason))
}

/// The sizes of a header of bytes.
fn header(file: &Storage) -> Result<Vec<u32>, DataError> {
    let start = file.read(0, 4).unwrap_or_default();
    let [0, 0, 8, count @ 1..=4] = start[..] else {
        return Err(file.damaged(0, "it does not begin as an IDX file of bytes"));
    };
    let sizes = file.read(4, 4 * u64::from(count));
    let sizes = sizes.map_err(|_| file.damaged(4, "it ends within its header"))?;
    let sizes = sizes.chunks_exact(4);
    Ok(sizes
        .map(|s| u32::from_be_bytes([s[0], s[1], s[2], s[3]]))
        .collect())
}

/// Whether a file begins as one of images.
pub(crate) fn is_idx(file: &Storage) -> bool {
    let head = if file.is_gzip() {
        let mut head = [0; 4];
        let mut stream = flate2::read::MultiGzDecoder::new(file.reader(0));
        std::io::Read::read_exact(&mut stream, &mut head).map(|()| head.to_vec())
    } else {
        file.read(0, 4)
    };
    matches!(head.as_deref(), Ok([0, 0, 8, 3 | 4]))
}

/// Whether a name is that of a file of images.
pub(crate) fn is_images(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let bare = name.strip_suffix("-ubyte").unwrap_or(name);
    name.contains("images") && (bare.ends_with("idx3") || bare.ends_with("idx4"))
}

/// The folder of files of images within the one that torchvision downloads to, if it is such a one.
pub(crate) fn inside(path: &Path) -> Option<PathBuf> {
    const BELOW: [&str; 4] = ["raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw"];
    let mut below = BELOW.iter().map(|below| path.join(below));
    below.find(|folder| {
        let names = super::open::names(folder).unwrap_or_default();
        names.iter().any(|name| is_images(name))
    })
}

fn in_folder(location: &Location) -> Result<PathBuf, DataError> {
    let folder = inside(&location.path).unwrap_or_else(|| location.path.clone());
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for name in super::open::names(&folder)? {
        if !is_images(&name) {
            continue;
        }
        let test = name.contains("t10k") || name.contains("test");
        let split = if test { "test" } else { "train" };
        let path = folder.join(&name);
        if !path.is_file() {
            continue;
        }
        // Of a file and its compressed copy, the file: its name comes first.
        match files.iter().find(|(s, _)| s == split) {
            None => files.push((split.into(), path)),
            Some((_, before)) if before.with_added_extension("gz") == path => {}
            Some((_, before)) => return Err(several(before, &path)),
        }
    }
    files.sort_by(|a, b| b.0.cmp(&a.0));
    if files.is_empty() {
        return Err(DataError::Missing(
            location.path.join("train-images-idx3-ubyte"),
        ));
    }
    let splits: Vec<String> = files.iter().map(|(split, _)| split.clone()).collect();
    let split = location.split(&splits)?;
    let file = files.into_iter().find(|(s, _)| *s == split);
    Ok(file.map(|(_, path)| path).unwrap_or_default())
}

/// A folder of several sets, such as EMNIST's.
fn several(one: &Path, other: &Path) -> DataError {
    DataError::Unrecognised {
        path: one.parent().unwrap_or(one).to_path_buf(),
        looked_for: "one file of images for training and one for a test",
        found: format!(
            "{} and {}: name the file itself",
            one.display(),
            other.display()
        ),
    }
}

/// The file of labels, compressed or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels");
    let labels = labels.replace("idx3", "idx1").replace("idx4", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    // Copies have a point before idx, or one after the other.
    let spelled = [
        plain.to_owned(),
        plain.replace(".idx1", "-idx1"),
        plain.replace("-idx1", ".idx1"),
    ];
    let candidates = spelled
        .into_iter()
        .flat_map(|name| [format!("{name}.gz"), name].into_iter().rev());
    let mut there = candidates.map(|name| images.with_file_name(name));
    there.find(|file| labels != name && file.is_file())
}
