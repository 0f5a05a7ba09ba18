//! Where images come from.

use crate::class_names::ClassNames;
use crate::decode::decode;
use crate::error::ReadError;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An image as its source keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// The bytes of an image file.
    File(Vec<u8>),
    /// Pixels: the source has no files.
    Pixels(RgbImage),
}

impl Encoded {
    /// Its pixels.
    ///
    /// # Errors
    /// Bytes that cannot be decoded.
    pub fn decode(self) -> Result<RgbImage, ReadError> {
        match self {
            Self::File(bytes) => decode(&bytes),
            Self::Pixels(image) => Ok(image),
        }
    }
}

/// How many classes an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelling {
    /// None is known.
    None,
    /// One each.
    One,
    /// Any number.
    Several,
}

/// A fixed list of images.
pub trait Source: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// True without an image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to call image `index` in a message: its path below the source.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`]; so do the methods below.
    fn name(&self, index: usize) -> String;

    /// Class of image `index`, if each image of the source has one.
    fn label(&self, index: usize) -> Option<u32>;

    /// All classes of image `index`, ascending.
    fn labels(&self, index: usize) -> Vec<u32> {
        self.label(index).into_iter().collect()
    }

    /// How many classes an image has: [`Self::label`] is known only where it is one.
    fn labelling(&self) -> Labelling {
        if self.classes().is_empty() {
            Labelling::None
        } else {
            Labelling::One
        }
    }

    /// Names of the classes; empty without classes.
    fn classes(&self) -> &ClassNames;

    /// Decodes image `index`.
    ///
    /// # Errors
    /// An image that cannot be read.
    fn read(&self, index: usize) -> Result<RgbImage, ReadError>;

    /// Image `index` as the source keeps it; [`Self::read`] is that, decoded.
    ///
    /// # Errors
    /// Bytes that cannot be got. They are not decoded, so they may be no image.
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.read(index).map(Encoded::Pixels)
    }

    /// What it is, in a few words.
    fn describe(&self) -> String;
}

/// Some images of another source.
pub struct Subset {
    of: Arc<dyn Source>,
    keep: Vec<u32>,
}

impl Subset {
    /// The images `keep` of `of`, in that order.
    ///
    /// # Panics
    /// If an index is not below the source's length.
    pub fn new(of: Arc<dyn Source>, keep: Vec<u32>) -> Self {
        assert!(
            keep.iter().all(|i| (*i as usize) < of.len()),
            "indices of the subset"
        );
        Self { of, keep }
    }
}

impl Source for Subset {
    fn len(&self) -> usize {
        self.keep.len()
    }
    fn name(&self, index: usize) -> String {
        self.of.name(self.keep[index] as usize)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.of.label(self.keep[index] as usize)
    }
    fn labels(&self, index: usize) -> Vec<u32> {
        self.of.labels(self.keep[index] as usize)
    }
    fn labelling(&self) -> Labelling {
        self.of.labelling()
    }
    fn classes(&self) -> &ClassNames {
        self.of.classes()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        self.of.read(self.keep[index] as usize)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.of.encoded(self.keep[index] as usize)
    }
    fn describe(&self) -> String {
        format!("{} of {}", self.keep.len(), self.of.describe())
    }
}

/// An image that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its index in the source.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What [`scan`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Images that cannot be read, in the source's order.
    pub unreadable: Vec<Unreadable>,
    /// All others.
    pub readable: Vec<u32>,
}

/// Decodes every image once, on the current rayon pool, so that a damaged one is known before
/// training begins. `progress` is told the number of images done, from any thread.
pub fn scan(source: &dyn Source, progress: &(dyn Fn(usize) + Sync)) -> Scan {
    let done = AtomicUsize::new(0);
    let found: Vec<Result<u32, Unreadable>> = (0..source.len() as u32)
        .into_par_iter()
        .map(|index| {
            let read = source.read(index as usize);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            match read {
                Ok(_) => Ok(index),
                Err(error) => Err(unreadable(source, index, &error)),
            }
        })
        .collect();
    let mut scan = Scan {
        unreadable: Vec::new(),
        readable: Vec::new(),
    };
    for image in found {
        match image {
            Ok(index) => scan.readable.push(index),
            Err(bad) => scan.unreadable.push(bad),
        }
    }
    scan
}

pub(crate) fn unreadable(source: &dyn Source, index: u32, error: &ReadError) -> Unreadable {
    Unreadable {
        index,
        name: source.name(index as usize),
        reason: error.to_string(),
    }
}
