//! Images for contrastive learning: where they come from, how they are decoded, what views of
//! them are made, and in what order they arrive.
//!
//! A [`Source`] lists images and reads one; [`Folder`] and [`Generated`] are sources. [`Augment`]
//! makes the random views of PCL's recipes, [`Evaluation`] the centre crop. [`ViewLoader`] and
//! [`StillLoader`] bring batches of 8-bit pixels (batch, row, column, RGB) from worker threads.
//! Everything random follows from (seed, epoch, index, view), so the same batches come in the
//! same order whatever the workers.
//!
//! The crate knows nothing of tensors or encoders.

mod augment;
mod decode;
mod draw;
mod error;
mod evaluation;
mod folder;
mod generated;
mod loader;
mod order;
mod source;

pub mod ops;

pub use augment::{Augment, AugmentConfig, Recipe, Stream};
pub use decode::decode;
pub use error::{DataError, ReadError};
pub use evaluation::Evaluation;
pub use folder::Folder;
pub use generated::{Generated, GeneratedSpec, Split};
pub use loader::{StillBatch, StillLoader, ViewBatch, ViewLoader, ViewPlan};
pub use order::{epoch_order, split_held_out};
pub use source::{Scan, Source, Subset, Unreadable, scan};

/// Mean of ImageNet's channels, of values between 0 and 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels, of values between 0 and 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
