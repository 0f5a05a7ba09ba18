//! The two programs: how each is told a task, and what it answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cases::Level;
use crate::compare::program::{ask, positive};
use crate::compare::{Outcome, Ready};

/// What faiss's own kernels and its OpenBLAS are held to in AVX2 rows.
const HELD: [(&str, &str); 2] = [
    ("FAISS_SIMD_LEVEL", "AVX2"),
    ("OPENBLAS_CORETYPE", "Haswell"),
];

/// OpenBLAS's kernels for processors with AVX-512. They are asked for by name, for it does not know
/// every such processor, and then falls back to SSE3, five times as slow.
const OF_AVX512: (&str, &str) = ("OPENBLAS_CORETYPE", "SkylakeX");

/// Where the programs are, and what protem can do.
pub struct Programs {
    protem: PathBuf,
    python: PathBuf,
    script: PathBuf,
    /// For the arrays that protem writes.
    pub scratch: PathBuf,
    /// `protem cluster` can leave out what cannot change.
    pub prunes: bool,
}

/// A clustering to do.
pub struct Task<'a> {
    pub input: &'a Path,
    pub init: &'a Path,
    pub k: u32,
    pub iters: u32,
    pub threads: u32,
    /// Instructions that the programs are held to.
    pub level: Option<Level>,
    /// Whether protem prunes; as it does by itself, for none.
    pub prune: Option<bool>,
}

/// What a program says about a clustering.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// Of the whole.
    pub seconds: f64,
    pub per_iteration: f64,
    /// As many as were made.
    pub iterations: f64,
    /// Of the centroids in the end.
    pub objective: f64,
    /// Before each update, if it says.
    pub objectives: Vec<f64>,
    pub instructions: String,
}

impl Programs {
    pub fn new(ready: &Ready) -> Outcome<Self> {
        let protem = ready.protem.clone();
        let help = Command::new(&protem)
            .args(["cluster", "--help"])
            .output()
            .map_err(|e| {
                format!(
                    "{} does not start: {e}; name another with --protem PATH",
                    protem.display()
                )
            })?;
        Ok(Self {
            protem,
            python: ready.python.clone(),
            script: ready.root.join("xtask/peers/faiss_kmeans.py"),
            scratch: ready.folder.join("clusters"),
            prunes: String::from_utf8_lossy(&help.stdout).contains("--prune"),
        })
    }

    /// protem's clustering; the centroids go into the scratch folder.
    pub fn protem(&self, task: &Task) -> Outcome<Answer> {
        let mut command = Command::new(&self.protem);
        command.arg("cluster").arg("--json");
        command.arg("--out").arg(&self.scratch);
        command.args(["--k", &task.k.to_string()]);
        // Every point, every iteration.
        command.args(["--max-points-per-centroid", "1000000"]);
        if let (true, Some(prune)) = (self.prunes, task.prune) {
            command.args(["--prune", if prune { "on" } else { "off" }]);
        }
        task.tell(&mut command);
        // What the user's shell says about instruction sets must not change a row's meaning.
        command.env_remove("PROTEM_ISA");
        if let Some(level) = task.level {
            command.env("PROTEM_ISA", level.name());
        }
        let answer = ask(command, |json| {
            Answer::read(json, json["isa"].as_str().unwrap_or("?"))
        })?;
        match task.level.map(Level::name) {
            Some(level) if level != answer.instructions => Err(format!(
                "protem used {} under PROTEM_ISA={level}, which is no comparison; --only SUBSTRING chooses other rows",
                answer.instructions
            )),
            _ => Ok(answer),
        }
    }

    pub fn faiss(&self, task: &Task) -> Outcome<Answer> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script);
        task.tell(&mut command);
        command.env("OMP_NUM_THREADS", task.threads.to_string());
        // What the user's shell says of cores and caches must not slow it.
        for name in ["OPENBLAS_NUM_THREADS", "OPENBLAS_L2_SIZE"] {
            command.env_remove(name);
        }
        let held = task.level == Some(Level::Avx2);
        for (name, value) in HELD {
            command.env_remove(name);
            if held {
                command.env(name, value);
            }
        }
        if !held && avx512() {
            command.env(OF_AVX512.0, OF_AVX512.1);
        }
        let answer = ask(command, |json| {
            let said = |key: &str| json[key].as_str().unwrap_or("?").to_owned();
            Answer::read(json, &format!("{}, BLAS {}", said("simd"), said("blas")))
        })?;
        if held && answer.instructions != "AVX2, BLAS Haswell" {
            return Err(format!(
                "faiss did not keep to {HELD:?}, it used {}; leave --python out to have the version set up that does",
                answer.instructions
            ));
        }
        Ok(answer)
    }
}

/// Whether this processor has what OpenBLAS's kernels of [`OF_AVX512`] need.
fn avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512cd");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

impl Task<'_> {
    /// The flags that both programs take.
    fn tell(&self, command: &mut Command) {
        command.arg("--input").arg(self.input);
        command.arg("--init").arg(self.init);
        command.args(["--iters", &self.iters.to_string()]);
        command.args(["--threads", &self.threads.to_string()]);
    }
}

impl Answer {
    fn read(json: &Value, instructions: &str) -> Outcome<Self> {
        let objectives = json["objectives"].as_array();
        let objectives = objectives.into_iter().flatten().map(|value| {
            let number = value.as_f64();
            number.ok_or_else(|| format!("its objectives are not all numbers: {json}"))
        });
        Ok(Self {
            seconds: positive(json, "seconds")?,
            per_iteration: positive(json, "seconds_per_iteration")?,
            iterations: positive(json, "iterations")?,
            objective: positive(json, "objective")?,
            objectives: objectives.collect::<Outcome<_>>()?,
            instructions: instructions.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objectives_may_be_missing_but_not_broken() {
        let mut json = json!({
            "seconds": 2.0, "seconds_per_iteration": 0.5, "iterations": 4, "objective": 7
        });
        let read = Answer::read(&json, "amx").unwrap();
        assert_eq!((read.seconds, read.per_iteration), (2.0, 0.5));
        assert_eq!((read.objective, read.objectives), (7.0, vec![]));
        json["objectives"] = json!([9, 8.5]);
        let read = Answer::read(&json, "amx").unwrap();
        assert_eq!(read.objectives, [9.0, 8.5]);
        json["objectives"] = json!([9, null]);
        assert!(Answer::read(&json, "amx").is_err());
        json["objectives"] = json!([]);
        json["seconds"] = json!(0);
        assert!(Answer::read(&json, "amx").is_err());
    }
}
