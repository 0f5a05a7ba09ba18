//! What the end-to-end tests share: the built binary, small runs, pictures, and ways to look at
//! what a run left behind.
//!
//! Everything here panics on failure: it serves tests alone.

mod event_files;
mod server;

pub use event_files::{
    Scalars, assert_scalars_are_metrics, event_files, scalars, timeless_scalars,
};
pub use server::{Answer, Killed, Server, copy_run};

use image::{ExtendedColorType, Rgb, RgbImage};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings of a run of seconds that has everything a long one has: a warm-up, two clusterings,
/// kNN, 6 steps an epoch, 18 in all, and a checkpoint at each.
pub const TINY: [&str; 14] = [
    "data.generated_images=96",
    "data.image_size=16",
    "encoder.width=4",
    "encoder.dim=16",
    "encoder.split_bn=2",
    "method.queue=64",
    "method.clusters=[20, 30]",
    "method.negatives=16",
    "method.warmup_epochs=1",
    "e_step.restarts=2",
    "optim.epochs=3",
    "optim.batch=16",
    "checkpoint.every_steps=1",
    "checkpoint.keep_last=3",
];

/// The protem binary that cargo built for the tests; or the one that the variable
/// `PROTEM_TEST_BINARY` names, such as an installed one.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("PROTEM_TEST_BINARY");
    let built = || std::env::var_os("CARGO_BIN_EXE_protem");
    named
        .or_else(built)
        .map(PathBuf::from)
        .expect("cargo names the binary (from 1.94 on); or set PROTEM_TEST_BINARY")
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Real images by their path below the folder that `PROTEM_TEST_IMAGES` names; without the variable,
/// says so and is none.
///
/// # Panics
/// If they are not there.
pub fn real(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PROTEM_TEST_IMAGES").filter(|root| !root.is_empty());
    let Some(root) = root else {
        skipped(&format!("{path}: PROTEM_TEST_IMAGES names no folder"));
        return None;
    };
    let found = Path::new(&root).join(path);
    assert!(
        found.is_absolute(),
        "PROTEM_TEST_IMAGES is an absolute path"
    );
    assert!(found.exists(), "{} is not there", found.display());
    Some(found)
}

/// Says that a test did not run. The harness would keep a `println!` to itself.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}"); // nobody to tell is no failure
}

/// A command of the binary, free of settings from the environment.
pub fn protem(args: &[&str]) -> Command {
    let mut command = without_settings(Command::new(binary()));
    command.args(args);
    command
}

/// `command` as the last arguments of `program` with `args`.
pub fn within(program: &str, args: &[&str], command: &Command) -> Command {
    let mut outer = without_settings(Command::new(program));
    outer.args(args).arg(command.get_program());
    outer.args(command.get_args());
    outer
}

fn without_settings(mut command: Command) -> Command {
    /// What else changes what the program does.
    const NAMES: [&str; 3] = ["RUST_LOG", "RANK", "WORLD_SIZE"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PROTEM_") || NAMES.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// `protem train` with [`TINY`] settings, those of `set` over them, into `out`.
pub fn tiny(out: &Path, args: &[&str], set: &[&str]) -> Command {
    let mut command = protem(&["train", "--out"]);
    command.arg(out).args(args);
    for pair in TINY.iter().chain(set) {
        command.args(["--set", pair]);
    }
    command
}

/// `protem train --resume --out OUT`.
pub fn resume(out: &Path) -> Command {
    let mut command = protem(&["train", "--resume", "--out"]);
    command.arg(out);
    command
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails unless it ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless standard error has every one of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no `{word}` in: {}",
                self.stderr
            );
        }
        self
    }
}

/// Runs a command to its end. It must not panic, whatever else it does.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// Checkpoint files of a run, the oldest first.
pub fn checkpoints(out: &Path) -> Vec<PathBuf> {
    files(&out.join("checkpoints"))
}

/// Files of a folder by name; none if there is no folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// All that a run's last checkpoint holds, but for the seconds: bytes of each tensor by name, and
/// position, settings and images under `protem`.
pub fn last_state(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(checkpoints(out).last().expect("a checkpoint")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut state: BTreeMap<String, Vec<u8>> = file
        .iter()
        .map(|(name, view)| (name.to_owned(), view.data().to_vec()))
        .collect();
    let header = metadata.metadata().clone().unwrap()["protem"].clone();
    let mut header: Value = serde_json::from_str(&header).unwrap();
    // The number of threads is a setting, and results do not depend on it.
    header["origin"]["settings"]["threads"] = Value::Null;
    state.insert("protem".into(), header.to_string().into_bytes());
    state
}

/// Fails unless two runs ended in the same state, bit for bit.
#[track_caller]
pub fn assert_same_state(a: &Path, b: &Path) {
    let (a, b) = (last_state(a), last_state(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

/// The lines of a run's `metrics.jsonl`.
pub fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// The lines of one kind.
pub fn metrics_of(out: &Path, event: &str) -> Vec<Value> {
    let mut lines = metrics(out);
    lines.retain(|line| line["event"] == event);
    lines
}

/// The metrics without times and places, and without the lines that say where a run went on.
pub fn timeless_metrics(out: &Path) -> Vec<Value> {
    let mut lines = metrics(out);
    lines.retain(|line| line["event"] != "run" || line["resumed_from"].is_null());
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        for key in [
            "seconds",
            "e_step_seconds",
            "waited_seconds",
            "images_per_second",
            "checkpoint",
        ] {
            line.remove(key);
        }
    }
    lines
}

/// Writes class folders of pictures, every other one a PNG: `class-0/0.jpg`, `class-0/1.png`, …
pub fn class_folders(root: &Path, classes: u32, per_class: u32) {
    for class in 0..classes {
        let folder = root.join(format!("class-{class}"));
        fs::create_dir_all(&folder).unwrap();
        for i in 0..per_class {
            let kind = if i % 2 == 0 { "jpg" } else { "png" };
            picture(&folder.join(format!("{i}.{kind}")), class, i);
        }
    }
}

/// Writes a picture of stripes (direction by class) in colours that follow from `i`.
pub fn picture(path: &Path, class: u32, i: u32) {
    let pixels = RgbImage::from_fn(20, 18, |x, y| {
        let along = if class.is_multiple_of(2) { x } else { y };
        let wave = (along * (2 + class) + i * 7) % 12 * 20;
        Rgb([wave as u8, (i * 37 % 256) as u8, (class * 80 % 256) as u8])
    });
    let format = image::ImageFormat::from_path(path).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    let (width, height) = pixels.dimensions();
    image::write_buffer_with_format(
        &mut bytes,
        &pixels,
        width,
        height,
        ExtendedColorType::Rgb8,
        format,
    )
    .unwrap();
    fs::write(path, bytes.into_inner()).unwrap();
}
