//! The one door from settings to a run: every value resolved and checked against the images.

use super::check::{against_images, ranges};
use super::{
    CheckpointSettings, EStepSettings, EvalSettings, MethodSettings, Mode, Note, OptimSettings,
    Optimizer, Schedule, Settings, Violation,
};
use crate::error::EmError;
use protem_data::{Augment, CropConfig, InvalidView, Recipe, ViewConfig};
use protem_encoder::{EncoderConfig, Weights};
use protem_ops::Precision;

/// Longest queue that is chosen unasked: the reference's.
pub(super) const DEFAULT_QUEUE: usize = 16_384;
/// Images per prototype of the clusterings that are chosen unasked. At ImageNet's size this gives
/// about the reference's 25000, 50000 and 100000: many more than there are classes.
const IMAGES_PER_PROTOTYPE: [usize; 3] = [50, 20, 10];

/// A run that can work: nothing left open, everything checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The settings with every value that follows from the images written out; checking them
    /// again for the same images gives the same plan.
    pub settings: Settings,
    /// Images of the training set.
    pub images: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Which method.
    pub mode: Mode,
    /// Arithmetic.
    pub precision: Precision,
    /// Side of a view in pixels.
    pub image_size: u32,
    /// Encoder and projection head.
    pub encoder: EncoderConfig,
    /// Random views.
    pub augment: Augment,
    /// τ.
    pub temperature: f64,
    /// Share of itself that the key encoder keeps at each step.
    pub momentum: f64,
    /// Keys in the queue, a multiple of the batch.
    pub queue: usize,
    /// Prototypes of each clustering; empty without prototypes.
    pub clusters: Vec<usize>,
    /// Negative prototypes drawn per clustering and batch, as far as there are any.
    pub negatives: usize,
    /// First epochs without prototypes.
    pub warmup_epochs: usize,
    /// Clustering of the E-step.
    pub e_step: EStepSettings,
    /// Optimizer and schedule.
    pub optim: OptimPlan,
    /// Evaluation while training.
    pub eval: EvalSettings,
    /// When to save.
    pub checkpoint: CheckpointSettings,
    /// Ranks that have the run between them; each has an equal part of every batch.
    pub ranks: usize,
    /// What was changed or is worth knowing.
    pub notes: Vec<Note>,
}

/// Optimizer and schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimPlan {
    /// Passes over the images.
    pub epochs: usize,
    /// Images that pass the encoder together.
    pub batch: usize,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: usize,
    /// Learning rate at the start, scaled to the batch where that was asked.
    pub lr: f64,
    /// What a step does with the gradient.
    pub optimizer: Optimizer,
    /// Momentum of the steps.
    pub momentum: f64,
    /// Weight decay, on all parameters with SGD, on weight tensors with LARS.
    pub weight_decay: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Epochs at which the step schedule falls.
    pub milestones: Vec<usize>,
    /// What the step schedule multiplies by.
    pub gamma: f64,
}

impl Plan {
    /// Resolves settings for `images` training images.
    ///
    /// # Errors
    /// Everything that is wrong with them, not only the first thing.
    pub fn check(settings: &Settings, images: usize) -> Result<Self, Vec<Violation>> {
        let mut violations = ranges(settings);
        violations.extend(against_images(settings, images));
        match augment(settings) {
            Ok(augment) if violations.is_empty() => Ok(Self::resolve(settings, images, augment)),
            Ok(_) => Err(violations),
            Err(invalid) => {
                // Size and crop have rules of their own already.
                if settings.augment.parts.is_some() || violations.is_empty() {
                    violations.push(Violation::View(invalid));
                }
                Err(violations)
            }
        }
    }

