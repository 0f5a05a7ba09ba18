//! The mean gradient of the batches of one step.

use crate::m_step::Losses;
use std::time::Instant;

/// Gradients and losses of the batches of a step, summed in the batches' order.
pub(crate) struct Accumulated {
    begun: Instant,
    batches: usize,
    sum: Vec<f32>,
    instance: f64,
    prototype: Option<f64>,
}

impl Accumulated {
    /// For a gradient of this many values.
    pub fn new(len: usize) -> Self {
        Self {
            begun: Instant::now(),
            batches: 0,
            sum: vec![0.0; len],
            instance: 0.0,
            prototype: None,
        }
    }

    /// Batches since the last step.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Adds a batch; what `gradient` holds afterwards is of no use.
    pub fn add(&mut self, gradient: &mut Vec<f32>, losses: Losses) {
        if self.batches == 0 {
            std::mem::swap(&mut self.sum, gradient); // one batch a step needs no sum
            (self.instance, self.prototype) = (0.0, None);
        } else {
            let sums = self.sum.iter_mut().zip(gradient);
            sums.for_each(|(s, g)| *s += *g);
        }
        self.batches += 1;
        self.instance += f64::from(losses.instance);
        if let Some(loss) = losses.prototype {
            *self.prototype.get_or_insert(0.0) += f64::from(loss);
        }
    }

    /// Puts the mean gradient into `gradient` and begins a new step.
    pub fn take(&mut self, gradient: &mut Vec<f32>) -> Mean {
        std::mem::swap(&mut self.sum, gradient);
        let batches = self.batches as f64;
        if self.batches > 1 {
            let scale = 1.0 / self.batches as f32;
            gradient.iter_mut().for_each(|g| *g *= scale);
        }
        let mean = Mean {
            batches: self.batches,
            instance: self.instance / batches,
            prototype: self.prototype.map(|sum| sum / batches),
            seconds: self.begun.elapsed().as_secs_f64(),
        };
        (self.batches, self.begun) = (0, Instant::now());
        mean
    }
}

/// What a step was made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    /// Batches.
    pub batches: usize,
    /// Mean InfoNCE.
    pub instance: f64,
    /// Mean of the ProtoNCE terms.
    pub prototype: Option<f64>,
    /// Since the step before.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_the_mean_of_the_batches_there_are() {
        let losses = |instance, prototype| Losses {
            instance,
            prototype,
        };
        let mut accumulated = Accumulated::new(2);
        let mut gradient = vec![1.0, -2.0];
        accumulated.add(&mut gradient, losses(1.0, Some(4.0)));
        gradient = vec![2.0, 4.0];
        accumulated.add(&mut gradient, losses(2.0, Some(8.0)));
        let mean = accumulated.take(&mut gradient);
        assert_eq!(gradient, [1.5, 1.0]);
        assert_eq!(
            (mean.batches, mean.instance, mean.prototype),
            (2, 1.5, Some(6.0))
        );
        gradient = vec![7.0, 7.0];
        accumulated.add(&mut gradient, losses(5.0, None));
        let mean = accumulated.take(&mut gradient);
        assert_eq!(gradient, [7.0, 7.0]);
        assert_eq!(
            (mean.batches, mean.instance, mean.prototype),
            (1, 5.0, None)
        );
    }
}
