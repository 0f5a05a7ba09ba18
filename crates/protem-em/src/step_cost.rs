//! Work to be timed: a training step of one encoder, a whole step of the method, features.

use crate::accumulate::Accumulated;
use crate::error::EmError;
use crate::estimate::random_clusterings;
use crate::events::Event;
use crate::settings::Plan;
use crate::trainer::Trainer;
use candle_core::{Device, Tensor, Var};
use protem_data::{
    Generated, GeneratedSpec, IMAGENET_MEAN, IMAGENET_STD, Source, Split, ViewBatch,
};
use protem_encoder::{Encoder, EncoderConfig};
use protem_ops::{Activation, Precision, optim::Sgd};
use std::path::PathBuf;
use std::sync::Arc;

/// Arbitrary bytes, the same each time.
fn pixels(count: usize, seed: usize) -> Vec<u8> {
    let hash = |i: usize| i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13;
    (0..count).map(|i| hash(i) as u8).collect()
}

/// Supervised training of one encoder on random images: forward, cross-entropy of the embedding as
/// logits against random targets, backward and SGD. What other frameworks can be timed with.
pub struct EncoderStep {
    encoder: Encoder,
    bytes: Vec<u8>,
    shape: (usize, usize, usize),
    targets: Tensor,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
}

impl EncoderStep {
    /// Of `batch` images of `side` × `side` pixels.
    ///
    /// # Errors
    /// Whatever candle refuses.
    pub fn new(
        config: EncoderConfig,
        precision: Precision,
        batch: usize,
        side: usize,
    ) -> Result<Self, EmError> {
        let encoder = Encoder::new(config, 0).with_precision(precision);
        let classes = config.dim;
        let targets = (0..batch).map(|i| (i * 31 % classes) as u32).collect();
        let len = encoder.parameters().len();
        Ok(Self {
            encoder,
            bytes: pixels(batch * side * side * 3, 0),
            shape: (batch, side, side),
            targets: Tensor::from_vec(targets, (batch, 1), &Device::Cpu)?,
            gradient: vec![0.0; len],
            velocity: vec![0.0; len],
        })
    }

    /// One step; its loss.
    ///
    /// # Errors
    /// Whatever candle refuses.
    pub fn step(&mut self) -> Result<f32, EmError> {
        let (logits, tape) = self.encoder.forward_train(self.images());
        let size = (self.shape.0, self.encoder.config().dim);
        let logits = Var::from_vec(logits, size, &Device::Cpu)?;
        let of_target = logits.gather(&self.targets, 1)?.squeeze(1)?;
        let loss = (logits.log_sum_exp(1)? - of_target)?.mean_all()?;
        let grads = loss.backward()?;
        let of_logits = grads.get(&logits).ok_or(EmError::NoGradient)?;
        let of_logits = of_logits.flatten_all()?.to_vec1::<f32>()?;
        self.encoder.backward(tape, &of_logits, &mut self.gradient);
        let sgd = Sgd {
            learning_rate: 0.03,
            momentum: 0.9,
            weight_decay: 1e-4,
        };
        let parameters = self.encoder.parameters_mut();
        sgd.step(parameters, &self.gradient, &mut self.velocity);
        Ok(loss.to_scalar()?)
    }

    /// Features of the same images in evaluation mode, `batch × feature_dim`.
    pub fn features(&self) -> Vec<f32> {
        self.encoder.features(self.images())
    }

    fn images(&self) -> Activation {
        let (mean, std) = (IMAGENET_MEAN, IMAGENET_STD);
        self.encoder.images(&self.bytes, self.shape, mean, std)
    }
}

/// Whole steps of a plan: the trainer's own, with everything but the loading of images. There are
/// clusterings from the first step on, of arbitrary images.
pub struct PlanStep {
    trainer: Trainer,
    accumulated: Accumulated,
    views: [Vec<u8>; 2],
    indices: Vec<u32>,
}

impl PlanStep {
    /// Steps on random pixels.
    ///
    /// # Errors
    /// A queue the batch does not divide; [`Plan::check`] rules it out.
    pub fn new(plan: Plan) -> Result<Self, EmError> {
        let (batch, side) = (plan.optim.batch, plan.image_size as usize);
        let source = Generated::new(GeneratedSpec {
            seed: 0,
            images: plan.images,
            size: plan.image_size,
            split: Split::Train,
        });
        let views = [1, 2].map(|seed| pixels(batch * side * side * 3, seed));
        let clusterings = random_clusterings(&plan)?;
        let mut bench = Self::on(plan, Arc::new(source))?;
        bench.trainer.set_clusterings(clusterings);
        bench.views = views;
        bench.indices = (0..batch as u32).collect();
        Ok(bench)
    }

