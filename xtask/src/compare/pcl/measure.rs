//! Running a case on both programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cases::Case;
use crate::compare::Outcome;
use crate::compare::program::{ask, ask_lines, positive};
use crate::compare::rounds::{Pair, Rounds, in_turn};

/// The two programs, and how often they run.
pub struct Programs {
    pub protem: PathBuf,
    pub python: PathBuf,
    pub script: PathBuf,
    /// Folder of protem's runs.
    pub run: PathBuf,
    pub rounds: u32,
    /// Of which the first has no E-step and is not timed.
    pub epochs: u32,
}

/// What one run of a program tells: seconds of the middle one of its epochs with an E-step, and the
/// losses of the last.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub images: f64,
    pub e_step: f64,
    pub m_step: f64,
    /// InfoNCE.
    pub instance: f64,
    /// ProtoNCE's other term.
    pub prototype: f64,
}

impl Sample {
    /// Seconds of an epoch.
    pub fn epoch(&self) -> f64 {
        self.e_step + self.m_step
    }
}

impl Programs {
    /// Both programs in turn, as often as asked.
    pub fn measure(&self, case: &Case, folder: &Path) -> Outcome<Rounds<Sample>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let rounds = in_turn(
            &case.name(),
            self.rounds,
            || ask_lines(self.protem(case, folder), of_events),
            || ask(self.peer(case, folder, threads), of_peer),
            |pair| {
                same_job(pair)?;
                let told = [&pair.protem, &pair.peer].map(|sample| {
                    format!(
                        "{:.1} s an epoch (InfoNCE {:.3}, ProtoNCE {:.3})",
                        sample.epoch(),
                        sample.instance,
                        sample.prototype
                    )
                });
                Ok(format!("protem {}, the peer {}", told[0], told[1]))
            },
        )?;
        rounds.warn_of_others();
        Ok(rounds)
    }

    fn protem(&self, case: &Case, folder: &Path) -> Command {
        let mut command = Command::new(&self.protem);
        command.arg("train").arg(folder);
        command.arg("--out").arg(&self.run).arg("--overwrite");
        command.args(["--log-format", "json"]);
        command.args(case.trainer(self.epochs));
        command
    }

    fn peer(&self, case: &Case, folder: &Path, threads: usize) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg("--data").arg(folder);
        command.args(case.peer(self.epochs, threads));
        command
    }
}

/// The programs do not look for the same kinds of files; and where losses differ, so do the jobs.
fn same_job(pair: &Pair<Sample>) -> Outcome<()> {
    let Pair { protem, peer } = pair;
    if protem.images != peer.images {
        return Err(format!(
            "protem found {} images and the other {}, which is no comparison: name a folder of JPEG \
             and PNG files alone",
            protem.images, peer.images
        ));
    }
    let apart = |a: f64, b: f64| (a - b).abs() > 0.05 * a.max(b);
    if apart(protem.instance, peer.instance) || apart(protem.prototype, peer.prototype) {
        return Err(format!(
            "the losses are too far apart for one job: protem {protem:?}, the other {peer:?}"
        ));
    }
    Ok(())
}

/// From the trainer's events.
fn of_events(lines: &[Value]) -> Outcome<Sample> {
    let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    let run = of("run").next().ok_or("no run was told of")?;
    let trained = positive(run, "steps_per_epoch")? * positive(run, "batch")?;
    let epochs = of("epoch").map(|epoch| {
        let m_step = positive(epoch, "images_per_second").map(|speed| trained / speed);
        (epoch, m_step)
    });
    sample(run, epochs)
}

fn of_peer(json: &Value) -> Outcome<Sample> {
    let epochs = json["epochs"].as_array().into_iter().flatten();
    sample(
        json,
        epochs.map(|epoch| (epoch, positive(epoch, "m_step_seconds"))),
    )
}

/// From what was told of the run, of each epoch, and the seconds of its M-step.
fn sample<'a>(
    run: &Value,
    epochs: impl Iterator<Item = (&'a Value, Outcome<f64>)>,
) -> Outcome<Sample> {
    let mut timed = Vec::new();
    let mut last = None;
    for (epoch, m_step) in epochs.skip(1) {
        timed.push((positive(epoch, "e_step_seconds")?, m_step?));
        last = Some(epoch);
    }
    let last = last.ok_or("no epoch with an E-step was told of")?;
    timed.sort_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
    let (e_step, m_step) = timed[(timed.len() - 1) / 2];
    Ok(Sample {
        images: positive(run, "images")?,
        e_step,
        m_step,
        instance: positive(last, "loss_instance")?,
        prototype: positive(last, "loss_prototype")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MIDDLE: Sample = Sample {
        images: 250.0,
        e_step: 1.0,
        m_step: 10.0,
        instance: 6.0,
        prototype: 4.0,
    };

    #[test]
    fn both_programs_are_read_to_the_same_figures() {
        let epoch = |key: &str, value: f64| {
            json!({
                "event": "epoch", "e_step_seconds": 1.0, "loss_instance": 6.0, "loss_prototype": 4.0,
                key: value,
            })
        };
        let events = [
            json!({"event": "run", "images": 250, "steps_per_epoch": 2, "batch": 100}),
            json!({"event": "epoch", "images_per_second": 1.0, "e_step_seconds": 0.0}),
            epoch("images_per_second", 20.0),
            json!({"event": "step"}),
            epoch("images_per_second", 10.0),
            epoch("images_per_second", 40.0),
        ];
        let seconds = [10.0, 20.0, 5.0].map(|seconds| epoch("m_step_seconds", seconds));
        let [a, b, c] = &seconds;
        let peer = json!({"images": 250, "epochs": [{}, a, b, c]});
        assert_eq!(of_events(&events), Ok(MIDDLE));
        assert_eq!(of_peer(&peer), Ok(MIDDLE));
        assert_eq!(MIDDLE.epoch(), 11.0);
        assert!(of_events(&events[..2]).is_err());
        assert!(of_events(&events[1..]).is_err());
        assert!(of_peer(&json!({"images": 250})).is_err());
    }

    #[test]
    fn another_job_is_refused() {
        let pair = |images, prototype| Pair {
            protem: MIDDLE,
            peer: Sample {
                images,
                prototype,
                ..MIDDLE
            },
        };
        assert!(same_job(&pair(250.0, 4.1)).is_ok());
        assert!(same_job(&pair(251.0, 4.2)).is_err());
        assert!(same_job(&pair(250.0, 5.0)).is_err());
    }
}
