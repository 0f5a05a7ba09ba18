//! What a GPU gives: whether its labels and centroids are the processor's to the bit, and how fast.
//!
//! `gpu device` names the device and compiles its kernels; `gpu check` compares fits on it with fits
//! on the processor; `gpu time` times iterations and kernels; `gpu report --out FOLDER` does all of
//! it for each pass that the device has, beside PyTorch, faiss and flash-kmeans on the same device,
//! and writes `report.json` and `report.md`. `--small` does it all on very little, to see that it
//! works. Each prints one line of JSON; what goes on is told on standard error.

mod check;
mod peers;
mod points;
mod report;
mod time;

use serde_json::{Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "gpu device|check|time|report [--small] [--points FOLDER] \
                     [--out FOLDER] [--python PATH] [--peers gpu_kmeans.py] [--minutes N]";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is asked for.
struct Request {
    small: bool,
    /// Where points for other programs are put.
    points: Option<PathBuf>,
    out: PathBuf,
    python: PathBuf,
    peers: Option<PathBuf>,
    minutes: f64,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("gpu: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as it should be.
fn run() -> Outcome<bool> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or(USAGE)?;
    let mut request = Request {
        small: false,
        points: None,
        out: "report".into(),
        python: "python3".into(),
        peers: None,
        minutes: 9.0,
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match name.as_str() {
            "--small" => request.small = true,
            "--points" => request.points = Some(value()?.into()),
            "--out" => request.out = value()?.into(),
            "--python" => request.python = value()?.into(),
            "--peers" => request.peers = Some(value()?.into()),
            "--minutes" => request.minutes = value()?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let (answer, good) = match command.as_str() {
        "device" => (device()?, true),
        "check" => check::run(&request, device()?)?,
        "time" => time::run(&request, device()?)?,
        "report" => report::run(&request)?,
        _ => return Err(USAGE.into()),
    };
    println!("{answer}");
    Ok(good)
}

fn device() -> Outcome<Value> {
    let device = protem_cluster::cuda_device(0).map_err(|e| {
        format!(
            "{e}\nthis needs an NVIDIA GPU of compute capability 8.0 or above, its driver, and kernels \
             for it: NVRTC of CUDA 12 or 13, or an image in the cache folder"
        )
    })?;
    let (major, minor) = device.capability;
    Ok(json!({
        "name": device.name,
        "capability": format!("{major}.{minor}"),
        "gibibytes": device.memory as f64 / (1u64 << 30) as f64,
        "pass": device.pass,
    }))
}