    fn on(plan: Plan, source: Arc<dyn Source>) -> Result<Self, EmError> {
        let trainer = Trainer::new(plan, source, None, PathBuf::new())?;
        Ok(Self {
            accumulated: Accumulated::new(trainer.state().velocity.len()),
            trainer,
            views: Default::default(),
            indices: Vec::new(),
        })
    }

    /// One batch, and with it an optimizer step unless the plan accumulates; the step's loss.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn step(&mut self) -> Result<Option<f64>, EmError> {
        self.step_on(ViewBatch {
            indices: self.indices.clone(),
            views: self.views.clone(),
            skipped: Vec::new(),
        })
    }

    fn step_on(&mut self, batch: ViewBatch) -> Result<Option<f64>, EmError> {
        let mut told = None;
        let listener = &mut |event: &Event| {
            if let Event::Step { loss, .. } = event {
                told = Some(*loss);
            }
        };
        self.trainer.batch(batch, &mut self.accumulated, listener)?;
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use protem_data::{Share, ViewLoader, ViewPlan};
    use std::sync::atomic::AtomicBool;

    fn small(mode: crate::settings::Mode) -> Plan {
        let mut settings = Settings {
            mode,
            ..Settings::default()
        };
        settings.data.image_size = 16;
        (settings.encoder.width, settings.encoder.dim) = (4, 16);
        (settings.optim.batch, settings.optim.epochs) = (16, 1);
        settings.method.warmup_epochs = 0;
        if mode.has_prototypes() {
            settings.method.clusters = Some(vec![8, 16]);
        }
        Plan::check(&settings, 64).expect("settings that can work")
    }

    fn images() -> Arc<dyn Source> {
        Arc::new(Generated::new(GeneratedSpec {
            seed: 0,
            images: 64,
            size: 16,
            split: Split::Train,
        }))
    }

    #[test]
    fn a_plan_for_other_images_is_refused() {
        let mut plan = small(crate::settings::Mode::PclV2);
        plan.images = 63;
        let refused = Trainer::new(plan, images(), None, PathBuf::new()).err();
        assert!(matches!(
            refused,
            Some(EmError::ImagesOfPlan {
                planned: 63,
                images: 64
            })
        ));
    }

    /// The timed step fed with a run's images and clusterings has the run's losses, to the bit.
    #[test]
    fn its_losses_are_those_of_a_run() {
        for mode in [crate::settings::Mode::PclV2, crate::settings::Mode::MocoV1] {
            let plan = small(mode);
            let folder = tempfile::tempdir().expect("a folder");
            let mut run = Trainer::new(plan.clone(), images(), None, folder.path().join("of/it"))
                .expect("a run");
            let mut losses = Vec::new();
            run.run(
                &mut |event| {
                    if let Event::Step { loss, .. } = event {
                        losses.push(*loss);
                    }
                },
                &AtomicBool::new(false),
            )
            .expect("an epoch");
            assert_eq!(losses.len(), 4);

            let mut timed = PlanStep::on(plan.clone(), images()).expect("a step");
            if mode.has_prototypes() {
                let stopped = timed.trainer.e_step(&mut |_| {}, &AtomicBool::new(false));
                assert!(stopped.expect("an E-step"));
            }
            let batches = ViewLoader::<2>::new(ViewPlan {
                source: images(),
                augment: plan.augment.clone(),
                seed: plan.seed,
                epoch: 0,
                batch: 16,
                share: Share::ALL,
                start: 0,
                workers: 1,
            })
            .expect("a loader");
            let again: Vec<f64> = batches
                .map(|batch| timed.step_on(batch.expect("a batch")).expect("a step"))
                .map(|loss| loss.expect("one step a batch"))
                .collect();
            assert_eq!(again, losses);
        }
    }

    #[test]
    fn an_encoder_step_learns_and_features_have_their_size() {
        let plan = small(crate::settings::Mode::PclV2);
        for precision in [Precision::F32, Precision::Bf16] {
            let mut timed = EncoderStep::new(plan.encoder, precision, 16, 16).expect("a step");
            let first = timed.step().expect("a loss");
            let last = (0..20).map(|_| timed.step().expect("a loss")).last();
            assert!(last.expect("a loss") < 0.8 * first, "{first} to {last:?}");
            assert_eq!(timed.features().len(), 16 * plan.encoder.feature_dim());
        }
    }
}
