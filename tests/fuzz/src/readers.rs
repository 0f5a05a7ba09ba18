//! One function per reader: everything the bytes hold is read, and what an accepted input promises
//! is checked.

use protem_cluster::{Matrix, Npy, NpyError};
use protem_data::{Encoded, FeatureTable, Kind, Source, Storage, open, open_memory};
use protem_em::Checkpoint;
use protem_encoder::{Weights, is_own_onnx};
use std::cell::RefCell;
use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use tempfile::{NamedTempFile, TempDir};

/// The `.npy` file of `protem-cluster`, memory-mapped and read.
pub fn npy(bytes: &[u8]) {
    let mapped = with_file(bytes, |path| Npy::open(path));
    let read = with_file(bytes, |path| Npy::read(path));
    match (mapped, read) {
        (Ok(mapped), Ok(read)) => {
            holds(&mapped, bytes);
            holds(&read, bytes);
            assert!(!read.is_rounded());
        }
        (Err(NpyError::NotPlain { bytes: needed, .. }), Ok(read)) => {
            let points = read.view().expect("what was read can be viewed");
            let values = points.rows() * points.cols();
            assert_eq!(needed, (bytes.len() + 4 * values) as u64);
            becomes(points, bytes);
        }
        // What is beyond all floats is found by reading alone.
        (Err(_), Err(_)) => {}
        (mapped, read) => panic!("mapped {mapped:?}, read {read:?}"),
    }
}

/// Whether points are the nearest floats of what a file ends with.
fn becomes(points: Matrix<'_>, bytes: &[u8]) {
    let (rows, cols) = (points.rows(), points.cols());
    // But for the names of the three keys, the kind of values is all that is in quotes.
    let begin = if bytes[6] == 1 { 10 } else { 12 };
    let text = String::from_utf8_lossy(&bytes[begin..bytes.len().min(10_000)]).into_owned();
    let quoted = text.split(['\'', '"']).skip(1).step_by(2);
    let kind = quoted
        .map(str::to_owned)
        .find(|word| !["descr", "fortran_order", "shape"].contains(&word.as_str()))
        .expect("a kind of values");
    let size = usize::from(kind.as_bytes()[2] - b'0');
    let values = &bytes[bytes.len() - size * rows * cols..];
    let header = &bytes[..bytes.len() - values.len()];
    let columns_first = header.windows(4).any(|word| word == b"True");
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        let at = match columns_first {
            true => col * rows + row,
            false => row * cols + col,
        };
        let mut value = [0; 8];
        value[..size].copy_from_slice(&values[size * at..][..size]);
        if kind.starts_with('>') {
            value[..size].reverse();
        }
        let word = u64::from_le_bytes(value);
        let above = 64 - 8 * size as u32;
        let expected = match &kind.as_bytes()[1] {
            b'b' => f32::from(word != 0),
            b'u' => word as f32,
            b'i' => ((word << above) as i64 >> above) as f32,
            b'f' if size == 2 => half_of(word),
            b'f' if size == 4 => f32::from_bits(word as u32),
            _ => f64::from_bits(word) as f32,
        };
        let found = points.row(row)[col];
        assert!(
            found == expected || found.is_nan() && expected.is_nan(),
            "{kind}: {found} of row {row}, column {col}, not {expected}"
        );
    }
}

/// A float of 16 bits, by its parts.
fn half_of(word: u64) -> f32 {
    let (exponent, fraction) = ((word >> 10 & 31) as i32, (word & 1023) as f32 / 1024.0);
    let length = match exponent {
        0 => fraction * 2f32.powi(-14),
        31 if fraction > 0.0 => f32::NAN,
        31 => f32::INFINITY,
        _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
    };
    if word >> 15 == 1 { -length } else { length }
}

/// Whether points are what a file ends with.
fn holds(npy: &Npy, bytes: &[u8]) {
    let points = npy.view().expect("what was opened can be viewed");
    let (rows, cols) = (points.rows(), points.cols());
    assert!(cols > 0, "points have columns");
    // The values are the end of the file, whole and in order.
    let values = 4 * rows * cols;
    let begin = bytes
        .len()
        .checked_sub(values)
        .expect("values are in the file");
    let mut expected = bytes[begin..].chunks_exact(4);
    for row in 0..rows {
        for value in points.row(row) {
            assert_eq!(Some(&value.to_le_bytes()[..]), expected.next());
        }
    }
    assert_eq!(expected.next(), None);
}

/// An encoder's weights, in each format.
pub fn weights(bytes: &[u8]) {
    if let Ok(weights) = Weights::from_bytes(bytes, None) {
        let encoder = weights.encoder();
        let (trained, running) = weights.config().values();
        let values = encoder.tensors().flat_map(|tensor| tensor.values.to_vec());
        let values: Vec<f32> = values.collect();
        assert_eq!(values.len(), trained + running);
        assert!(values.iter().all(|x| x.is_finite()));
    }
}

