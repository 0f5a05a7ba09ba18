//! Training kernels for convolutional encoders on the CPU.
//!
//! Convolution, batch norm fused with addition and ReLU, pooling, linear layers, SGD, LARS and
//! the momentum update, forward and backward. Layers are plain functions of [`Activation`]s and
//! parameter slices; who calls them keeps what the backward pass needs. Feature maps are f32 or
//! bf16 ([`Precision`]), and so are those made from them; parameters and their gradients are f32.
//! The memory layout is this crate's secret: images, matrices and PyTorch's order go in and come
//! out.
//!
//! Every result is the same to the bit whatever the number of threads. The crate knows nothing
//! of data, encoders or losses.

mod activation;
mod buffer;
pub mod conv;
mod element;
mod isa;
mod kernel;
pub mod linear;
pub mod norm;
pub mod optim;
pub mod pooling;

pub use activation::{Activation, Map, Shape};
pub use buffer::Pool;
pub use element::Precision;
pub use isa::{Isa, UnknownIsa};
