//! `cargo xtask compare torch`: training steps, features and memory beside PyTorch's.

mod cases;
mod cuda_stubs;
mod measure;
pub(super) mod peer;
mod table;

use super::{Options, Outcome, machine};
use cases::{Case, Metric};
use measure::Programs;

/// Measures the chosen rows and writes each down as soon as it is there.
pub fn run(options: &Options) -> Outcome<()> {
    let cases = chosen(options)?;
    let ready = options.prepare(&table::TABLE, &peer::TORCH, peer::set_up)?;
    let torch = format!("PyTorch {}", peer::TORCH.version(&ready.python)?);
    let setting = machine::setting("torch", options, "", &ready.root, &torch)?;
    let programs = Programs {
        protem: ready.protem,
        python: ready.python,
        script: ready.root.join("xtask/peers/torch_step.py"),
        rounds: options.rounds,
        iters: options.iters,
    };
    for (case, metrics) in cases {
        let rounds = programs.measure(&case)?;
        let rows = metrics
            .iter()
            .map(|metric| table::row(case.name(*metric), *metric, &rounds, &setting));
        ready.book.note(rows.collect())?;
    }
    ready.book.print()
}

/// The cases that have a row whose name is wanted, each with these rows.
fn chosen(options: &Options) -> Outcome<Vec<(Case, Vec<Metric>)>> {
    let mut chosen = Vec::new();
    for case in cases::ALL {
        let mut metrics = case.metrics().to_vec();
        metrics.retain(|metric| options.wants(&case.name(*metric)));
        if !metrics.is_empty() {
            chosen.push((case, metrics));
        }
    }
    if chosen.is_empty() {
        return Err(options.none_of(&cases::row_names()));
    }
    Ok(chosen)
}
