//! The story that a run's metrics tell.

mod progress;

pub(crate) use progress::Progress;

use crate::pace::Pace;
use crate::report::counted;
use progress::{EpochTime, StepLine};
use protem_em::{EncoderConfig, EvalSettings, Evaluated, Event, Precision};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What [`Event::Run`] tells, as far as a report does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunLine {
    /// Where the training images come from; none are the generated ones.
    pub source: Option<PathBuf>,
    /// Seed.
    pub seed: u64,
    /// The mode's name.
    pub mode: String,
    /// Training images.
    pub images: usize,
    /// Images that kNN is measured on; 0 where it is not.
    pub test_images: usize,
    /// Classes of the labels; 0 without labels.
    pub classes: usize,
    /// The encoder.
    pub encoder: Option<EncoderConfig>,
    /// What it computes in.
    pub precision: Precision,
    /// Side of a view in pixels.
    pub image_size: u32,
    /// Trained values of the query encoder.
    pub parameters: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Epochs before the first E-step.
    pub warmup_epochs: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Ranks that have it between them.
    pub ranks: usize,
    /// Keys in the queue.
    pub queue: usize,
    /// Prototypes of each clustering; empty without prototypes.
    pub clusters: Vec<usize>,
    /// `ln(1 + r)`.
    pub chance: f64,
}

/// What [`Event::Epoch`] tells, in the same units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct EpochLine {
    /// InfoNCE, mean over the batches.
    pub loss_instance: f64,
    /// ProtoNCE likewise; none in the warm-up and without prototypes.
    pub loss_prototype: Option<f64>,
    /// Learning rate at the end.
    pub lr: f64,
    /// kNN accuracy between 0 and 1, where it was measured.
    pub knn_top1: Option<f64>,
    /// Effective rank of the features.
    pub effective_rank: Option<f64>,
    /// Mean AMI with the E-step before.
    pub ami_previous: Option<f64>,
    /// Images per second of the M-steps.
    pub images_per_second: f64,
    /// Time of the epoch.
    pub seconds: f64,
    /// Time of its E-step.
    pub e_step_seconds: f64,
    /// Time in which training waited for images.
    pub waited_seconds: f64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Done {
    pub epochs: usize,
    pub seconds: f64,
}

/// How much a clustering agrees with that of the E-step before.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Agreement {
    /// Its number of clusters; two clusterings may have the same.
    pub k: usize,
    /// AMI by epoch.
    pub ami: BTreeMap<usize, Option<f64>>,
}

/// The story of a run. Of an epoch that is told twice the later line counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub(crate) run: Option<RunLine>,
    /// Steps at which the run went on from a checkpoint.
    pub(crate) resumed: Vec<u64>,
    /// Steps done.
    pub(crate) step: u64,
    /// The last of them, if the run has made one since it began or went on.
    pub(crate) last_step: Option<StepLine>,
    epoch_time: EpochTime,
    pace: Pace,
    /// By their number, from 1.
    pub(crate) epochs: BTreeMap<usize, EpochLine>,
    /// Agreement of each clustering with the E-step before, in the order of an E-step's lines.
    pub(crate) agreements: Vec<Agreement>,
    /// Epoch of the E-step under way, and its lines so far.
    e_step: (usize, usize),
    /// What the trained encoder is held against, accuracies between 0 and 1, in the order of the lines.
    pub(crate) baselines: Vec<(Evaluated, f64)>,
    /// Accuracy of always naming the commonest class.
    pub(crate) chance: Option<f64>,
    /// How the baselines were measured.
    pub(crate) protocol: Option<String>,
    pub(crate) done: Option<Done>,
}

impl History {
    /// Whether nothing has been told.
    pub fn is_empty(&self) -> bool {
        self.run.is_none() && self.epochs.is_empty()
    }

