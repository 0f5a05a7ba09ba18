//! All of it for each pass of the device and beside other programs, written down.

use crate::peers::Clock;
use crate::time::{ITERATIONS, SHAPES, SMALL, file};
use crate::{Outcome, Request};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Programs of `gpu_kmeans.py`, and what they are called.
const PEERS: [(&str, &str); 5] = [
    ("torch-f32", "PyTorch, f32"),
    ("torch-tf32", "PyTorch, tf32"),
    ("torch-bf16", "PyTorch, bf16 products"),
    ("faiss", "faiss-gpu"),
    ("flash", "flash-kmeans"),
];
/// The longest that a peer may take for a shape, and our own checks and times for a pass.
const OF_PEER: Duration = Duration::from_secs(60);
const OF_OURS: Duration = Duration::from_secs(120);
/// What compute-sanitizer looks for, where it is there: accesses outside what is allocated, and races
/// in shared memory.
const SANITIZERS: [&str; 2] = ["memcheck", "racecheck"];
/// The longest that it may take.
const OF_SANITIZER: Duration = Duration::from_secs(60);

/// The answer, and whether all of protem's results were right.
pub fn run(request: &Request, device: Value) -> Outcome<(Value, bool)> {
    let clock = Clock::of_minutes(request.minutes);
    std::fs::create_dir_all(&request.out)?;
    // Points are some hundred megabytes.
    let scratch = request.out.join("points");
    std::fs::create_dir_all(&scratch)?;
    let mut good = true;
    let mut passes = Vec::new();
    let names = passes_of(&device);
    for pass in names.iter().copied() {
        let mut ask = |command: &str| {
            eprintln!("{pass}: {command}");
            let answer = ours(request, &clock, pass, command, &scratch);
            good &= answer.as_ref().is_ok_and(|(_, success)| *success);
            answer.map_or_else(|why| json!({ "failed": why }), |(answer, _)| answer)
        };
        let check = ask("check");
        // What crashes or hangs there would do so again, and take time from the rest.
        let time = match check["failed"].is_null() {
            true => ask("time"),
            false => json!({ "failed": "not tried after that" }),
        };
        passes.push(json!({ "pass": pass, "check": check, "time": time }));
    }
    let peers = peers(request, &clock, &scratch);
    let sanitized = sanitized(request, &clock, &names)?;
    good &= sanitized.iter().all(|run| run["found"] != json!(true));
    let report = json!({
        "device": device, "small": request.small, "passes": passes, "peers": peers,
        "sanitized": sanitized,
    });
    std::fs::write(
        request.out.join("report.json"),
        serde_json::to_vec_pretty(&report)?,
    )?;
    std::fs::write(request.out.join("report.md"), page(&report)?)?;
    std::fs::remove_dir_all(&scratch)?;
    eprintln!(
        "wrote report.json and report.md in {}",
        request.out.display()
    );
    Ok((report, good))
}

/// By the values of `PROTEM_CUDA_PASS` that lead to them.
fn passes_of(device: &Value) -> Vec<&'static str> {
    match device["pass"] == json!("best_of_groups_wgmma") {
        true => vec!["mma", "wgmma"],
        false => vec!["mma"],
    }
}

/// This program in a process of its own: a defect of a kernel ends no more than that.
fn ours(
    request: &Request,
    clock: &Clock,
    pass: &str,
    command: &str,
    scratch: &Path,
) -> Result<(Value, bool), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program);
    child.arg(command).arg("--points").arg(scratch);
    if request.small {
        child.arg("--small");
    }
    child.env("PROTEM_CUDA_PASS", pass);
    clock.ask(&mut child, OF_OURS)
}

fn peers(request: &Request, clock: &Clock, scratch: &Path) -> Vec<Value> {
    let Some(script) = &request.peers else {
        return Vec::new();
    };
    let shapes: &[_] = if request.small { &SMALL } else { &SHAPES };
    let mut answers = Vec::new();
    for shape in shapes.iter().copied() {
        let (n, k, d) = shape;
        for (peer, name) in PEERS {
            let mut child = Command::new(&request.python);
            child.arg(script).arg(peer).arg(file(scratch, shape));
            child.args([n, k, d, ITERATIONS].map(|number| number.to_string()));
            if request.small {
                child.args(["--device", "cpu"]);
            }
            let answer = match clock.ask(&mut child, OF_PEER) {
                Ok((answer, true)) => answer,
                Ok((answer, false)) => json!({ "failed": answer.to_string() }),
                Err(why) => json!({ "failed": why }),
            };
            eprintln!("{name}, {n} × {d}, {k} clusters: {answer}");
            answers.push(json!({ "peer": name, "n": n, "k": k, "d": d, "answer": answer }));
        }
    }
    answers
}

/// Little of everything under compute-sanitizer, for each pass and tool: whether it found something.
fn sanitized(request: &Request, clock: &Clock, passes: &[&str]) -> Outcome<Vec<Value>> {
    let program = std::env::current_exe()?;
    let mut runs = Vec::new();
    for pass in passes {
        for tool in SANITIZERS {
            let log = format!("{tool}-{pass}.log");
            let mut child = Command::new("compute-sanitizer");
            child.args(["--tool", tool, "--error-exitcode", "9", "--log-file"]);
            child.arg(request.out.join(&log)).arg(&program);
            child.args(["check", "--small"]);
            child.env("PROTEM_CUDA_PASS", pass);
            let mut run = json!({ "pass": pass, "tool": tool, "log": log });
            match clock.ask(&mut child, OF_SANITIZER) {
                Ok((_, success)) => run["found"] = json!(!success),
                Err(why) => run["failed"] = json!(why),
            }
            eprintln!("compute-sanitizer: {run}");
            runs.push(run);
        }
    }
    Ok(runs)
}

