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

/// SGD whose steps are scaled tensor by tensor to the tensor's own length (You, Gitman, Ginsburg
/// 2017), as self-supervised training with large batches uses it: vectors (biases, γ, β) get
/// neither the scaling nor weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lars {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the velocity that stays from step to step.
    pub momentum: f32,
    /// Strength of the L2 penalty, added to the gradient of tensors that are scaled.
    pub weight_decay: f32,
    /// Length of a scaled gradient over that of its tensor.
    pub trust: f32,
}

/// Where a tensor lies in the flat parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of values; tensors follow one another.
    pub len: usize,
    /// Whether it is a vector: a bias, γ or β.
    pub vector: bool,
}

impl Lars {
    /// For each tensor `u = g + decay·p`, `u ← u·trust·‖p‖/‖u‖` (both only if it is no vector, the
    /// second only if neither length is 0), `v ← momentum·v + u`, `p ← p − lr·v`.
    ///
    /// # Panics
    /// If the lengths differ, or the places are not those of all parameters.
    pub fn step(
        &self,
        parameters: &mut [f32],
        gradient: &[f32],
        velocity: &mut [f32],
        places: &[Place],
    ) {
        assert_eq!(parameters.len(), gradient.len(), "lengths of a step");
        assert_eq!(parameters.len(), velocity.len(), "lengths of a step");
        let all: usize = places.iter().map(|place| place.len).sum();
        assert_eq!(parameters.len(), all, "places of all parameters");
        let mut begin = 0;
        for place in places {
            let range = begin..begin + place.len;
            begin = range.end;
            let p = &mut parameters[range.clone()];
            let (g, v) = (&gradient[range.clone()], &mut velocity[range]);
            let (decay, scale) = match place.vector {
                true => (0.0, 1.0),
                false => (self.weight_decay, self.scale(p, g)),
            };
            p.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(v.par_chunks_mut(CHUNK))
                .for_each(|((p, g), v)| {
                    for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                        *v = self.momentum * *v + scale * (g + decay * *p);
                        *p -= self.learning_rate * *v;
                    }
                });
        }
    }

    fn scale(&self, p: &[f32], g: &[f32]) -> f32 {
        let squares: Vec<[f64; 2]> = p
            .par_chunks(CHUNK)
            .zip(g.par_chunks(CHUNK))
            .map(|(p, g)| {
                let mut sums = [0.0; 2];
                for (p, g) in p.iter().zip(g) {
                    let u = f64::from(g + self.weight_decay * p);
                    sums[0] += f64::from(*p) * f64::from(*p);
                    sums[1] += u * u;
                }
                sums
            })
            .collect();
        // In the chunks' order: the same bits on any number of threads.
        let [of_p, of_u] = [0, 1].map(|i| squares.iter().map(|s| s[i]).sum::<f64>().sqrt());
        let scale = (f64::from(self.trust) * of_p / of_u) as f32;
        // None of a tensor of zeros, nor of a step that is next to none.
        if of_p > 0.0 && of_u > 0.0 && scale.is_finite() {
            scale
        } else {
            1.0
        }
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
