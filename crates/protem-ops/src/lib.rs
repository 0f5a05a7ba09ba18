//! Training kernels for convolutional encoders on the CPU.
//!
//! Convolution, batch norm fused with addition and ReLU, pooling, linear layers, SGD and the
//! momentum update, forward and backward, in f32. Layers are plain functions of
//! [`Activation`]s and parameter slices; who calls them keeps what the backward pass needs. The
//! memory layout is this crate's secret: images, matrices and PyTorch's order go in and come
//! out.
//!
//! Every result is the same to the bit whatever the number of threads. The crate knows nothing
//! of data, encoders or losses.

mod activation;
mod buffer;
pub mod conv;
mod isa;
pub mod linear;
pub mod norm;
pub mod optim;
pub mod pooling;
mod tile;

pub use activation::{Activation, Shape};
pub use buffer::{Buffer, Pool};
pub use isa::{Isa, UnknownIsa};
