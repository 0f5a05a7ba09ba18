//! `protem train --dry-run`: the plan, and what it will take.

use crate::advice::report;
use crate::args::{LogFormat, TrainArgs};
use crate::config;
use crate::console::say;
use crate::failure::{Failure, explain};
use crate::images::Images;
use crate::room::{check_disk, parts};
use crate::system::{free_bytes, memory_bytes, size, time};
use crate::train::is_free;
use protem_em::{Checkpoint, Estimate, Plan, estimate};

/// Prints the resolved settings, as a config file, and the estimates below them as comments; or
/// all of it as a JSON object.
pub fn print(
    args: &TrainArgs,
    plan: &Plan,
    images: &Images,
    from: Option<&Checkpoint>,
) -> Result<(), Failure> {
    let test = images.test.as_ref().map_or(0, |t| t.len());
    let found = estimate(plan, images.train.clone(), test);
    let found = found.map_err(|e| Failure::running(explain(&e)))?;
    let occupied = match args.resume {
        true => None,
        false => is_free(args).err().map(report),
    };
    let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
    if args.log_format == LogFormat::Json {
        say(serde_json::json!({
            "settings": plan.settings,
            "images": {"training": plan.images, "test": test, "unreadable": images.unreadable.len()},
            "steps_per_epoch": plan.steps_per_epoch(),
            "steps": plan.steps_per_epoch().saturating_mul(plan.optim.epochs),
            "memory_bytes": found.memory_bytes(),
            "disk_bytes": found.disk_bytes(),
            "estimate": found,
            "notes": notes,
            "refused": occupied.as_ref().map(ToString::to_string),
            "resumed_from": from.map(|from| from.path()),
            "epochs_done": from.map_or(0, |from| from.position().epoch),
        }));
    } else {
        say_plan(args, plan, images, &found, &notes);
        if let Some(from) = from {
            say(format!("# {}", still_to_do(plan, &found, from)));
        }
    }
    // What the run itself would end with.
    check_disk(args, plan)?;
    occupied.map_or(Ok(()), Err)
}

fn still_to_do(plan: &Plan, found: &Estimate, from: &Checkpoint) -> String {
    let (done, of) = (from.position().epoch, plan.optim.epochs);
    let path = from.path().display();
    match of.saturating_sub(done) {
        0 => format!("goes on from {path}, and has nothing left to do"),
        left => format!(
            "goes on from {path}: {done} of {of} epochs are done, and the rest takes about {}",
            time(found.seconds * left as f64 / of as f64)
        ),
    }
}

fn say_plan(args: &TrainArgs, plan: &Plan, images: &Images, found: &Estimate, notes: &[String]) {
    let test = images.test.as_ref().map_or(0, |t| t.len());
    say(config::to_text(&plan.settings));
    for line in sets(plan, images, test)
        .iter()
        .chain(&takes(args, plan, found))
    {
        say(format!("# {line}"));
    }
    notes.iter().for_each(|note| say(format!("# {note}")));
}

fn sets(plan: &Plan, images: &Images, test: usize) -> Vec<String> {
    let (steps, epochs) = (plan.steps_per_epoch(), plan.optim.epochs);
    let prototypes = match plan.clusters.is_empty() {
        true => String::new(),
        false => format!(
            ", K {:?}, {} negative prototypes",
            plan.clusters, plan.negatives
        ),
    };
    vec![
        format!(
            "{} training images, {test} test images for kNN, {} unreadable",
            plan.images,
            images.unreadable.len()
        ),
        format!(
            "queue {}{prototypes}; InfoNCE at chance is ln(1 + {}) = {:.3}",
            plan.queue,
            plan.queue,
            plan.chance_loss()
        ),
        format!(
            "{steps} steps an epoch, {} in all",
            steps.saturating_mul(epochs)
        ),
    ]
}

fn takes(args: &TrainArgs, plan: &Plan, found: &Estimate) -> Vec<String> {
    let have = |bytes: Option<u64>, what| {
        bytes.map_or(String::new(), |bytes| format!(" of {} {what}", size(bytes)))
    };
    let step = found.step_bytes.map_or("unknown".into(), size);
    let [each, apart] = match plan.ranks {
        1 => ["", ""],
        _ => [" on each rank", ", without what ranks exchange"],
    };
    vec![
        "Estimates, from some steps on this machine with random pixels:".into(),
        format!(
            "memory {}{each}{}: {}",
            size(found.memory_bytes()),
            have(memory_bytes(), "there are"),
            parts(&found.sizes, &step)
        ),
        format!(
            "disk {}{}: {} checkpoints of {}, one of them while it is written",
            size(found.disk_bytes()),
            have(free_bytes(&args.out), "free"),
            found.checkpoints,
            size(found.checkpoint_bytes)
        ),
        format!(
            "time {} for {} epochs: a step {}, an E-step {}, an evaluation {}{apart}",
            time(found.seconds),
            plan.optim.epochs,
            time(found.step_seconds),
            time(found.e_step_seconds),
            time(found.evaluation_seconds)
        ),
    ]
}
