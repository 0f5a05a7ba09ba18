//! Images for contrastive learning: where they come from, how they are decoded, what views of
//! them are made, and in what order they arrive.
//!
//! A [`Source`] lists images and reads one; [`open`] makes one of a name, whatever it names: a
//! [`Folder`], a list, [`Tar`] or [`Parquet`] shards, a published set's files, or a [`Generated`]
//! set. [`inspect`] tells what a source holds, [`pack`] writes it as tar shards. What became of images
//! elsewhere, features in a Parquet file, a [`FeatureTable`] reads. [`Augment`]
//! makes the random views of PCL's recipes, [`Evaluation`] the centre crop. [`ViewLoader`] and
//! [`StillLoader`] bring batches of 8-bit pixels (batch, row, column, RGB) from worker threads.
//! Everything random follows from (seed, epoch, index, view), so the same batches come in the
//! same order whatever the workers.
//!
//! The crate knows nothing of tensors or encoders.
//!
//! ```
//! use protem_data::{
//!     Augment, AugmentConfig, Generated, GeneratedSpec, Recipe, Share, Split, ViewLoader, ViewPlan,
//! };
//!
//! let spec = GeneratedSpec { seed: 0, images: 10, size: 32, split: Split::Train };
//! let recipe = AugmentConfig { recipe: Recipe::V2, size: 32, min_scale: 0.2, blur: false };
//! let views = ViewLoader::new(ViewPlan {
//!     source: std::sync::Arc::new(Generated::new(spec)), // or protem_data::open("folder")?
//!     augment: Augment::new(recipe),
//!     seed: 0,
//!     epoch: 0,
//!     batch: 4,
//!     share: Share::ALL,
//!     start: 0,
//!     workers: 2,
//! })?;
//! let mut batches = 0;
//! for batch in views {
//!     let [query, key] = batch?.views; // 4 × 32 × 32 × 3 bytes each
//!     assert_eq!((query.len(), key.len()), (12_288, 12_288));
//!     batches += 1;
//! }
//! assert_eq!(batches, 2); // whole ones
//! # Ok::<(), protem_data::DataError>(())
//! ```

mod aside;
mod augment;
mod class_names;
mod decode;
mod decoded;
mod draw;
mod error;
mod evaluation;
mod files;
mod folder;
mod generated;
mod inspect;
mod joined;
mod labels;
mod listing;
mod loader;
mod location;
mod order;
mod pack;
mod parts;
mod paths;
mod shards;
mod sheet;
mod source;
mod sources;
mod storage;
mod walk;

pub mod ops;

pub use augment::{Augment, AugmentConfig, Recipe, Stream};
pub use class_names::ClassNames;
pub use decode::{DecodeOptions, decode, decode_with};
pub use decoded::Decoded;
pub use error::{DataError, ReadError};
pub use evaluation::Evaluation;
pub use folder::Folder;
pub use generated::{Generated, GeneratedSpec, Split};
pub use image::RgbImage;
pub use inspect::{ClassCount, Inspection, Range, inspect};
pub use joined::{Joined, image_file};
pub use loader::{Share, StillBatch, StillLoader, ViewBatch, ViewLoader, ViewPlan};
pub use location::{Kind, Location};
pub use order::{draw_share, epoch_order, split_held_out};
pub use pack::{PackConfig, PackError, Packed, pack, png};
pub use parts::{CropConfig, InvalidView, Part, ViewConfig};
pub use sheet::{contact_sheet, fitted, sheet_jpeg, thumbnail};
pub use source::{Encoded, Labelling, Scan, Source, Subset, Unreadable, scan};
pub use sources::parquet::Parquet;
pub use sources::parquet_features::FeatureTable;
pub use sources::tar::Tar;
pub use sources::{open, open_memory};
pub use storage::{Storage, StorageReader};

/// The README's examples are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Mean of ImageNet's channels, of values between 0 and 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels, of values between 0 and 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
