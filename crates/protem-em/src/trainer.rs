//! The EM loop: E-step, M-steps, evaluation, checkpoints, epoch after epoch.

use crate::checkpoint::{self, Checkpoint};
use crate::e_step::{ClusteringReport, EStepConfig, e_step};
use crate::error::EmError;
use crate::events::{Evaluated, Event};
use crate::features::{Output, extract, normalise_rows};
use crate::m_step::{Batch, LossConfig, m_step};
use crate::schedule::LearningRate;
use crate::settings::{Plan, Schedule};
use crate::state::{Position, State};
use protem_data::{
    Augment, Evaluation, IMAGENET_MEAN, IMAGENET_STD, Source, StillLoader, ViewBatch, ViewLoader,
    ViewPlan,
};
use protem_encoder::MomentumPair;
use protem_eval::{Features, KnnConfig, effective_rank, knn};
use protem_loss::Queue;
use protem_ops::Activation;
use protem_ops::optim::Sgd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rows that the effective rank is taken of at most.
const RANK_ROWS: usize = 2048;

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
    train: Arc<dyn Source>,
    test: Option<Arc<dyn Source>>,
    checkpoints: PathBuf,
    state: State,
    gradient: Vec<f32>,
    /// kNN of the last epoch that had one.
    knn: Option<f64>,
    /// Mean loss of the last epoch.
    loss: f64,
    /// The last checkpoint.
    saved: PathBuf,
    resumed_from: Option<PathBuf>,
}

impl Trainer {
    /// A new run that will save to the folder `checkpoints`. With labelled `train` and `test`
    /// sources, kNN accuracy is measured.
    ///
    /// # Errors
    /// A queue the batch does not divide; [`Plan::check`] rules it out.
    pub fn new(
        plan: Plan,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
    ) -> Result<Self, EmError> {
        let seed = plan.seed;
        let pair = MomentumPair::new(plan.encoder, seed, plan.momentum as f32);
        let state = State {
            velocity: vec![0.0; pair.query.parameters().len()],
            queue: Queue::new(plan.queue, plan.encoder.dim, plan.optim.batch, seed)?,
            pair,
            clusterings: Vec::new(),
            position: Position::default(),
        };
        Ok(Self::from_state(plan, train, test, checkpoints, state))
    }

    /// A run that goes on from a checkpoint, to the same bits as if it had never stopped.
    ///
    /// # Errors
    /// A checkpoint of another encoder, queue or training set.
    pub fn resume(
        plan: Plan,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
        from: Checkpoint,
    ) -> Result<Self, EmError> {
        let mismatch = |what, found: String, wanted: String| {
            if found == wanted {
                Ok(())
            } else {
                Err(EmError::Mismatch {
                    what,
                    found,
                    wanted,
                })
            }
        };
        mismatch(
            "encoder",
            format!("{:?}", from.encoder_config()),
            format!("{:?}", plan.encoder),
        )?;
        mismatch(
            "image size",
            from.image_size().to_string(),
            plan.image_size.to_string(),
        )?;
        let path = from.path().to_path_buf();
        let state = from.into_state(plan.momentum as f32)?;
        mismatch(
            "queue",
            state.queue.len().to_string(),
            plan.queue.to_string(),
        )?;
        for clustering in &state.clusterings {
            mismatch(
                "number of training images",
                clustering.labels.len().to_string(),
                plan.images.to_string(),
            )?;
        }
        let mut trainer = Self::from_state(plan, train, test, checkpoints, state);
        trainer.saved.clone_from(&path);
        trainer.resumed_from = Some(path);
        Ok(trainer)
    }

    fn from_state(
        plan: Plan,
        train: Arc<dyn Source>,
        test: Option<Arc<dyn Source>>,
        checkpoints: PathBuf,
        state: State,
    ) -> Self {
        let gradient = vec![0.0; state.velocity.len()];
        Self {
            plan,
            train,
            test,
            checkpoints,
            state,
            gradient,
            knn: None,
            loss: f64::NAN,
            saved: PathBuf::new(),
            resumed_from: None,
        }
    }

