//! Running a case on both programs.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::cases::{Case, Job, Metric};
use crate::compare::Outcome;
use crate::compare::program::{ask, positive};
use crate::compare::rounds::{Rounds, in_turn};

/// The two programs, and how often they run.
pub struct Programs {
    pub protem: PathBuf,
    pub python: PathBuf,
    pub script: PathBuf,
    pub rounds: u32,
    pub iters: u32,
}

/// What one run of a program tells.
#[derive(Clone)]
pub struct Sample {
    pub seconds: f64,
    pub peak_bytes: f64,
    /// The instruction set it used, if it says.
    pub isa: Option<String>,
}

impl Sample {
    /// The number that goes into a row.
    pub fn value(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Time => self.seconds,
            Metric::Memory => self.peak_bytes,
        }
    }

    /// Itself, unless it used other instructions than the case says.
    fn meant(self, case: &Case) -> Outcome<Self> {
        match self.isa.as_deref() {
            Some(isa) if case.avx2 && isa != "avx2" => Err(format!(
                "protem used {isa} under PROTEM_ISA=avx2, which is no comparison; --only SUBSTRING chooses other rows"
            )),
            _ => Ok(self),
        }
    }
}

impl Programs {
    /// Both programs in turn, as often as asked.
    pub fn measure(&self, case: &Case) -> Outcome<Rounds<Sample>> {
        let rounds = in_turn(
            &case.name(Metric::Time),
            self.rounds,
            || {
                let protem = ask(self.protem(case), |json| sample(json, case))?;
                protem.meant(case)
            },
            || ask(self.torch(case), |json| sample(json, case)),
            |pair| {
                let (protem, torch) = (pair.protem.seconds, pair.peer.seconds);
                Ok(format!("protem {protem:.3} s, PyTorch {torch:.3} s"))
            },
        )?;
        if case.threads > 1 {
            rounds.warn_of_others();
        }
        Ok(rounds)
    }

    fn protem(&self, case: &Case) -> Command {
        let mut command = Command::new(&self.protem);
        match case.job {
            Job::Step => command.args(["bench", "step", "--what", "encoder"]),
            Job::Features => command.args(["bench", "features"]),
        };
        command.args(case.flags(self.iters)).arg("--json");
        // What the user's shell says about instruction sets must not change a row's meaning.
        command.env_remove("PROTEM_ISA");
        if case.avx2 {
            command.env("PROTEM_ISA", "avx2");
        }
        command
    }

    fn torch(&self, case: &Case) -> Command {
        let threads = case.threads.to_string();
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(match case.job {
            Job::Step => "step",
            Job::Features => "features",
        });
        command.args(case.flags(self.iters));
        command.env("OMP_NUM_THREADS", &threads);
        command.env("MKL_NUM_THREADS", &threads);
        // oneDNN has the convolutions, ATen what lies between them.
        for (name, avx2) in [
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("ATEN_CPU_CAPABILITY", "avx2"),
        ] {
            command.env_remove(name);
            if case.avx2 {
                command.env(name, avx2);
            }
        }
        command
    }
}

fn sample(json: &Value, case: &Case) -> Outcome<Sample> {
    if json["clock"] != case.clock() {
        return Err(format!(
            "it should have read the {} clock: {json}",
            case.clock()
        ));
    }
    Ok(Sample {
        seconds: positive(json, "median_seconds")?,
        peak_bytes: positive(json, "peak_bytes")?,
        isa: json["isa"].as_str().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;
    use serde_json::json;

    #[test]
    fn seconds_and_bytes_are_read() {
        let json = json!({"median_seconds": 0.5, "peak_bytes": 7, "clock": "cpu"});
        let read = sample(&json, &cases::ALL[0]).unwrap();
        assert_eq!((read.seconds, read.peak_bytes), (0.5, 7.0));
    }

    #[test]
    fn another_clock_or_no_number_is_refused() {
        for json in [
            json!({}),
            json!({"median_seconds": 0.5, "peak_bytes": 7, "clock": "wall"}),
            json!({"median_seconds": null, "peak_bytes": 7, "clock": "cpu"}),
        ] {
            assert!(sample(&json, &cases::ALL[0]).is_err(), "{json}");
        }
    }

    #[test]
    fn avx2_rows_take_only_avx2() {
        let sample = |isa: &str| Sample {
            seconds: 1.0,
            peak_bytes: 1.0,
            isa: Some(isa.into()),
        };
        let avx2 = cases::ALL.iter().find(|case| case.avx2).unwrap();
        assert!(sample("avx2").meant(avx2).is_ok());
        assert!(sample("amx").meant(avx2).is_err());
        assert!(sample("amx").meant(&cases::ALL[0]).is_ok());
    }
}
