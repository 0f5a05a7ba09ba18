//! The losses of Prototypical Contrastive Learning as pure functions of tensors: InfoNCE against a queue of negatives, ProtoNCE against
//! prototypes with their own temperatures, the queue itself, and the drawing of negative prototypes.
//!
//! What this crate does not know: where the features came from (encoders, momentum, augmentation), how the prototypes were found
//! (k-means, concentration), schedules, files. Everything is f32; randomness comes from explicit seeds only.
//!
//! # Gradient
//! Keys, queue and prototypes are constants of the step, so only the queries need a gradient, and that gradient has a closed form: with
//! logits `q·Wᵀ` and softmax probabilities `P`, `∂loss/∂q = (P − onehot(target))·W / B`. The losses compute value and gradient at once and
//! attach the gradient to the queries, which spares the tape the `B × (1+r)` intermediates and the (unused, and larger) gradient of the
//! queue. The plain candle expression remains as the oracle in the tests. Second derivatives are not available.
//!
//! # Same bits on any number of threads
//! candle multiplies matrices with `gemm`, whose blocking over the inner dimension depends on the shapes and caches alone; threads divide
//! the output tiles and never a sum. `tests/threads.rs` holds the value and the gradient to that, bit by bit.

mod contrast;
mod error;
mod info_nce;
mod negatives;
mod prototypes;
mod queue;

pub use error::{LossError, Result};
pub use info_nce::{chance_level, info_nce};
pub use negatives::{NegativeStream, sample_negatives};
pub use prototypes::{BatchClustering, Prototypes, proto_nce, proto_nce_term};
pub use queue::Queue;
