//! A classifier trained on images with labels: on a frozen encoder, or together with it.

use crate::cross_entropy::cross_entropy;
use crate::products::columns_by_columns;
use protem_data::{
    Augment, CropConfig, DataError, IMAGENET_MEAN, IMAGENET_STD, InvalidView, Labelling, Share,
    Source, Unreadable, ViewBatch, ViewConfig, ViewLoader, ViewPlan,
};
use protem_encoder::{Encoder, EncoderConfig, EncoderError, Head, optim::Sgd};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trains {
    /// The classifier alone: the encoder is in evaluation mode, and stays as it is.
    Classifier,
    /// Encoder and classifier.
    All,
}

/// Settings of [`finetune`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinetuneConfig {
    /// What is trained.
    pub trains: Trains,
    /// Side of a view in pixels.
    pub image_size: u32,
    /// Least share of an image's area that a crop takes.
    pub min_scale: f64,
    /// Passes over the images.
    pub epochs: usize,
    /// Images of a step, at most all that there are.
    pub batch: usize,
    /// Learning rate of the encoder at the start.
    pub encoder_rate: f64,
    /// Learning rate of the classifier at the start.
    pub classifier_rate: f64,
    /// Momentum of the steps.
    pub momentum: f64,
    /// Weight decay of everything that is trained.
    pub weight_decay: f64,
    /// Epochs at which both rates fall.
    pub milestones: Vec<usize>,
    /// What they are multiplied by there.
    pub gamma: f64,
    /// Seed of order and crops.
    pub seed: u64,
    /// Threads that decode and crop.
    pub workers: usize,
}

impl FinetuneConfig {
    /// The linear protocol of PCL and MoCo on ImageNet, with 100 epochs there and rates of 5 and 30: the
    /// classifier alone on random crops, batch 256, a tenth of the rate behind three and four fifths of the
    /// epochs, no decay.
    pub fn linear(image_size: u32, epochs: usize, rate: f64) -> Self {
        Self {
            trains: Trains::Classifier,
            image_size,
            min_scale: 0.08,
            epochs,
            batch: 256,
            encoder_rate: 0.0,
            classifier_rate: rate,
            momentum: 0.9,
            weight_decay: 0.0,
            milestones: vec![(3 * epochs).div_ceil(5), (4 * epochs).div_ceil(5)],
            gamma: 0.1,
            seed: 0,
            workers: 1,
        }
    }

    /// The semi-supervised protocol of PCL, with 40 epochs and rates of 0.005 there: encoder and
    /// classifier, batch 256, a fifth of the rates behind a half and three quarters of the epochs, no decay.
    pub fn semi_supervised(
        image_size: u32,
        epochs: usize,
        encoder_rate: f64,
        classifier_rate: f64,
    ) -> Self {
        Self {
            trains: Trains::All,
            encoder_rate,
            milestones: vec![epochs.div_ceil(2), (3 * epochs).div_ceil(4)],
            gamma: 0.2,
            ..Self::linear(image_size, epochs, classifier_rate)
        }
    }

    /// Whether anything can be trained so.
    ///
    /// # Errors
    /// No epoch, no image a step, a rate or another number out of its range, views that cannot be.
    pub fn check(&self) -> Result<(), FinetuneError> {
        let rules = [
            ("epochs", self.epochs as f64, 1.0..=1e6),
            ("batch", self.batch as f64, 1.0..=1e6),
            ("encoder rate", self.encoder_rate, 0.0..=1e3),
            ("classifier rate", self.classifier_rate, 0.0..=1e3),
            ("momentum", self.momentum, 0.0..=1.0),
            ("weight decay", self.weight_decay, 0.0..=1e3),
            ("gamma", self.gamma, 0.0..=1.0),
        ];
        for (what, value, allowed) in rules {
            if !allowed.contains(&value) {
                let (least, most) = allowed.into_inner();
                return Err(FinetuneError::Range {
                    what,
                    value,
                    least,
                    most,
                });
            }
        }
        self.check_batch(self.batch)?;
        self.views().map(|_| ()).map_err(FinetuneError::View)
    }

