//! What a run will take, before it begins: memory, disk and time.
//!
//! Sizes are computed; a step's time and working memory are measured on the encoder itself, with
//! random pixels, since no formula knows the machine.

use crate::checkpoint;
use crate::e_step::{Clustering, Embeddings, cluster};
use crate::error::EmError;
use crate::features::{normalise_rows, pass};
use crate::m_step::{Batch, LossConfig, m_step};
use crate::measure::{RANK_ROWS, raw_values};
use crate::settings::Plan;
use crate::state::{Clock, Position, State};
use protem_comm::Ranks;
use protem_data::{
    Evaluation, IMAGENET_MEAN, IMAGENET_STD, Share, Source, StillLoader, Subset, ViewLoader,
    ViewPlan,
};
use protem_encoder::{Encoder, MomentumPair};
use protem_loss::Queue;
use protem_ops::{Activation, Precision};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Memory that follows from the plan, in bytes: everything but what a step works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Both encoders.
    pub weights_bytes: u64,
    /// Momentum and gradients.
    pub optimizer_bytes: u64,
    /// Keys of earlier batches.
    pub queue_bytes: u64,
    /// Embeddings and prototypes of an E-step.
    pub e_step_bytes: u64,
    /// Features that kNN compares.
    pub evaluation_bytes: u64,
    /// Pixels that kNN begins with, before the first step.
    pub pixels_bytes: u64,
    /// Decoded images, when all the room for them is filled.
    pub cache_bytes: u64,
    /// A checkpoint while it is written.
    pub saving_bytes: u64,
    /// Feature maps that a step keeps for its backward pass: the least that a step works in.
    pub maps_bytes: u64,
}

impl Sizes {
    /// Of a run with `test_images` for kNN (0 without).
    pub fn of(plan: &Plan, test_images: usize) -> Self {
        let floats = |n: usize| 4 * n as u64;
        let (parameters, running) = plan.encoder.values();
        let maps = plan.encoder.kept_values(plan.image_size as usize);
        let of_map = match plan.precision {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        };
        let (dim, all_k) = (plan.encoder.dim, plan.clusters.iter().sum::<usize>());
        // Embeddings once and k-means' sample of them; labels and distances of each clustering.
        let points = 2 * plan.images * dim + 2 * plan.images * plan.clusters.len();
        let features = measured_images(plan, test_images) * plan.encoder.feature_dim();
        let pixels = match plan.eval.knn_every {
            0 => None,
            _ => raw_values(plan, test_images),
        };
        Self {
            weights_bytes: floats(2 * (parameters + running)),
            optimizer_bytes: floats(3 * parameters),
            queue_bytes: floats(plan.queue * dim),
            e_step_bytes: if all_k == 0 {
                0
            } else {
                floats(points + 3 * all_k * dim)
            },
            evaluation_bytes: floats(features),
            pixels_bytes: floats(pixels.unwrap_or(0)),
            // Generated images are made anew.
            cache_bytes: match plan.settings.data.folder {
                Some(_) => plan.settings.data.cache_bytes(),
                None => 0,
            },
            saving_bytes: checkpoint::size(plan),
            maps_bytes: (plan.rows() * maps * of_map) as u64,
        }
    }

    /// At the highest, but for what a step works in: what is held all the time, and the largest of
    /// what E-step, evaluation and saving hold.
    pub fn total(&self) -> u64 {
        let passing = self.passing().max(self.pixels_bytes);
        self.held() + self.cache_bytes + passing
    }

    fn held(&self) -> u64 {
        self.weights_bytes + self.optimizer_bytes + self.queue_bytes
    }

    /// What comes and goes while steps are made.
    fn passing(&self) -> u64 {
        let e_step_or_evaluation = self.e_step_bytes.max(self.evaluation_bytes);
        e_step_or_evaluation.max(self.saving_bytes)
    }

    /// What a run needs at least. What a step worked in stays with it between steps; room for decoded
    /// images need not be filled.
    pub fn least(&self) -> u64 {
        self.held() + self.passing() + self.maps_bytes
    }
}

