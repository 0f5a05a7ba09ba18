//! What can be wrong with images.

use crate::source::Unreadable;
use std::path::PathBuf;

/// Why one image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes are no image, or a damaged one.
    #[error("cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
    /// A JPEG that ends before its last marker.
    #[error("is truncated: the JPEG's end marker is missing")]
    Truncated,
    /// The decoder gave up in a way it should not.
    #[error("cannot be decoded: the decoder panicked")]
    DecoderPanic,
    /// More pixels than the limit.
    #[error("declares {width}×{height} pixels, the limit is {limit} in all")]
    TooLarge {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
}

/// Why a set of images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Nothing is there.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// A folder without an image file.
    #[error("{} holds no image ({})", folder.display(), extensions.join(", "))]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// File extensions that were looked for.
        extensions: Vec<&'static str>,
    },
    /// The file system refused.
    #[error("cannot list {}: {source}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Too many images cannot be read.
    #[error("{} of {images} images cannot be read, more than the {limit} allowed", unreadable.len())]
    TooManyUnreadable {
        /// Which, and why.
        unreadable: Vec<Unreadable>,
        /// Images of the set.
        images: usize,
        /// How many may be.
        limit: usize,
    },
    /// Fewer images than a batch.
    #[error("{images} images do not make one batch of {batch}")]
    FewerThanBatch {
        /// Images of the set.
        images: usize,
        /// Images of a batch.
        batch: usize,
    },
}
