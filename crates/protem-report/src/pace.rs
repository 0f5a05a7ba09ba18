//! How long the rest of a run will take, by what epochs and steps have taken.

/// What epochs have taken so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Of steps that followed one another.
    steps: usize,
    step_seconds: f64,
    epochs: usize,
    /// Of all of them, without their E-steps.
    seconds: f64,
    e_steps: usize,
    e_step_seconds: f64,
    /// Whether there are E-steps to come, and none has been made.
    to_come: bool,
}

impl Pace {
    /// Of a run that begins or goes on, with E-steps to come or without.
    pub fn begin(e_steps: bool) -> Self {
        Self {
            to_come: e_steps,
            ..Self::default()
        }
    }

    /// Takes in a step that took so many seconds.
    pub fn step(&mut self, seconds: f64) {
        self.steps += 1;
        self.step_seconds += seconds;
    }

    /// Takes in an epoch that took so many seconds, its E-step's among them; 0 where it had none.
    pub fn epoch(&mut self, seconds: f64, e_step_seconds: f64) {
        self.epochs += 1;
        self.seconds += seconds - e_step_seconds;
        if e_step_seconds > 0.0 {
            self.e_steps += 1;
            self.e_step_seconds += e_step_seconds;
            self.to_come = false; // it may have been made before a resume
        }
    }

    /// Steps taken in.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Seconds of so many more epochs: each has an E-step if one has had any.
    pub fn of(&self, epochs: usize) -> f64 {
        let epoch = mean(self.seconds, self.epochs) + mean(self.e_step_seconds, self.e_steps);
        epochs as f64 * epoch
    }

    /// Seconds of so many more steps, of which each epoch has so many.
    pub fn of_steps(&self, steps: u64, of_epoch: u64) -> f64 {
        let (epochs, rest) = (steps / of_epoch.max(1), steps % of_epoch.max(1));
        let step = mean(self.step_seconds, self.steps);
        match self.epochs {
            // What else an epoch takes is not known yet.
            0 => steps as f64 * step,
            _ => self.of(epochs as usize) + rest as f64 * step,
        }
    }

    /// What a time left does not know of while no E-step has been made, to be put behind it.
    pub fn without_e_steps(&self) -> &'static str {
        match self.to_come {
            true => " without E-steps",
            false => "",
        }
    }
}

fn mean(seconds: f64, of: usize) -> f64 {
    seconds / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was() {
        let mut pace = Pace::begin(true);
        assert_eq!(pace.of_steps(10, 5), 0.0);
        pace.step(2.0);
        pace.step(4.0);
        assert_eq!(pace.of_steps(10, 5), 30.0);
        pace.epoch(20.0, 0.0);
        assert_eq!(pace.without_e_steps(), " without E-steps");
        // Two epochs as the one was, and a step.
        assert_eq!(pace.of_steps(11, 5), 43.0);
        pace.epoch(28.0, 6.0);
        assert_eq!(pace.without_e_steps(), "");
        assert_eq!(pace.of(2), 54.0);
        assert_eq!(Pace::begin(false).without_e_steps(), "");
    }
}