/// What a run will take. Bytes and seconds; all of it estimated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Memory that follows from the plan.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// What a step works in, activations above all: measured, where the system tells it.
    pub step_bytes: Option<u64>,
    /// One checkpoint.
    pub checkpoint_bytes: u64,
    /// Checkpoints on disk at once: those kept, and one being written.
    pub checkpoints: usize,
    /// An optimizer step, its images included.
    pub step_seconds: f64,
    /// The first E-step; those that begin from its centroids take less.
    pub e_step_seconds: f64,
    /// The features of an evaluation at the end of an epoch; comparing them comes on top.
    pub evaluation_seconds: f64,
    /// The whole run.
    pub seconds: f64,
}

impl Estimate {
    /// Memory at its highest.
    pub fn memory_bytes(&self) -> u64 {
        self.sizes.total() + self.step_bytes.unwrap_or(0)
    }

    /// Disk that checkpoints take at most.
    pub fn disk_bytes(&self) -> u64 {
        self.checkpoint_bytes
            .saturating_mul(self.checkpoints as u64)
    }
}

/// Estimates a run on `train`, with `test_images` for kNN (0 without). Runs a few real steps; of what ranks exchange
/// nothing is known, and their clusterings count one behind the other.
///
/// # Errors
/// A first batch that cannot be loaded.
pub fn estimate(
    plan: &Plan,
    train: Arc<dyn Source>,
    test_images: usize,
) -> Result<Estimate, EmError> {
    let mut state = random_state(plan)?;
    let mut gradient = vec![0.0; state.velocity.len()];
    gradient.fill(0.0); // its memory is there only when it is written to
    let load_seconds = load_seconds(plan, train.clone())?;
    let before = resident_bytes();
    let batch_seconds = load_seconds + batch_seconds(plan, &mut state, &mut gradient)?;
    let grown = before.zip(resident_bytes());
    let embed = still_seconds(plan, train) + embed_seconds(plan, &state.pair.key)?;
    let embed = embed / plan.ranks as f64; // each has its part
    let [first, later] = cluster_seconds(plan)?;
    let of_clustering = |seconds| match plan.clusters.is_empty() {
        true => 0.0,
        false => embed * plan.images as f64 + seconds,
    };
    let (first, later) = (of_clustering(first), of_clustering(later));
    let step_seconds = batch_seconds * plan.optim.accumulate.min(plan.batches_per_epoch()) as f64;
    let evaluation_seconds = embed * measured_images(plan, test_images) as f64;
    let epochs = plan.optim.epochs;
    let e_steps = epochs.saturating_sub(plan.warmup_epochs);
    let of_e_steps = match e_steps {
        0 => 0.0,
        e_steps => first + (e_steps - 1) as f64 * later,
    };
    let evaluations = match plan.eval.knn_every {
        every if every > 0 && test_images > 0 => epochs.div_ceil(every),
        _ => epochs,
    };
    Ok(Estimate {
        sizes: Sizes::of(plan, test_images),
        step_bytes: grown.map(|(before, after)| after.saturating_sub(before)),
        checkpoint_bytes: checkpoint::size(plan),
        checkpoints: plan.kept_checkpoints().saturating_add(1),
        step_seconds,
        e_step_seconds: first,
        evaluation_seconds,
        seconds: (batch_seconds * plan.batches_per_epoch() as f64 * epochs as f64)
            + of_e_steps
            + evaluations as f64 * evaluation_seconds,
    })
}

/// Images whose features an evaluation takes.
fn measured_images(plan: &Plan, test_images: usize) -> usize {
    if test_images > 0 && plan.eval.knn_every > 0 {
        plan.images + test_images
    } else {
        plan.images.min(RANK_ROWS)
    }
}

/// A state of the plan's shape with clusterings of arbitrary images.
fn random_state(plan: &Plan) -> Result<State, EmError> {
    let mut pair = MomentumPair::new(
        plan.encoder,
        plan.precision,
        plan.seed,
        plan.momentum as f32,
    );
    pair.query.set_ranks(plan.ranks);
    pair.key.set_ranks(plan.ranks);
    let dim = plan.encoder.dim;
    Ok(State {
        velocity: vec![0.0; pair.query.parameters().len()],
        queue: Queue::new(plan.queue, dim, plan.optim.batch, plan.seed)?,
        clusterings: random_clusterings(plan)?,
        pair,
        position: Position::default(),
        clock: Clock::default(),
    })
}

