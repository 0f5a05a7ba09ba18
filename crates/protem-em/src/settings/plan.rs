//! The one door from settings to a run: every value resolved and checked against the images.

use super::{
    CheckpointSettings, EStepSettings, EvalSettings, Mode, Precision, Schedule, Settings, Violation,
};
use protem_data::{AugmentConfig, Recipe};
use protem_encoder::EncoderConfig;
use std::fmt;

/// Longest queue that is chosen unasked: the reference's.
const DEFAULT_QUEUE: usize = 16_384;
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
    pub augment: AugmentConfig,
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
    /// Momentum of SGD.
    pub momentum: f64,
    /// Weight decay on all parameters.
    pub weight_decay: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Epochs at which the step schedule falls.
    pub milestones: Vec<usize>,
    /// What the step schedule multiplies by.
    pub gamma: f64,
}

/// Something that works, but not as it was asked or not as one would expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The queue was shortened to what the images fill.
    QueueClamped {
        /// Keys asked for.
        asked: usize,
        /// Keys in the queue.
        queue: usize,
        /// Images of the training set.
        images: usize,
    },
    /// A clustering with no more prototypes than the batch has images.
    FewClusters {
        /// Prototypes.
        k: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// A clustering that cannot give as many negatives as asked.
    FewerNegatives {
        /// Negatives asked for.
        asked: usize,
        /// Prototypes.
        k: usize,
    },
    /// The run ends within the warm-up.
    NoPrototypes {
        /// Epochs without prototypes.
        warmup_epochs: usize,
        /// Epochs of the run.
        epochs: usize,
    },
    /// Clusterings given to a mode without prototypes.
    ClustersUnused {
        /// The mode.
        mode: Mode,
    },
    /// The learning rate was scaled to the batch.
    LearningRateScaled {
        /// As given, in millionths.
        from_millionths: u64,
        /// As used, in millionths.
        to_millionths: u64,
        /// Images of a step.
        step_images: usize,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueClamped {
                asked,
                queue,
                images,
            } => write!(
                f,
                "the queue has {queue} keys, not {asked}: there are {images} training images, and more would repeat them"
            ),
            Self::FewClusters { k, batch } => write!(
                f,
                "K = {k} is no more than the batch of {batch}: a batch often holds every prototype, and negatives are then \
                 other images' prototypes only"
            ),
            Self::FewerNegatives { asked, k } => write!(
                f,
                "{asked} negatives were asked for and a clustering has K = {k}: all prototypes outside the batch are used"
            ),
            Self::NoPrototypes {
                warmup_epochs,
                epochs,
            } => write!(
                f,
                "the warm-up of {warmup_epochs} epochs lasts the whole run of {epochs}: prototypes take no part"
            ),
            Self::ClustersUnused { mode } => {
                write!(
                    f,
                    "mode {} has no prototypes: method.clusters is not used",
                    mode.name()
                )
            }
            Self::LearningRateScaled {
                from_millionths,
                to_millionths,
                step_images,
            } => write!(
                f,
                "the learning rate is {} · {step_images}/256 = {}",
                *from_millionths as f64 / 1e6,
                *to_millionths as f64 / 1e6
            ),
        }
    }
}

impl Plan {
    /// Resolves settings for `images` training images.
    ///
    /// # Errors
    /// Everything that is wrong with them, not only the first thing.
    pub fn check(settings: &Settings, images: usize) -> Result<Self, Vec<Violation>> {
        let mut violations = ranges(settings);
        violations.extend(against_images(settings, images));
        if violations.is_empty() {
            Ok(Self::resolve(settings, images))
        } else {
            Err(violations)
        }
    }

