//! `cargo xtask fuzz TARGET`: builds the engine of `tests/fuzz` with the compiler's coverage
//! counters and runs it. What it keeps lies under the target folder; `--keep` writes the smallest
//! set of inputs with the same coverage into `tests/fuzz/corpus`, where tests read it again.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::target::{root, target_folder};

type Outcome<T> = Result<T, String>;

#[derive(Args)]
pub struct Options {
    /// One of the readers in tests/fuzz/src/lib.rs
    target: String,
    /// Minutes of CPU time
    #[arg(long, default_value_t = 60.0, value_parser = minutes)]
    minutes: f64,
    /// A folder of more files to start from; what grows from them is never kept in the repository
    #[arg(long, conflicts_with = "keep")]
    seeds: Option<PathBuf>,
    /// Replace the inputs in the repository by the smallest set that covers as much
    #[arg(long)]
    keep: bool,
    /// Bytes of the longest input; longer seeds are cut
    #[arg(long, default_value_t = 65536)]
    longest: u32,
    /// Memory above which an input is a finding
    #[arg(long, default_value_t = 4096, value_name = "MIB")]
    memory: u32,
    /// Seconds of CPU time after which an input is a finding
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    timeout: u32,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes < 1e6 => Ok(minutes),
        _ => Err("a number of minutes above 0".into()),
    }
}

/// Coverage counters and traced comparisons for libFuzzer, and every check that a release lacks.
/// `cfg(fuzzing)` lets decoders that know it pass over checksums, which mutation never meets.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg=fuzzing",
];

pub fn run(options: &Options) -> Outcome<()> {
    let root = root();
    let tests = root.join("tests/fuzz");
    let target = &options.target;
    let work = target_folder(root)?;
    let engine = build(&work)?;
    let work = work.join("fuzz").join(target);
    // Inputs that descend from other people's files stay apart from those that may be kept.
    let grown = work.join(match options.seeds {
        Some(_) => "grown-from-seeds",
        None => "grown",
    });
    let kept = tests.join("corpus").join(target);
    for folder in [&grown, &work.join("findings")] {
        make(folder)?;
    }
    let engine = Engine {
        program: engine,
        scratch: Scratch::new(&work)?,
        work,
        options,
    };
    let mut from = vec![
        grown.clone(),
        kept.clone(),
        tests.join("seeds").join(target),
    ];
    // A new reader has nothing kept.
    from.retain(|folder| folder.exists());
    from.extend(options.seeds.clone());
    engine.fuzz(&from, &tests.join(format!("dictionaries/{target}.dict")))?;
    if options.keep {
        engine.keep(&from, &kept)?;
    }
    Ok(())
}

/// Compiles the engine; its path.
fn build(target_folder: &Path) -> Outcome<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output();
    let version = version.map_err(|e| format!("rustc does not start: {e}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or("rustc -vV names no host")?;
    // With --target, the flags reach neither build scripts nor macros.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "protem-fuzz", "--bin", "engine"])
        .args(["--features", "engine", "--target", host])
        .arg("--target-dir")
        .arg(target_folder.join("fuzz/build"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err("the engine does not build".into());
    }
    Ok(target_folder
        .join("fuzz/build")
        .join(host)
        .join("release/engine"))
}

/// Where readers of files get theirs; removed at the end, for libFuzzer removes nothing.
struct Scratch(PathBuf);

impl Scratch {
    /// In memory where the system has a folder for that: an input a file makes a disk the limit.
    fn new(work: &Path) -> Outcome<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory } else { work };
        let folder = parent.join(format!("protem-fuzz-{}", std::process::id()));
        make(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is a few small files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Engine<'a> {
    program: PathBuf,
    scratch: Scratch,
    work: PathBuf,
    options: &'a Options,
}

impl Engine<'_> {
    /// libFuzzer with the limits, on `folders`, of which it writes to the first.
    fn command(&self, folders: &[PathBuf]) -> Command {
        let options = self.options;
        let mut command = Command::new(&self.program);
        command
            .env("PROTEM_FUZZ_TARGET", &options.target)
            .env("PROTEM_FUZZ_INPUT_SECONDS", options.timeout.to_string())
            .env("TMPDIR", &self.scratch.0)
            .arg(format!("-max_len={}", options.longest))
            .arg(format!("-rss_limit_mb={}", options.memory))
            // The engine has limits of CPU time instead.
            .args(["-timeout=0", "-report_slow_units=1000000000"])
            .arg(format!(
                "-artifact_prefix={}/",
                self.work.join("findings").display()
            ))
            .args(folders);
        command
    }

    /// Runs until the CPU time is used or an input is a finding, and tells what came of it.
    fn fuzz(&self, from: &[PathBuf], dictionary: &Path) -> Outcome<()> {
        let mut command = self.command(from);
        let seconds = (self.options.minutes * 60.0).ceil();
        command
            .env("PROTEM_FUZZ_SECONDS", format!("{seconds}"))
            .arg("-print_final_stats=1");
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let log = self.work.join("log");
        let (success, lines) = told(command, &log)?;
        println!("{}", Summary::of(&lines));
        if success {
            Ok(())
        } else {
            Err(format!(
                "it ended before its time: the input is in {}, its words in {}",
                self.work.join("findings").display(),
                log.display()
            ))
        }
    }

    /// Replaces what is in `kept` by the smallest set of inputs that covers what all of `from` do.
    fn keep(&self, from: &[PathBuf], kept: &Path) -> Outcome<()> {
        let smallest = self.work.join("smallest");
        let failed = |e: std::io::Error| format!("{}: {e}", kept.display());
        if smallest.exists() {
            std::fs::remove_dir_all(&smallest).map_err(failed)?;
        }
        make(&smallest)?;
        let mut folders = vec![smallest.clone()];
        folders.extend_from_slice(from);
        let mut command = self.command(&folders);
        // By places reached, not also by how often: a third of the bytes.
        command.args(["-merge=1", "-use_counters=0"]);
        let (success, _) = told(command, &self.work.join("log-merge"))?;
        if !success {
            return Err("merging failed".into());
        }
        if kept.exists() {
            std::fs::remove_dir_all(kept).map_err(failed)?;
        }
        make(kept)?;
        for entry in std::fs::read_dir(&smallest).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            std::fs::copy(entry.path(), kept.join(entry.file_name())).map_err(failed)?;
        }
        Ok(())
    }
}