    /// Encoders, queue, prototypes and position as they stand.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Trains until all epochs are done or `stop` is set, telling `listener` what happens.
    ///
    /// # Errors
    /// Images, a disk or a loss that fail. The last checkpoint stays.
    pub fn run(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Outcome, EmError> {
        let fresh = self.state.position == Position::default();
        let plan = &self.plan;
        listener(&Event::Run {
            step: self.state.position.step,
            resumed_from: self.resumed_from.clone(),
            seed: plan.seed,
            mode: plan.mode.name().to_owned(),
            images: plan.images,
            classes: self.train.classes().len(),
            parameters: self.state.velocity.len(),
            epochs: plan.optim.epochs,
            steps_per_epoch: plan.steps_per_epoch(),
            batch: plan.optim.batch,
            queue: plan.queue,
            clusters: plan.clusters.clone(),
            negatives: plan.negatives,
            chance: plan.chance_loss(),
        });
        for note in &plan.notes {
            listener(&Event::Note {
                text: note.to_string(),
            });
        }
        if fresh {
            self.measure_beginning(listener)?;
        }
        while self.state.position.epoch < self.plan.optim.epochs {
            if let Some(checkpoint) = self.epoch(listener, stop)? {
                return Ok(Outcome::Interrupted { checkpoint });
            }
        }
        listener(&Event::Done {
            step: self.state.position.step,
            epochs: self.state.position.epoch,
            loss: self.loss,
            knn_top1: self.knn,
            checkpoint: self.saved.clone(),
            seconds: self.state.position.seconds,
        });
        Ok(Outcome::Finished)
    }

    /// What is left of the current epoch. A path comes back if it was stopped and saved there.
    fn epoch(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<PathBuf>, EmError> {
        let begun = Instant::now();
        let epoch = self.state.position.epoch;
        let mut reports = Vec::new();
        let clusters = !self.plan.clusters.is_empty() && epoch >= self.plan.warmup_epochs;
        if clusters && self.state.position.batch == 0 {
            reports = self.cluster(listener)?;
        }
        let first = self.state.position.batch;
        let e_step_seconds = begun.elapsed().as_secs_f64();
        let m_step = Instant::now();
        let batches = ViewLoader::new(ViewPlan {
            source: self.train.clone(),
            augment: Augment::new(self.plan.augment),
            seed: self.plan.seed,
            epoch: epoch as u64,
            batch: self.plan.optim.batch,
            start: first,
            workers: self.plan.workers(),
        })?;
        let mut accumulated = Accumulated::new();
        for batch in batches {
            let stepped = self.batch(batch?, &mut accumulated, listener)?;
            let position = self.state.position;
            if !stepped || position.batch == self.plan.batches_per_epoch() {
                continue; // the end of the epoch saves for itself
            }
            let due = self
                .plan
                .settings
                .checkpoint
                .every_steps
                .is_some_and(|n| position.step.is_multiple_of(n));
            let stopping = stop.load(Ordering::Relaxed);
            if due || stopping {
                let path = self.save(begun)?;
                if stopping {
                    return Ok(Some(path));
                }
            }
        }
        let seconds = m_step.elapsed().as_secs_f64();
        let images = (self.state.position.batch - first) * self.plan.optim.batch;
        self.finish_epoch(
            &reports,
            images as f64 / seconds,
            (begun, e_step_seconds),
            listener,
        )?;
        let done = self.state.position.epoch;
        let last = done == self.plan.optim.epochs;
        let stopping = stop.load(Ordering::Relaxed);
        if last || stopping || done.is_multiple_of(self.plan.checkpoint.every_epochs) {
            let path = self.save(begun)?;
            return Ok((stopping && !last).then_some(path));
        }
        Ok(None)
    }

    /// The E-step of this epoch.
    fn cluster(
        &mut self,
        listener: &mut dyn FnMut(&Event),
    ) -> Result<Vec<ClusteringReport>, EmError> {
        let settings = &self.plan;
        let (size, workers, dim) = (
            settings.image_size,
            settings.workers(),
            self.plan.encoder.dim,
        );
        let mut embeddings = extract(
            &self.state.pair.key,
            self.train.clone(),
            size,
            workers,
            Output::Embedding,
        )?;
        normalise_rows(&mut embeddings, dim);
        let found = e_step(
            &e_step_config(&self.plan),
            &embeddings,
            dim,
            settings.seed,
            &self.state.clusterings,
        )?;
        let (clusterings, reports): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.state.clusterings = clusterings;
        for report in &reports {
            listener(&Event::EStep {
                epoch: self.state.position.epoch + 1,
                step: self.state.position.step,
                k: report.k,
                objective: report.objective,
                ami_previous: report.ami_previous,
                empty: report.empty,
                concentration_min: f64::from(report.concentration.0),
                concentration_max: f64::from(report.concentration.1),
                seconds: report.seconds,
            });
        }
        Ok(reports)
    }

    /// One batch; true when it completed an optimizer step.
    fn batch(
        &mut self,
        batch: ViewBatch,
        accumulated: &mut Accumulated,
        listener: &mut dyn FnMut(&Event),
    ) -> Result<bool, EmError> {
        for bad in batch.skipped {
            listener(&Event::Quarantine {
                name: bad.name,
                reason: bad.reason,
            });
        }
        let settings = &self.plan;
        let side = settings.image_size as usize;
        let shape = (batch.indices.len(), side, side);
        if accumulated.batches == 0 {
            self.state.pair.follow();
        }
        let pool = self.state.pair.query.pool().clone();
        let [queries, keys] = batch.views.map(|bytes| {
            Activation::from_images(&pool, &bytes, shape, IMAGENET_MEAN, IMAGENET_STD)
        });
        let loss = LossConfig {
            temperature: self.plan.temperature,
            negatives: self.plan.negatives,
        };
        let stream = (
            settings.seed,
            (self.state.position.epoch * self.plan.batches_per_epoch() + self.state.position.batch)
                as u64,
        );
        let views = Batch {
            indices: &batch.indices,
            queries,
            keys,
        };
        let losses = m_step(
            &mut self.state.pair,
            &mut self.state.queue,
            &self.state.clusterings,
            &loss,
            stream,
            views,
            &mut self.gradient,
        )?;
        let (epoch, step) = (self.state.position.epoch + 1, self.state.position.step + 1);
        if !losses.total().is_finite() {
            return Err(EmError::NotFinite {
                epoch,
                step,
                loss: losses.total(),
            });
        }
        self.state.position.batch += 1;
        self.state.position.sums.instance += f64::from(losses.instance);
        self.state.position.sums.prototype += f64::from(losses.prototype.unwrap_or(0.0));
        accumulated.add(&mut self.gradient);
        if accumulated.batches < settings.optim.accumulate
            && self.state.position.batch < self.plan.batches_per_epoch()
        {
            return Ok(false);
        }
        let lr = learning_rate(&self.plan).at(self.plan.optim.lr, epoch - 1, settings.optim.epochs);
        let sgd = Sgd {
            learning_rate: lr as f32,
            momentum: settings.optim.momentum as f32,
            weight_decay: settings.optim.weight_decay as f32,
        };
        let micro = accumulated.batches;
        accumulated.take_mean(&mut self.gradient);
        sgd.step(
            self.state.pair.query.parameters_mut(),
            &self.gradient,
            &mut self.state.velocity,
        );
        self.state.position.step = step;
        let images = self.plan.optim.batch * micro;
        listener(&Event::Step {
            epoch,
            step,
            loss: f64::from(losses.total()),
            loss_instance: f64::from(losses.instance),
            loss_prototype: losses.prototype.map(f64::from),
            lr,
            images_per_second: images as f64 / accumulated.begun.elapsed().as_secs_f64(),
        });
        accumulated.begun = Instant::now();
        Ok(true)
    }

    fn finish_epoch(
        &mut self,
        reports: &[ClusteringReport],
        images_per_second: f64,
        (begun, e_step_seconds): (Instant, f64),
        listener: &mut dyn FnMut(&Event),
    ) -> Result<(), EmError> {
        let settings = &self.plan;
        let epoch = self.state.position.epoch + 1;
        let due = epoch.is_multiple_of(settings.eval.knn_every) || epoch == settings.optim.epochs;
        let (knn_top1, effective_rank) = if due {
            self.measure()?
        } else {
            (None, self.rank()?)
        };
        self.knn = knn_top1.or(self.knn);
        let sums = std::mem::take(&mut self.state.position.sums);
        let mean = |sum: f64| sum / self.plan.batches_per_epoch() as f64;
        let prototype = (!self.state.clusterings.is_empty()).then(|| mean(sums.prototype));
        let amis: Vec<f64> = reports.iter().filter_map(|r| r.ami_previous).collect();
        self.loss = mean(sums.instance) + prototype.unwrap_or(0.0);
        listener(&Event::Epoch {
            epoch,
            step: self.state.position.step,
            loss: self.loss,
            loss_instance: mean(sums.instance),
            loss_prototype: prototype,
            chance: self.plan.chance_loss(),
            lr: learning_rate(&self.plan).at(self.plan.optim.lr, epoch - 1, self.plan.optim.epochs),
            knn_top1,
            effective_rank: Some(effective_rank),
            ami_previous: (!amis.is_empty()).then(|| amis.iter().sum::<f64>() / amis.len() as f64),
            images_per_second,
            seconds: begun.elapsed().as_secs_f64(),
            e_step_seconds,
        });
        self.state.position.epoch = epoch;
        self.state.position.batch = 0;
        Ok(())
    }

    /// What there is to beat: kNN on raw pixels and on the untrained encoder's features.
    fn measure_beginning(&self, listener: &mut dyn FnMut(&Event)) -> Result<(), EmError> {
        let Some((test, train_labels, test_labels)) = self.labelled() else {
            return Ok(());
        };
        let (train, test) = (self.pixels(self.train.clone())?, self.pixels(test)?);
        let raw = knn(
            &train,
            &train_labels,
            &test,
            &test_labels,
            &self.knn_config(),
        )?
        .top1;
        let untrained = self.measure()?.0;
        let tell = |features, top1: Option<f64>| top1.map(|top1| (features, top1));
        for (features, top1) in [
            tell(Evaluated::RawPixels, Some(raw)),
            tell(Evaluated::Untrained, untrained),
        ]
        .into_iter()
        .flatten()
        {
            listener(&Event::Eval {
                step: 0,
                features,
                protocol: self.protocol(),
                top1,
                chance: 1.0 / self.train.classes().len() as f64,
            });
        }
        Ok(())
    }

    fn protocol(&self) -> String {
        let eval = &self.plan.eval;
        let (train, test) = (self.train.len(), self.test.as_ref().map_or(0, |t| t.len()));
        format!(
            "kNN, k = {}, cosine, temperature {}, {train} training and {test} test images, centre crop of {} pixels",
            eval.knn_k, eval.knn_temperature, self.plan.image_size
        )
    }

    fn knn_config(&self) -> KnnConfig {
        KnnConfig {
            k: self.plan.eval.knn_k,
            temperature: self.plan.eval.knn_temperature,
        }
    }

    /// Centre crops as they are, mean-free by channel.
    fn pixels(&self, source: Arc<dyn Source>) -> Result<Features, EmError> {
        let size = self.plan.image_size;
        let mut values = Vec::new();
        for batch in StillLoader::new(source, Evaluation::for_size(size), 256, self.plan.workers())
        {
            values.extend(
                batch?
                    .images
                    .into_iter()
                    .map(|byte| f32::from(byte) / 255.0 - 0.5),
            );
        }
        Ok(Features::new(values, (size * size * 3) as usize)?)
    }

    /// kNN accuracy, where there are labels, and the effective rank, of the query encoder.
    fn measure(&self) -> Result<(Option<f64>, f64), EmError> {
        let Some((test, train_labels, test_labels)) = self.labelled() else {
            return Ok((None, self.rank()?));
        };
        let (train, test) = (self.features(self.train.clone())?, self.features(test)?);
        let config = self.knn_config();
        let top1 = knn(&train, &train_labels, &test, &test_labels, &config)?.top1;
        Ok((Some(top1), effective_rank(&spread(train, RANK_ROWS)?)?))
    }

    fn rank(&self) -> Result<f64, EmError> {
        let rows = self.train.len();
        let every = rows.div_ceil(RANK_ROWS);
        let some = protem_data::Subset::new(
            self.train.clone(),
            (0..rows as u32).step_by(every).collect(),
        );
        Ok(effective_rank(&self.features(Arc::new(some))?)?)
    }

    fn labelled(&self) -> Option<Labelled> {
        let labels = |source: &dyn Source| {
            (0..source.len())
                .map(|i| source.label(i))
                .collect::<Option<Vec<u32>>>()
        };
        let test = self.test.clone()?;
        Some((test.clone(), labels(&*self.train)?, labels(&*test)?))
    }

    fn features(&self, source: Arc<dyn Source>) -> Result<Features, EmError> {
        let plan = &self.plan;
        let values = extract(
            &self.state.pair.query,
            source,
            plan.image_size,
            plan.workers(),
            Output::Features,
        )?;
        Ok(Features::new(values, self.plan.encoder.feature_dim())?)
    }

    /// Writes a checkpoint and removes those beyond the number to keep.
    fn save(&mut self, begun: Instant) -> Result<PathBuf, EmError> {
        self.state.position.seconds += begun.elapsed().as_secs_f64();
        let path = self
            .checkpoints
            .join(checkpoint::file_name(self.state.position.step));
        checkpoint::save(&path, &self.state, self.plan.image_size)?;
        let files = checkpoint::list(&self.checkpoints)?;
        let spare = files.len().saturating_sub(self.plan.checkpoint.keep_last);
        for old in files.iter().take(spare).filter(|old| **old != path) {
            remove(old)?;
        }
        self.saved = path.clone();
        Ok(path)
    }
}

fn learning_rate(plan: &Plan) -> LearningRate {
    match plan.optim.schedule {
        Schedule::Cosine => LearningRate::Cosine,
        Schedule::Step => LearningRate::Step {
            milestones: plan.optim.milestones.clone(),
            gamma: plan.optim.gamma,
        },
    }
}

fn e_step_config(plan: &Plan) -> EStepConfig {
    EStepConfig {
        clusters: plan.clusters.clone(),
        iterations: plan.e_step.iterations,
        restarts: plan.e_step.restarts,
        max_points_per_centroid: plan.e_step.max_points_per_centroid,
        warm_start: plan.e_step.warm_start,
        temperature: plan.temperature,
        smoothing: plan.e_step.smoothing,
        percentiles: (plan.e_step.percentiles[0], plan.e_step.percentiles[1]),
    }
}

fn remove(path: &Path) -> Result<(), EmError> {
    std::fs::remove_file(path).map_err(|source| EmError::Io {
        action: "remove",
        path: path.to_path_buf(),
        source,
    })
}

/// At most `rows` rows, evenly spread.
fn spread(features: Features, rows: usize) -> Result<Features, EmError> {
    let every = features.rows().div_ceil(rows);
    let values = features
        .values()
        .chunks_exact(features.dim())
        .step_by(every)
        .flatten()
        .copied()
        .collect();
    Ok(Features::new(values, features.dim())?)
}

/// The test images, and the labels of training and test images.
type Labelled = (Arc<dyn Source>, Vec<u32>, Vec<u32>);

/// Gradients of the batches of one step.
struct Accumulated {
    begun: Instant,
    batches: usize,
    sum: Vec<f32>,
}

impl Accumulated {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            batches: 0,
            sum: Vec::new(),
        }
    }

    fn add(&mut self, gradient: &mut [f32]) {
        if self.batches == 0 {
            self.sum.clear();
            self.sum.extend_from_slice(gradient);
        } else {
            self.sum
                .iter_mut()
                .zip(gradient)
                .for_each(|(s, g)| *s += *g);
        }
        self.batches += 1;
    }

    fn take_mean(&mut self, gradient: &mut [f32]) {
        let scale = 1.0 / self.batches as f32;
        gradient
            .iter_mut()
            .zip(&self.sum)
            .for_each(|(g, s)| *g = s * scale);
        self.batches = 0;
    }
}
