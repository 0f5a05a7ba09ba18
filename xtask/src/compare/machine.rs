//! Under which circumstances a row was measured: machine, versions, command.

use std::path::Path;
use std::process::Command;

use super::{Options, Outcome};

/// One line for the table's list of runs; `peer` are its versions, `more` its own options.
pub fn setting(
    name: &str,
    options: &Options,
    more: &str,
    root: &Path,
    peer: &str,
) -> Outcome<String> {
    let rustc = said(root, "rustc", &["--version"]).unwrap_or_default();
    let rustc = rustc.split(' ').nth(1).unwrap_or("of unknown version");
    Ok(format!(
        "`{}{more}`; {}; {}; rustc {rustc}, {peer}",
        command(name, options),
        hardware()?,
        commit(options, root),
    ))
}

/// Whether the CPU has an instruction set, by its name in /proc/cpuinfo.
pub fn has(flag: &str) -> bool {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu.lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|word| word == flag))
}

/// The command as anyone could type it: where somebody's files lie is nobody else's business.
fn command(name: &str, options: &Options) -> String {
    let mut command = format!("cargo xtask compare {name}");
    if !options.only.is_empty() {
        command += &format!(" --only '{}'", options.only);
    }
    command += &format!(" --rounds {} --iters {}", options.rounds, options.iters);
    if options.python.is_some() {
        command += " --python PATH";
    }
    if options.protem.is_some() {
        command += " --protem PATH";
    }
    command
}

fn hardware() -> Outcome<String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let (cpu, memory) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?);
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&cpu, "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let cpus = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let total = value(&memory, "MemTotal").unwrap_or_default();
    let kibibytes: f64 = total.trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
    let gibibytes = kibibytes / f64::from(1 << 20);
    let plural = if cpus == 1 { "" } else { "s" };
    Ok(format!("{model}, {cpus} CPU{plural}, {gibibytes:.0} GiB"))
}

fn commit(options: &Options, root: &Path) -> String {
    if options.protem.is_some() {
        return "a protem built before".into();
    }
    let Some(commit) = said(root, "git", &["rev-parse", "--short", "HEAD"]) else {
        return "protem outside git".into();
    };
    // The table itself lies in docs and changes with every row.
    let changes = ["status", "--porcelain", "--", ".", ":(exclude)docs"];
    match said(root, "git", &changes) {
        Some(changes) if changes.is_empty() => format!("protem {commit}"),
        _ => format!("protem {commit} with changes"),
    }
}

fn said(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
