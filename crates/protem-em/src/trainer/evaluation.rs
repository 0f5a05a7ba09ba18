//! What a run measures of itself: at its beginning, and at the end of an epoch.

use super::{Trainer, tell_phase};
use crate::error::EmError;
use crate::events::{Evaluated, Event};
use crate::measure::{Measure, Measured};
use protem_data::Source;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

impl Trainer {
    /// kNN (if `with_knn`) and effective rank of the query encoder; none if it was stopped.
    pub(super) fn measure(
        &mut self,
        with_knn: bool,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<Option<Measured>, EmError> {
        let begun = Instant::now();
        let epoch = self.state.position.epoch + 1;
        let mut progress = |phase, done, of| tell_phase(listener, stop, epoch, phase, (done, of));
        let mut measure = Measure {
            plan: &self.plan,
            train: &self.train,
            test: self.test.as_ref(),
            ranks: &mut self.ranks,
            progress: &mut progress,
            unreadable: Vec::new(),
        };
        let measured = match measure.encoder(&self.state.pair.query, with_knn) {
            Err(EmError::Eval(protem_eval::EvalError::NotFinite { .. })) => {
                return Err(self.not_finite("features", self.state.position.step, f32::NAN));
            }
            measured => measured?,
        };
        for (set, bad) in measure.unreadable {
            self.quarantine.add(set, bad, listener)?;
        }
        tracing::debug!(epoch, seconds = begun.elapsed().as_secs_f64(), "measured");
        Ok(measured)
    }

    /// What there is to beat: kNN on raw pixels and on the features of the encoder as it begins. False if
    /// it was stopped.
    pub(super) fn measure_beginning(
        &mut self,
        listener: &mut dyn FnMut(&Event),
        stop: &AtomicBool,
    ) -> Result<bool, EmError> {
        let mut progress = |phase, done, of| tell_phase(listener, stop, 1, phase, (done, of));
        let mut measure = Measure {
            plan: &self.plan,
            train: &self.train,
            test: self.test.as_ref(),
            ranks: &mut self.ranks,
            progress: &mut progress,
            unreadable: Vec::new(),
        };
        if self.plan.eval.knn_every == 0 || !measure.has_labels() {
            return Ok(true);
        }
        let protocol = measure.protocol();
        let Some(raw) = measure.raw_pixels()? else {
            return Ok(false);
        };
        let Some(beginning) = self.measure(true, listener, stop)? else {
            return Ok(false);
        };
        let chance = self.test.as_ref().map_or(0.0, |test| commonest(&**test));
        let of_beginning = match self.plan.settings.encoder.weights {
            Some(_) => Evaluated::Given,
            None => Evaluated::Untrained,
        };
        let found = [
            (Evaluated::RawPixels, raw.knn_top1),
            (of_beginning, beginning.knn_top1),
        ];
        for (features, top1) in found {
            if let Some(top1) = top1 {
                listener(&Event::Eval {
                    step: 0,
                    features,
                    protocol: protocol.clone(),
                    top1,
                    chance,
                });
            }
        }
        Ok(true)
    }
}

/// The share of the commonest class: what always naming it finds.
fn commonest(test: &dyn Source) -> f64 {
    let mut counts = vec![0usize; test.classes().len()];
    let labels = (0..test.len()).filter_map(|i| test.label(i));
    labels.for_each(|label| counts[label as usize] += 1);
    let all: usize = counts.iter().sum();
    counts.into_iter().max().unwrap_or(0) as f64 / all.max(1) as f64
}
