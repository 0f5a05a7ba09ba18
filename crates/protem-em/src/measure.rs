//! What an encoder is worth while it trains: kNN accuracy and effective rank.

use crate::error::EmError;
use crate::events::{Phase, Set};
use crate::features::{Output, extract_among};
use crate::settings::Plan;
use protem_comm::Ranks;
use protem_data::{Evaluation, Source, StillLoader, Subset, Unreadable};
use protem_encoder::Encoder;
use protem_eval::{Features, KnnConfig, effective_rank, knn};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows that the effective rank is taken of at most.
pub(crate) const RANK_ROWS: usize = 2048;
/// Pixels that kNN on raw images may hold, as 32-bit floats: a quarter of a gigabyte. It tells
/// what there is to beat, and is not worth more.
const RAW_VALUES: usize = 1 << 26;

/// Values that kNN on raw images holds, unless that is too many.
pub(crate) fn raw_values(plan: &Plan, test_images: usize) -> Option<usize> {
    let per_image = plan.image_size as usize * plan.image_size as usize * 3;
    let values = (plan.images + test_images).checked_mul(per_image);
    values.filter(|values| test_images > 0 && *values <= RAW_VALUES)
}

/// The sets of a run, and how they are measured.
pub(crate) struct Measure<'a> {
    pub plan: &'a Plan,
    pub train: &'a Arc<dyn Source>,
    pub test: Option<&'a Arc<dyn Source>>,
    /// Those who embed the images between them; rank 0 alone compares.
    pub ranks: &'a mut Ranks,
    /// Told what is under way, the number of images done and of all; answers whether to go on.
    pub progress: &'a mut dyn FnMut(Phase, usize, usize) -> bool,
    /// Images that could not be read on the way.
    pub unreadable: Vec<(Set, Vec<Unreadable>)>,
}

/// Features, if there is an image, and its label if there are labels.
type Labelled = (Option<Features>, Vec<u32>);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub knn_top1: Option<f64>,
    pub effective_rank: Option<f64>,
}

