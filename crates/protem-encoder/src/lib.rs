//! ResNet encoders with projection heads, trainable on the CPU.
//!
//! An [`Encoder`] maps a batch of images to pooled features and, through its projection head, to
//! the embedding that a contrastive loss sees. It runs its own backward pass: the caller brings
//! the gradient of the embedding from wherever its loss was computed. [`MomentumPair`] is the
//! query and key encoder of momentum contrast. Weights have torchvision's names and shapes:
//! [`Weights`] are those of a file of PyTorch or of safetensors, which [`Encoder::to_safetensors`] makes.
//! [`Encoder::to_onnx`] makes a model that other programs run as it is.
//!
//! The crate knows nothing of data, losses or clustering, and never indexes a pixel.
//!
//! ```
//! use protem_encoder::{Arch, EncoderConfig, Head, MomentumPair, Precision, Stem, optim::Sgd};
//!
//! let config = EncoderConfig {
//!     arch: Arch::Resnet18,
//!     stem: Stem::Cifar,
//!     width: 4, // 64 is the published network
//!     head: Head::V2,
//!     dim: 8,
//!     split_bn: 1,
//! };
//! let mut pair = MomentumPair::new(config, Precision::F32, 0, 0.999);
//! // Four images of 8 × 8 pixels, three bytes each.
//! let bytes: Vec<u8> = (0..4 * 8 * 8 * 3).map(|i| (i * 7 % 256) as u8).collect();
//! let images = pair.query.images(&bytes, (4, 8, 8), [0.5; 3], [0.25; 3]);
//!
//! let (embedding, tape) = pair.query.forward_train(images);
//! assert_eq!(embedding.len(), 4 * 8);
//! // Of L = Σ embedding² / 2 the gradient is the embedding itself.
//! let mut gradient = vec![0.0; pair.query.parameters().len()];
//! pair.query.backward(tape, &embedding, &mut gradient);
//! let mut velocity = vec![0.0; gradient.len()];
//! let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, weight_decay: 1e-4 };
//! sgd.step(pair.query.parameters_mut(), &gradient, &mut velocity);
//! pair.follow();
//! ```

mod config;
mod encoder;
mod error;
mod layers;
mod onnx;
mod parameters;
mod resnet;
mod weights;

/// What images, feature maps and optimizer steps are made of.
pub use protem_ops::{Activation, Pool, Precision, Shape, optim};

pub use config::{Arch, EncoderConfig, Head, Stem};
pub use encoder::{Encoder, MomentumPair};
pub use error::{EncoderError, OnnxError, WeightsError};
pub use onnx::{OnnxHead, is_own_onnx};
pub use parameters::NamedTensor;
pub use resnet::Tape;
pub use weights::Weights;
