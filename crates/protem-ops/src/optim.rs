//! Optimizer steps in place over flat parameters.

use rayon::prelude::*;

/// Values a thread takes at a time; the result does not depend on it.
const CHUNK: usize = 1 << 16;

/// Stochastic gradient descent with momentum and weight decay, as `torch.optim.SGD` does it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the velocity that stays from step to step.
    pub momentum: f32,
    /// Strength of the L2 penalty, added to the gradient.
    pub weight_decay: f32,
}

impl Sgd {
    /// `v ← momentum·v + g + decay·p`, `p ← p − lr·v`. A velocity of zeros starts as torch's does.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&self, parameters: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        assert_eq!(parameters.len(), gradient.len(), "lengths of a step");
        assert_eq!(parameters.len(), velocity.len(), "lengths of a step");
        parameters
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(velocity.par_chunks_mut(CHUNK))
            .for_each(|((p, g), v)| {
                for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                    *v = self.momentum * *v + (g + self.weight_decay * *p);
                    *p -= self.learning_rate * *v;
                }
            });
    }
}

/// Momentum update of the key encoder: `k ← m·k + (1 − m)·q`.
///
/// # Panics
/// If the lengths differ.
pub fn momentum_update(key: &mut [f32], query: &[f32], momentum: f32) {
    assert_eq!(key.len(), query.len(), "lengths of the two encoders");
    key.par_chunks_mut(CHUNK)
        .zip(query.par_chunks(CHUNK))
        .for_each(|(k, q)| {
            for (k, q) in k.iter_mut().zip(q) {
                *k = momentum * *k + (1.0 - momentum) * q;
            }
        });
}
