//! The repository's rules: dependency arrows, licences and sources; headers, lengths and names of files, and their sizes.

mod dependencies;

use crate::target::{metadata, root};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Which siblings a crate may use, in its tests and build scripts too. What puts them together is among
/// [`FREE`].
const ARROWS: [(&str, &[&str]); 11] = [
    ("protem-data", &[]),
    ("protem-ops", &[]),
    ("protem-cluster", &[]),
    ("protem-comm", &[]),
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
            "protem-comm",
            "protem-data",
        ],
    ),
    ("protem-report", &["protem-em", "protem-data"]),
    // They know the program from outside.
    ("xtask", &[]),
    ("protem-tests", &[]),
];
/// What a crate may use in its tests besides.
const IN_TESTS: [(&str, &str); 1] = [("protem-report", "protem-cluster")];
/// What may use any.
const FREE: [&str; 2] = ["protem", "protem-fuzz"];
/// What must not be compiled into a crate unless a feature asks for it.
const OPTIONAL: [(&str, &str); 1] = [("protem-cluster", "candle")];
const LONGEST_FILE: usize = 700;
/// Bytes of a file of the repository: what is larger is data or a build's, and stays in its history.
const LARGEST_FILE: u64 = 1 << 20;

/// Prints every breach; success when there is none.
pub fn run() -> ExitCode {
    let root = root();
    let mut breaches = arrows(root).unwrap_or_else(|error| vec![error]);
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "tests"] {
        if let Err(error) = rust_files(&root.join(folder), &mut files) {
            breaches.push(format!("{folder}: {error}"));
        }
    }
    for file in files {
        breaches.extend(check_file(&file));
    }
    breaches.extend(large_files(root));
    breaches.extend(dependencies::breaches(root));
    breaches
        .iter()
        .for_each(|breach| println!("tidy: {breach}"));
    if breaches.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arrows(root: &Path) -> Result<Vec<String>, String> {
    let metadata: serde_json::Value = metadata(root, "--no-deps")?;
    let mut breaches = Vec::new();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let name = |package: &serde_json::Value| package["name"].as_str().unwrap_or("?").to_owned();
    let names: Vec<String> = packages.iter().map(name).collect();
    let ruled = ARROWS.iter().map(|(name, _)| *name).chain(FREE);
    let gone = ruled.filter(|ruled| !names.iter().any(|name| name == ruled));
    breaches.extend(gone.map(|name| format!("there are rules for {name}, which is gone")));
    for (package, name) in packages.iter().zip(&names) {
        let none = Vec::new();
        let dependencies = package["dependencies"].as_array().unwrap_or(&none);
        breaches.extend(of_siblings(name, dependencies));
        breaches.extend(of_others(name, dependencies));
    }
    Ok(breaches)
}

/// Siblings that a crate uses against the rules.
fn of_siblings(name: &str, dependencies: &[serde_json::Value]) -> Vec<String> {
    if FREE.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!("there are no rules for {name}")];
    };
    let against = dependencies.iter().filter_map(|d| {
        let to = d["name"].as_str().filter(|to| to.starts_with("protem"))?;
        let in_tests = d["kind"] == "dev" && IN_TESTS.contains(&(name, to));
        (!allowed.contains(&to) && !in_tests).then_some(to)
    });
    against
        .map(|to| format!("{name} must not use {to}"))
        .collect()
}

/// Others that a crate always brings along against the rules.
fn of_others(name: &str, dependencies: &[serde_json::Value]) -> Vec<String> {
    let always = |d: &&serde_json::Value| d["kind"].is_null() && d["optional"] == false;
    let used = dependencies.iter().filter(always);
    let against = used.filter_map(|d| d["name"].as_str()).filter(|to| {
        let mut ruled = OPTIONAL.iter().filter(|(from, _)| *from == name);
        ruled.any(|(_, optional)| to.starts_with(optional))
    });
    against
        .map(|to| format!("{name} must not bring {to} along"))
        .collect()
}

/// Files of the repository that are too large. Without git there is none to look at.
fn large_files(root: &Path) -> Vec<String> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z"])
        .output();
    let names = listed.map(|listed| listed.stdout).unwrap_or_default();
    let names = String::from_utf8_lossy(&names).into_owned();
    let large = |name: &&str| {
        let size = root.join(name).metadata().map_or(0, |file| file.len());
        size > LARGEST_FILE
    };
    let large = names.split('\0').filter(large);
    large
        .map(|name| format!("{name}: it is larger than {LARGEST_FILE} bytes"))
        .collect()
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    Ok(())
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
