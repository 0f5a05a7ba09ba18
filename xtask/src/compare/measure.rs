//! Running the two programs in turn and reading the JSON line that each prints.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Outcome;
use super::cases::{Case, Job, Metric};
use super::load::Meter;

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

/// One round: protem's run and the peer's right after it.
pub struct Pair {
    pub protem: Sample,
    pub torch: Sample,
}

/// All rounds of one case.
pub struct Rounds {
    pub pairs: Vec<Pair>,
    /// CPUs that other programs kept busy meanwhile.
    pub others: f64,
}

impl Sample {
    /// The number that goes into a row.
    pub fn value(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Time => self.seconds,
            Metric::Memory => self.peak_bytes,
        }
    }
}

impl Programs {
    /// Both programs in turn, as often as asked.
    pub fn measure(&self, case: &Case) -> Outcome<Rounds> {
        let name = case.name(Metric::Time);
        let meter = Meter::start();
        let mut pairs = Vec::new();
        for round in 1..=self.rounds {
            eprintln!("{name}, round {round} of {}", self.rounds);
            let protem = run(self.protem(case), case)?;
            if let (true, Some(isa)) = (case.avx2, protem.isa.as_deref())
                && isa != "avx2"
            {
                return Err(format!(
                    "protem used {isa} under PROTEM_ISA=avx2, which is no comparison; --only SUBSTRING chooses other rows"
                ));
            }
            let torch = run(self.torch(case), case)?;
            eprintln!(
                "    protem {:.3} s, PyTorch {:.3} s",
                protem.seconds, torch.seconds
            );
            pairs.push(Pair { protem, torch });
        }
        let others = meter.others();
        if case.threads > 1 && others > 0.1 {
            eprintln!(
                "    other programs kept {others:.1} CPUs busy: wall times beside them say little, measure again on a quiet machine"
            );
        }
        Ok(Rounds { pairs, others })
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

fn run(mut command: Command, case: &Case) -> Outcome<Sample> {
    let line = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{line} does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "{line} failed ({}); its words are above, and --only SUBSTRING chooses other rows",
            output.status
        ));
    }
    sample(&String::from_utf8_lossy(&output.stdout), case).map_err(|e| format!("{line}: {e}"))
}

/// The last line that is a JSON object, so that whatever a library prints before it does no harm.
fn sample(stdout: &str, case: &Case) -> Outcome<Sample> {
    let mut lines = stdout.lines().rev();
    let object = |line| serde_json::from_str(line).ok().filter(Value::is_object);
    let Some(json) = lines.find_map(object) else {
        return Err(
            "it printed no line of JSON; is this a protem that has the bench command?".into(),
        );
    };
    let number = |key: &str| match json[key].as_f64() {
        Some(number) if number > 0.0 => Ok(number),
        _ => Err(format!("its JSON has no positive {key}: {json}")),
    };
    if json["clock"] != case.clock() {
        return Err(format!(
            "it should have read the {} clock: {json}",
            case.clock()
        ));
    }
    Ok(Sample {
        seconds: number("median_seconds")?,
        peak_bytes: number("peak_bytes")?,
        isa: json["isa"].as_str().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;

    #[test]
    fn the_last_json_line_counts() {
        let stdout =
            "warning\n{\"median_seconds\": 0.5, \"peak_bytes\": 7, \"clock\": \"cpu\"}\n\n";
        let read = sample(stdout, &cases::ALL[0]).unwrap();
        assert_eq!((read.seconds, read.peak_bytes), (0.5, 7.0));
    }

    #[test]
    fn another_clock_or_no_number_is_refused() {
        for stdout in [
            "",
            "{\"median_seconds\": 0.5, \"peak_bytes\": 7, \"clock\": \"wall\"}",
            "{\"median_seconds\": null, \"peak_bytes\": 7, \"clock\": \"cpu\"}",
        ] {
            assert!(sample(stdout, &cases::ALL[0]).is_err(), "{stdout}");
        }
    }
}