    fn resolve(settings: &Settings, images: usize, augment: Augment) -> Self {
        let mut notes = Vec::new();
        let (s, o, method) = (settings, &settings.optim, &settings.method);
        let queue = queue(method.queue, o.batch, images, &mut notes);
        let clusters = clusters(s, images, &mut notes);
        let negatives = negatives(method.negatives, queue, (&clusters, o.batch), &mut notes);
        if s.mode.has_prototypes() && method.warmup_epochs >= o.epochs {
            notes.push(Note::NoPrototypes {
                warmup_epochs: method.warmup_epochs,
                epochs: o.epochs,
            });
        }
        let schedule = o.schedule.unwrap_or(s.mode.schedule());
        notes.extend(rate_note(o, schedule));
        if s.eval.knn_every == 0 && s.data.test_folder.is_some() {
            notes.push(Note::TestUnused);
        }
        if s.eval.knn_every == 0 && s.checkpoint.keep_best {
            notes.push(Note::BestUnmeasured);
        }
        if s.encoder.shuffle_bn && s.encoder.split_bn == 1 {
            notes.push(Note::NothingShuffled);
        }
        let lr = learning_rate(s, &mut notes);
        let mut resolved = s.clone();
        resolved.method.queue = Some(queue);
        resolved.method.clusters = s.mode.has_prototypes().then(|| clusters.clone());
        resolved.method.negatives = s.mode.has_prototypes().then_some(negatives);
        if s.augment.parts.is_none() {
            let (recipe, blur) = recipe(s);
            (resolved.augment.recipe, resolved.augment.blur) = (Some(recipe), Some(blur));
        }
        resolved.optim.schedule = Some(schedule);
        Self {
            images,
            seed: s.seed,
            mode: s.mode,
            precision: s.precision,
            image_size: s.data.image_size,
            encoder: encoder_config(s),
            augment,
            temperature: method.temperature,
            momentum: method.momentum,
            queue,
            clusters,
            negatives,
            warmup_epochs: method.warmup_epochs,
            optim: OptimPlan {
                epochs: o.epochs,
                batch: o.batch,
                accumulate: o.accumulate,
                lr,
                optimizer: o.optimizer,
                momentum: o.momentum,
                weight_decay: o.weight_decay,
                schedule,
                milestones: o.milestones.clone(),
                gamma: o.gamma,
            },
            e_step: s.e_step.clone(),
            eval: s.eval.clone(),
            checkpoint: s.checkpoint.clone(),
            ranks: 1,
            notes,
            settings: resolved,
        }
    }

    /// The same run on so many ranks: the same batches, losses and steps, but for rounding.
    ///
    /// # Errors
    /// Ranks among which the parts of a batch that have batch-norm statistics of their own cannot be divided.
    pub fn among(mut self, ranks: usize) -> Result<Self, Violation> {
        let (split_bn, batch) = (self.encoder.split_bn, self.optim.batch);
        if ranks == 0 || !split_bn.is_multiple_of(ranks) {
            return Err(Violation::Ranks {
                split_bn,
                ranks,
                batch,
            });
        }
        self.ranks = ranks;
        Ok(self)
    }

    /// Images of a batch that a rank has.
    pub fn rows(&self) -> usize {
        self.optim.batch / self.ranks
    }

    /// The weights to begin with, if there are to be some.
    ///
    /// # Errors
    /// A file that cannot be read, is no such file, or is of another encoder.
    pub fn weights(&self) -> Result<Option<Weights>, EmError> {
        let Some(path) = &self.settings.encoder.weights else {
            return Ok(None);
        };
        let of_file = |source| EmError::Weights {
            path: path.clone(),
            source,
        };
        let prefix = self.settings.encoder.weights_prefix.as_deref();
        let weights = Weights::open(path, prefix).map_err(of_file)?;
        let fits = weights.fits(&self.encoder);
        fits.map_err(|error| of_file(error.into()))?;
        Ok(Some(weights))
    }

    /// Threads that decode and augment: as set, or as many as compute.
    pub fn workers(&self) -> usize {
        let set = self.settings.data.workers;
        set.unwrap_or_else(rayon::current_num_threads)
    }

    /// Whole batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.images / self.optim.batch
    }

    /// Optimizer steps of an epoch; batches that do not fill the last step make a smaller one, of
    /// their own mean gradient.
    pub fn steps_per_epoch(&self) -> usize {
        self.batches_per_epoch().div_ceil(self.optim.accumulate)
    }

    /// Checkpoints that are kept in the end: no more than a run makes, and one where it is stopped.
    pub fn kept_checkpoints(&self) -> usize {
        let (c, epochs) = (&self.checkpoint, self.optim.epochs);
        let steps = self.steps_per_epoch().saturating_mul(epochs);
        let by_steps = match (c.every_minutes, c.every_steps) {
            (Some(_), _) => steps, // how long a step takes is not known
            (None, Some(every)) => steps / every.max(1) as usize,
            (None, None) => 0,
        };
        let best = c.keep_best && self.eval.knn_every > 0;
        let besides = usize::from(best) + c.keep_every.map_or(0, |every| epochs / every);
        let made = epochs.div_ceil(c.every_epochs) + 1 + besides;
        let made = made.saturating_add(by_steps);
        c.keep_last.saturating_add(besides).min(made)
    }

    /// InfoNCE of an encoder that tells nothing apart: `ln(1 + r)`.
    pub fn chance_loss(&self) -> f64 {
        protem_loss::chance_level(1 + self.queue)
    }
}

fn encoder_config(s: &Settings) -> EncoderConfig {
    EncoderConfig {
        arch: s.encoder.arch,
        stem: s.encoder.stem,
        width: s.encoder.width,
        head: s.mode.head(),
        dim: s.encoder.dim,
        split_bn: s.encoder.split_bn,
    }
}