impl Measure<'_> {
    /// How kNN is measured, in words.
    pub fn protocol(&self) -> String {
        let (train, test) = (self.train.len(), self.test.map_or(0, |t| t.len()));
        self.plan.eval.protocol(train, test, self.plan.image_size)
    }

    /// Whether kNN can be measured: both sets have labels.
    pub fn has_labels(&self) -> bool {
        let all = |s: &dyn Source| !s.is_empty() && (0..s.len()).all(|i| s.label(i).is_some());
        self.test.is_some_and(|test| all(&**test)) && all(&**self.train)
    }

    /// kNN accuracy if `with_knn` and there are labels, and effective rank. Nothing if stopped.
    pub fn encoder(
        &mut self,
        encoder: &Encoder,
        with_knn: bool,
    ) -> Result<Option<Measured>, EmError> {
        let test = self.test.filter(|_| with_knn && self.has_labels());
        let rows = self.train.len();
        let Some(test) = test else {
            let every = rows.div_ceil(RANK_ROWS);
            let some = Subset::new(
                self.train.clone(),
                (0..rows as u32).step_by(every).collect(),
            );
            let done = (0, rows.div_ceil(every));
            let some = self.features(encoder, Arc::new(some), Set::Training, done)?;
            return Ok(some.map(|(features, _)| Measured {
                knn_top1: None,
                effective_rank: features.and_then(rank),
            }));
        };
        let all = rows + test.len();
        let train = self.features(encoder, self.train.clone(), Set::Training, (0, all))?;
        let Some((train, train_labels)) = train else {
            return Ok(None);
        };
        let test = self.features(encoder, test.clone(), Set::Test, (rows, all))?;
        let Some((test, test_labels)) = test else {
            return Ok(None);
        };
        let (Some(train), Some(test)) = (train, test) else {
            return Ok(Some(Measured::default())); // no image left to measure on
        };
        let effective_rank = rank(spread(&train));
        let first = self.ranks.is_first();
        let knn = first.then(|| self.knn((train, &train_labels), (test, &test_labels)));
        let top1 = self.ranks.broadcast_data(0, knn.transpose()?)?;
        Ok(top1.map(|top1| Measured {
            knn_top1: Some(top1),
            effective_rank,
        }))
    }

    /// kNN accuracy of the centre crops' pixels, unless there are too many to hold. Nothing if
    /// stopped.
    pub fn raw_pixels(&mut self) -> Result<Option<Measured>, EmError> {
        let first = self.ranks.is_first();
        let own = first.then(|| self.raw_pixels_here()).transpose()?;
        Ok(self.ranks.broadcast_data(0, own)?)
    }

    fn raw_pixels_here(&mut self) -> Result<Option<Measured>, EmError> {
        let Some(test) = self.test else {
            return Ok(Some(Measured::default()));
        };
        if raw_values(self.plan, test.len()).is_none() {
            return Ok(Some(Measured::default()));
        }
        let all = self.train.len() + test.len();
        let Some((train, train_labels)) = self.pixels(self.train, (0, all))? else {
            return Ok(None);
        };
        let Some((test, test_labels)) = self.pixels(test, (self.train.len(), all))? else {
            return Ok(None);
        };
        let (Some(train), Some(test)) = (train, test) else {
            return Ok(Some(Measured::default())); // no image left to measure on
        };
        let top1 = self.knn((train, &train_labels), (test, &test_labels))?;
        Ok(top1.map(|top1| Measured {
            knn_top1: Some(top1),
            effective_rank: None,
        }))
    }

    /// kNN accuracy. Nothing if stopped.
    fn knn(
        &mut self,
        (train, train_labels): (Features, &[u32]),
        (test, test_labels): (Features, &[u32]),
    ) -> Result<Option<f64>, EmError> {
        let config = KnnConfig {
            k: self.plan.eval.knn_k,
            temperature: self.plan.eval.knn_temperature,
        };
        let rows = test.rows();
        let mut progress = |done| (self.progress)(Phase::Comparing, done, rows);
        let found = knn(
            train,
            train_labels,
            test,
            test_labels,
            &config,
            &mut progress,
        )?;
        Ok(found.map(|found| found.top1))
    }

    /// Centre crops as they are, without mean. `done` and `all` count images for the progress.
    /// Nothing if stopped.
    fn pixels(
        &mut self,
        source: &Arc<dyn Source>,
        (done, all): (usize, usize),
    ) -> Result<Option<Labelled>, EmError> {
        let size = self.plan.image_size;
        let (crop, workers) = (Evaluation::for_size(size), self.plan.workers());
        let per_image = (size * size * 3) as usize;
        let mut values = Vec::with_capacity(source.len() * per_image);
        let (mut labels, mut images) = (Vec::new(), 0);
        for batch in StillLoader::new(source.clone(), crop, 256, workers) {
            let rows = batch
                .indices
                .iter()
                .zip(batch.images.chunks_exact(per_image));
            for (index, pixels) in rows {
                let unreadable = batch.unreadable.iter().any(|bad| bad.index == *index);
                if let Some(label) = source.label(*index as usize).filter(|_| !unreadable) {
                    values.extend(pixels.iter().map(|byte| f32::from(*byte) / 255.0 - 0.5));
                    labels.push(label);
                }
            }
            images += batch.indices.len();
            if !(self.progress)(Phase::Measuring, done + images, all) {
                return Ok(None);
            }
        }
        let features = match values.is_empty() {
            true => None,
            false => Some(Features::new(values, per_image)?),
        };
        Ok(Some((features, labels)))
    }

    /// Features of the readable images (none if there is none), and their labels. `done` and `all`
    /// count images for the progress. Nothing if stopped.
    fn features(
        &mut self,
        encoder: &Encoder,
        source: Arc<dyn Source>,
        set: Set,
        (done, all): (usize, usize),
    ) -> Result<Option<Labelled>, EmError> {
        let (size, workers) = (self.plan.image_size, self.plan.workers());
        let mut progress = |images| (self.progress)(Phase::Measuring, done + images, all);
        let extracted = extract_among(
            self.ranks,
            encoder,
            &source,
            (size, workers),
            Output::Features,
            &mut progress,
        )?;
        let Some(extracted) = extracted else {
            return Ok(None);
        };
        self.unreadable.push((set, extracted.unreadable.clone()));
        let dim = encoder.config().feature_dim();
        let (values, kept) = extracted.readable(dim);
        let labels = kept.iter().filter_map(|i| source.label(*i as usize));
        let labels = labels.collect();
        let features = if values.is_empty() {
            None
        } else {
            Some(Features::new(values, dim)?)
        };
        Ok(Some((features, labels)))
    }
}

/// None where the eigenvalues do not converge: that is no reason to end a run.
fn rank(features: Features) -> Option<f64> {
    effective_rank(&features)
        .inspect_err(|error| tracing::warn!(%error, "no effective rank"))
        .ok()
}

/// At most [`RANK_ROWS`] rows, evenly spread.
fn spread(features: &Features) -> Features {
    let every = features.rows().div_ceil(RANK_ROWS);
    let rows = features.values().chunks_exact(features.dim());
    let values = rows.step_by(every).flatten().copied().collect();
    Features::new(values, features.dim()).expect("some of finite rows")
}