    /// Of a run's events, in their order.
    pub fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut history = Self::default();
        events.into_iter().for_each(|event| history.note(event));
        history
    }

    /// Takes the next event in.
    pub fn note(&mut self, event: Event) {
        if let Event::Run { step, .. } | Event::Step { step, .. } | Event::Epoch { step, .. } =
            &event
        {
            self.step = *step;
        }
        match event {
            Event::Run { .. } => self.begin(event),
            Event::Step {
                epoch,
                loss_instance,
                loss_prototype,
                lr,
                images_per_second,
                ..
            } => {
                self.last_step = Some(StepLine {
                    epoch,
                    loss_instance,
                    loss_prototype,
                    lr,
                });
                self.note_speed(epoch, images_per_second);
            }
            Event::EStep {
                epoch,
                k,
                ami_previous,
                ..
            } => {
                let (of, lines) = self.e_step;
                let place = if of == epoch { lines } else { 0 };
                self.e_step = (epoch, place + 1);
                if self.agreements.len() <= place {
                    self.agreements.resize(place + 1, Agreement::default());
                }
                let agreement = &mut self.agreements[place];
                agreement.k = k;
                agreement.ami.insert(epoch, ami_previous);
            }
            Event::Epoch { epoch, .. } => {
                let line = EpochLine::of(event).expect("an epoch's line");
                self.pace.epoch(line.seconds, line.e_step_seconds);
                self.epochs.insert(epoch, line);
            }
            Event::Eval {
                features,
                protocol,
                top1,
                chance,
                ..
            } => {
                self.baselines.retain(|(other, _)| *other != features);
                self.baselines.push((features, top1));
                self.chance = Some(chance);
                self.protocol = Some(protocol);
            }
            Event::Done {
                epochs, seconds, ..
            } => self.done = Some(Done { epochs, seconds }),
            _ => {}
        }
    }

    fn begin(&mut self, event: Event) {
        let Event::Run {
            step,
            resumed_from,
            source,
            seed,
            mode,
            images,
            test_images,
            classes,
            encoder,
            precision,
            image_size,
            parameters,
            epochs,
            warmup_epochs,
            steps_per_epoch,
            batch,
            queue,
            clusters,
            chance,
            negatives: _,
            ranks,
        } = event
        else {
            return;
        };
        self.done = None; // it goes on: with more epochs, say
        self.e_step = (0, 0);
        self.last_step = None;
        self.epoch_time = EpochTime::default();
        self.pace = Pace::begin(!clusters.is_empty() && warmup_epochs < epochs);
        if resumed_from.is_some() {
            self.resumed.push(step);
        }
        self.run = Some(RunLine {
            source,
            seed,
            mode,
            images,
            test_images,
            classes,
            encoder,
            precision,
            image_size,
            parameters,
            epochs,
            warmup_epochs,
            steps_per_epoch,
            batch,
            ranks,
            queue,
            clusters,
            chance,
        });
    }

    /// The last kNN accuracy between 0 and 1, and the epoch it was measured after.
    pub(crate) fn last_knn(&self) -> Option<(usize, f64)> {
        let measured = |(epoch, line): (&usize, &EpochLine)| Some((*epoch, line.knn_top1?));
        self.epochs.iter().rev().find_map(measured)
    }

    /// What kNN accuracy is held against, with accuracies between 0 and 1: chance, raw pixels, the encoder as
    /// it began; what was not measured is left out.
    pub fn held_against(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let chance = self.chance.map(|chance| ("chance", chance));
        let baselines = self.baselines.iter();
        chance
            .into_iter()
            .chain(baselines.map(|(features, top1)| (evaluated(*features), *top1)))
    }

    /// How kNN is measured in this run by settings that it has now; none where it is not.
    pub fn protocol_now(&self, eval: &EvalSettings) -> Option<String> {
        let run = self.run.as_ref().filter(|run| run.test_images > 0)?;
        self.protocol.as_ref()?;
        Some(eval.protocol(run.images, run.test_images, run.image_size))
    }

    /// AMI of a clustering of an epoch's E-step, by its place among them, with the E-step before.
    pub fn agreement(&self, epoch: usize, place: usize) -> Option<f64> {
        *self.agreements.get(place)?.ami.get(&epoch)?
    }

    /// Seconds of the run in all its parts; of one that is not over, those of its whole epochs.
    pub(crate) fn seconds(&self) -> f64 {
        let epochs = || self.epochs.values().map(|line| line.seconds).sum();
        self.done.map_or_else(epochs, |done| done.seconds)
    }

    /// How far the run has come, in sentences.
    pub(crate) fn state(&self) -> String {
        let Some(run) = &self.run else {
            return "metrics.jsonl has no line of how the run began.".into();
        };
        let steps = run.epochs.saturating_mul(run.steps_per_epoch);
        let state = match self.done {
            Some(done) => format!(
                "Finished: {}, {}.",
                counted(done.epochs, "epoch"),
                counted(self.step as usize, "step")
            ),
            None => format!(
                "Not finished: {} of {} epochs are whole, {} of {steps} steps are done.",
                self.epochs.len(),
                run.epochs,
                self.step
            ),
        };
        let resumed = match self.resumed[..] {
            [] => String::new(),
            [step] => format!(" It was resumed once, at step {step}."),
            [.., last] => format!(
                " It was resumed {} times, the last time at step {last}.",
                self.resumed.len()
            ),
        };
        state + &resumed
    }
}

/// What an evaluation looked at, in words.
fn evaluated(features: Evaluated) -> &'static str {
    match features {
        Evaluated::RawPixels => "raw pixels",
        Evaluated::Untrained => "untrained encoder",
        Evaluated::Given => "given weights",
        Evaluated::Trained => "trained encoder",
    }
}

impl EpochLine {
    fn of(event: Event) -> Option<Self> {
        let Event::Epoch {
            loss_instance,
            loss_prototype,
            lr,
            knn_top1,
            effective_rank,
            ami_previous,
            images_per_second,
            seconds,
            e_step_seconds,
            waited_seconds,
            ..
        } = event
        else {
            return None;
        };
        Some(Self {
            loss_instance,
            loss_prototype,
            lr,
            knn_top1,
            effective_rank,
            ami_previous,
            images_per_second,
            seconds,
            e_step_seconds,
            waited_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusterings_of_one_k_are_told_apart() {
        let line = |epoch, k, ami| Event::EStep {
            epoch,
            step: 0,
            k,
            ami_previous: Some(ami),
            objective: 1.0,
            empty: 0,
            concentration_min: 0.1,
            concentration_max: 0.2,
            seconds: 1.0,
        };
        let all = [
            line(1, 20, 0.1),
            line(1, 20, 0.2),
            line(2, 20, 0.3),
            line(2, 20, 0.4),
        ];
        let history = History::of(all);
        let found = [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0)];
        let found = found.map(|(epoch, place)| history.agreement(epoch, place));
        assert_eq!(
            found,
            [Some(0.1), Some(0.2), Some(0.3), Some(0.4), None, None]
        );
    }
}