    /// Batch norm has no deviation of one image.
    fn check_batch(&self, batch: usize) -> Result<(), FinetuneError> {
        let least = match self.trains {
            Trains::Classifier => 1,
            Trains::All => 2,
        };
        match batch < least {
            true => Err(FinetuneError::Range {
                what: "batch",
                value: batch as f64,
                least: least as f64,
                most: 1e6,
            }),
            false => Ok(()),
        }
    }

    /// Random crops that are turned over half of the time.
    fn views(&self) -> Result<Augment, InvalidView> {
        Augment::of_parts(ViewConfig {
            crop: CropConfig {
                scale: [self.min_scale, 1.0],
                ..CropConfig::default()
            },
            ..ViewConfig::linear(self.image_size)
        })
    }

    /// What the rates are multiplied by in an epoch, from 0.
    fn falls(&self, epoch: usize) -> f64 {
        let passed = self.milestones.iter().filter(|at| epoch >= **at).count();
        self.gamma.powi(passed as i32)
    }
}

/// Why nothing could be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinetuneError {
    /// A setting out of its range.
    #[error("{what} = {value} must lie between {least} and {most}")]
    Range {
        /// Which.
        what: &'static str,
        /// What it is.
        value: f64,
        /// The least it may be.
        least: f64,
        /// The most.
        most: f64,
    },
    /// Views that cannot be.
    #[error(transparent)]
    View(InvalidView),
    /// Images that do not have one class each.
    #[error("{images} have not one class each")]
    Classes {
        /// What they are.
        images: String,
    },
    /// Images could not be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// More classes than a classifier can have.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A value that is not a finite number.
    #[error("the {what} became {value} in epoch {epoch}")]
    NotFinite {
        /// Which: the loss, the weights.
        what: &'static str,
        /// Epoch, from 1.
        epoch: usize,
        /// The first such value.
        value: f64,
    },
}

/// What came of [`finetune`].
#[derive(Debug, Clone)]
pub struct Finetuned {
    /// The encoder with the classifier for a head: its embedding of an image is a score for each class.
    pub encoder: Encoder,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Images of a step.
    pub batch: usize,
    /// Images that could not be read, each once.
    pub unreadable: Vec<Unreadable>,
}

