//! `cargo xtask kernels`: the CUDA kernels without a GPU.
//!
//! NVRTC compiles them for every architecture, and fails the command where it cannot be had. A
//! driver of our own (`xtask/kernels`) runs them on the processor, under the host code as it is, and
//! counts what it is asked for; protem-cluster's tests compare the results with the processor's
//! own, once for each compute capability that has a pass of its own. What the compiler says of
//! registers and memory becomes `docs/kernels.md`.

mod table;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target::{root, target_folder};

/// NVIDIA's run-time compiler, as a Python package; of the CUDA that cudarc is bound for.
const COMPILER: &str = "nvidia-cuda-nvrtc==13.0.88";
const LIBRARIES: &str = "nvidia/cu13/lib";
const DRIVER: &str = "libcuda.so.1";
/// Compute capabilities that the driver says it has, and what of the tests need not be run again.
const CAPABILITIES: [(&str, &[&str]); 2] = [("90", &[]), ("80", &["--skip", "tests::compiled"])];

/// Compiles, compares, and writes the table.
pub fn run() -> Result<(), String> {
    let root = root();
    let folder = target_folder(root)?.join("kernels");
    let libraries = libraries(root)?;
    let logs = folder.join("logs");
    remove(&logs)?;
    std::fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    for (capability, skipped) in CAPABILITIES {
        remove(&folder.join("driver.log"))?;
        tests(root, &folder, &libraries, capability, skipped)?;
        example(root, &folder, &libraries, capability)?;
    }
    let table = table::of(&logs)?;
    let file = root.join("docs/kernels.md");
    std::fs::write(&file, table).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

/// A search path that leads to the driver on the processor and to NVRTC.
pub fn libraries(root: &Path) -> Result<OsString, String> {
    let folder = target_folder(root)?.join("kernels");
    let mut paths = vec![driver(root, &folder)?, compiler(&folder)?];
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    paths.extend(std::env::split_paths(&before));
    std::env::join_paths(paths).map_err(|e| e.to_string())
}

/// Removes what an earlier run left.
pub fn remove(left: &Path) -> Result<(), String> {
    let removed = match left.is_dir() {
        true => std::fs::remove_dir_all(left),
        false => std::fs::remove_file(left),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {e}", left.display()))
        }
        _ => Ok(()),
    }
}

/// The folder with NVRTC, which is put there unless it is there.
fn compiler(folder: &Path) -> Result<PathBuf, String> {
    let toolkit = folder.join("toolkit");
    let libraries = toolkit.join(LIBRARIES);
    if libraries.join("libnvrtc.so.13").exists() {
        return Ok(libraries);
    }
    eprintln!("installing {COMPILER} in {} (200 MB)", toolkit.display());
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--no-compile", "--target"])
        .arg(&toolkit)
        .arg(COMPILER)
        .status();
    if installed.is_ok_and(|status| status.success()) && libraries.join("libnvrtc.so.13").exists() {
        return Ok(libraries);
    }
    Err(format!(
        "`python3 -m pip install {COMPILER}` failed (its words are above): NVRTC is needed to \
         compile the kernels; see to Python 3, pip's settings, network and disk"
    ))
}

/// The folder with the driver that runs the kernels on the processor, built anew.
fn driver(root: &Path, folder: &Path) -> Result<PathBuf, String> {
    let to = folder.join("driver");
    std::fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?;
    let built = Command::new("g++")
        // As the kernels are compiled for a GPU: no product is fused with a sum.
        .args(["-std=c++20", "-O2", "-ffp-contract=off", "-Wall", "-Werror"])
        .args(["-Wno-unknown-pragmas", "-shared", "-fPIC"])
        // Some systems' g++ has jumps from stack to stack checked, which processor.hpp lives by.
        .arg("-U_FORTIFY_SOURCE")
        .arg(format!("-Wl,-soname,{DRIVER}"))
        .arg("-I")
        .arg(root.join("crates/protem-cluster/kernels"))
        .arg(root.join("xtask/kernels/driver.cpp"))
        .arg("-o")
        .arg(to.join(DRIVER))
        .status();
    match built {
        Ok(status) if status.success() => Ok(to),
        Ok(_) => Err("the kernels do not compile for the processor".into()),
        Err(e) => Err(format!("g++: {e}; install a C++ compiler (g++ on Debian)")),
    }
}

/// protem-cluster's tests of its CUDA backend, with these libraries.
fn tests(
    root: &Path,
    folder: &Path,
    libraries: &OsStr,
    capability: &str,
    skipped: &[&str],
) -> Result<(), String> {
    let tested = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["test", "-p", "protem-cluster", "--features", "cuda"])
        // The driver's log is one for all tests.
        .args(["--lib", "--", "cuda::", "--test-threads=1"])
        .args(skipped)
        .env("LD_LIBRARY_PATH", libraries)
        .env("PROTEM_DRIVER_CAPABILITY", capability)
        .env("PROTEM_CUDA", "required")
        .env("PROTEM_CUDA_LOGS", folder.join("logs"))
        .env("PROTEM_DRIVER_LOG", folder.join("driver.log"))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .status();
    match tested {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!(
            "the kernels fail their tests (compute capability {capability}, in tenths)"
        )),
        Err(e) => Err(format!("cargo test does not start: {e}")),
    }
}

/// What `cargo xtask gpu` runs on a GPU, on very little: it shall not meet one untried.
fn example(root: &Path, folder: &Path, libraries: &OsStr, capability: &str) -> Result<(), String> {
    let ran = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["run", "-p", "protem-cluster", "--features", "cuda"])
        .args(["--example", "gpu", "--", "report", "--small", "--out"])
        .arg(folder.join("report"))
        .env("LD_LIBRARY_PATH", libraries)
        .env("PROTEM_DRIVER_CAPABILITY", capability)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .stdout(std::process::Stdio::null())
        .status();
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!(
            "the example gpu fails (compute capability {capability}, in tenths)"
        )),
        Err(e) => Err(format!("cargo run does not start: {e}")),
    }
}
