//! Stand-ins for the CUDA libraries that a CUDA build of torch wants loaded even where it computes on the CPU.
//!
//! The package index's torch for Linux is such a build; the real libraries are several gigabytes.
//! One library has a function for every CUDA name that torch refers to, each answering "no device";
//! the libraries that torch asks for by name are empty and lead to it. Symbol versions can be left
//! out: the loader takes an unversioned symbol for a versioned one of another library.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::compare::Outcome;

const LIBRARIES: [&str; 3] = ["libcu", "libnv", "libnccl"];
const FUNCTIONS: [&str; 9] = [
    "cu", "__cuda", "nccl", "nvrtc", "nvml", "nvshmem", "nvJit", "nvtx", "nvPTX",
];
/// `cudaErrorNoDevice`, and an error to every other library.
const NO_DEVICE: u32 = 100;
const STAND_IN: &str = "libprotem_no_cuda.so";

/// Puts the stand-ins beside torch's own libraries, where the loader looks.
pub fn put_into(folder: &Path) -> Outcome<()> {
    let (mut libraries, mut functions) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            libraries.extend(wanted_libraries(&path)?);
            functions.extend(wanted_functions(&path)?);
        }
    }
    let source: String = functions
        .iter()
        .map(|name| format!("int {name}(void) {{ return {NO_DEVICE}; }}\n"))
        .collect();
    let file = folder.join("protem_no_cuda.c");
    std::fs::write(&file, source).map_err(|e| format!("{}: {e}", file.display()))?;
    // Some of the names are builtin functions to a compiler.
    let flags = ["-w", "-fno-builtin", "protem_no_cuda.c"];
    link(folder, STAND_IN, &flags)?;
    for library in libraries.iter().filter(|name| !folder.join(name).exists()) {
        let needs = format!("-l:{STAND_IN}");
        let flags = ["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN", "-L.", &needs];
        link(folder, library, &flags)?;
    }
    Ok(())
}

fn link(folder: &Path, name: &str, flags: &[&str]) -> Outcome<()> {
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-o", name])
        .arg(format!("-Wl,-soname,{name}"))
        .args(flags)
        .current_dir(folder);
    output(&mut command).map(|_| ())
}

/// From lines such as ` 0x0000000000000001 (NEEDED)  Shared library: [libcudart.so.13]`.
fn wanted_libraries(library: &Path) -> Outcome<Vec<String>> {
    let dynamic = output(Command::new("readelf").arg("-d").arg(library))?;
    Ok(dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .filter(|name| LIBRARIES.iter().any(|start| name.starts_with(start)))
        .collect())
}

/// From lines such as `                 U cudaMalloc@libcudart.so.13`.
fn wanted_functions(library: &Path) -> Outcome<Vec<String>> {
    let mut nm = Command::new("nm");
    let symbols = output(nm.args(["-D", "--undefined-only"]).arg(library))?;
    Ok(symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last()?.split('@').next())
        .filter(|name| FUNCTIONS.iter().any(|start| name.starts_with(start)))
        .map(str::to_owned)
        .collect())
}

fn output(command: &mut Command) -> Outcome<String> {
    let remedy = "install a C compiler with binutils (build-essential on Debian), or name a Python that has torch with --python PATH";
    let output = command
        .output()
        .map_err(|e| format!("{command:?} does not start: {e}; {remedy}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed: {said}{remedy}"))
}
