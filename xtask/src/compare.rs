//! `cargo xtask compare torch`: protem and PyTorch measured in turn, the ratios written into the documentation.

mod cases;
mod cuda_stubs;
mod load;
mod machine;
mod measure;
mod section;
mod torch;

use std::path::{Path, PathBuf};
use std::process::Command;

use cases::Case;
use measure::Programs;
use section::{Document, Row};

/// What went wrong and what the user can do about it.
type Outcome<T> = Result<T, String>;

/// How to compare.
#[derive(clap::Args)]
pub struct Options {
    /// Only rows whose name contains this; the others keep what the table says
    #[arg(
        long,
        value_name = "SUBSTRING",
        default_value = "",
        hide_default_value = true
    )]
    only: String,
    /// How often each of the two is run, in turn; the table has the median over the rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Timed iterations in each run, after those that warm it up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    iters: u32,
    /// A Python interpreter that has torch; without it one is set up in the target folder
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// A protem binary; without it the release build is brought up to date
    #[arg(long, value_name = "PATH")]
    protem: Option<PathBuf>,
    /// The file that holds the table [default: docs/benchmarks.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Measures the chosen rows and writes each down as soon as it is there.
pub fn run(options: &Options) -> Outcome<()> {
    if !cfg!(target_os = "linux") {
        return Err("both programs' memory is read in /proc: run it on Linux".into());
    }
    let cases = chosen(&options.only)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let default_out = root.join("docs/benchmarks.md");
    let out = options.out.as_deref().unwrap_or(&default_out);
    // A file that could not take the table should be found out before an hour of measuring.
    Document::read(out)?;

    let target = target_folder(&root)?;
    let python = match &options.python {
        Some(path) => path.clone(),
        None => torch::set_up(&target.join("peers/venv"))?,
    };
    let torch = torch::version(&python)
        .map_err(|e| format!("{e}\nleave --python out to have torch set up"))?;
    let protem = match &options.protem {
        Some(path) => path.clone(),
        None => build(&root, &target)?,
    };
    let setting = machine::setting(options, &root, &torch)?;
    let programs = Programs {
        protem,
        python,
        script: root.join("xtask/peers/torch_step.py"),
        rounds: options.rounds,
        iters: options.iters,
    };
    for (case, metrics) in cases {
        let rounds = programs.measure(&case)?;
        let rows = metrics
            .iter()
            .map(|metric| Row::new(case.name(*metric), *metric, &rounds, &setting));
        let mut document = Document::read(out)?;
        document.merge(rows.collect());
        document.write(out)?;
    }
    println!("{}", Document::read(out)?.section());
    Ok(())
}

/// The cases that have a row whose name contains `only`, each with these rows.
fn chosen(only: &str) -> Outcome<Vec<(Case, Vec<cases::Metric>)>> {
    let mut chosen = Vec::new();
    for case in cases::ALL {
        let mut metrics = case.metrics().to_vec();
        metrics.retain(|metric| case.name(*metric).contains(only));
        if !metrics.is_empty() {
            chosen.push((case, metrics));
        }
    }
    if chosen.is_empty() {
        let names = cases::row_names().join("\n  ");
        return Err(format!(
            "no row's name contains `{only}`; the rows are\n  {names}"
        ));
    }
    Ok(chosen)
}

/// Where cargo builds, by whatever variable or setting.
fn target_folder(root: &Path) -> Outcome<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo metadata does not run: {e}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match metadata["target_directory"].as_str() {
        Some(folder) => Ok(folder.into()),
        None => Err(format!(
            "cargo metadata names no target folder; run it by hand: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn build(root: &Path, target: &Path) -> Outcome<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "protem"])
        .current_dir(root)
        .status();
    match status {
        Ok(status) if status.success() => Ok(target.join("release/protem")),
        _ => Err("protem does not build (cargo's words are above); mend it, or name a built one with --protem PATH".into()),
    }
}