/// Who wrote an ONNX model, which is in its bytes.
pub fn onnx(bytes: &[u8]) {
    if is_own_onnx(bytes) {
        assert!(bytes.windows(6).any(|word| word == b"protem"));
    }
}

/// A checkpoint. Its sum is checked only where no fuzzer looks for what is behind it.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzzed".as_ref(), bytes) else {
        return;
    };
    let images = checkpoint.origin().images.images;
    if let Ok(clusterings) = checkpoint.clusterings() {
        for clustering in clusterings {
            assert_eq!(clustering.labels.len(), images);
            let k = clustering.k() as u32;
            assert!(clustering.labels.iter().all(|label| *label < k));
        }
    }
    let _ = checkpoint.query_encoder();
    let _ = checkpoint.key_encoder();
    if let Ok(state) = checkpoint.into_state(0.999) {
        assert_eq!(state.velocity.len(), state.pair.query.parameters().len());
        assert!(state.queue.pointer() < state.queue.tensor().dims()[0]);
    }
}

/// What the limit on pixels comes to: a decoded image of four channels of 16 bits, its RGB at 16
/// bits and at 8, and room for the decoder's own tables.
pub const IMAGE_MEMORY: usize = 178_956_970 * (8 + 6 + 3) + (64 << 20);

/// An image file.
pub fn image(bytes: &[u8]) {
    if let Ok(image) = protem_data::decode(bytes) {
        let (width, height) = image.dimensions();
        assert!(width > 0 && height > 0, "an image has pixels");
        assert_eq!(image.as_raw().len(), 3 * width as usize * height as usize);
    }
}

/// A tar archive.
pub fn tar(bytes: &[u8]) {
    images(Kind::Tar, with_sums(bytes));
}

/// A tar archive whose headers' sums are put right, which mutation seldom does; those of what gzip holds
/// are not.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    const SUM: std::ops::Range<usize> = 148..156;
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[SUM].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

/// 64 KiB can become pages of 72 MB; 128 MiB are kept, the last one and its values come on top.
pub const PARQUET_MEMORY: usize = 512 << 20;

/// A Parquet file of images.
pub fn parquet(bytes: &[u8]) {
    images(Kind::Parquet, bytes.to_vec());
}

/// A Parquet file of features; whether all of them were read.
pub fn features(bytes: &[u8]) -> bool {
    let file = Storage::memory(bytes.to_vec(), Path::new("input"));
    let Ok(table) = FeatureTable::of(file) else {
        return false;
    };
    assert!(table.rows() > 0 && table.dim() > 0, "there are features");
    if let Ok(Some(names)) = table.names() {
        assert_eq!(names.len(), table.rows());
    }
    let mut values = vec![0.0; table.rows() * table.dim()];
    table.read_into(&mut values).is_ok()
}

/// A list of paths, none of which is opened.
pub fn list(bytes: &[u8]) {
    if let Some(set) = labelled(Kind::List, bytes.to_vec()) {
        assert!(!set.is_empty(), "a list names images");
    }
}

/// Images in MNIST's format, plain or gzip.
pub fn idx(bytes: &[u8]) {
    images(Kind::Idx, bytes.to_vec());
}

/// Records of CIFAR-10.
pub fn cifar10(bytes: &[u8]) {
    images(Kind::Cifar10, bytes.to_vec());
}

/// Records of CIFAR-100.
pub fn cifar100(bytes: &[u8]) {
    images(Kind::Cifar100, bytes.to_vec());
}

/// Pictures of STL-10.
pub fn stl10(bytes: &[u8]) {
    images(Kind::Stl10, bytes.to_vec());
}

/// Labels in MNIST's format, plain or gzip, of two images; whether they were read, as below.
pub fn idx_labels(bytes: &[u8]) -> bool {
    let images = b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x01\x07\x09";
    in_folder(
        "idx",
        "",
        &[
            ("t10k-images-idx3-ubyte", images),
            ("t10k-labels-idx1-ubyte", bytes),
        ],
    )
}

/// Lists of a VOC devkit, each up to a zero: a split's images, and those of two classes.
pub fn voc(bytes: &[u8]) -> bool {
    let mut lists = bytes.splitn(3, |b| *b == 0);
    let files = ["trainval", "cat_trainval", "dog_trainval"].map(|list| {
        (
            format!("ImageSets/Main/{list}.txt"),
            lists.next().unwrap_or_default(),
        )
    });
    let mut files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, list)| (&name[..], *list))
        .collect();
    files.push(("JPEGImages/000005.jpg", b""));
    in_folder("voc", "", &files)
}

/// The list of classes of ImageNet's validation images.
pub fn imagenet(bytes: &[u8]) -> bool {
    in_folder(
        "imagenet",
        "?split=val",
        &[
            ("train/n01440764/a.JPEG", b""),
            ("train/n01443537/b.JPEG", b""),
            ("val/c.JPEG", b""),
            ("val/d.JPEG", b""),
            ("val.txt", bytes),
        ],
    )
}

