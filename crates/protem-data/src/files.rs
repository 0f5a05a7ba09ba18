//! Image files by their paths, whatever named them: a folder, a list, a devkit.

use crate::class_names::ClassNames;
use crate::decode::decode;
use crate::error::{DataError, ReadError};
use crate::labels::Labels;
use crate::paths::{Paths, text_of};
use crate::source::{Encoded, Labelling, Source};
use crate::storage::IMAGE_BYTES;
use image::RgbImage;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Extensions of the image formats that are read, and of some that are not: such images are told of,
/// as unreadable. Icons are no images of a set, and lie beside its folders.
pub(crate) const EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "avif", "heic", "heif",
];

/// Whether a file has the name of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

/// Classes of files.
#[derive(Debug, Clone)]
pub(crate) enum Classes {
    /// One each, or none at all.
    One(Labels),
    /// Any number each.
    Several {
        of: Vec<Vec<u32>>,
        classes: ClassNames,
    },
}

/// Image files below a folder.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    /// Below the root, or absolute.
    pub(crate) paths: Paths,
    pub(crate) classes: Classes,
    pub(crate) what: String,
}

impl Files {
    pub(crate) fn checked(self) -> Result<Self, DataError> {
        check_count(&self.root, self.paths.len() as u64)?;
        Ok(self)
    }
}

/// An image's number is one of 32 bits.
pub(crate) fn check_count(path: &Path, images: u64) -> Result<(), DataError> {
    if images > u64::from(u32::MAX) {
        return Err(DataError::TooLarge {
            path: path.to_path_buf(),
            what: "images",
            size: images,
            limit: u32::MAX.into(),
        });
    }
    Ok(())
}

/// The bytes of a file, unless there are more than any image has.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Opening a pipe would wait for somebody who writes.
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::Io(std::io::Error::other("it is no file")));
    }
    let (file, bytes) = (File::open(path)?, metadata.len());
    let refused = |bytes| ReadError::TooManyBytes {
        bytes,
        limit: IMAGE_BYTES,
    };
    if bytes > IMAGE_BYTES {
        return Err(refused(bytes));
    }
    let mut read = Vec::with_capacity(bytes as usize);
    // A file may grow, or be a device without a length.
    let count = file.take(IMAGE_BYTES + 1).read_to_end(&mut read)? as u64;
    if count > IMAGE_BYTES {
        return Err(refused(count));
    }
    Ok(read)
}

impl Source for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }
    fn name(&self, index: usize) -> String {
        text_of(&self.paths.get(index))
    }
    fn label(&self, index: usize) -> Option<u32> {
        match &self.classes {
            Classes::One(labels) => labels.get(index),
            Classes::Several { .. } => None,
        }
    }
    fn labels(&self, index: usize) -> Vec<u32> {
        match &self.classes {
            Classes::One(labels) => labels.get(index).into_iter().collect(),
            Classes::Several { of, .. } => of[index].clone(),
        }
    }
    fn labelling(&self) -> Labelling {
        match &self.classes {
            Classes::Several { .. } => Labelling::Several,
            Classes::One(labels) if labels.classes.is_empty() => Labelling::None,
            Classes::One(_) => Labelling::One,
        }
    }
    fn classes(&self) -> &ClassNames {
        match &self.classes {
            Classes::One(labels) => &labels.classes,
            Classes::Several { classes, .. } => classes,
        }
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        decode(&read_file(&self.root.join(self.paths.get(index)))?)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        read_file(&self.root.join(self.paths.get(index))).map(Encoded::File)
    }
    fn describe(&self) -> String {
        self.what.clone()
    }
}
