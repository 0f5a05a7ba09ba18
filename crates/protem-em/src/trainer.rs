//! The EM loop: E-step, M-steps, evaluation, checkpoints, epoch after epoch.

mod evaluation;
mod passes;
mod together;

use crate::checkpoint::{self, Checkpoint, Origin};
use crate::e_step::Clustering;
use crate::error::EmError;
use crate::events::{Event, Phase};
use crate::image_set::ImageSet;
use crate::measure::Measured;
use crate::quarantine::Quarantine;
use crate::resume;
use crate::settings::{Note, Plan};
use crate::state::{Best, Clock, Position, State};
use protem_comm::Ranks;
use protem_data::Source;
use protem_encoder::MomentumPair;
use protem_loss::Queue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was asked to stop, and saved.
    Interrupted {
        /// The checkpoint to go on from.
        checkpoint: PathBuf,
    },
}

/// A run under way.
pub struct Trainer {
    plan: Plan,
    origin: Origin,
    train: Arc<dyn Source>,
    test: Option<Arc<dyn Source>>,
    checkpoints: PathBuf,
    state: State,
    gradient: Vec<f32>,
    quarantine: Quarantine,
    /// The last checkpoint.
    saved: Option<PathBuf>,
    /// When it was written, or the run began.
    saved_at: Instant,
    /// Whether the state lies between two steps, not in the middle of one.
    between_steps: bool,
    resumed_from: Option<PathBuf>,
    /// Those who have the run between them.
    ranks: Ranks,
    /// When the state's clock was last right.
    clocked: Instant,
}

impl Trainer {
    /// A new run that will save to the folder `checkpoints`, which is made when it begins. With
    /// labelled `train` and `test` sources, kNN accuracy is measured.
    ///
    /// # Errors
    /// A plan for another number of images than `train` has; weights to begin with that [`Plan::weights`]
    /// refuses; a queue the batch does not divide, which [`Plan::check`] rules out.
    pub fn new(
        mut plan: Plan,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
    ) -> Result<Self, EmError> {
        of_plan(&plan, &*train)?;
        let seed = plan.seed;
        let mut pair = MomentumPair::new(plan.encoder, plan.precision, seed, plan.momentum as f32);
        if let Some(weights) = plan.weights()? {
            weights.put(&mut pair.query)?;
            plan.notes.extend(Note::of_weights(&weights, &plan.encoder));
            pair.key = pair.query.clone();
        }
        let state = State {
            velocity: vec![0.0; pair.query.parameters().len()],
            queue: Queue::new(plan.queue, plan.encoder.dim, plan.optim.batch, seed)?,
            pair,
            clusterings: Vec::new(),
            position: Position::default(),
            clock: Clock::default(),
        };
        let origin = Origin::new(&plan, ImageSet::of(&*train));
        Ok(Self::from_state(
            plan,
            origin,
            train,
            test,
            checkpoints,
            state,
        ))
    }

    /// A run that goes on from a checkpoint, to the same bits as if it had never stopped.
    ///
    /// # Errors
    /// A checkpoint of other images, or of settings that may not change within a run; a plan for another
    /// number of images than `train` has.
    pub fn resume(
        mut plan: Plan,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
        from: Checkpoint,
    ) -> Result<Self, EmError> {
        of_plan(&plan, &*train)?;
        let origin = Origin::new(&plan, ImageSet::of(&*train));
        let notes = resume::check(from.origin(), &origin)?;
        let measured_otherwise = notes.iter().any(Note::changes_knn);
        plan.notes.extend(notes);
        let path = from.path().to_path_buf();
        let mut state = from.into_state(plan.momentum as f32)?;
        let keep_best = plan.checkpoint.keep_best;
        let gone = |best: Best| !checkpoints.join(checkpoint::file_name(best.step)).exists();
        let forgotten = |best: &Best| measured_otherwise || keep_best && gone(*best);
        if let Some(best) = state.position.best.take_if(|best| forgotten(best))
            && keep_best
        {
            plan.notes.push(Note::BestForgotten { epoch: best.epoch });
        }
        tracing::debug!(checkpoint = %path.display(), step = state.position.step, "resuming");
        let mut trainer = Self::from_state(plan, origin, train, test, checkpoints, state);
        trainer.saved = Some(path.clone());
        trainer.resumed_from = Some(path);
        Ok(trainer)
    }