/// The recipe, and whether it blurs.
fn recipe(s: &Settings) -> (Recipe, bool) {
    let recipe = s.augment.recipe.unwrap_or(s.mode.recipe());
    (
        recipe,
        recipe == Recipe::V2 && s.augment.blur.unwrap_or(true),
    )
}

/// What makes the views.
fn augment(s: &Settings) -> Result<Augment, InvalidView> {
    let (size, min_scale) = (s.data.image_size, s.augment.min_scale);
    let config = match &s.augment.parts {
        None => {
            let (recipe, blur) = recipe(s);
            ViewConfig::of(recipe, size, min_scale, blur)
        }
        Some(parts) => ViewConfig {
            size,
            crop: CropConfig {
                scale: [min_scale, 1.0],
                ..CropConfig::default()
            },
            parts: parts.clone(),
        },
    };
    Augment::of_parts(config)
}

fn queue(asked: Option<usize>, batch: usize, images: usize, notes: &mut Vec<Note>) -> usize {
    let most = images / batch * batch;
    match asked {
        None => {
            let queue = most.min(DEFAULT_QUEUE / batch * batch).max(batch);
            notes.push(Note::QueueChosen {
                queue,
                batch,
                images,
            });
            queue
        }
        Some(asked) if asked > most => {
            notes.push(Note::QueueClamped {
                asked,
                queue: most,
                images,
            });
            most
        }
        Some(asked) => asked,
    }
}

fn clusters(s: &Settings, images: usize, notes: &mut Vec<Note>) -> Vec<usize> {
    if !s.mode.has_prototypes() {
        let keys = of_prototypes(s);
        if !keys.is_empty() {
            notes.push(Note::PrototypesUnused { mode: s.mode, keys });
        }
        return Vec::new();
    }
    let chosen = s.method.clusters.clone().unwrap_or_else(|| {
        let mut all = IMAGES_PER_PROTOTYPE
            .map(|per| (images / per).max(2))
            .to_vec();
        all.dedup();
        notes.push(Note::ClustersChosen {
            clusters: all.clone(),
            images,
        });
        all
    });
    let few = chosen.iter().filter(|k| **k <= s.optim.batch);
    notes.extend(few.map(|k| Note::FewClusters {
        k: *k,
        batch: s.optim.batch,
    }));
    chosen
}

/// Settings of prototypes that were set.
fn of_prototypes(s: &Settings) -> Vec<&'static str> {
    let (m, plain) = (&s.method, &MethodSettings::default());
    let set = [
        (m.clusters.is_some(), "method.clusters"),
        (m.negatives.is_some(), "method.negatives"),
        (
            m.warmup_epochs != plain.warmup_epochs,
            "method.warmup_epochs",
        ),
        (s.e_step != EStepSettings::default(), "e_step"),
    ];
    let set = set.into_iter().filter(|(set, _)| *set);
    set.map(|(_, key)| key).collect()
}

/// What is worth saying of when the learning rate falls.
fn rate_note(o: &OptimSettings, schedule: Schedule) -> Option<Note> {
    let plain = OptimSettings::default();
    let steps = o.milestones != plain.milestones || o.gamma != plain.gamma;
    let (milestones, epochs) = (o.milestones.clone(), o.epochs);
    match schedule {
        Schedule::Cosine => steps.then_some(Note::MilestonesUnused),
        Schedule::Step => {
            let falls = milestones.iter().any(|epoch| *epoch < epochs);
            (!falls).then_some(Note::RateNeverFalls { milestones, epochs })
        }
    }
}

fn negatives(
    asked: Option<usize>,
    queue: usize,
    (clusters, batch): (&[usize], usize),
    notes: &mut Vec<Note>,
) -> usize {
    let largest = clusters.iter().copied().max().unwrap_or(0);
    let Some(asked) = asked else {
        if largest > 0 {
            notes.push(Note::NegativesChosen {
                negatives: queue.min(largest),
                queue,
                largest,
            });
        }
        return queue.min(largest);
    };
    let fewer = clusters.iter().filter(|k| **k < asked + batch);
    notes.extend(fewer.map(|k| Note::FewerNegatives {
        asked,
        k: *k,
        batch,
    }));
    asked
}

fn learning_rate(s: &Settings, notes: &mut Vec<Note>) -> f64 {
    let step_images = s.optim.batch * s.optim.accumulate;
    if !s.optim.scale_lr || step_images == 256 {
        return s.optim.lr;
    }
    let lr = s.optim.lr * step_images as f64 / 256.0;
    notes.push(Note::LearningRateScaled {
        from: s.optim.lr,
        to: lr,
        step_images,
    });
    lr
}
