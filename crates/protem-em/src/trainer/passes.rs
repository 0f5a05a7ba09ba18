//! The two passes of an epoch over the images: E-step and M-steps.

use super::together::Clustered;
use super::{Trainer, tell_phase};
use crate::accumulate::Accumulated;
use crate::e_step::{Embeddings, cluster};
use crate::error::EmError;
use crate::events::{Event, Phase, Set};
use crate::features::{Output, extract_among, normalise_rows};
use crate::m_step::{Batch, LossConfig, Losses, m_step, shuffled_rows, taken};
use crate::settings::Optimizer;
use protem_data::{IMAGENET_MEAN, IMAGENET_STD, Share, ViewBatch, ViewLoader, ViewPlan};
use protem_ops::optim::{Lars, Sgd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Length of a LARS step over that of its tensor, the value self-supervised training uses.
const TRUST: f32 = 1e-3;

/// Embeddings, row by row, and the images they are of.
type Embedded = (Vec<f32>, Vec<u32>);

impl Trainer {
    /// The E-step of this epoch; false if it was stopped, and then nothing has changed.
    pub(crate) fn e_step(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<bool, EmError> {
        let begun = Instant::now();
        let epoch = self.state.position.epoch + 1;
        let span = tracing::debug_span!("e_step", epoch);
        let _entered = span.enter();
        let Some((embeddings, readable)) = self.embeddings(epoch, listener, stop)? else {
            return Ok(false);
        };
        tracing::debug!(
            images = readable.len(),
            seconds = begun.elapsed().as_secs_f64(),
            "embedded"
        );
        let of = Embeddings {
            rows: &embeddings,
            dim: self.plan.encoder.dim,
            images: &readable,
            of: self.plan.images,
        };
        let own = self.own_clusterings(&of, epoch, listener, stop)?;
        let Some(all) = self.all_clusterings(own)? else {
            return Ok(false);
        };
        let (clusterings, reports): (_, Vec<_>) = all.into_iter().unzip();
        self.state.clusterings = clusterings;
        self.state.position.clustered = Some(self.state.position.epoch);
        let amis: Vec<f64> = reports.iter().filter_map(|r| r.ami_previous).collect();
        let mean = amis.iter().sum::<f64>() / amis.len() as f64;
        self.state.position.ami_previous = (!amis.is_empty()).then_some(mean);
        self.state.clock.e_step = begun.elapsed().as_secs_f64();
        for report in &reports {
            listener(&report.event(epoch, self.state.position.step));
        }
        Ok(true)
    }

    /// This rank's clusterings, every so manyth; nothing if it was stopped.
    fn own_clusterings(
        &self,
        of: &Embeddings<'_>,
        epoch: usize,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Clustered>>, EmError> {
        let clusters = &self.plan.clusters;
        let count = clusters.len();
        let mut own = Vec::new();
        for i in (self.ranks.rank()..count).step_by(self.ranks.world()) {
            if !tell_phase(listener, stop, epoch, Phase::Clustering, (i, count)) {
                return Ok(None);
            }
            let previous = self.state.clusterings.get(i);
            let clustered = cluster(&self.plan, (i, clusters[i]), of, previous, stop)?;
            let Some(clustered) = clustered else {
                return Ok(None);
            };
            own.push(clustered);
        }
        Ok(Some(own))
    }

    /// The key encoder's embeddings of the images to cluster, of length 1, and which those are; nothing if
    /// it was stopped.
    fn embeddings(
        &mut self,
        epoch: usize,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<Embedded>, EmError> {
        let (images, dim) = (self.plan.images, self.plan.encoder.dim);
        let extracted = extract_among(
            &mut self.ranks,
            &self.state.pair.key,
            &self.train,
            (self.plan.image_size, self.plan.workers()),
            Output::Embedding,
            &mut |done| tell_phase(listener, stop, epoch, Phase::Embedding, (done, images)),
        )?;
        let Some(extracted) = extracted else {
            return Ok(None);
        };
        // Too many end the run before the clusterings, which may take hours.
        self.quarantine
            .add(Set::Training, extracted.unreadable.clone(), listener)?;
        let unreadable = extracted.unreadable.len();
        let largest = self.plan.clusters.iter().max().copied().unwrap_or(0);
        let (mut embeddings, readable) = match images - unreadable < largest {
            // Rather than end a run: those of black images are clusters that no batch meets.
            true => (extracted.values, (0..images as u32).collect()),
            false => extracted.readable(dim),
        };
        self.all_finite("embedding", &embeddings)?;
        normalise_rows(&mut embeddings, dim);
        Ok(Some((embeddings, readable)))
    }

    /// The batches left of this epoch. A path comes back if it was stopped and saved there.
    pub(super) fn m_steps(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<PathBuf>, EmError> {
        let batches = ViewLoader::<2>::new(ViewPlan {
            source: self.train.clone(),
            augment: self.plan.augment.clone(),
            seed: self.plan.seed,
            epoch: self.state.position.epoch as u64,
            batch: self.plan.rows(),
            share: Share {
                rank: self.ranks.rank(),
                world: self.ranks.world(),
            },
            start: self.state.position.batch,
            workers: self.plan.workers(),
        })?;
        let of = self.plan.batches_per_epoch();
        let mut accumulated = Accumulated::new(self.gradient.len());
        let mut lap = Instant::now();
        for batch in batches {
            self.state.clock.waited += lap.elapsed().as_secs_f64();
            let stepped = self.batch(batch?, &mut accumulated, listener)?;
            self.state.clock.m_step += lap.elapsed().as_secs_f64();
            let position = self.state.position;
            if stepped && position.batch < of {
                let stopping = self.any(stop.load(Ordering::Relaxed))?;
                if self.due_between_epochs() || stopping {
                    let path = self.save(listener)?;
                    if stopping {
                        return Ok(Some(path));
                    }
                }
            }
            lap = Instant::now(); // saving is no M-step
        }
        match self.state.position.batch {
            done if done == of => Ok(None),
            done => Err(EmError::LoaderStopped { done, of }),
        }
    }

    /// One batch; true when it completed an optimizer step.
    pub(crate) fn batch(
        &mut self,
        batch: ViewBatch,
        accumulated: &mut Accumulated,
        listener: &mut dyn FnMut(&Event),
    ) -> Result<bool, EmError> {
        let (indices, skipped) = self.whole_batch(batch.indices, batch.skipped)?;
        self.quarantine.add(Set::Training, skipped, listener)?;
        self.between_steps = false;
        if accumulated.batches() == 0 {
            self.state.pair.follow();
        }
        let of = self.plan.batches_per_epoch();
        let losses = self.losses(&indices, batch.views, of)?;
        if !losses.total().is_finite() {
            return Err(self.not_finite("loss", self.state.position.step + 1, losses.total()));
        }
        let position = &mut self.state.position;
        position.batch += 1;
        position.sums.instance += f64::from(losses.instance);
        position.sums.prototype += f64::from(losses.prototype.unwrap_or(0.0));
        let last = position.batch == of;
        accumulated.add(&mut self.gradient, losses);
        if accumulated.batches() < self.plan.optim.accumulate && !last {
            return Ok(false);
        }
        self.optimizer_step(accumulated, listener)?;
        Ok(true)
    }

    /// A batch's losses, and the gradient of this rank's part.
    fn losses(
        &mut self,
        indices: &[u32],
        [queries, mut keys]: [Vec<u8>; 2],
        batches: usize,
    ) -> Result<Losses, EmError> {
        let side = self.plan.image_size as usize;
        let part = self.ranks.share(indices.len());
        let shape = (part.len(), side, side);
        let position = &self.state.position;
        let batch = position.epoch * batches + position.batch;
        let stream = (self.plan.seed, batch as u64);
        let order = self.plan.settings.encoder.shuffle_bn;
        let order = order.then(|| shuffled_rows(indices.len(), stream));
        if let Some(order) = &order {
            let all = self.ranks.gather_values(&keys)?;
            keys = taken(&all, 3 * side * side, &order[part]);
        }
        let encoder = &self.state.pair.query;
        let [queries, keys] =
            [queries, keys].map(|bytes| encoder.images(&bytes, shape, IMAGENET_MEAN, IMAGENET_STD));
        let views = Batch {
            indices,
            queries,
            keys,
            key_rows: order.as_deref(),
            ranks: &mut self.ranks,
        };
        let loss = LossConfig {
            temperature: self.plan.temperature,
            negatives: self.plan.negatives,
        };
        let own = m_step(
            &mut self.state.pair,
            &mut self.state.queue,
            &self.state.clusterings,
            &loss,
            stream,
            views,
            &mut self.gradient,
        )?;
        self.mean_losses(own)
    }

    fn descend(&mut self, learning_rate: f32) {
        let optim = &self.plan.optim;
        let (momentum, weight_decay) = (optim.momentum as f32, optim.weight_decay as f32);
        let (gradient, velocity) = (&self.gradient, &mut self.state.velocity);
        let encoder = &mut self.state.pair.query;
        match optim.optimizer {
            Optimizer::Sgd => Sgd {
                learning_rate,
                momentum,
                weight_decay,
            }
            .step(encoder.parameters_mut(), gradient, velocity),
            Optimizer::Lars => {
                let places = encoder.places();
                Lars {
                    learning_rate,
                    momentum,
                    weight_decay,
                    trust: TRUST,
                }
                .step(encoder.parameters_mut(), gradient, velocity, &places);
            }
        }
    }

    fn optimizer_step(
        &mut self,
        accumulated: &mut Accumulated,
        listener: &mut dyn FnMut(&Event),
    ) -> Result<(), EmError> {
        let mean = accumulated.take(&mut self.gradient);
        self.mean_gradient()?;
        let lr = self.learning_rate();
        self.descend(lr as f32);
        self.state.position.step += 1;
        // Before anything is saved: a state that cannot go on must not replace one that can.
        self.all_finite("weights", self.state.pair.query.parameters())?;
        self.between_steps = true;
        let images = self.plan.optim.batch * mean.batches;
        listener(&Event::Step {
            epoch: self.state.position.epoch + 1,
            step: self.state.position.step,
            loss: mean.instance + mean.prototype.unwrap_or(0.0),
            loss_instance: mean.instance,
            loss_prototype: mean.prototype,
            lr,
            images_per_second: images as f64 / mean.seconds,
        });
        Ok(())
    }
}
