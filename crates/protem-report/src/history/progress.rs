//! How far the epoch under way has come.

use super::History;
use serde::Serialize;

/// What [`protem_em::Event::Step`] tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepLine {
    /// Its epoch, from 1.
    pub epoch: usize,
    /// InfoNCE.
    pub loss_instance: f64,
    /// ProtoNCE; none in the warm-up and without prototypes.
    pub loss_prototype: Option<f64>,
    /// Learning rate.
    pub lr: f64,
}

/// Time of the steps of one epoch, since the run began or went on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EpochTime {
    pub epoch: usize,
    pub images: f64,
    pub seconds: f64,
}

/// The place of a run that is not finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Progress {
    /// The epoch under way, from 1.
    pub epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Steps of this epoch that are done.
    pub epoch_step: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Clusterings made for this epoch, and how many there will be.
    pub clusterings: (usize, usize),
    /// Of this epoch's steps; none before the first.
    pub images_per_second: Option<f64>,
    /// Seconds of the rest; none before there is anything to tell it from.
    pub seconds_left: Option<f64>,
    /// What these do not know of.
    #[serde(skip)]
    pub without: &'static str,
}

impl History {
    /// How far a run has come that is not finished; none of a finished one, or before its first line.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let run = self.run.as_ref().filter(|_| self.done.is_none())?;
        let whole = self.epochs.keys().next_back().copied().unwrap_or(0);
        let epoch = whole.saturating_add(1).min(run.epochs);
        let steps_per_epoch = run.steps_per_epoch as u64;
        let steps = steps_per_epoch.saturating_mul(run.epochs as u64);
        let before = steps_per_epoch.saturating_mul(epoch.saturating_sub(1) as u64);
        let made = match self.e_step {
            (of, made) if of == epoch => made,
            _ => 0,
        };
        let to_make = match epoch > run.warmup_epochs {
            true => run.clusters.len(),
            false => 0,
        };
        let left = self
            .pace
            .of_steps(steps.saturating_sub(self.step), steps_per_epoch);
        let time = Some(self.epoch_time).filter(|time| time.epoch == epoch && time.seconds > 0.0);
        Some(Progress {
            epoch,
            epochs: run.epochs,
            epoch_step: self.step.saturating_sub(before).min(steps_per_epoch),
            steps_per_epoch,
            step: self.step,
            steps,
            clusterings: (made, to_make),
            images_per_second: time.map(|time| time.images / time.seconds),
            seconds_left: Some(left).filter(|left| left.is_finite() && *left > 0.0),
            without: self.pace.without_e_steps(),
        })
    }

    /// Takes the time of a step in. Its images are told by none of its values: on average they are an
    /// epoch's over its steps.
    pub(super) fn note_speed(&mut self, epoch: usize, images_per_second: f64) {
        let Some(run) = &self.run else { return };
        let of_epoch = run.images - run.images % run.batch.max(1);
        let images = of_epoch as f64 / run.steps_per_epoch.max(1) as f64;
        let seconds = images / images_per_second;
        if !seconds.is_finite() {
            return;
        }
        self.pace.step(seconds);
        if self.epoch_time.epoch != epoch {
            self.epoch_time = EpochTime {
                epoch,
                ..EpochTime::default()
            };
        }
        self.epoch_time.images += images;
        self.epoch_time.seconds += seconds;
    }
}

impl Progress {
    /// What goes on beside steps, as far as metrics tell: there is no line while an E-step embeds, or kNN is
    /// measured.
    pub fn stage(&self) -> Option<String> {
        let (made, to_make) = self.clusterings;
        match self.epoch_step {
            0 if made < to_make => {
                Some(format!("E-step: {made} of {to_make} clusterings are made."))
            }
            step if step == self.steps_per_epoch => {
                Some("All steps of this epoch are done: it is measured and saved.".into())
            }
            _ => None,
        }
    }
}
