//! The repository's rules: dependency arrows, headers, sizes and names of files.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Which siblings a crate may use. A crate that is not here may use any.
const ARROWS: [(&str, &[&str]); 8] = [
    ("protem-data", &[]),
    ("protem-ops", &[]),
    ("protem-cluster", &[]),
    ("protem-loss", &["protem-ops"]),
    ("protem-encoder", &["protem-ops"]),
    (
        "protem-eval",
        &[
            "protem-encoder",
            "protem-ops",
            "protem-data",
            "protem-cluster",
        ],
    ),
    (
        "protem-em",
        &[
            "protem-encoder",
            "protem-loss",
            "protem-eval",
            "protem-ops",
            "protem-cluster",
            "protem-data",
        ],
    ),
    ("protem-report", &["protem-em", "protem-data"]),
];
const LONGEST_FILE: usize = 700;

/// Prints every breach; success when there is none.
pub fn run() -> ExitCode {
    let mut breaches = arrows();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "tests"] {
        rust_files(&root.join(folder), &mut files);
    }
    for file in files {
        breaches.extend(check_file(&file));
    }
    breaches
        .iter()
        .for_each(|breach| println!("tidy: {breach}"));
    if breaches.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arrows() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output();
    let Ok(output) = output else {
        return vec!["cargo metadata does not run".into()];
    };
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut breaches = Vec::new();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    if packages.is_empty() {
        breaches.push("cargo metadata names no package".into());
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            continue;
        };
        let none = Vec::new();
        let dependencies = package["dependencies"].as_array().unwrap_or(&none);
        let used = dependencies
            .iter()
            .filter(|d| d["kind"].is_null())
            .filter_map(|d| d["name"].as_str());
        for to in used.filter(|to| to.starts_with("protem") && !allowed.contains(to)) {
            breaches.push(format!("{name} must not use {to}"));
        }
    }
    breaches
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn check_file(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut breaches = Vec::new();
    let mut breach = |what: &str| breaches.push(format!("{}: {what}", file.display()));
    if !text.starts_with("//!") {
        breach("it does not begin by saying what it is (//!)");
    }
    if text.lines().count() > LONGEST_FILE {
        breach("it is longer than one sitting's reading: it holds two things");
    }
    if file.file_stem().is_some_and(|stem| {
        ["utils", "util", "common", "helpers", "misc"]
            .iter()
            .any(|n| stem == *n)
    }) {
        breach("its name says nothing");
    }
    breaches
}
