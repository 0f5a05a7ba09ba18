//! What a run was made of, in a few lines.

use super::words::counted;
use crate::history::RunLine;

/// What the run was begun, or last resumed, with.
pub fn facts(run: &RunLine) -> Vec<(&'static str, String)> {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let source = match &run.source {
        Some(path) => format!(" of {}", path.display()),
        None => ", generated".into(),
    };
    let classes = match run.classes {
        0 => String::new(),
        1 => ", 1 class".into(),
        n => format!(", {n} classes"),
    };
    let kept = match run.test_images {
        0 => String::new(),
        n => format!("; kNN on {n} others"),
    };
    let encoder = run.encoder.map(|encoder| {
        let [arch, stem, precision] = [
            serde_json::json!(encoder.arch),
            serde_json::json!(encoder.stem),
            serde_json::json!(run.precision),
        ]
        .map(word);
        format!(
            "{arch}, stem {stem}, width {}, {precision}, {:.2} M parameters; views of {} pixels",
            encoder.width,
            run.parameters as f64 / 1e6,
            run.image_size
        )
    });
    let ranks = match run.ranks {
        1 => String::new(),
        ranks => format!(" on {ranks} ranks"),
    };
    let mut facts = vec![("mode", run.mode.clone())];
    facts.extend(encoder.map(|encoder| ("encoder", encoder)));
    facts.push(("images", format!("{}{source}{classes}{kept}", run.images)));
    facts.push((
        "epochs",
        format!(
            "{}, of {} steps each; batch {}{ranks}, queue {}",
            run.epochs, run.steps_per_epoch, run.batch, run.queue
        ),
    ));
    facts.push((
        "prototypes",
        match run.clusters.is_empty() {
            true => "none".into(),
            false => format!(
                "K {:?}, after {}",
                run.clusters,
                counted(run.warmup_epochs, "epoch")
            ),
        },
    ));
    facts.push(("seed", run.seed.to_string()));
    facts
}
