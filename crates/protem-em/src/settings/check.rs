//! What can be wrong with settings: alone, and against the number of images.

use super::{Settings, Violation};
use protem_data::Recipe;
use std::ops::RangeInclusive;

/// What is wrong whatever the images.
pub(super) fn ranges(s: &Settings) -> Vec<Violation> {
    let mut out = special(s);
    for (key, value, range, rule, works) in counts(s) {
        if !range.contains(&value) {
            let (value, works) = (value as f64, works as f64);
            out.push(Violation::OutOfRange {
                key,
                value,
                rule,
                works,
            });
        }
    }
    for (key, value, holds, rule, works) in reals(s) {
        if !holds {
            out.push(Violation::OutOfRange {
                key,
                value,
                rule,
                works,
            });
        }
    }
    out
}

/// Settings with a rule of their own.
fn special(s: &Settings) -> Vec<Violation> {
    let mut out = Vec::new();
    let a = &s.augment;
    if a.parts.is_some() && (a.recipe.is_some() || a.blur.is_some()) {
        out.push(Violation::PartsAndRecipe);
    }
    let (split_bn, m, o) = (s.encoder.split_bn, &s.method, &s.optim);
    for (key, value, works) in [
        ("method.temperature", m.temperature, 0.2),
        ("eval.knn_temperature", s.eval.knn_temperature, 0.07),
    ] {
        // It is divided by in single precision, and so are concentrations, whose mean it is.
        if !(1e-30..=1e30).contains(&value) {
            out.push(Violation::Temperature { key, value, works });
        }
    }
    for (key, value, works) in [
        ("method.momentum", m.momentum, 0.999),
        ("optim.momentum", o.momentum, 0.9),
    ] {
        // Nine nines are 1 in single precision.
        if !(0.0..1.0).contains(&(value as f32)) {
            out.push(Violation::Momentum { key, value, works });
        }
    }
    if !(o.lr.is_finite() && o.lr > 0.0) {
        out.push(Violation::LearningRate { value: o.lr });
    }
    let [low, high] = s.e_step.percentiles;
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
    } else if split_bn == 0 || !o.batch.is_multiple_of(split_bn) || o.batch / split_bn < 2 {
        out.push(Violation::SplitBn {
            split_bn,
            batch: o.batch,
        });
    }
    out
}

/// A whole number: key, value, what is allowed, that in words, a value that works.
type Count = (
    &'static str,
    usize,
    RangeInclusive<usize>,
    &'static str,
    usize,
);

fn counts(s: &Settings) -> Vec<Count> {
    const ANY: RangeInclusive<usize> = 1..=usize::MAX;
    const THREADS: RangeInclusive<usize> = 1..=4096;
    let at_least_1 = |key, value, works| (key, value, ANY, "at least 1", works);
    let threads = |key, n: Option<usize>| (key, n.unwrap_or(1), THREADS, "from 1 to 4096", 1);
    let (d, k, c) = (&s.data, &s.e_step, &s.checkpoint);
    let size = d.image_size as usize;
    let most = u32::MAX as usize; // images are counted in 32 bits
    vec![
        threads("threads", s.threads),
        threads("data.workers", d.workers),
        ("data.image_size", size, 8..=4096, "from 8 to 4096", 32),
        (
            "data.generated_images",
            d.generated_images,
            4..=most,
            "at least 4",
            5000,
        ),
        (
            "encoder.width",
            s.encoder.width,
            1..=1024,
            "from 1 to 1024",
            64,
        ),
        (
            "encoder.dim",
            s.encoder.dim,
            2..=65_536,
            "from 2 to 65536",
            128,
        ),
        at_least_1(
            "data.max_pixels",
            usize::try_from(d.max_pixels).unwrap_or(usize::MAX),
            178_956_970,
        ),
        at_least_1("method.negatives", s.method.negatives.unwrap_or(1), 1024),
        at_least_1("e_step.iterations", k.iterations, 20),
        at_least_1("e_step.restarts", k.restarts, 5),
        at_least_1(
            "e_step.max_points_per_centroid",
            k.max_points_per_centroid,
            1000,
        ),
        at_least_1("optim.epochs", s.optim.epochs, 200),
        at_least_1("optim.accumulate", s.optim.accumulate, 1),
        at_least_1("eval.knn_k", s.eval.knn_k, 20),
        at_least_1("checkpoint.every_epochs", c.every_epochs, 1),
        at_least_1(
            "checkpoint.every_steps",
            c.every_steps.unwrap_or(1) as usize,
            1000,
        ),
        at_least_1("checkpoint.keep_last", c.keep_last, 2),
        at_least_1("checkpoint.keep_every", c.keep_every.unwrap_or(1), 10),
    ]
}

/// Any other number: key, value, whether it is allowed, the rule in words, a value that works.
type Real = (&'static str, f64, bool, &'static str, f64);

fn reals(s: &Settings) -> [Real; 7] {
    let not_negative = |key, x: f64, works| {
        let holds = x.is_finite() && x >= 0.0;
        (key, x, holds, "finite and at least 0", works)
    };
    let share = |key, x: f64, works| {
        let holds = x > 0.0 && x <= 1.0;
        (key, x, holds, "above 0 and at most 1", works)
    };
    let (held_out, unreadable) = (s.data.held_out, s.data.max_unreadable);
    let decay = s.optim.weight_decay;
    let minutes = s.checkpoint.every_minutes.unwrap_or(1.0);
    [
        (
            "data.held_out",
            held_out,
            (0.0..1.0).contains(&held_out),
            "at least 0 and below 1",
            0.1,
        ),
        (
            "data.max_unreadable",
            unreadable,
            (0.0..=1.0).contains(&unreadable),
            "from 0 to 1",
            0.1,
        ),
        share("augment.min_scale", s.augment.min_scale, 0.2),
        share("optim.gamma", s.optim.gamma, 0.1),
        not_negative("e_step.smoothing", s.e_step.smoothing, 10.0),
        (
            "checkpoint.every_minutes",
            minutes,
            minutes.is_finite() && minutes > 0.0,
            "finite and above 0",
            30.0,
        ),
        (
            "optim.weight_decay",
            decay,
            (0.0..=1e6).contains(&decay),
            "from 0 to 1000000",
            1e-4,
        ),
    ]
}

/// What is wrong for this number of images.
pub(super) fn against_images(s: &Settings, images: usize) -> Vec<Violation> {
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
