//! The losses of Prototypical Contrastive Learning as pure functions of tensors: InfoNCE against a queue of negatives, ProtoNCE against
//! prototypes with their own temperatures, the queue itself, and the drawing of negative prototypes.
//!
//! What this crate does not know: where the features came from (encoders, momentum, augmentation), how the prototypes were found
//! (k-means, concentration), schedules, files. Everything is f32; randomness comes from explicit seeds only.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use protem_loss::{Queue, info_nce};
//!
//! // Two queries and their keys, of two values each, and a queue of four keys.
//! let queries = Var::from_slice(&[0.6f32, 0.8, 1.0, 0.0], (2, 2), &Device::Cpu)?;
//! let keys = Tensor::from_slice(&[0.8f32, 0.6, 0.0, 1.0], (2, 2), &Device::Cpu)?;
//! let mut queue = Queue::new(4, 2, 2, 0)?;
//! let loss = info_nce(&queries, &keys, queue.tensor(), 0.2)?;
//! let gradients = loss.backward()?;
//! assert_eq!(gradients.get(&queries).map(Tensor::dims), Some(&[2, 2][..]));
//! queue.push(&keys)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Gradient
//! Keys, queue and prototypes are constants of the step, so only the queries need a gradient, and that gradient has a closed form: with
//! logits `q·Wᵀ` and softmax probabilities `P`, `∂loss/∂q = (P − onehot(target))·W / B`. The losses compute value and gradient at once and
//! attach the gradient to the queries, which spares the tape the `B × (1+r)` intermediates and the (unused, and larger) gradient of the
//! queue. The plain candle expression remains as the oracle in the tests. Second derivatives are not available.
//!
//! # Same bits on any number of threads
//! candle multiplies matrices with `gemm`, whose blocking over the inner dimension depends on the shapes and caches alone; threads divide
//! the output tiles and never a sum. The softmax, which on the CPU is a pass of our own, is divided by rows. `tests/threads.rs` holds the value and the gradient to that, bit by bit.

mod contrast;
mod error;
mod info_nce;
mod negatives;
mod prototypes;
mod queue;
mod softmax;

pub use error::{LossError, Result};
pub use info_nce::{chance_level, info_nce};
pub use negatives::{NegativeStream, sample_negatives};
pub use prototypes::{BatchClustering, Prototypes, proto_nce, proto_nce_term};
pub use queue::Queue;