    fn resolve(settings: &Settings, images: usize) -> Self {
        let mut notes = Vec::new();
        let (s, o, method) = (settings, &settings.optim, &settings.method);
        let queue = queue(method.queue, o.batch, images, &mut notes);
        let clusters = clusters(s, images, &mut notes);
        let negatives = negatives(method.negatives, queue, &clusters, &mut notes);
        if s.mode.has_prototypes() && method.warmup_epochs >= o.epochs {
            notes.push(Note::NoPrototypes {
                warmup_epochs: method.warmup_epochs,
                epochs: o.epochs,
            });
        }
        let recipe = s.augment.recipe.unwrap_or(s.mode.recipe());
        let blur = recipe == Recipe::V2 && s.augment.blur.unwrap_or(true);
        let schedule = o.schedule.unwrap_or(s.mode.schedule());
        let lr = learning_rate(s, &mut notes);
        let mut resolved = s.clone();
        resolved.method.queue = Some(queue);
        resolved.method.clusters = s.mode.has_prototypes().then(|| clusters.clone());
        resolved.method.negatives = s.mode.has_prototypes().then_some(negatives);
        resolved.augment.recipe = Some(recipe);
        resolved.augment.blur = Some(blur);
        resolved.optim.schedule = Some(schedule);
        Self {
            images,
            seed: s.seed,
            mode: s.mode,
            precision: s.precision,
            image_size: s.data.image_size,
            encoder: encoder_config(s),
            augment: AugmentConfig {
                recipe,
                size: s.data.image_size,
                min_scale: s.augment.min_scale,
                blur,
            },
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
                momentum: o.momentum,
                weight_decay: o.weight_decay,
                schedule,
                milestones: o.milestones.clone(),
                gamma: o.gamma,
            },
            e_step: s.e_step.clone(),
            eval: s.eval.clone(),
            checkpoint: s.checkpoint.clone(),
            notes,
            settings: resolved,
        }
    }

    /// Threads that compute: as set, or as many as the machine has.
    pub fn threads(&self) -> usize {
        let machine = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.settings.threads.unwrap_or_else(machine)
    }

    /// Threads that decode and augment: as set, or as many as compute.
    pub fn workers(&self) -> usize {
        self.settings.data.workers.unwrap_or_else(|| self.threads())
    }

    /// Whole batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.images / self.optim.batch
    }

    /// Optimizer steps of an epoch; batches that do not fill a last step are left out.
    pub fn steps_per_epoch(&self) -> usize {
        self.batches_per_epoch() / self.optim.accumulate
    }

    /// InfoNCE of an encoder that tells nothing apart: `ln(1 + r)`.
    pub fn chance_loss(&self) -> f64 {
        (1.0 + self.queue as f64).ln()
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

fn queue(asked: Option<usize>, batch: usize, images: usize, notes: &mut Vec<Note>) -> usize {
    let most = images / batch * batch;
    match asked {
        None => most.min(DEFAULT_QUEUE / batch * batch).max(batch),
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
        if s.method.clusters.is_some() {
            notes.push(Note::ClustersUnused { mode: s.mode });
        }
        return Vec::new();
    }
    let chosen = s.method.clusters.clone().unwrap_or_else(|| {
        let mut all = IMAGES_PER_PROTOTYPE
            .map(|per| (images / per).max(2))
            .to_vec();
        all.dedup();
        all
    });
    let few = chosen.iter().filter(|k| **k <= s.optim.batch);
    notes.extend(few.map(|k| Note::FewClusters {
        k: *k,
        batch: s.optim.batch,
    }));
    chosen
}

fn negatives(
    asked: Option<usize>,
    queue: usize,
    clusters: &[usize],
    notes: &mut Vec<Note>,
) -> usize {
    let largest = clusters.iter().copied().max().unwrap_or(0);
    let Some(asked) = asked else {
        return queue.min(largest);
    };
    let fewer = clusters.iter().filter(|k| **k < asked);
    notes.extend(fewer.map(|k| Note::FewerNegatives { asked, k: *k }));
    asked
}

fn learning_rate(s: &Settings, notes: &mut Vec<Note>) -> f64 {
    let step_images = s.optim.batch * s.optim.accumulate;
    if !s.optim.scale_lr || step_images == 256 {
        return s.optim.lr;
    }
    let lr = s.optim.lr * step_images as f64 / 256.0;
    let millionths = |x: f64| (x * 1e6).round() as u64;
    notes.push(Note::LearningRateScaled {
        from_millionths: millionths(s.optim.lr),
        to_millionths: millionths(lr),
        step_images,
    });
    lr
}

/// What is wrong whatever the images.
fn ranges(s: &Settings) -> Vec<Violation> {
    let mut out = Vec::new();
    let (d, e, m, k, o) = (&s.data, &s.encoder, &s.method, &s.e_step, &s.optim);
    for (key, value, works) in [
        ("method.temperature", m.temperature, 0.2),
        ("eval.knn_temperature", s.eval.knn_temperature, 0.07),
    ] {
        if !(value.is_finite() && value > 0.0) {
            out.push(Violation::Temperature { key, value, works });
        }
    }
    for (key, value, works) in [
        ("method.momentum", m.momentum, 0.999),
        ("optim.momentum", o.momentum, 0.9),
    ] {
        if !(0.0..1.0).contains(&value) {
            out.push(Violation::Momentum { key, value, works });
        }
    }
    if !(o.lr.is_finite() && o.lr > 0.0) {
        out.push(Violation::LearningRate { value: o.lr });
    }
    let [low, high] = k.percentiles;
    if !(0.0 <= low && low <= high && high <= 100.0) {
        out.push(Violation::Percentiles { low, high });
    }
    if !o.milestones.is_sorted_by(|a, b| a < b) {
        out.push(Violation::Milestones {
            milestones: o.milestones.clone(),
        });
    }
    if s.augment.blur == Some(true) && s.augment.recipe.unwrap_or(s.mode.recipe()) == Recipe::V1 {
        out.push(Violation::BlurOfV1);
    }
    if o.batch < 2 {
        out.push(Violation::BatchTooSmall { batch: o.batch });
    } else if e.split_bn == 0 || !o.batch.is_multiple_of(e.split_bn) || o.batch / e.split_bn < 2 {
        out.push(Violation::SplitBn {
            split_bn: e.split_bn,
            batch: o.batch,
        });
    }
    let mut within = |key, value: f64, holds: bool, rule, works| {
        if !holds {
            out.push(Violation::OutOfRange {
                key,
                value,
                rule,
                works,
            });
        }
    };
    let mut count = |key, value: usize, least: usize, most: usize, rule, works: usize| {
        within(
            key,
            value as f64,
            (least..=most).contains(&value),
            rule,
            works as f64,
        );
    };
    const MANY: usize = usize::MAX;
    count(
        "threads",
        s.threads.unwrap_or(1),
        1,
        4096,
        "from 1 to 4096",
        1,
    );
    count(
        "data.workers",
        d.workers.unwrap_or(1),
        1,
        4096,
        "from 1 to 4096",
        1,
    );
    count(
        "data.image_size",
        d.image_size as usize,
        8,
        4096,
        "from 8 to 4096 pixels",
        32,
    );
    count(
        "data.generated_images",
        d.generated_images,
        4,
        u32::MAX as usize,
        "at least 4",
        5000,
    );
    count("encoder.width", e.width, 1, 1024, "from 1 to 1024", 64);
    count("encoder.dim", e.dim, 2, 65_536, "from 2 to 65536", 128);
    count(
        "method.negatives",
        m.negatives.unwrap_or(1),
        1,
        MANY,
        "at least 1",
        1024,
    );
    count("e_step.iterations", k.iterations, 1, MANY, "at least 1", 20);
    count("e_step.restarts", k.restarts, 1, MANY, "at least 1", 5);
    count(
        "e_step.max_points_per_centroid",
        k.max_points_per_centroid,
        1,
        MANY,
        "at least 1",
        1000,
    );
    count("optim.epochs", o.epochs, 1, MANY, "at least 1", 200);
    count("optim.accumulate", o.accumulate, 1, MANY, "at least 1", 1);
    count("eval.knn_k", s.eval.knn_k, 1, MANY, "at least 1", 20);
    count(
        "checkpoint.every_epochs",
        s.checkpoint.every_epochs,
        1,
        MANY,
        "at least 1",
        1,
    );
    count(
        "checkpoint.keep_last",
        s.checkpoint.keep_last,
        1,
        MANY,
        "at least 1",
        2,
    );
    let steps = s.checkpoint.every_steps.unwrap_or(1);
    within(
        "checkpoint.every_steps",
        steps as f64,
        steps > 0,
        "at least 1",
        1000.0,
    );
    let share = |x: f64| x > 0.0 && x < 1.0;
    within(
        "data.held_out",
        d.held_out,
        share(d.held_out),
        "above 0 and below 1",
        0.1,
    );
    within(
        "data.max_unreadable",
        d.max_unreadable,
        (0.0..=1.0).contains(&d.max_unreadable),
        "from 0 to 1",
        0.1,
    );
    let scale = s.augment.min_scale;
    within(
        "augment.min_scale",
        scale,
        scale > 0.0 && scale <= 1.0,
        "above 0 and at most 1",
        0.2,
    );
    within(
        "e_step.smoothing",
        k.smoothing,
        k.smoothing.is_finite() && k.smoothing >= 0.0,
        "finite and at least 0",
        10.0,
    );
    let decay = o.weight_decay;
    within(
        "optim.weight_decay",
        decay,
        decay.is_finite() && decay >= 0.0,
        "finite and at least 0",
        1e-4,
    );
    within(
        "optim.gamma",
        o.gamma,
        o.gamma > 0.0 && o.gamma <= 1.0,
        "above 0 and at most 1",
        0.1,
    );
    out
}

/// What is wrong for this number of images.
fn against_images(s: &Settings, images: usize) -> Vec<Violation> {
    let mut out = Vec::new();
    let (batch, accumulate) = (s.optim.batch, s.optim.accumulate);
    if images < 4 {
        return vec![Violation::TooFewImages { images }];
    }
    if batch > images {
        let suggestion = 1 << images.ilog2();
        out.push(Violation::BatchExceedsImages {
            batch,
            images,
            suggestion,
        });
    } else if batch > 0 && accumulate > images / batch {
        let batches = images / batch;
        out.push(Violation::AccumulateExceedsEpoch {
            accumulate,
            images,
            batch,
            batches,
        });
    }
    if let Some(queue) = s.method.queue
        && batch > 0
        && (queue == 0 || !queue.is_multiple_of(batch))
    {
        out.push(Violation::QueueNotMultiple { queue, batch });
    }
    if let Some(clusters) = &s.method.clusters
        && s.mode.has_prototypes()
    {
        let suggestion = (images / 10).max(2);
        if clusters.is_empty() {
            out.push(Violation::NoClusters {
                mode: s.mode.name(),
            });
        }
        out.extend(clusters.iter().filter_map(|k| match *k {
            k if k < 2 => Some(Violation::TooFewClusters {
                k,
                images,
                suggestion,
            }),
            k if k > images => Some(Violation::TooManyClusters {
                k,
                images,
                suggestion,
            }),
            _ => None,
        }));
    }
    out
}