/// What this program was built from, where that was said.
const COMMIT: &str = match option_env!("PROTEM_COMMIT") {
    Some(commit) => commit,
    None => "of unknown commit",
};

/// A section in the form of docs/benchmarks.md.
fn page(report: &Value) -> Result<String, std::fmt::Error> {
    let mut page = String::from("## On a GPU\n\n");
    let device = &report["device"];
    writeln!(
        page,
        "`gpu report` on {} (compute capability {}, {:.0} GiB). An iteration is an assignment of all \
         points and an update, the median of {ITERATIONS} after the first, from points evenly drawn; \
         protem's has the copies of labels, distances and centroids to the host in it. The points \
         are of the mixture in `examples/gpu/points.rs`. Speed-up is the other program's time over \
         protem's.\n",
        text(&device["name"]),
        text(&device["capability"]),
        device["gibibytes"].as_f64().unwrap_or(f64::NAN),
    )?;
    checks(report, &mut page)?;
    findings(report, &mut page)?;
    page += "\n| iteration | protem | the other | speed-up |\n|---|---|---|---|\n";
    for pass in list(&report["passes"]) {
        for row in list(&pass["time"]["rows"]) {
            rows(report, text(&pass["pass"]), row, &mut page)?;
        }
    }
    page += "\n| kernel | iteration | launches | milliseconds |\n|---|---|---|---|\n";
    for pass in list(&report["passes"]) {
        for row in list(&pass["time"]["rows"]) {
            let shape = shape(text(&pass["pass"]), row);
            for kernel in list(&row["kernels"]) {
                let time = kernel["milliseconds"].as_f64().unwrap_or(f64::NAN);
                let (name, launches) = (text(&kernel["kernel"]), &kernel["launches"]);
                writeln!(page, "| `{name}` | {shape} | {launches} | {time:.3} |")?;
            }
        }
    }
    let mut others: Vec<String> = Vec::new();
    for peer in list(&report["peers"]) {
        if let Some(version) = peer["answer"]["version"].as_str() {
            others.push(format!("{} {version}", text(&peer["peer"])));
        }
    }
    others.dedup();
    let others = others.join(", ");
    writeln!(
        page,
        "\nRun: `gpu report`; {}; protem {COMMIT}; {others}",
        text(&device["name"])
    )?;
    Ok(page)
}

/// What was compared with the processor, and what was not the same.
fn checks(report: &Value, page: &mut String) -> std::fmt::Result {
    for pass in list(&report["passes"]) {
        let (name, check, time) = (text(&pass["pass"]), &pass["check"], &pass["time"]);
        for part in [check, time] {
            if let Some(why) = part["failed"].as_str() {
                writeln!(page, "- {name}: **failed**, {why}")?;
            }
        }
        let cases = list(&check["cases"]);
        if !cases.is_empty() {
            let (count, wrong) = (cases.len(), &check["wrong"]);
            writeln!(
                page,
                "- {name}: {count} fits compared with the processor's, {wrong} differ in some bit"
            )?;
        }
        for case in cases.iter().filter(|case| case["differs"] != json!(0)) {
            writeln!(page, "  - differs: {case}")?;
        }
        for row in list(&time["rows"]) {
            let (sample, wrong, shape) = (&row["sample"], &row["sample_differs"], shape(name, row));
            writeln!(
                page,
                "- {shape}: {wrong} of {sample} points have another label or distance"
            )?;
        }
    }
    Ok(())
}

/// What compute-sanitizer found.
fn findings(report: &Value, page: &mut String) -> std::fmt::Result {
    for run in list(&report["sanitized"]) {
        let (pass, tool) = (text(&run["pass"]), text(&run["tool"]));
        let said = match run["found"].as_bool() {
            Some(false) => "finds nothing".into(),
            Some(true) => format!("**finds something**, see {}", text(&run["log"])),
            None => format!("not run, {}", text(&run["failed"])),
        };
        writeln!(page, "- {pass}: {tool} {said}")?;
    }
    Ok(())
}

/// A row for every other program, or one alone.
fn rows(report: &Value, pass: &str, row: &Value, page: &mut String) -> std::fmt::Result {
    let shape = shape(pass, row);
    let seconds = row["seconds"].as_f64().unwrap_or(f64::NAN);
    let same = |other: &&Value| ["n", "k", "d"].iter().all(|key| other[*key] == row[*key]);
    let others: Vec<&Value> = list(&report["peers"]).iter().filter(same).collect();
    if others.is_empty() {
        writeln!(page, "| {shape} | {seconds:.4} s | – | – |")?;
    }
    for other in others {
        let (name, answer) = (text(&other["peer"]), &other["answer"]);
        match answer["seconds"].as_f64() {
            Some(theirs) => writeln!(
                page,
                "| {shape} | {seconds:.4} s | {name} {}: {theirs:.4} s | {:.2} |",
                text(&answer["version"]),
                theirs / seconds,
            )?,
            None => {
                // A pipe would end the cell.
                let why = text(&answer["failed"]).replace('|', "/");
                let why: String = why.chars().take(120).collect();
                writeln!(
                    page,
                    "| {shape} | {seconds:.4} s | {name}: not measured, {why} | – |"
                )?;
            }
        }
    }
    Ok(())
}

fn shape(pass: &str, row: &Value) -> String {
    format!("{} × {}, K {}, {pass}", row["n"], row["d"], row["k"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