/// Trains a classifier of `train`'s classes on what `encoder` has before its head, by SGD on random
/// crops with cross-entropy; with the encoder or without ([`Trains`]). The classifier begins at zero.
/// Of an epoch the images behind the last whole batch are left out. The same bits on any number of
/// threads. `progress` is told batches done and in all, and answers whether to go on; nothing comes back if
/// not.
///
/// # Errors
/// What [`FinetuneConfig::check`] refuses; images without one class each; images that cannot be had; a
/// loss or weights that are not finite.
pub fn finetune(
    encoder: &Encoder,
    train: &Arc<dyn Source>,
    config: &FinetuneConfig,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Finetuned>, FinetuneError> {
    config.check()?;
    if train.labelling() != Labelling::One {
        return Err(FinetuneError::Classes {
            images: train.describe(),
        });
    }
    let batch = config.batch.min(train.len());
    config.check_batch(batch)?;
    let mut training = Training::new(encoder, train.classes().len(), config)?;
    let mut unreadable: Vec<Unreadable> = Vec::new();
    let (of_epoch, mut loss) = (train.len() / batch.max(1), 0.0);
    for epoch in 0..config.epochs {
        let batches = ViewLoader::<1>::new(ViewPlan {
            source: train.clone(),
            augment: config.views().map_err(FinetuneError::View)?,
            seed: config.seed,
            epoch: epoch as u64,
            batch,
            share: Share::ALL,
            start: 0,
            workers: config.workers,
        })?;
        loss = 0.0;
        for (done, views) in batches.enumerate() {
            let views = views?;
            loss += training.step(&views, &**train, config, epoch);
            for bad in views.skipped {
                if !unreadable.contains(&bad) {
                    unreadable.push(bad);
                }
            }
            finite("loss", epoch, loss)?;
            if !progress(epoch * of_epoch + done + 1, config.epochs * of_epoch) {
                return Ok(None);
            }
        }
        loss /= of_epoch as f64;
        // What the last step made of them, no loss has seen.
        for tensor in training.encoder.tensors() {
            for value in tensor.values {
                finite("weights", epoch, f64::from(*value))?;
            }
        }
    }
    Ok(Some(Finetuned {
        encoder: training.encoder,
        loss,
        batch,
        unreadable,
    }))
}

fn finite(what: &'static str, epoch: usize, value: f64) -> Result<(), FinetuneError> {
    let epoch = epoch + 1;
    match value.is_finite() {
        true => Ok(()),
        false => Err(FinetuneError::NotFinite { what, epoch, value }),
    }
}

/// An encoder whose head is the classifier, and what its steps need.
struct Training {
    encoder: Encoder,
    classes: usize,
    /// Where the classifier lies among the encoder's parameters: behind all others.
    classifier: Range<usize>,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
}

impl Training {
    fn new(of: &Encoder, classes: usize, config: &FinetuneConfig) -> Result<Self, FinetuneError> {
        let structure = EncoderConfig {
            head: Head::V1,
            dim: classes,
            split_bn: 1,
            ..*of.config()
        };
        structure.check()?;
        let mut encoder = Encoder::new(structure, 0).with_precision(of.precision());
        let given: HashMap<&str, &[f32]> = of.tensors().map(|t| (t.name, t.values)).collect();
        let count = classes * (structure.feature_dim() + 1);
        let zeros = vec![0.0; count];
        encoder.load(|name| match name {
            "fc.weight" => Some(Cow::Borrowed(&zeros[classes..])),
            "fc.bias" => Some(Cow::Borrowed(&zeros[..classes])),
            _ => given.get(name).map(|values| Cow::Borrowed(*values)),
        })?;
        let all = encoder.parameters().len();
        let trained = match config.trains {
            Trains::Classifier => count,
            Trains::All => all,
        };
        Ok(Self {
            encoder,
            classes,
            classifier: all - count..all,
            gradient: vec![0.0; trained],
            velocity: vec![0.0; trained],
        })
    }

    /// One step; the loss before it.
    fn step(
        &mut self,
        batch: &ViewBatch<1>,
        train: &dyn Source,
        config: &FinetuneConfig,
        epoch: usize,
    ) -> f64 {
        let side = config.image_size as usize;
        let shape = (batch.indices.len(), side, side);
        let [bytes] = &batch.views;
        let images = self
            .encoder
            .images(bytes, shape, IMAGENET_MEAN, IMAGENET_STD);
        let label = |i: &u32| train.label(*i as usize).expect("one each") as usize;
        let targets: Vec<usize> = batch.indices.iter().map(label).collect();
        let falls = config.falls(epoch);
        let classifier_rate = config.classifier_rate * falls;
        match config.trains {
            Trains::Classifier => {
                let features = self.encoder.features(images);
                let mut scores = self.encoder.project(&features);
                let loss = mean_cross_entropy(&mut scores, self.classes, &targets);
                self.of_classifier(&features, &scores);
                self.descend(config, self.classifier.clone(), 0, classifier_rate);
                loss
            }
            Trains::All => {
                let (mut scores, tape) = self.encoder.forward_train(images);
                let loss = mean_cross_entropy(&mut scores, self.classes, &targets);
                self.encoder.backward(tape, &scores, &mut self.gradient);
                let (before, behind) = (self.classifier.start, self.classifier.clone());
                self.descend(config, 0..before, 0, config.encoder_rate * falls);
                self.descend(config, behind, before, classifier_rate);
                loss
            }
        }
    }

    /// The classifier's gradient from the scores'.
    fn of_classifier(&mut self, features: &[f32], scores: &[f32]) {
        let (classes, dim) = (self.classes, self.encoder.config().feature_dim());
        let (weight, bias) = self.gradient.split_at_mut(classes * dim);
        columns_by_columns(scores, classes, features, dim, weight);
        bias.fill(0.0);
        for row in scores.chunks_exact(classes) {
            bias.iter_mut().zip(row).for_each(|(b, s)| *b += s);
        }
    }

    /// A step of some parameters, whose gradient begins at `from`.
    fn descend(&mut self, config: &FinetuneConfig, which: Range<usize>, from: usize, rate: f64) {
        let own = from..from + which.len();
        Sgd {
            learning_rate: rate as f32,
            momentum: config.momentum as f32,
            weight_decay: config.weight_decay as f32,
        }
        .step(
            &mut self.encoder.parameters_mut()[which],
            &self.gradient[own.clone()],
            &mut self.velocity[own],
        );
    }
}

/// Mean cross-entropy of rows of scores, over which its derivatives are written.
fn mean_cross_entropy(scores: &mut [f32], classes: usize, targets: &[usize]) -> f64 {
    let images = targets.len() as f64;
    let (mut loss, mut row) = (0.0, vec![0.0; classes]);
    for (scores, target) in scores.chunks_exact_mut(classes).zip(targets) {
        row.iter_mut()
            .zip(&*scores)
            .for_each(|(r, s)| *r = f64::from(*s));
        loss += cross_entropy(&mut row, *target);
        scores
            .iter_mut()
            .zip(&row)
            .for_each(|(s, r)| *s = (r / images) as f32);
    }
    loss / images
}

/// Share of rows whose class is among the `k` of the highest scores; of equal scores the lowest class
/// counts as higher. A row whose class has no number for a score is none of them.
///
/// # Panics
/// If there is not a label for each row of `classes` scores, or no row.
pub fn top_k(scores: &[f32], classes: usize, labels: &[u32], k: usize) -> f64 {
    assert_eq!(
        scores.len(),
        classes * labels.len(),
        "scores of all classes"
    );
    assert!(!labels.is_empty(), "rows");
    let rows = scores.chunks_exact(classes).zip(labels);
    let found = rows.filter(|(row, label)| {
        let label = **label as usize;
        let before = |(class, score): (usize, &f32)| {
            *score > row[label] || (*score == row[label] && class < label)
        };
        !row[label].is_nan() && row.iter().enumerate().filter(|each| before(*each)).count() < k
    });
    found.count() as f64 / labels.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_of_the_mean_are_differences() {
        let scores: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32 / 2.0 - 1.0).collect();
        let targets = [2, 0, 3];
        let mut derivatives = scores.clone();
        mean_cross_entropy(&mut derivatives, 4, &targets);
        for i in 0..scores.len() {
            let at = |step: f32| {
                let mut there = scores.clone();
                there[i] += step;
                mean_cross_entropy(&mut there, 4, &targets)
            };
            let difference = (at(0.01) - at(-0.01)) / 0.02;
            let found = f64::from(derivatives[i]);
            assert!((found - difference).abs() < 1e-4, "{i}: {derivatives:?}");
        }
    }

    #[test]
    fn rates_fall_behind_their_milestones() {
        let config = FinetuneConfig::linear(32, 100, 5.0);
        assert_eq!(config.milestones, [60, 80]);
        let falls = [0, 59, 60, 80, 99].map(|epoch| config.falls(epoch));
        for (falls, expected) in falls.iter().zip([1.0, 1.0, 0.1, 0.01, 0.01]) {
            assert!((falls - expected).abs() < 1e-12, "{falls}");
        }
        // However few epochs there are, the first is at the whole rate.
        assert_eq!(FinetuneConfig::linear(32, 1, 5.0).milestones, [1, 1]);
        let config = FinetuneConfig::semi_supervised(32, 40, 0.005, 0.1);
        assert_eq!(
            (config.milestones.as_slice(), config.gamma),
            (&[20, 30][..], 0.2)
        );
    }
}