/// Runs a command whose words on stderr go on to ours and to a file; whether it succeeded, and its
/// lines.
fn told(mut command: Command, log: &Path) -> Outcome<(bool, Vec<String>)> {
    let mut log = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{command:?} does not start: {e}"))?;
    let mut lines = Vec::new();
    let words = child.stderr.take().ok_or("the engine has no stderr")?;
    for line in BufReader::new(words).split(b'\n') {
        let line = line.map_err(|e| format!("reading the engine's words: {e}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        eprintln!("{line}");
        writeln!(log, "{line}").map_err(|e| format!("the log: {e}"))?;
        lines.push(line);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    Ok((status.success(), lines))
}

fn make(folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// What libFuzzer's words say at the end.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    executed: Option<String>,
    cpu: Option<String>,
    covered: Option<String>,
    corpus: Option<String>,
    /// Places of panics that the reader caught.
    caught: usize,
    findings: Vec<String>,
}

impl Summary {
    fn of(lines: &[String]) -> Self {
        let mut summary = Self::default();
        for line in lines {
            let after = |word: &str| {
                let (_, rest) = line.split_once(word)?;
                Some(rest.split_whitespace().next()?.to_string())
            };
            if let Some(executed) = after("stat::number_of_executed_units:") {
                summary.executed = Some(executed);
            } else if let Some(seconds) = after("CPU time: ") {
                summary.cpu = Some(seconds);
            } else if line.starts_with("PANIC: ") {
                summary.caught += 1;
            } else if line.starts_with("SUMMARY: ") {
                summary.findings.push(line.clone());
            } else if line.starts_with('#') {
                summary.covered = after(" cov: ").or(summary.covered);
                summary.corpus = after(" corp: ").or(summary.corpus);
            }
        }
        summary
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".into());
        writeln!(
            f,
            "{} inputs in {} s of CPU time, {} edges covered, corpus {} (inputs/size), {} places of panics, {} findings",
            known(&self.executed),
            known(&self.cpu),
            known(&self.covered),
            known(&self.corpus),
            self.caught,
            self.findings.len()
        )?;
        self.findings
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_are_summed_up() {
        let words = "#2\tINITED cov: 20 ft: 21 corp: 1/1b exec/s: 0 rss: 28Mb\n\
            PANIC: panicked at src/x.rs:1:1:\n\
            #900\tNEW    cov: 41 ft: 60 corp: 7/1300b lim: 4 exec/s: 0 rss: 28Mb\n\
            CPU time: 60.012 s\n\
            stat::number_of_executed_units: 901\n\
            SUMMARY: libFuzzer: deadly signal";
        let lines: Vec<String> = words.lines().map(str::to_string).collect();
        let summary = Summary::of(&lines);
        let some = |text: &str| Some(text.to_string());
        assert_eq!(summary.executed, some("901"));
        assert_eq!(summary.cpu, some("60.012"));
        assert_eq!(summary.covered, some("41"));
        assert_eq!(summary.corpus, some("7/1300b"));
        assert_eq!((summary.caught, summary.findings.len()), (1, 1));
    }
}
