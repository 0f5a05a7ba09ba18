//! Running a case on both programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cases::Case;
use crate::compare::Outcome;
use crate::compare::program::{ask, positive};
use crate::compare::rounds::{Pair, Rounds, in_turn};

/// The two programs, and how often they run.
pub struct Programs {
    pub protem: PathBuf,
    pub python: PathBuf,
    pub script: PathBuf,
    pub rounds: u32,
    pub iters: u32,
}

/// What one run of a program tells.
pub struct Sample {
    pub images: f64,
    /// Of all images.
    pub seconds: f64,
}

impl Sample {
    /// Milliseconds of one image.
    pub fn milliseconds(&self) -> f64 {
        self.seconds / self.images * 1e3
    }
}

impl Programs {
    /// Both programs in turn, as often as asked.
    pub fn measure(&self, case: &Case, folder: &Path) -> Outcome<Rounds<Sample>> {
        let threads = if case.threads { 2 } else { 1 };
        let clock = if case.threads { "wall" } else { "cpu" };
        let rounds = in_turn(
            &case.name(),
            self.rounds,
            || {
                let protem = self.protem(case, folder, threads);
                ask(protem, |json| sample(json, clock))
            },
            || {
                let beside = match case.threads {
                    true => self.protem(case, folder, 1),
                    false => self.torchvision(case, folder),
                };
                ask(beside, |json| sample(json, "cpu"))
            },
            |pair| {
                same_images(pair)?;
                let (protem, beside) = (pair.protem.milliseconds(), pair.peer.milliseconds());
                Ok(format!(
                    "protem {protem:.3} ms an image, beside it {beside:.3} ms"
                ))
            },
        )?;
        if case.threads {
            rounds.warn_of_others();
        }
        Ok(rounds)
    }

    fn protem(&self, case: &Case, folder: &Path, threads: u32) -> Command {
        let mut command = Command::new(&self.protem);
        command.args(["bench", "augment", "--data"]).arg(folder);
        command.args(["--threads", &threads.to_string()]);
        command.args(case.flags(self.iters)).arg("--json");
        command
    }

    fn torchvision(&self, case: &Case, folder: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg("--data").arg(folder);
        command.args(case.flags(self.iters));
        command.envs([("OMP_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1")]);
        command
    }
}

/// The programs do not look for the same kinds of files.
fn same_images(pair: &Pair<Sample>) -> Outcome<()> {
    let (protem, beside) = (pair.protem.images, pair.peer.images);
    if protem == beside {
        return Ok(());
    }
    Err(format!(
        "protem found {protem} images and the other {beside}, which is no comparison: name a folder \
         of JPEG and PNG files alone, without hidden folders"
    ))
}

fn sample(json: &Value, clock: &str) -> Outcome<Sample> {
    if json["clock"] != clock {
        return Err(format!("it should have read the {clock} clock: {json}"));
    }
    Ok(Sample {
        images: positive(json, "images")?,
        seconds: positive(json, "median_seconds")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn seconds_of_an_image_are_read_and_another_clock_is_refused() {
        let json = json!({"images": 50, "median_seconds": 0.5, "clock": "cpu"});
        let read = || sample(&json, "cpu").unwrap();
        assert_eq!(read().milliseconds(), 10.0);
        let more = json!({"images": 51, "median_seconds": 0.5, "clock": "cpu"});
        let pair = |json| Pair {
            protem: read(),
            peer: sample(json, "cpu").unwrap(),
        };
        assert!(same_images(&pair(&json)).is_ok());
        assert!(same_images(&pair(&more)).is_err());
        assert!(sample(&json, "wall").is_err());
        assert!(
            sample(
                &json!({"images": 0, "median_seconds": 1, "clock": "cpu"}),
                "cpu"
            )
            .is_err()
        );
    }
}
