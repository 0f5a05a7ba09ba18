//! The learning rate of an epoch.

use crate::settings::{OptimPlan, Schedule};
use std::f64::consts::PI;

impl OptimPlan {
    /// The learning rate of `epoch`, from 0: by half a cosine from the base to zero (PCL v2, MoCo v2), or
    /// times `gamma` at each milestone (PCL v1, MoCo v1).
    pub fn rate(&self, epoch: usize) -> f64 {
        match self.schedule {
            Schedule::Step => {
                let passed = self.milestones.iter().filter(|m| epoch >= **m).count();
                self.lr * self.gamma.powi(passed as i32)
            }
            Schedule::Cosine => {
                self.lr * 0.5 * (1.0 + (PI * epoch as f64 / self.epochs as f64).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Plan, Schedule, Settings};

    #[test]
    fn both_schedules_start_at_the_base() {
        let mut optim = Plan::check(&Settings::default(), 5000).unwrap().optim;
        (optim.lr, optim.epochs) = (0.03, 200);
        (optim.milestones, optim.gamma) = (vec![120, 160], 0.1);
        optim.schedule = Schedule::Step;
        assert_eq!(optim.rate(0), 0.03);
        assert_eq!(optim.rate(119), 0.03);
        assert!((optim.rate(120) - 0.003).abs() < 1e-12);
        assert!((optim.rate(199) - 0.0003).abs() < 1e-12);
        optim.schedule = Schedule::Cosine;
        assert_eq!(optim.rate(0), 0.03);
        assert!((optim.rate(100) - 0.015).abs() < 1e-12);
    }
}
