//! Which images a run is of.

use protem_data::Source;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fingerprint of a training set: labels of prototypes go by the image's number, so a run can
/// only go on with the same images in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSet {
    /// Number of images.
    pub images: usize,
    /// CRC-32 of their names, in order.
    pub names_crc32: u32,
}

impl ImageSet {
    /// Of all images of a source.
    pub fn of(source: &dyn Source) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        for i in 0..source.len() {
            hasher.update(source.name(i).as_bytes());
            hasher.update(&[0]); // so that no two lists of names run together
        }
        Self {
            images: source.len(),
            names_crc32: hasher.finalize(),
        }
    }
}

impl fmt::Display for ImageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            images,
            names_crc32,
        } = self;
        write!(
            f,
            "{images} images (CRC-32 of their names {names_crc32:08x})"
        )
    }
}