    fn from_state(
        mut plan: Plan,
        origin: Origin,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
        state: State,
    ) -> Self {
        if plan.checkpoint.keep_best && plan.eval.knn_every > 0 && test.is_none() {
            plan.notes.push(Note::BestUnmeasured);
        }
        Self {
            gradient: vec![0.0; state.velocity.len()],
            quarantine: Quarantine::new(
                plan.images,
                test.as_ref().map_or(0, |test| test.len()),
                plan.settings.data.max_unreadable,
            ),
            plan,
            origin,
            train,
            test,
            checkpoints,
            state,
            saved: None,
            saved_at: Instant::now(),
            between_steps: true,
            resumed_from: None,
            ranks: Ranks::alone(),
            clocked: Instant::now(),
        }
    }

    /// Encoders, queue, prototypes and position as they stand.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last checkpoint, also after an error; none before the first.
    pub fn checkpoint(&self) -> Option<&Path> {
        self.saved.as_deref()
    }

    pub(crate) fn set_clusterings(&mut self, clusterings: Vec<Clustering>) {
        self.state.clusterings = clusterings;
    }

    /// Trains until all epochs are done or `stop` is set, telling `listener` what happens. Of several ranks none comes
    /// back before rank 0 has saved.
    ///
    /// # Errors
    /// Images, a disk or a loss that fail; a rank that is gone. The last checkpoint stays; where images or a rank fail
    /// between two steps (of `optim.accumulate` batches each), there is one of all steps made.
    pub fn run(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Outcome, EmError> {
        self.clocked = Instant::now();
        let mut silent = |_: &Event| {};
        let listener = match self.ranks.is_first() {
            true => listener,
            false => &mut silent,
        };
        let outcome = self.all_epochs(listener, stop)?;
        self.await_first()?;
        Ok(outcome)
    }

    fn all_epochs(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Outcome, EmError> {
        // Not after an epoch, which may be hours.
        self.make_folder()?;
        listener(&self.begun());
        for note in &self.plan.notes {
            listener(&Event::Note {
                text: note.to_string(),
            });
        }
        let fresh = self.state.position == Position::default();
        let begun = !fresh || self.measure_beginning(listener, stop)?;
        // What was measured before it is of the run, not of its first epoch.
        self.state.clock.run += self.clocked.elapsed().as_secs_f64();
        self.clocked = Instant::now();
        if !begun {
            let checkpoint = self.save(listener)?;
            return Ok(Outcome::Interrupted { checkpoint });
        }
        while self.state.position.epoch < self.plan.optim.epochs {
            match self.epoch(listener, stop) {
                Ok(None) => {}
                Ok(Some(checkpoint)) => return Ok(Outcome::Interrupted { checkpoint }),
                Err(error) => {
                    self.save_after(&error, listener);
                    return Err(error);
                }
            }
        }
        self.clock(); // the last checkpoint's writing
        let position = &self.state.position;
        listener(&Event::Done {
            step: position.step,
            epochs: position.epoch,
            loss: position.loss.expect("an epoch is done"),
            knn_top1: position.knn_top1,
            checkpoint: self.saved.clone().unwrap_or_default(), // of rank 0, which alone is heard
            seconds: self.state.clock.run,
        });
        Ok(Outcome::Finished)
    }

    fn make_folder(&self) -> Result<(), EmError> {
        if !self.ranks.is_first() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.checkpoints).map_err(|source| EmError::Io {
            action: "create",
            path: self.checkpoints.clone(),
            source,
        })
    }

    fn begun(&self) -> Event {
        let plan = &self.plan;
        Event::Run {
            step: self.state.position.step,
            resumed_from: self.resumed_from.clone(),
            source: plan.settings.data.folder.clone(),
            seed: plan.seed,
            mode: plan.mode.name().to_owned(),
            images: plan.images,
            test_images: match plan.eval.knn_every {
                0 => 0,
                _ => self.test.as_ref().map_or(0, |test| test.len()),
            },
            classes: self.train.classes().len(),
            encoder: Some(plan.encoder),
            precision: plan.precision,
            image_size: plan.image_size,
            parameters: self.state.velocity.len(),
            epochs: plan.optim.epochs,
            warmup_epochs: plan.warmup_epochs,
            steps_per_epoch: plan.steps_per_epoch(),
            batch: plan.optim.batch,
            ranks: plan.ranks,
            queue: plan.queue,
            clusters: plan.clusters.clone(),
            negatives: plan.negatives,
            chance: plan.chance_loss(),
        }
    }

    /// What is left of the current epoch. A path comes back if it was stopped and saved there.
    fn epoch(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<PathBuf>, EmError> {
        let position = &self.state.position;
        let clusters = !self.plan.clusters.is_empty() && position.epoch >= self.plan.warmup_epochs;
        if position.batch == 0 {
            if !clusters {
                // There are some where a resumed run's warm-up has been made longer.
                self.state.clusterings.clear();
                self.state.position.clustered = None;
            } else if !self.is_clustered() && !self.e_step(listener, stop)? {
                return self.save(listener).map(Some);
            }
        }
        if let Some(path) = self.m_steps(listener, stop)? {
            return Ok(Some(path));
        }
        self.agree()?;
        let epoch = self.state.position.epoch + 1;
        let (every, before) = (self.plan.eval.knn_every, self.state.position.best);
        let last = epoch == self.plan.optim.epochs;
        let with_knn = every > 0 && (epoch.is_multiple_of(every) || last);
        let Some(measured) = self.measure(with_knn, listener, stop)? else {
            return self.save(listener).map(Some); // after the last batch: the epoch is measured again
        };
        self.finish_epoch(measured, with_knn, listener);
        let stopping = self.any(stop.load(Ordering::Relaxed))?;
        let c = &self.plan.checkpoint;
        let kept = c
            .keep_every
            .is_some_and(|every| epoch.is_multiple_of(every))
            || (c.keep_best && self.state.position.best != before);
        let due = kept || epoch.is_multiple_of(c.every_epochs) || self.due_between_epochs();
        if last || stopping || due {
            let path = self.save(listener)?;
            return Ok((stopping && !last).then_some(path));
        }
        Ok(None)
    }

    /// Whether a run that went on has this epoch's clusterings, as the plan has them.
    fn is_clustered(&self) -> bool {
        let position = &self.state.position;
        let there = self.state.clusterings.iter().map(Clustering::k);
        position.clustered == Some(position.epoch) && there.eq(self.plan.clusters.iter().copied())
    }

    /// Whether the step just made is one to save after.
    fn due_between_epochs(&self) -> bool {
        let c = &self.plan.checkpoint;
        let step = self.state.position.step;
        let minutes = self.saved_at.elapsed().as_secs_f64() / 60.0;
        c.every_steps
            .is_some_and(|every| step.is_multiple_of(every))
            || c.every_minutes.is_some_and(|every| minutes >= every)
    }

    fn learning_rate(&self) -> f64 {
        self.plan.optim.rate(self.state.position.epoch)
    }

    fn all_finite(&self, what: &'static str, values: &[f32]) -> Result<(), EmError> {
        let found = values.chunks(1 << 12).find_map(|values| {
            // Whether all are is found many at a time, which is not one that is not.
            let all = values.iter().fold(true, |all, x| all & x.is_finite());
            (!all).then(|| values.iter().find(|x| !x.is_finite()))?
        });
        match found {
            Some(value) => Err(self.not_finite(what, self.state.position.step, *value)),
            None => Ok(()),
        }
    }

    fn not_finite(&self, what: &'static str, step: u64, value: f32) -> EmError {
        EmError::NotFinite {
            what,
            epoch: self.state.position.epoch + 1,
            step,
            value,
        }
    }

    fn finish_epoch(
        &mut self,
        measured: Measured,
        with_knn: bool,
        listener: &mut dyn FnMut(&Event),
    ) {
        self.clock();
        let lr = self.learning_rate();
        let batches = self.plan.batches_per_epoch();
        let position = &mut self.state.position;
        let clock = std::mem::take(&mut self.state.clock);
        self.state.clock.run = clock.run;
        let sums = std::mem::take(&mut position.sums);
        let instance = sums.instance / batches as f64;
        let with_prototypes = !self.state.clusterings.is_empty();
        let prototype = with_prototypes.then_some(sums.prototype / batches as f64);
        let loss = instance + prototype.unwrap_or(0.0);
        position.epoch += 1;
        position.batch = 0;
        position.loss = Some(loss);
        // What was measured last, unless nothing is any more.
        if with_knn || self.plan.eval.knn_every == 0 {
            position.knn_top1 = measured.knn_top1;
        }
        if let Some(knn_top1) = measured.knn_top1
            && position.best.is_none_or(|best| knn_top1 > best.knn_top1)
        {
            let (epoch, step) = (position.epoch, position.step);
            position.best = Some(Best {
                knn_top1,
                epoch,
                step,
            });
        }
        listener(&Event::Epoch {
            epoch: position.epoch,
            step: position.step,
            loss,
            loss_instance: instance,
            loss_prototype: prototype,
            chance: self.plan.chance_loss(),
            lr,
            knn_top1: measured.knn_top1,
            effective_rank: measured.effective_rank,
            ami_previous: position.ami_previous.take(),
            images_per_second: (batches * self.plan.optim.batch) as f64 / clock.m_step,
            seconds: clock.epoch,
            e_step_seconds: clock.e_step,
            waited_seconds: clock.waited,
        });
    }

    /// Brings the clock up to now.
    fn clock(&mut self) {
        let seconds = self.clocked.elapsed().as_secs_f64();
        self.clocked = Instant::now();
        self.state.clock.run += seconds;
        self.state.clock.epoch += seconds;
    }

    /// Writes a checkpoint and removes those beyond the number to keep; rank 0 does, others know of it.
    fn save(&mut self, listener: &mut dyn FnMut(&Event)) -> Result<PathBuf, EmError> {
        self.clock();
        let step = self.state.position.step;
        let path = self.checkpoints.join(checkpoint::file_name(step));
        if !self.ranks.is_first() {
            return Ok(path);
        }
        listener(&Event::Save { step });
        checkpoint::save(&path, &self.state, &self.origin)?;
        let seconds = self.clocked.elapsed().as_secs_f64();
        tracing::debug!(checkpoint = %path.display(), step, seconds, "saved");
        self.saved_at = Instant::now();
        let files = checkpoint::list(&self.checkpoints)?;
        let spare = files.len().saturating_sub(self.plan.checkpoint.keep_last);
        let stays = |old: &&PathBuf| **old == path || self.keeps(old);
        for old in files.iter().take(spare).filter(|old| !stays(old)) {
            // One checkpoint too many is no reason to end a run.
            if let Err(error) = std::fs::remove_file(old) {
                tracing::warn!(%error, checkpoint = %old.display(), "an old checkpoint stays");
            }
        }
        self.saved = Some(path.clone());
        Ok(path)
    }

    /// Whether a checkpoint is kept however old it is.
    fn keeps(&self, path: &Path) -> bool {
        let c = &self.plan.checkpoint;
        let Some(step) = checkpoint::step_of(path) else {
            return false;
        };
        let best = self.state.position.best;
        let of_epochs = |every: usize| every.saturating_mul(self.plan.steps_per_epoch()) as u64;
        let kept = |every| step > 0 && step.is_multiple_of(of_epochs(every));
        (c.keep_best && best.is_some_and(|best| best.step == step))
            || c.keep_every.is_some_and(kept)
    }

    /// Saves what was trained before an error that is not the state's own: an epoch may be hours.
    fn save_after(&mut self, error: &EmError, listener: &mut dyn FnMut(&Event)) {
        let own = matches!(error, EmError::NotFinite { .. } | EmError::Io { .. });
        let step = self.state.position.step;
        let path = self.checkpoints.join(checkpoint::file_name(step));
        if own || !self.between_steps || step == 0 || self.saved.as_ref() == Some(&path) {
            return;
        }
        if let Err(error) = self.save(listener) {
            tracing::warn!(%error, step, "what was trained since the last checkpoint is lost");
        }
    }
}

/// Whether a plan is for the images there are.
fn of_plan(plan: &Plan, train: &dyn Source) -> Result<(), EmError> {
    match train.len() {
        images if images == plan.images => Ok(()),
        images => Err(EmError::ImagesOfPlan {
            planned: plan.images,
            images,
        }),
    }
}

/// Tells how far a phase of an epoch is; answers whether to go on.
fn tell_phase(
    listener: &mut dyn FnMut(&Event),
    stop: &AtomicBool,
    epoch: usize,
    phase: Phase,
    (done, of): (usize, usize),
) -> bool {
    listener(&Event::Phase {
        epoch,
        phase,
        done,
        of,
    });
    !stop.load(Ordering::Relaxed)
}
