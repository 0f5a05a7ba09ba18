//! All of it for each pass of the device and beside other programs, written down.

use crate::peers::Clock;
use crate::time::{ITERATIONS, SHAPES, SMALL, file};
use crate::{Outcome, Request};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;
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
/// The longest that a peer may take for a shape, on a machine that has never imported it, and our own
/// checks and times for a pass.
const OF_PEER: Duration = Duration::from_secs(75);
const OF_OURS: Duration = Duration::from_secs(120);
/// What compute-sanitizer looks for, where it is there: accesses outside what is allocated, and races
/// in shared memory.
const SANITIZERS: [&str; 2] = ["memcheck", "racecheck"];
/// The longest that it may take.
const OF_SANITIZER: Duration = Duration::from_secs(60);

/// A report under way: written after each step, for a machine may be gone before the last one.
struct Report<'a> {
    request: &'a Request,
    clock: Clock,
    /// Where points are put for other programs: some hundred megabytes.
    scratch: PathBuf,
    said: Value,
    /// Whether all of protem's results were right so far.
    good: bool,
}

/// The answer, and whether all of protem's results were right.
pub fn run(request: &Request) -> Outcome<(Value, bool)> {
    let mut report = Report::begin(request)?;
    let passes = passes_of(&report.said["device"]);
    for pass in passes.iter().copied() {
        report.pass(pass)?;
    }
    for pass in passes {
        for tool in SANITIZERS {
            report.sanitize(pass, tool)?;
        }
    }
    report.peers()?;
    report.said["ended"] = json!(true);
    report.write()?;
    std::fs::remove_dir_all(&report.scratch)?;
    eprintln!(
        "wrote report.json and report.md in {}",
        request.out.display()
    );
    Ok((report.said, report.good))
}

impl<'a> Report<'a> {
    fn begin(request: &'a Request) -> Outcome<Self> {
        let scratch = request.out.join("points");
        std::fs::create_dir_all(&scratch)?;
        let mut report = Self {
            request,
            clock: Clock::of_minutes(request.minutes),
            scratch,
            said: json!({
                "small": request.small, "passes": [], "sanitized": [], "peers": [], "ended": false,
            }),
            good: true,
        };
        // By a process of its own too: a device may be for one at a time.
        let (device, found) = report.ours("device", None)?;
        if !found {
            return Err("the device does not open".into());
        }
        report.said["device"] = device;
        report.write()?;
        Ok(report)
    }

    fn write(&self) -> Outcome<()> {
        let out = &self.request.out;
        std::fs::write(
            out.join("report.json"),
            serde_json::to_vec_pretty(&self.said)?,
        )?;
        Ok(std::fs::write(out.join("report.md"), page(&self.said)?)?)
    }

    /// Adds to one of the lists, and writes.
    fn add(&mut self, list: &str, entry: Value) -> Outcome<()> {
        if let Some(list) = self.said[list].as_array_mut() {
            list.push(entry);
        }
        self.write()
    }

    /// This program in a process of its own: a defect of a kernel ends no more than that.
    fn ours(&self, command: &str, pass: Option<&str>) -> Result<(Value, bool), String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut child = Command::new(program);
        child.arg(command).arg("--points").arg(&self.scratch);
        if self.request.small {
            child.arg("--small");
        }
        if let Some(pass) = pass {
            child.env("PROTEM_CUDA_PASS", pass);
        }
        let (answer, status) = self.clock.ask(&mut child, OF_OURS)?;
        Ok((answer, status.success()))
    }

    /// Checks and times.
    fn pass(&mut self, pass: &str) -> Outcome<()> {
        let mut ask = |command: &str| {
            eprintln!("{pass}: {command}");
            let answer = self.ours(command, Some(pass));
            self.good &= answer.as_ref().is_ok_and(|(_, success)| *success);
            answer.map_or_else(|why| json!({ "failed": why }), |(answer, _)| answer)
        };
        let check = ask("check");
        // What crashes or hangs there would do so again, and take time from the rest.
        let time = match check["failed"].is_null() {
            true => ask("time"),
            false => json!({ "failed": "not tried after that" }),
        };
        self.add(
            "passes",
            json!({ "pass": pass, "check": check, "time": time }),
        )
    }

    /// Little of everything under compute-sanitizer: whether it finds something.
    fn sanitize(&mut self, pass: &str, tool: &str) -> Outcome<()> {
        let log = format!("{tool}-{pass}.log");
        let mut child = Command::new("compute-sanitizer");
        /// How it ends where the tool has found something, whatever the program would end with.
        const FOUND: i32 = 9;
        child.args(["--tool", tool, "--error-exitcode", &FOUND.to_string()]);
        child.arg("--log-file");
        child
            .arg(self.request.out.join(&log))
            .arg(std::env::current_exe()?);
        child.args(["check", "--small"]);
        child.env("PROTEM_CUDA_PASS", pass);
        let mut run = json!({ "pass": pass, "tool": tool, "log": log });
        match self.clock.ask(&mut child, OF_SANITIZER) {
            Ok((_, status)) => {
                run["found"] = json!(status.code() == Some(FOUND));
                run["checked"] = json!(status.success());
                self.good &= status.success();
            }
            Err(why) => run["failed"] = json!(why),
        }
        eprintln!("compute-sanitizer: {run}");
        self.add("sanitized", run)
    }

    /// The other programs, on all shapes.
    fn peers(&mut self) -> Outcome<()> {
        let Some(script) = &self.request.peers else {
            return Ok(());
        };
        let small = self.request.small;
        let shapes: &[_] = if small { &SMALL } else { &SHAPES };
        for shape in shapes.iter().copied() {
            let (n, k, d) = shape;
            for (peer, name) in PEERS {
                let mut child = Command::new(&self.request.python);
                child
                    .arg(script)
                    .arg(peer)
                    .arg(file(&self.scratch, shape))
                    .args([n, k, d, ITERATIONS].map(|number| number.to_string()));
                if small {
                    child.args(["--device", "cpu"]);
                }
                let answer = match self.clock.ask(&mut child, OF_PEER) {
                    Ok((answer, status)) if status.success() => answer,
                    Ok((answer, _)) => json!({ "failed": answer.to_string() }),
                    Err(why) => json!({ "failed": why }),
                };
                eprintln!("{name}, {n} × {d}, {k} clusters: {answer}");
                let entry = json!({ "peer": name, "n": n, "k": k, "d": d, "answer": answer });
                self.add("peers", entry)?;
            }
        }
        Ok(())
    }
}

/// By the values of `PROTEM_CUDA_PASS` that lead to them.
fn passes_of(device: &Value) -> Vec<&'static str> {
    match device["pass"] == json!("best_of_groups_wgmma") {
        true => vec!["mma", "wgmma"],
        false => vec!["mma"],
    }
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
    if report["small"] == json!(true) {
        page += "**Very little of everything, and the others on the processor: nothing here is a comparison.**\n\n";
    }
    if report["ended"] != json!(true) {
        page += "**This report was cut off: what follows is all of it.**\n\n";
    }
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
            Some(false) if run["checked"] == json!(false) => {
                "finds nothing, but what it looked at **failed**".into()
            }
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
    let small = report["small"] == json!(true);
    for other in others {
        let (name, answer) = (text(&other["peer"]), &other["answer"]);
        match answer["seconds"].as_f64() {
            Some(theirs) => writeln!(
                page,
                "| {shape} | {seconds:.4} s | {name} {}: {theirs:.4} s | {} |",
                text(&answer["version"]),
                match small {
                    true => "–".into(),
                    false => format!("{:.2}", theirs / seconds),
                },
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
