//! The learning rate of an epoch.

use crate::settings::{Plan, Schedule};
use std::f64::consts::PI;

/// How the learning rate falls over a run.
#[derive(Debug, Clone, PartialEq)]
pub enum LearningRate {
    /// Times `gamma` at each milestone (PCL v1, MoCo v1).
    Step {
        /// Epochs, from 0, at which it falls.
        milestones: Vec<usize>,
        /// What it is multiplied by.
        gamma: f64,
    },
    /// Half a cosine from the base to zero, by epoch (PCL v2, MoCo v2).
    Cosine,
}

impl LearningRate {
    /// A plan's.
    pub fn of(plan: &Plan) -> Self {
        match plan.optim.schedule {
            Schedule::Cosine => Self::Cosine,
            Schedule::Step => Self::Step {
                milestones: plan.optim.milestones.clone(),
                gamma: plan.optim.gamma,
            },
        }
    }

    /// The rate of `epoch` (from 0) of `epochs`, from the base rate.
    pub fn at(&self, base: f64, epoch: usize, epochs: usize) -> f64 {
        match self {
            Self::Step { milestones, gamma } => {
                let passed = milestones.iter().filter(|m| epoch >= **m).count();
                base * gamma.powi(passed as i32)
            }
            Self::Cosine => base * 0.5 * (1.0 + (PI * epoch as f64 / epochs as f64).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LearningRate;

    #[test]
    fn both_schedules_start_at_the_base() {
        let step = LearningRate::Step {
            milestones: vec![120, 160],
            gamma: 0.1,
        };
        assert_eq!(step.at(0.03, 0, 200), 0.03);
        assert_eq!(step.at(0.03, 119, 200), 0.03);
        assert!((step.at(0.03, 120, 200) - 0.003).abs() < 1e-12);
        assert!((step.at(0.03, 199, 200) - 0.0003).abs() < 1e-12);
        assert_eq!(LearningRate::Cosine.at(0.03, 0, 200), 0.03);
        assert!((LearningRate::Cosine.at(0.03, 100, 200) - 0.015).abs() < 1e-12);
    }
}