/// ImageNet's archive of training images: one of an archive for each class.
pub fn imagenet_train(bytes: &[u8]) -> bool {
    let archive = with_sums(bytes);
    let archive = ("packed/ILSVRC2012_img_train.tar", &archive[..]);
    in_folder("imagenet", "/packed?split=train", &[archive])
}

/// ImageNet's devkit, plain or gzip, that tells the classes of two validation images.
pub fn devkit(bytes: &[u8]) -> bool {
    let devkit = with_sums(bytes);
    in_folder(
        "imagenet",
        "/told?split=val",
        &[
            ("told/val/ILSVRC2012_val_00000001.JPEG", b""),
            ("told/val/ILSVRC2012_val_00000002.JPEG", b""),
            ("told/ILSVRC2012_devkit_t12.tar.gz", &devkit),
        ],
    )
}

/// Lists of Places365, each up to a zero: a split's images, and the categories.
pub fn places(bytes: &[u8]) -> bool {
    let mut lists = bytes.splitn(2, |b| *b == 0);
    let mut list = || lists.next().unwrap_or_default();
    in_folder(
        "places",
        "",
        &[
            ("places365_val.txt", list()),
            ("categories_places365.txt", list()),
            ("val_256/a.jpg", b""),
        ],
    )
}

/// Images of a set that are looked at.
const LOOKED_AT: usize = 1000;

/// Opens a set and gets its images, which are decoded elsewhere.
fn images(kind: Kind, bytes: Vec<u8>) {
    let Some(set) = labelled(kind, bytes) else {
        return;
    };
    for index in 0..set.len().min(LOOKED_AT) {
        if let Ok(Encoded::Pixels(image)) = set.encoded(index) {
            assert!(image.width() > 0 && image.height() > 0, "there are pixels");
        }
    }
}

/// Opens a set and asks for names and classes.
fn labelled(kind: Kind, bytes: Vec<u8>) -> Option<Arc<dyn Source>> {
    let set = open_memory(kind, bytes, Path::new("input")).ok()?;
    ask(set.as_ref());
    Some(set)
}

/// Opens a folder of `files` (their paths and bytes) as a kind, and asks for names and classes: one
/// folder per thread and kind, its files written anew. Whether it could be opened.
fn in_folder(kind: &str, options: &str, files: &[(&str, &[u8])]) -> bool {
    thread_local! {
        static FOLDER: TempDir = TempDir::new().expect("a folder can be made");
    }
    FOLDER.with(|folder| {
        let folder = folder.path().join(kind);
        for (name, bytes) in files {
            let file = folder.join(name);
            let parent = file.parent().expect("a file lies in a folder");
            fs::create_dir_all(parent).expect("folders can be made");
            fs::write(file, bytes).expect("the file can be written");
        }
        let set = open(format!("{kind}:{}{options}", folder.display()));
        set.as_ref().is_ok_and(|set| {
            ask(set.as_ref());
            true
        })
    })
}

/// Asks for names and classes.
fn ask(set: &dyn Source) {
    let classes = set.classes().len();
    for index in 0..set.len().min(LOOKED_AT) {
        set.name(index);
        let labels = set.labels(index);
        let label = set.label(index);
        assert!(labels.iter().all(|l| (*l as usize) < classes), "{labels:?}");
        assert!(label.is_none_or(|l| labels == [l]), "{label:?} {labels:?}");
    }
}

/// Calls `read` with the path of a file of `bytes`: one file per thread, written anew.
fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: RefCell<NamedTempFile> =
            RefCell::new(NamedTempFile::new().expect("a file can be made"));
    }
    FILE.with_borrow_mut(|file| {
        let written = file.as_file().set_len(0).and_then(|()| {
            file.rewind()?;
            file.write_all(bytes)
        });
        written.expect("the file can be written");
        read(file.path())
    })
}

#[cfg(test)]
mod tests {
    /// A target that refuses everything before it reads the bytes would find nothing.
    #[test]
    fn the_seeds_of_layouts_are_read() {
        type Reader = fn(&[u8]) -> bool;
        let readers: [(&str, Reader); 7] = [
            ("features", super::features),
            ("idx_labels", super::idx_labels),
            ("voc", super::voc),
            ("imagenet", super::imagenet),
            ("imagenet_train", super::imagenet_train),
            ("devkit", super::devkit),
            ("places", super::places),
        ];
        for (name, read) in readers {
            let folder = format!("{}/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            for seed in std::fs::read_dir(folder).unwrap() {
                let seed = seed.unwrap().path();
                let bytes = std::fs::read(&seed).unwrap();
                assert!(read(&bytes), "{}", seed.display());
            }
        }
    }
}