/// Clusterings of the plan's sizes whose images have nothing in common.
pub(crate) fn random_clusterings(plan: &Plan) -> Result<Vec<Clustering>, EmError> {
    let dim = plan.encoder.dim;
    let clusterings = plan.clusters.iter().map(|&k| {
        let labels = (0..plan.images).map(|i| (i % k) as u32).collect();
        let centroids = (0..k * dim).map(|i| (i as f32).sin()).collect();
        Clustering::new(labels, centroids, vec![plan.temperature as f32; k], dim)
    });
    clusterings.collect()
}

/// How often what takes little time is timed, at most, and the seconds within which it is.
const TIMES: usize = 5;
const WITHIN: f64 = 1.0;

/// Seconds of one `go` of something: the median of several after a first, which fills stores and
/// caches and wakes threads. What takes long is timed once.
fn seconds_of(mut go: impl FnMut() -> Result<(), EmError>) -> Result<f64, EmError> {
    let mut timed = || {
        let begun = Instant::now();
        go()?;
        Ok::<_, EmError>(begun.elapsed().as_secs_f64())
    };
    timed()?;
    let mut times = vec![timed()?];
    while times.len() < TIMES && times.iter().sum::<f64>() < WITHIN {
        times.push(timed()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Seconds to load the views of a batch. Loading and computing share the processor, so their
/// times add up.
fn load_seconds(plan: &Plan, source: Arc<dyn Source>) -> Result<f64, EmError> {
    let begun = Instant::now();
    let loader = ViewLoader::<2>::new(ViewPlan {
        source,
        augment: plan.augment.clone(),
        seed: plan.seed,
        epoch: 0,
        batch: plan.rows(),
        share: Share {
            rank: 0,
            world: plan.ranks,
        },
        start: 0,
        workers: plan.workers(),
    })?;
    let mut loaded = 0;
    for batch in loader {
        batch?;
        loaded += 1;
        if begun.elapsed().as_secs_f64() > WITHIN {
            break;
        }
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(loaded.max(1)))
}

/// Seconds of an M-step of random pixels.
fn batch_seconds(plan: &Plan, state: &mut State, gradient: &mut [f32]) -> Result<f64, EmError> {
    let indices: Vec<u32> = (0..plan.rows() as u32).collect();
    let config = LossConfig {
        temperature: plan.temperature,
        negatives: plan.negatives,
    };
    let mut step = 0;
    seconds_of(|| {
        let batch = Batch {
            indices: &indices,
            queries: random_images(plan, &state.pair.query, indices.len()),
            keys: random_images(plan, &state.pair.query, indices.len()),
            key_rows: None,
            ranks: &mut Ranks::alone(),
        };
        m_step(
            &mut state.pair,
            &mut state.queue,
            &state.clusterings,
            &config,
            (plan.seed, step),
            batch,
            gradient,
        )?;
        step += 1;
        Ok(())
    })
}

/// Seconds to load an image as E-step and evaluation take it, of some that are spread over the set.
fn still_seconds(plan: &Plan, source: Arc<dyn Source>) -> f64 {
    const AT_ONCE: usize = 32;
    let images = source.len().min(128 * AT_ONCE);
    let every = source.len() / images;
    let spread = (0..images).map(|i| (i * every) as u32).collect();
    let crop = Evaluation::for_size(plan.image_size);
    let begun = Instant::now();
    let some = Arc::new(Subset::new(source, spread));
    let mut loaded = 0;
    for batch in StillLoader::new(some, crop, AT_ONCE, plan.workers()) {
        loaded += batch.indices.len();
        if begun.elapsed().as_secs_f64() > WITHIN {
            break;
        }
    }
    begun.elapsed().as_secs_f64() / loaded.max(1) as f64
}

/// Seconds to embed an image.
fn embed_seconds(plan: &Plan, key: &Encoder) -> Result<f64, EmError> {
    let rows = plan.images.min(pass(plan.image_size));
    let seconds = seconds_of(|| {
        key.embed(random_images(plan, key, rows));
        Ok(())
    })?;
    Ok(seconds / rows as f64)
}

/// Seconds to cluster the whole set at every granularity: in the first E-step, and in a later one.
fn cluster_seconds(plan: &Plan) -> Result<[f64; 2], EmError> {
    let Some(largest) = plan.clusters.iter().copied().max() else {
        return Ok([0.0; 2]);
    };
    // K-means costs points × centroids: time a small one and scale it.
    let (dim, points) = (plan.encoder.dim, plan.images.min(4096));
    let k = largest.min(points / 4).max(2);
    let mut sample: Vec<f32> = (0..points * dim).map(|i| (i as f32 * 0.37).sin()).collect();
    normalise_rows(&mut sample, dim);
    let mut short = plan.clone();
    (short.e_step.iterations, short.e_step.restarts) = (2, 1);
    let begun = Instant::now();
    let stop = AtomicBool::new(false);
    let embeddings = Embeddings {
        rows: &sample,
        dim,
        images: &(0..points as u32).collect::<Vec<_>>(),
        of: points,
    };
    cluster(&short, (0, k), &embeddings, None, &stop)?;
    // Two iterations, and the assignment at the end.
    let of_a_distance = begun.elapsed().as_secs_f64() / (3 * points * k) as f64;
    let e = &plan.e_step;
    let seconds = |restarts: usize| {
        let distances = plan.clusters.iter().map(|&k| {
            let trained = plan.images.min(k.saturating_mul(e.max_points_per_centroid));
            (trained as f64 * e.iterations as f64 * restarts as f64 + plan.images as f64) * k as f64
        });
        of_a_distance * distances.sum::<f64>()
    };
    let later = if e.warm_start { 1 } else { e.restarts };
    Ok([seconds(e.restarts), seconds(later)])
}

fn random_images(plan: &Plan, encoder: &Encoder, rows: usize) -> Activation {
    let size = plan.image_size as usize;
    let bytes: Vec<u8> = (0..rows * size * size * 3)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let shape = (rows, size, size);
    encoder.images(&bytes, shape, IMAGENET_MEAN, IMAGENET_STD)
}

/// Memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use protem_data::{Generated, GeneratedSpec, Split};

    #[test]
    fn sizes_follow_from_the_plan_and_times_are_measured() {
        let mut settings = Settings::default();
        settings.data.image_size = 16;
        (settings.encoder.width, settings.encoder.dim) = (4, 16);
        (settings.optim.batch, settings.optim.epochs) = (16, 30);
        settings.method.clusters = Some(vec![10, 20]);
        let plan = Plan::check(&settings, 64).unwrap();
        let source = Generated::new(GeneratedSpec {
            seed: 0,
            images: 64,
            size: 16,
            split: Split::Train,
        });
        let found = estimate(&plan, Arc::new(source), 10).unwrap();
        assert_eq!(found.sizes.queue_bytes, 64 * 16 * 4);
        let sizes = found.sizes;
        let held = sizes.weights_bytes + sizes.optimizer_bytes + sizes.queue_bytes;
        assert_eq!(sizes.least(), held + sizes.saving_bytes + sizes.maps_bytes);
        // kNN begins with 74 images' pixels.
        assert_eq!(sizes.pixels_bytes, 74 * 16 * 16 * 3 * 4);
        assert_eq!(
            sizes.total(),
            held + sizes.pixels_bytes.max(sizes.saving_bytes)
        );
        assert_eq!(sizes.evaluation_bytes, 74 * 32 * 4);
        assert!(sizes.maps_bytes > 0);
        assert_eq!(found.sizes.saving_bytes, found.checkpoint_bytes);
        assert_eq!(
            found.sizes.e_step_bytes,
            4 * (2 * 64 * 16 + 2 * 64 * 2 + 3 * 30 * 16)
        );
        assert_eq!(found.disk_bytes(), 3 * found.checkpoint_bytes);
        // 30 epochs of 4 steps, 10 E-steps after the warm-up, 30 evaluations.
        let parts = 120.0 * found.step_seconds
            + 10.0 * found.e_step_seconds
            + 30.0 * found.evaluation_seconds;
        assert!((found.seconds / parts - 1.0).abs() < 1e-9);
    }
}
