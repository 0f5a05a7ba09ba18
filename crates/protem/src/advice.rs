//! What the user can do: about settings that cost something, a run's folder, a run that failed.

use crate::console::warn;
use crate::failure::{Failure, explain, explain_em};
use crate::images::list;
use protem_comm::CommError;
use protem_data::{DataError, Source};
use protem_em::{EmError, Plan, Precision};
use protem_encoder::{EncoderError, WeightsError};
use protem_report::ReportError;

/// Says where half the memory costs time.
pub fn warn_of_speed(plan: &Plan) {
    if plan.precision == Precision::Bf16 && !protem_ops::Isa::current().multiplies_bf16() {
        warn(
            "precision = bf16 takes half the memory for feature maps, but this processor computes it in f32, more slowly than f32 itself",
        );
    }
}

/// Says where views are far smaller than the images they are of.
pub fn warn_of_size(plan: &Plan, train: &dyn Source) {
    const LOOKED_AT: usize = 9;
    const FAR: u32 = 4;
    if plan.settings.data.folder.is_none() {
        return;
    }
    let every = train.len().div_ceil(LOOKED_AT).max(1);
    let sides = (0..train.len()).step_by(every).filter_map(|i| {
        let (width, height) = train.read(i).ok()?.dimensions();
        Some(width.min(height))
    });
    let mut sides: Vec<u32> = sides.collect();
    sides.sort_unstable();
    let Some(side) = sides.get(sides.len() / 2).copied() else {
        return;
    };
    if side >= FAR * plan.image_size {
        warn(format!(
            "views have {0} × {0} pixels, and images about {side} on their shorter side: data.image_size says otherwise, and --config photos suits photographs",
            plan.image_size
        ));
    }
}

/// What the user can do about a run folder.
pub fn report(error: ReportError) -> Failure {
    let text = explain(&error);
    match error {
        ReportError::Occupied(_) => Failure::usage(format!(
            "{text}: go on with it by --resume, replace it by --overwrite, or name another with --out"
        )),
        ReportError::Foreign(_) => Failure::usage(format!(
            "{text}: move it, or name another folder with --out"
        )),
        ReportError::NoRun(_) => Failure::usage(format!(
            "{text}: name the run's folder with --out, or leave --resume out"
        )),
        ReportError::NoConfig(_) => Failure::usage(format!(
            "{text}: put it back there (a checkpoint's header holds the settings), or begin another run with --out"
        )),
        ReportError::InUse(_) => Failure::usage(format!(
            "{text}: wait for it, or name another folder with --out"
        )),
        ReportError::Unwritable { .. } => Failure::usage(format!(
            "{text}. Name a folder that can be written with --out"
        )),
        _ => Failure::running(text),
    }
}

/// What the user can do about weights to begin with.
pub fn weights(error: EmError) -> Failure {
    let text = explain_em(&error);
    if let EmError::Weights {
        source: WeightsError::SeveralEncoders { .. },
        ..
    } = error
    {
        return Failure::usage(format!(
            "{text}: name one with --set encoder.weights_prefix=…, without conv1.weight"
        ));
    }
    let EmError::Weights {
        source: WeightsError::Encoder(EncoderError::Structure { found, wanted }),
        ..
    } = error
    else {
        return Failure::usage(format!("weights to begin with: {text}"));
    };
    let arch = (found.arch != wanted.arch).then(|| format!("encoder.arch={}", found.arch.name()));
    let stem = (found.stem != wanted.stem).then(|| format!("encoder.stem={}", found.stem.name()));
    let width = (found.width != wanted.width).then(|| format!("encoder.width={}", found.width));
    let set = [arch, stem, width].into_iter().flatten();
    let set: Vec<String> = set.map(|set| format!("--set {set}")).collect();
    Failure::usage(format!("{text}: add {}", set.join(" ")))
}

/// What the user can do about a failed run.
pub fn em(error: EmError) -> Failure {
    let text = explain_em(&error);
    match error {
        EmError::NotFinite { .. } => Failure::running(format!(
            "{text}. Try a lower learning rate, or a higher method.temperature where it is far below 0.1, or less optim.weight_decay where it is far above 0.001: with --set optim.lr=… and --overwrite from the beginning, or in the run's config.toml and with --resume from its last checkpoint."
        )),
        EmError::NoCheckpoint { .. } => Failure::running(format!(
            "{text}\nBegin anew with --overwrite, or put back a copy of a checkpoint."
        )),
        EmError::Mismatch { .. } => Failure::usage(format!(
            "{text}: put it back in the run's config.toml, or begin another run with --out"
        )),
        EmError::OtherImages { .. } => Failure::usage(format!(
            "{text}: resume on the folder the run was begun on, with the files it had, or begin another run with --out"
        )),
        EmError::Data(DataError::TooManyUnreadable { unreadable, .. }) => {
            Failure::running(format!(
                "{text}:\n{}\nMend them (what was removed must come back), or raise data.max_unreadable in the run's config.toml, and go on with --resume.",
                list(&unreadable)
            ))
        }
        EmError::Data(DataError::UnreadableInARow { unreadable }) => Failure::running(format!(
            "{text}:\n{}\nLook whether what they lie on is there, and go on with --resume.",
            list(&unreadable)
        )),
        EmError::Comm(CommError::Differ { .. }) => Failure::usage(format!(
            "{text}: give all of them the same program and the same files, on processors of one kind"
        )),
        EmError::Comm(_) => Failure::running(format!(
            "{text}. What it printed tells why; go on from the last checkpoint with --resume."
        )),
        EmError::Io { .. } => {
            Failure::running(format!("{text}. Mend this, and go on with --resume."))
        }
        _ => Failure::running(text),
    }
}
