//! Whether a run has room: memory for what its plan takes, disk for its checkpoints.

use crate::args::TrainArgs;
use crate::failure::Failure;
use crate::images::Images;
use crate::system::{free_bytes, memory_bytes, size};
use protem_em::{Plan, Sizes, checkpoint_size, list_checkpoints};
use protem_report::RunFolder;

/// Whether memory holds what the plan alone takes, on each of the ranks that have it between them.
pub fn check_memory(plan: &Plan, images: &Images, ranks: usize) -> Result<(), Failure> {
    let sizes = Sizes::of(plan, images.test.as_ref().map_or(0, |test| test.len()));
    // As little as it may come to.
    let needed = Sizes {
        cache_bytes: 0,
        pixels_bytes: 0,
        ..sizes
    };
    let each = match ranks {
        1 => String::new(),
        _ => format!(" on each of {ranks} ranks here"),
    };
    match memory_bytes() {
        Some(memory) if sizes.least() > memory / ranks as u64 => Err(Failure::usage(format!(
            "the run takes {} of memory at least{each}, and there are {}: {}; take what lessens the largest of them, such as a smaller optim.batch (with optim.accumulate), encoder.width, encoder.dim or method.queue, fewer images, or eval.knn_every = 0",
            size(sizes.least()),
            size(memory),
            parts(&needed, &size(sizes.maps_bytes))
        ))),
        _ => Ok(()),
    }
}

/// What takes how much memory; `step` is what a step works in.
pub fn parts(sizes: &Sizes, step: &str) -> String {
    format!(
        "weights {}, optimizer {}, queue {}, a step {step}, E-step {}, kNN {}, saving {}, decoded images {}",
        size(sizes.weights_bytes),
        size(sizes.optimizer_bytes),
        size(sizes.queue_bytes),
        size(sizes.e_step_bytes),
        size(sizes.evaluation_bytes.max(sizes.pixels_bytes)),
        size(sizes.saving_bytes),
        size(sizes.cache_bytes)
    )
}

/// Whether the disk holds the checkpoints to keep and one more while it is written. Checkpoints
/// that are there will make room.
pub fn check_disk(args: &TrainArgs, plan: &Plan) -> Result<(), Failure> {
    let out = &args.out;
    let (checkpoint, keep) = (checkpoint_size(plan), plan.kept_checkpoints());
    let need = checkpoint.saturating_mul(keep as u64 + 1);
    let there = list_checkpoints(&RunFolder::checkpoints(out)).unwrap_or_default();
    let there: u64 = there
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    match free_bytes(out) {
        Some(free) if free + there < need => Err(Failure::running(format!(
            "{} has {} free, and {keep} checkpoints and one being written take {}: make room{}",
            out.display(),
            size(free + there),
            size(need),
            if args.resume {
                ", or keep fewer (checkpoint.keep_last in its config.toml)"
            } else {
                ", name another --out, or keep fewer (--set checkpoint.keep_last=1)"
            }
        ))),
        _ => Ok(()),
    }
}
