//! ResNet encoders with projection heads, trainable on the CPU.
//!
//! An [`Encoder`] maps a batch of images to pooled features and, through its projection head, to
//! the embedding that a contrastive loss sees. It runs its own backward pass: the caller brings
//! the gradient of the embedding from wherever its loss was computed. [`MomentumPair`] is the
//! query and key encoder of momentum contrast. Weights have torchvision's names and shapes.
//!
//! The crate knows nothing of data, losses or clustering, and never indexes a pixel.

mod config;
mod encoder;
mod error;
mod layers;
mod parameters;
mod resnet;

/// What images, feature maps and optimizer steps are made of.
pub use protem_ops::{Activation, Pool, Precision, Shape, optim};

pub use config::{Arch, EncoderConfig, Head, Stem};
pub use encoder::{Encoder, MomentumPair};
pub use error::EncoderError;
pub use parameters::NamedTensor;
pub use resnet::Tape;
